"""φ and t of texts: those of known texts are remembered, the others go through the encoder."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np

from prefjax.io import check_text
from prefjax.model.encoder import ModelEncoder
from prefjax.person import describe
from prefjax.person.reading import is_texts
from prefjax.types import Items, RewardBasis

MOST_BYTES = 64 << 20
"""Memory for what is known of texts, the last ones used; the texts themselves are not kept."""
_ENTRY_BYTES = 320
"""Of an entry beside its numbers: digest, array and dictionary."""


class ModelReader:
    """Reads texts and embeddings for a basis; see `prefjax.person.Reader`.

    Args:
        basis: φ and t of an embedding.
        encoder: Of the model, None for one that was fitted on embeddings of unknown origin.
    """

    def __init__(self, basis: RewardBasis, encoder: ModelEncoder | None):
        self._basis, self._encoder = basis, encoder
        self._known: OrderedDict[bytes, np.ndarray] = OrderedDict()
        self._lock = Lock()

    @property
    def fingerprint(self) -> str | None:
        """Of the encoder, None where nobody said."""
        return None if self._encoder is None else self._encoder.fingerprint

    def __call__(self, responses: Any, prompts: Sequence[str] | None = None) -> Items:
        """φ and t of responses.

        Args:
            responses: Embeddings with any leading axes, or a sequence of texts.
            prompts: Prompt of each text; without, the texts answer nothing.

        Raises:
            ValueError: The embeddings are of another width or encoder, a text holds half a
                character, or the model knows no encoder.
        """
        if not is_texts(responses):
            if self._encoder is not None:
                self._encoder.check_embeddings(responses)
            return describe(self._basis, responses)
        texts = self._texts(responses, prompts)
        keys = [_digest(*one) for one in texts]
        with self._lock:
            known = {key: self._known[key] for key in keys if key in self._known}
        missing = {key: one for key, one in zip(keys, texts, strict=True) if key not in known}
        if missing:
            rows = self._read(list(missing.values()))
            known |= {key: row.copy() for key, row in zip(missing, rows, strict=True)}
        with self._lock:
            for key, row in known.items():
                self._known[key] = row
                self._known.move_to_end(key)
            most = MOST_BYTES // (_ENTRY_BYTES + next(iter(known.values())).nbytes)
            while len(self._known) > most:
                self._known.popitem(last=False)
        table = np.stack([known[key] for key in keys])
        count = len(self._basis.population.mean)
        spread = table[:, count + 1 :] if "spread" in self._basis.params else None
        return Items(table[:, :count], table[:, count], spread)

    def _texts(self, responses: Any, prompts: Sequence[str] | None) -> list[tuple[str, str]]:
        if self._encoder is None:
            raise ValueError(
                "the model knows no encoder and reads no texts: pass embeddings, or fit with "
                "prefjax.fit(data, encoder=…)"
            )
        prompts = [""] * len(responses) if prompts is None else prompts
        if len(prompts) != len(responses):
            raise ValueError(f"{len(responses)} responses have {len(prompts)} prompts")
        for place, (prompt, response) in enumerate(zip(prompts, responses, strict=True)):
            check_text(prompt, f"the prompt of response {place}")
            check_text(response, f"response {place}")
        return list(zip(prompts, responses, strict=True))

    def _read(self, texts: Sequence[tuple[str, str]]) -> np.ndarray:
        """[φ, t, ψ] of each prompt with its response, in float32."""
        assert self._encoder is not None
        prompts, responses = zip(*texts, strict=True)
        embeddings = self._encoder.read(list(responses), list(prompts))
        items = describe(self._basis, embeddings)
        spread = [] if items.spread is None else [items.spread]
        return np.concatenate([items.features, items.utility[:, None], *spread], axis=1)


def _digest(prompt: str, response: str) -> bytes:
    """Of a prompt with its response; no two share one."""
    data = prompt.encode()
    return hashlib.sha256(b"%d:" % len(data) + data + response.encode()).digest()
