"""Settings of families: frozen dataclasses whose numbers are leaves, checked when they are made."""

from collections.abc import Callable
from dataclasses import field, fields, replace
from itertools import product
from types import MappingProxyType
from typing import Any, TypeAlias

from prefjax.settings import check_settings

Number: TypeAlias = Any
"""A float of a config; an array where configs are vmapped."""

LARGEST = 1e12
"""Largest number in a config: beyond it sums of squares leave single precision."""


POSITIVE = MappingProxyType({"positive": True})
"""Metadata of a config's number that must not be 0: ``field(default=1.0, metadata=POSITIVE)``."""


def integer(default: int | None, *, least: int = 1) -> Any:
    """A static whole number of a config, such as a width or a number of steps.

    Args:
        default: Its default; None where the family chooses it.
        least: 1, or 0 where 0 means "without".
    """
    return field(default=default, metadata={"static": True, "size": least == 1})


def choice(default: Any) -> Any:
    """A static setting of a config that is no number.

    Args:
        default: Its default.
    """
    return field(default=default, metadata={"static": True})


class FamilyConfig:
    """Base of every family's settings, which are checked when they are made.

    Raises:
        ValueError: A size is below 1; a number is negative, not finite or beyond ``LARGEST``; or
            one that must be positive is 0. The message names the setting and its value.
    """

    def __post_init__(self) -> None:
        settings: Any = self
        marked = {
            mark: [f.name for f in fields(settings) if f.metadata.get(mark)]
            for mark in ("size", "positive")
        }
        sizes = [name for name in marked["size"] if getattr(self, name) is not None]
        check_settings(self, *sizes, positive=marked["positive"])
        for setting in fields(settings):
            value = getattr(self, setting.name)
            if isinstance(value, int | float) and value > LARGEST:
                raise ValueError(f"{setting.name} must be at most {LARGEST:.0e}, got {value}")


def make_grid(**values: tuple[float, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """Lists every combination of some settings' values, the first setting outermost.

    Args:
        **values: Values of each setting, weak to strong.
    """

    def config_grid(config: Any) -> tuple[Any, ...]:
        combinations = product(*values.values())
        settings = (dict(zip(values, each, strict=True)) for each in combinations)
        return tuple(replace(config, **each) for each in settings)

    return config_grid
