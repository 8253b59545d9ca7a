"""One user's weights from their answers: the solves that adaptation and families reuse.

`fit` is the MAP with its curvature, `fit_gaussian` the variational posterior; `solve` is either,
`fit_choices` either from choices of one among several. `solve_under` and `fit_choices_under` are
these under a population that may be a mixture.
"""

from prefjax.logistic.blocks import Solver, fit, fit_gaussian, solve
from prefjax.logistic.gaussian import DEFAULT as GAUSSIAN
from prefjax.logistic.gaussian import GaussianConfig
from prefjax.logistic.mixture import fit_choices_under, solve_under
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
    "fit_choices_under",
    "fit_gaussian",
    "solve",
    "solve_under",
]
