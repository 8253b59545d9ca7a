"""A reward model as an encoder: its embedding of a text are its scores.

    e = W h_T ∈ R^n,   W the score head of n labels, h_T the state of the last token

in the chat template that the model was trained with. What a family of personal reward models, or
`prefjax.fit`, then sees of a response are the rewards of a model that others trained; side by side
with another encoder (``hashed+reward:FOLDER``) they are one more input.

References:
    ``*ForSequenceClassification`` of transformers; Skywork-Reward-V2, arXiv 2507.01352.
"""

import dataclasses
import hashlib
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float32

from prefjax import lm
from prefjax.encoders.contract import Lengths, Text
from prefjax.encoders.language import LanguageEncoder, make_language_encoder
from prefjax.encoders.language_config import LanguageConfig
from prefjax.encoders.specification import write
from prefjax.io import digest_arrays
from prefjax.types import Embeddings

REWARD = LanguageConfig(template="own", layer=-1, pooling="last")
"""How reward models are read."""
_VERSION = "scores-1"


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreEncoder:
    """A reward model; made by ``make_score_encoder``.

    Attributes:
        states: The model below the score head.
        weight: W, one row a label.
    """

    states: LanguageEncoder
    weight: Float32[np.ndarray, "label feature"]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the states' fingerprint and of the head."""
        said = f"{self.states.fingerprint} {digest_arrays(self.weight)}"
        return f"{_VERSION}-{hashlib.sha256(said.encode()).hexdigest()[:32]}"

    @property
    def specification(self) -> str:
        """Name with settings, from which ``get_encoder`` makes the same encoder again."""
        return write(self.states.name, self.states.config, REWARD)

    def encode(self, texts: Sequence[Text]) -> Float32[np.ndarray, "text label"]:
        """Scores of texts, one row each.

        Args:
            texts: Pairs of prompt and response, or texts.

        Raises:
            TypeError: If an entry is neither a string nor a pair of strings.
            ValueError: If an entry has a lone surrogate, or the model's template wants a prompt.
        """
        return Embeddings.of(self.states.encode(texts) @ self.weight.T, self.fingerprint)

    def lengths(self, texts: Sequence[Text]) -> Lengths:
        """Tokens that would be read of each text, and which texts would be cut.

        Args:
            texts: Pairs of prompt and response, or texts.
        """
        return self.states.lengths(texts)


def make_score_encoder(
    model: lm.LanguageModel, config: LanguageConfig = REWARD, *, name: str | None = None
) -> ScoreEncoder:
    """A loaded reward model as an encoder.

    Args:
        model: A ``*ForSequenceClassification`` folder as ``prefjax.lm.load`` reads it.
        config: How texts are read; the last state of the last token.
        name: Name for ``specification``; ``reward:`` and the folder by default.

    Raises:
        ValueError: If it has no score head, or cannot be read in this way.
    """
    if (config.layer, config.pooling) != (REWARD.layer, REWARD.pooling) or config.width is not None:
        raise ValueError(
            "layer and pooling of a reward model are -1 and 'last', and its scores have no width."
        )
    name = name or f"reward:{model.directory.resolve()}"
    weight = lm.read_score(model.directory, model.config)
    return ScoreEncoder(make_language_encoder(model, config, name=name), weight)
