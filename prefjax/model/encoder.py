"""The encoder of a model: its name and fingerprint, what was fitted of it, how to have it back.

    hashed            fitted statistics (idf, projection, scales of style) lie in the model's file
    minilm, lm:…      made again by `get_encoder` when the first text comes
    a sum             part by part
    an object         has to be passed to `prefjax.load` again, where it has no specification

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
    SumEncoder,
    as_read,
    encode_few,
    get_encoder,
    specification_of,
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


class PartRecord(NamedTuple):
    """One encoder, alone or of a sum.

    Attributes:
        specification: For `get_encoder`; None where it was fitted or is an object without one.
        fingerprint: Of the encoder, every fitted statistic included.
        config: Settings of a fitted hashed encoder, None for others.
    """

    specification: str | None
    fingerprint: str
    config: Mapping[str, Any] | None = None


class EncoderRecord(NamedTuple):
    """What a model's file says of its encoder, beside arrays.

    Attributes:
        name: What messages call it.
        fingerprint: Of the encoder, every fitted statistic included.
        width: Numbers of an embedding.
        parts: The encoder, or those that it is the sum of.
    """

    name: str
    fingerprint: str
    width: int
    parts: tuple[PartRecord, ...]

    @classmethod
    def from_json(cls, value: Any) -> "EncoderRecord":
        """The record from plain values.

        Raises:
            TypeError: It is none.
        """
        parts = tuple(PartRecord(**part) for part in value["parts"])
        return cls(**{**value, "parts": parts})

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return {**self._asdict(), "parts": [part._asdict() for part in self.parts]}


class ModelEncoder:
    """The encoder of a model, made when the first text comes.

    Args:
        record: Names, fingerprints, width and settings.
        arrays: Embeddings of ``PROBES`` as ``probes``, and the statistics of fitted parts.
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
            name: What messages call it; its specification or class by default.
        """
        arrays = {"probes": np.asarray(_probe(encoder))}
        parts = []
        for place, part in enumerate(_parts(encoder)):
            specification, config = specification_of(part), None
            if specification is None and isinstance(part, HashedEncoder):
                config = dataclasses.asdict(part.config)
                arrays |= {f"{place}/{field}": getattr(part, field) for field in _FITTED}
            parts.append(PartRecord(specification, part.fingerprint, config))
        name = name or specification_of(encoder) or type(encoder).__name__
        width = arrays["probes"].shape[1]
        return cls(EncoderRecord(name, encoder.fingerprint, width, tuple(parts)), arrays, encoder)

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
        made = [self._make(place, part) for place, part in enumerate(self.record.parts)]
        encoder = made[0] if len(made) == 1 else SumEncoder(tuple(made))
        self._check(encoder)
        return encoder

    def _make(self, place: int, part: PartRecord) -> Encoder:
        if part.config is not None:
            idf, projection, style_scale = (self.arrays[f"{place}/{field}"] for field in _FITTED)
            settings = HashedConfig(**part.config)
            return HashedEncoder(settings, idf, projection, style_scale)
        if part.specification is not None:
            return get_encoder(part.specification)
        raise ValueError(
            f"this model reads texts with the encoder {part.fingerprint!r}, which was passed to "
            "prefjax.fit as an object: pass it to prefjax.load(folder, encoder=…) as well"
        )

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
        return f"{self.record.name} ({self.fingerprint!r})"

    def _check(self, encoder: Encoder) -> None:
        if encoder.fingerprint == self.fingerprint:
            return
        probes, expected = np.asarray(_probe(encoder)), self.arrays["probes"]
        if self._may_round(encoder) and probes.shape == expected.shape:
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

    def _may_round(self, encoder: Encoder) -> bool:
        """Whether only networks differ, whose numbers depend on the device."""
        parts = _parts(encoder)
        return len(parts) == len(self.record.parts) and not any(
            isinstance(part, HashedEncoder) and part.fingerprint != record.fingerprint
            for part, record in zip(parts, self.record.parts, strict=True)
        )


def _parts(encoder: Encoder) -> tuple[Encoder, ...]:
    return encoder.parts if isinstance(encoder, SumEncoder) else (encoder,)


def _probe(encoder: Encoder) -> np.ndarray:
    prompts, responses = zip(*PROBES, strict=True)
    return encode_few(encoder, as_read(encoder, responses, prompts))
