"""Responses as a model was fitted on them, a few at a time, for somebody who waits.

Texts are otherwise read in batches of about a thousand tokens, padding included, which one text
would fill alone. `encode_few` pads to 1, 4 or 16 short texts; an embedding then differs from that
of `Encoder.encode` by rounding.
"""

import dataclasses
from collections.abc import Sequence
from functools import lru_cache

from prefjax.encoders import sentence
from prefjax.encoders.contract import Encoder, Text, check_texts
from prefjax.encoders.language import LanguageEncoder
from prefjax.encoders.scores import ScoreEncoder
from prefjax.encoders.sums import SumEncoder, own_texts
from prefjax.types import Embeddings

_FEW = (1, 4, 16)


def as_read(encoder: Encoder, responses: Sequence[str], prompts: Sequence[str]) -> list[Text]:
    """What an encoder is given for responses to prompts.

    A language model reads a response after its prompt, another encoder the response alone: what
    all responses to a prompt share cancels in comparisons.

    Args:
        encoder: The encoder.
        responses: Texts of responses.
        prompts: Text of the prompt of each; empty where there is none.
    """
    pairs = zip(prompts, responses, strict=True)
    return own_texts(encoder, [pair if pair[0] else pair[1] for pair in pairs])


def encode_few(encoder: Encoder, texts: Sequence[Text]) -> Embeddings:
    """Embeddings of a few texts, in small batches.

    Args:
        encoder: The encoder.
        texts: Texts, or pairs of prompt and response; many are read as `Encoder.encode` reads them.

    Raises:
        TypeError: If an entry is neither a string nor a pair of strings.
        ValueError: If an entry has a lone surrogate.
    """
    check_texts(texts)
    if isinstance(encoder, SumEncoder):
        parts = [encode_few(part, own_texts(part, texts)) for part in encoder.parts]
        return Embeddings.of(encoder.join(parts), encoder.fingerprint)
    if isinstance(encoder, ScoreEncoder):
        states = encode_few(encoder.states, texts)
        return Embeddings.of(states @ encoder.weight.T, encoder.fingerprint)
    rows = next((few for few in _FEW if len(texts) <= few), None)
    reader = encoder
    if rows is not None and isinstance(encoder, sentence.SentenceEncoder | LanguageEncoder):
        reader = _small(encoder, rows)
    return Embeddings.of(reader.encode(texts), encoder.fingerprint)


@lru_cache(maxsize=16)
def _small(encoder: sentence.SentenceEncoder | LanguageEncoder, rows: int) -> Encoder:
    """The encoder with batches of so many short texts."""
    if isinstance(encoder, sentence.SentenceEncoder):
        return dataclasses.replace(encoder, batch_tokens=rows * sentence.BUCKET)
    config = dataclasses.replace(encoder.config, batch_tokens=rows * encoder.config.bucket)
    return dataclasses.replace(encoder, config=config)
