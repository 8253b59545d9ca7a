"""Personal preference models in JAX.

``fit`` and ``load`` give a `PreferenceModel`; every step behind it is a function of a subpackage,
which is imported when it is first named (``prefjax.families``, ``prefjax.metrics``, …).
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prefjax.model import Person, PreferenceModel, compare_encoders, fit, load
    from prefjax.types import BASELINE, Comparisons

__version__ = "0.2.0"

_EXPORTS = {
    "BASELINE": "types",
    "Comparisons": "types",
    "PreferenceModel": "model",
    "Person": "person",
    "compare_encoders": "model",
    "fit": "model",
    "load": "model",
}
_PACKAGES = frozenset(
    {
        "align",
        "basis",
        "data",
        "encoders",
        "families",
        "interpret",
        "io",
        "lab",
        "lm",
        "logistic",
        "metrics",
        "model",
        "numerics",
        "parallel",
        "person",
        "study",
        "train",
        "types",
        "variational",
    }
)

__all__ = [
    "BASELINE",
    "Comparisons",
    "Person",
    "PreferenceModel",
    "compare_encoders",
    "fit",
    "load",
]


def __getattr__(name: str) -> Any:
    """Imports what is named, so that ``import prefjax`` itself costs next to nothing."""
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"prefjax.{_EXPORTS[name]}"), name)
    if name in _PACKAGES:
        return importlib.import_module(f"prefjax.{name}")
    raise AttributeError(f"module 'prefjax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_EXPORTS, *_PACKAGES})
