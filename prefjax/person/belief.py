"""The answers of one person in a buffer, and what they say of the weights: the only solve there is.

The buffer is padded to a few sizes, so that few programs are compiled.
"""

from functools import partial

import jax
import numpy as np
from jaxtyping import Float

from prefjax import logistic
from prefjax.logistic import Solver
from prefjax.person import laplace
from prefjax.person.inference import infer
from prefjax.person.items import bucket, pad_rows
from prefjax.types import Array, FeatureGap, Gaussian, Population

SMALLEST = 64
"""Rows of the buffer of a person with few answers: one program for nearly everybody."""


@partial(jax.jit, static_argnames="solver")
def _solve(rows, prior, posterior_scale, solver):
    gap = FeatureGap(rows[:, :-4], rows[:, -4], rows[:, -3])
    settings = {"posterior_scale": posterior_scale, "config": solver}
    fit = infer(gap, rows[:, -2], rows[:, -1], prior=prior, **settings)
    return fit, laplace.posterior(fit)


class AnswerBuffer:
    """Answers of one person, solved when somebody wants to know what they say.

    Args:
        prior: What is known before the first answer, on the host.
        posterior_scale: That of the basis.
        solver: Which posterior is meant.
    """

    def __init__(
        self,
        prior: Population,
        posterior_scale: Float[Array, ""] | float = 1.0,
        solver: Solver = logistic.GAUSSIAN,
    ):
        self._settings = np.asarray(posterior_scale, np.float32), solver
        self.prior: Population = jax.tree.map(lambda part: np.asarray(part, np.float32), prior)
        self._rows = np.zeros((SMALLEST, len(self.prior.mean) + 4), np.float32)
        self._moments = Gaussian(*map(np.asarray, (self.prior.mean, self.prior.covariance)))
        self._count = 0
        self._solved: tuple[logistic.LogisticFit, Gaussian] | None = None

    def add(self, gap: FeatureGap, label: float) -> None:
        """One answer more.

        Args:
            gap: Features, offset and variance of the pair.
            label: Probability that the first was preferred.
        """
        if self._count == len(self._rows):
            self._rows = pad_rows(self._rows, bucket(self._count + 1))
        row = self._rows[self._count]
        row[:-4], row[-4:] = gap.features, (gap.offset, gap.variance, label, 1.0)
        self._count += 1
        self._solved = None

    @property
    def fit(self) -> logistic.LogisticFit:
        """Mean and precision given the answers so far."""
        return self._solve()[0]

    @property
    def belief(self) -> Gaussian:
        """N(λ̂, H⁻¹) given the answers so far, on the host."""
        return self._solve()[1] if self._count else self._moments

    def _solve(self) -> tuple[logistic.LogisticFit, Gaussian]:
        if self._solved is None:
            fit, belief = _solve(self._rows, self.prior, *self._settings)
            self._solved = fit, Gaussian(*(np.asarray(part) for part in belief))
        return self._solved
