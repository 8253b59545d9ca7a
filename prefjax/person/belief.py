"""The answers of one person in a buffer, and what they say of the weights: the only solve there is.

The buffer is padded to a few sizes, so that few programs are compiled.
"""

import jax
import numpy as np

from prefjax import logistic
from prefjax.numerics import precision
from prefjax.person import laplace
from prefjax.person.items import bucket, pad_rows
from prefjax.types import FeatureGap, Gaussian


@jax.jit
def _solve(rows, prior):
    fit = logistic.fit(
        rows[:, :-3],
        rows[:, -2],
        rows[:, -1],
        mean=prior.mean,
        precision=precision(prior),
        offset=rows[:, -3],
    )
    return fit, laplace.posterior(fit)


class AnswerBuffer:
    """Answers of one person, and the solve of what they say.

    Args:
        prior: What is known before the first answer.

    Attributes:
        prior: As given.
        fit: λ̂ and H given the answers so far.
        belief: N(λ̂, H⁻¹), on the host.
    """

    def __init__(self, prior: Gaussian):
        self.prior = Gaussian(*(np.asarray(part, np.float32) for part in prior))
        self._rows = np.zeros((bucket(1), len(self.prior.mean) + 3), np.float32)
        self._count = 0
        self._solve()

    def add(self, gap: FeatureGap, label: float, *, solve: bool = True) -> None:
        """One answer more.

        Args:
            gap: Features and offset of the pair.
            label: Probability that the first was preferred.
            solve: False where more answers follow at once.
        """
        if self._count == len(self._rows):
            self._rows = pad_rows(self._rows, bucket(self._count + 1))
        row = self._rows[self._count]
        row[:-3], row[-3], row[-2], row[-1] = gap.features, gap.offset, label, 1.0
        self._count += 1
        if solve:
            self._solve()

    def _solve(self) -> None:
        self.fit, belief = _solve(self._rows, self.prior)
        self.belief = Gaussian(*(np.asarray(part) for part in belief))
