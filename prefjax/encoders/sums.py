"""Several encoders as one: their embeddings side by side, each at unit size.

    e = [ (e_1 − c_1) / s_1 ; … ; (e_n − c_n) / s_n ] / √n

c_k and s_k are the mean, and the root mean square distance from it, of encoder k over a few texts
written for this purpose, so that no block outweighs another because of its unit or of a direction
that all texts share. The embedding of a text stays a function of that text.

A language model reads the response after its prompt, every other encoder the response alone.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from jaxtyping import Float32

from prefjax.encoders.contract import Encoder, Text, check_texts
from prefjax.encoders.language import LanguageEncoder
from prefjax.encoders.scores import ScoreEncoder
from prefjax.types import Embeddings

_VERSION = "sum-1"
_RESPONSES = (
    "Yes.",
    "I am not sure, but it might help to ask somebody who has done it before.",
    "First, gather what you need. Second, read the instructions. Third, take your time!",
    "The committee has reviewed the proposal and regrets to inform you that it was declined.",
    "Ha! My cat could have answered that one, and she sleeps eighteen hours a day.",
    "Wages should rise with prices; everybody who works full time must be able to live on it.",
    "It depends on the temperature, the pressure, and how long the mixture is left to stand.",
    "Dear Sir or Madam, I would be most grateful if you could kindly send me the documents.",
    "No way, that is wrong, and the numbers prove it: 40 % fewer accidents in ten years.",
    "A slow walk by the river, a warm cup of tea, and no telephone: that is all I need today.",
    "def add(a, b):\n    return a + b",
    "Our town needs more buses, safer streets for cyclists, and a library that opens on Sunday.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "What would you like to achieve? Tell me more about it, and we will find a way together.",
    "Thank you so much for asking! I would love to help you with your wonderful project!!!",
    "Perhaps. Some say so, others disagree, and I have seen no study that settles it.",
)
_PROMPT = "What do you think?"


@dataclasses.dataclass(frozen=True, eq=False)
class SumEncoder:
    """Encoders whose embeddings stand side by side; see the module docstring.

    Attributes:
        parts: The encoders, in the order of their blocks.
    """

    parts: tuple[Encoder, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the fingerprints of the parts."""
        names = " ".join(part.fingerprint for part in self.parts)
        return f"{_VERSION}-{hashlib.sha256(names.encode()).hexdigest()[:32]}"

    @property
    def specification(self) -> str | None:
        """The specifications of the parts; None if one has none."""
        names = [specification_of(part) for part in self.parts]
        return None if None in names else "+".join(str(name) for name in names)

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each block."""
        return tuple(len(center) for center, _ in self._sizes)

    @cached_property
    def _sizes(self) -> list[tuple[np.ndarray, float]]:
        """The mean and the size of each part on the texts above."""
        texts: list[Text] = [(_PROMPT, response) for response in _RESPONSES]
        sizes = []
        for part in self.parts:
            vectors = np.asarray(part.encode(own_texts(part, texts)), np.float32)
            center = vectors.mean(axis=0)
            size = float(np.sqrt(np.mean(np.sum(np.square(vectors - center[None]), axis=1))))
            sizes.append((center, max(size, 1e-12)))
        return sizes

    def join(
        self, blocks: Sequence[Float32[np.ndarray, "text _"]]
    ) -> Float32[np.ndarray, "text feature"]:
        """The embedding from those of the parts.

        Args:
            blocks: Embeddings of the same texts by each part.
        """
        scaled = [
            (block - center[None]) / (size * np.sqrt(len(blocks)))
            for block, (center, size) in zip(blocks, self._sizes, strict=True)
        ]
        return np.concatenate(scaled, axis=1).astype(np.float32)

    def encode(self, texts: Sequence[Text]) -> Float32[np.ndarray, "text feature"]:
        """Embeddings of texts, one row each.

        Args:
            texts: Texts, or pairs of prompt and response.

        Raises:
            TypeError: If an entry is neither a string nor a pair of strings.
            ValueError: If an entry has a lone surrogate.
        """
        check_texts(texts)
        vectors = self.join([part.encode(own_texts(part, texts)) for part in self.parts])
        return Embeddings.of(vectors, self.fingerprint)


def own_texts(encoder: Encoder, texts: Sequence[Text]) -> list[Text]:
    """What an encoder reads of pairs: language and reward models both, others the response alone.

    Args:
        encoder: The encoder.
        texts: Texts, or pairs of prompt and response.
    """
    if isinstance(encoder, LanguageEncoder | ScoreEncoder | SumEncoder):
        return list(texts)
    return [text if isinstance(text, str) else text[1] for text in texts]


def specification_of(encoder: Encoder) -> str | None:
    """The line from which ``get_encoder`` makes an encoder again; None if there is none.

    Encoders that were fitted to texts have none: what they learned is in their arrays.
    """
    return getattr(encoder, "specification", None)
