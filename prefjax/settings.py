"""Checks of frozen configurations, on the host, when they are made."""

import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np


def check_settings(config: Any, *sizes: str, positive: Sequence[str] = ()) -> None:
    """Refuses a config with a size below 1, or a number that is negative or not finite.

    Numbers that are arrays or traced are not looked at.

    Args:
        config: A frozen dataclass.
        sizes: Names of the settings that must be at least 1.
        positive: Names of those that must not be 0 either.

    Raises:
        ValueError: Names the setting and what it was.
    """
    for name in sizes:
        if getattr(config, name) < 1:
            raise ValueError(f"{name} must be at least 1, got {getattr(config, name)}")
    for setting in fields(config):
        value = getattr(config, setting.name)
        if not isinstance(value, int | float | np.floating):
            continue
        if not 0 <= value < math.inf:
            raise ValueError(f"{setting.name} must be finite and not negative, got {value}")
        if setting.name in positive and value == 0:
            raise ValueError(f"{setting.name} must be positive, got {value}")
