"""One user's weights from their answers: the solves that adaptation and families reuse.

`fit` is the MAP with its curvature, `fit_gaussian` the variational posterior; `solve` is either,
`solve_under` either under a population that may be a mixture.
"""

from prefjax.logistic.blocks import Solver, fit, fit_gaussian, solve
from prefjax.logistic.gaussian import DEFAULT as GAUSSIAN
from prefjax.logistic.gaussian import GaussianConfig
from prefjax.logistic.mixture import solve_under
from prefjax.logistic.newton import DEFAULT, LogisticFit, NewtonConfig, Status

__all__ = [
    "DEFAULT",
    "GAUSSIAN",
    "GaussianConfig",
    "LogisticFit",
    "NewtonConfig",
    "Solver",
    "Status",
    "fit",
    "fit_gaussian",
    "solve",
    "solve_under",
]
