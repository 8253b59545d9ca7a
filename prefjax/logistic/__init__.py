"""One user's weights from their answers: the solves that adaptation and families reuse.

`fit` is the MAP with its curvature, `fit_gaussian` the variational posterior; `solve` is either.
`fit_choices` is either from choices of one among several.
"""

from prefjax.logistic.blocks import Solver, fit, fit_gaussian, solve
from prefjax.logistic.gaussian import DEFAULT as GAUSSIAN
from prefjax.logistic.gaussian import GaussianConfig
from prefjax.logistic.newton import DEFAULT, LogisticFit, NewtonConfig, Status
from prefjax.logistic.softmax import fit_choices

__all__ = [
    "DEFAULT",
    "GAUSSIAN",
    "GaussianConfig",
    "LogisticFit",
    "NewtonConfig",
    "Solver",
    "Status",
    "fit",
    "fit_choices",
    "fit_gaussian",
    "solve",
]
