"""The encoder of a model: its name and fingerprint, what was fitted of it, how to have it back.

    hashed            fitted statistics (idf, projection, scales of style) lie in the model's file
    minilm, lm:…      made again by `get_encoder` when the first text comes
    an object         has to be passed to `prefjax.load` again

The fingerprint covers weights, settings and fitted statistics. Where that of a network differs, the
numbers of three fixed texts decide: the same encoder on another device differs by rounding.
"""

import dataclasses
import warnings
from collections.abc import Mapping
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np

from prefjax.encoders import (
    Encoder,
    HashedConfig,
    HashedEncoder,
    as_read,
    encode_few,
    get_encoder,
    make_hashed,
)
from prefjax.types import Embeddings

PROBES = (
    ("How do planes fly?", "Wings push air down, and the air pushes the wings up."),
    ("", "No, thanks! I would rather not say anything about that."),
    ("Say it in German.", "Guten Tag; 1, 2, 3 …"),
)
"""Prompts and responses whose embeddings tell encoders apart."""
ROUNDING = 0.03
"""Largest relative difference, of all probes together, between devices or precisions."""
_FITTED = ("idf", "projection", "style_scale")


class EncoderRecord(NamedTuple):
    """What a model's file says of its encoder, beside arrays.

    Attributes:
        name: For `get_encoder`; None where an object was passed.
        fingerprint: Of the encoder, every fitted statistic included.
        width: Numbers of an embedding.
        config: Settings of a hashed encoder, None for others.
    """

    name: str | None
    fingerprint: str
    width: int
    config: Mapping[str, Any] | None = None


class ModelEncoder:
    """The encoder of a model, made when the first text comes.

    Args:
        record: Name, fingerprint, width and settings.
        arrays: Embeddings of ``PROBES`` as ``probes``, and the fitted statistics of a hashed one.
        encoder: The encoder, where it is there already.

    Raises:
        ValueError: The encoder that is there is another one than the record says; both are named.
    """

    def __init__(
        self,
        record: EncoderRecord,
        arrays: Mapping[str, np.ndarray],
        encoder: Encoder | None = None,
    ):
        self.record, self.arrays = record, dict(arrays)
        if encoder is not None:
            self._check(encoder)
            self.__dict__["encoder"] = encoder

    @classmethod
    def of(cls, encoder: Encoder, name: str | None = None) -> "ModelEncoder":
        """The record of an encoder.

        Args:
            encoder: The encoder; what it was fitted to is kept.
            name: Its name for `get_encoder`; None if it has none.
        """
        probes = np.asarray(_probe(encoder))
        config, arrays = None, {"probes": probes}
        if isinstance(encoder, HashedEncoder):
            name, config = "hashed", dataclasses.asdict(encoder.config)
            if encoder.fingerprint != make_hashed(encoder.config).fingerprint:
                arrays |= {part: getattr(encoder, part) for part in _FITTED}
        record = EncoderRecord(name, encoder.fingerprint, probes.shape[1], config)
        return cls(record, arrays, encoder)

    @property
    def fingerprint(self) -> str:
        """Of the encoder."""
        return self.record.fingerprint

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder itself.

        Raises:
            ValueError: What can be had is another one, or there is no way to have it.
        """
        name, fingerprint, _, config = self.record
        if config is not None:
            settings = HashedConfig(**config)
            fitted: dict[str, Any] = {
                part: self.arrays[part] for part in _FITTED if part in self.arrays
            }
            made: Encoder = HashedEncoder(settings, **fitted) if fitted else make_hashed(settings)
        elif name is not None:
            made = get_encoder(name)
        else:
            raise ValueError(
                f"this model reads texts with the encoder {fingerprint!r}, which was passed to "
                "prefjax.fit as an object: pass it to prefjax.load(folder, encoder=…) as well"
            )
        self._check(made)
        return made

    def read(self, responses: list[str], prompts: list[str]) -> Embeddings:
        """Embeddings of responses to prompts, read as they were when the model was fitted.

        Args:
            responses: Texts.
            prompts: Prompt of each, empty where there is none.
        """
        return encode_few(self.encoder, as_read(self.encoder, responses, prompts))

    def check_embeddings(self, embeddings: Any) -> None:
        """Refuses embeddings that say that another encoder made them.

        Args:
            embeddings: Anything; only `prefjax.types.Embeddings` say it.

        Raises:
            ValueError: They do; both encoders are named.
        """
        found = getattr(embeddings, "encoder", None)
        if found is not None and found != self.fingerprint:
            raise ValueError(
                f"the embeddings come from the encoder {found!r}, the model was fitted with "
                f"{self._shown}: their numbers mean something else"
            )

    @property
    def _shown(self) -> str:
        name = self.record.name
        return repr(self.fingerprint) if name is None else f"{name} ({self.fingerprint!r})"

    def _check(self, encoder: Encoder) -> None:
        if encoder.fingerprint == self.fingerprint:
            return
        probes, expected = np.asarray(_probe(encoder)), self.arrays["probes"]
        if self.record.config is None and probes.shape == expected.shape:
            off = float(np.linalg.norm(probes - expected) / np.linalg.norm(expected))
            if off <= ROUNDING:
                warnings.warn(
                    f"the encoder {encoder.fingerprint!r} stands for {self._shown}, with which the "
                    f"model was fitted; its numbers differ by {off:.1e}, as on another device",
                    stacklevel=3,
                )
                return
        raise ValueError(
            f"the model was fitted with the encoder {self._shown}; {encoder.fingerprint!r} is "
            "another one, and its numbers mean something else"
        )


def _probe(encoder: Encoder) -> np.ndarray:
    prompts, responses = zip(*PROBES, strict=True)
    return encode_few(encoder, as_read(encoder, responses, prompts))
