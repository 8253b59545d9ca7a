"""One user's weights from their answers: the solves that adaptation and families reuse.

`fit` is the MAP with its curvature, `fit_gaussian` the variational posterior; `solve` is either.
"""

from prefjax.logistic.blocks import fit, fit_gaussian, solve
from prefjax.logistic.gaussian import GaussianConfig
from prefjax.logistic.newton import DEFAULT, LogisticFit, NewtonConfig, Status

__all__ = [
    "DEFAULT",
    "GaussianConfig",
    "LogisticFit",
    "NewtonConfig",
    "Status",
    "fit",
    "fit_gaussian",
    "solve",
]
