"""Personal preference models in JAX.

``fit`` and ``load`` give a `PreferenceModel`; every step behind it is a function of its own room.
"""

from prefjax.model import PreferenceModel, User, fit, load
from prefjax.types import BASELINE, Comparisons

__version__ = "0.1.0"

__all__ = ["BASELINE", "Comparisons", "PreferenceModel", "User", "fit", "load"]
