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
from prefjax.person.answers import LoggedChoice
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


@partial(jax.jit, static_argnames="solver")
def _solve_choices(choices, prior, posterior_scale, solver):
    features, offset, label, mask, weight, variance = choices
    fit = logistic.fit_choices_under(
        features,
        label,
        mask,
        weight,
        prior=prior,
        offset=offset,
        variance=variance,
        posterior_scale=posterior_scale,
        config=solver,
    )
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
        self._choices: list[LoggedChoice] = []
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

    def add_choice(self, choice: LoggedChoice) -> None:
        """One choice among several more.

        Args:
            choice: What was shown, and what was chosen.
        """
        self._choices.append(choice)
        self._solved = None

    def _as_choices(self) -> tuple[np.ndarray, ...]:
        """All answers as choices among several, padded to a few sizes."""
        pairs = self._rows[: self._count]
        size = bucket(self._count + len(self._choices))
        most = max(len(choice.offset) for choice in self._choices)
        width = max(4, 1 << (most - 1).bit_length())
        features = np.zeros((size, width, len(self.prior.mean)), np.float32)
        offset, label = np.zeros((2, size, width), np.float32)
        mask = np.zeros((size, width), bool)
        weight, variance = np.zeros((2, size), np.float32)
        features[: self._count, 0], offset[: self._count, 0] = pairs[:, :-4], pairs[:, -4]
        label[: self._count, 0], label[: self._count, 1] = pairs[:, -2], 1 - pairs[:, -2]
        mask[: self._count, :2] = True
        variance[: self._count], weight[: self._count] = pairs[:, -3], pairs[:, -1]
        for place, choice in enumerate(self._choices, self._count):
            shown = slice(0, len(choice.offset))
            features[place, shown], offset[place, shown] = choice.features, choice.offset
            label[place, shown], mask[place, shown] = choice.label, True
            variance[place], weight[place] = choice.variance, 1.0
        return features, offset, label, mask, weight, variance

    @property
    def fit(self) -> logistic.LogisticFit:
        """Mean and precision given the answers so far."""
        return self._solve()[0]

    @property
    def belief(self) -> Gaussian:
        """N(λ̂, H⁻¹) given the answers so far, on the host."""
        return self._solve()[1] if self._count or self._choices else self._moments

    def _solve(self) -> tuple[logistic.LogisticFit, Gaussian]:
        if self._solved is None:
            if self._choices:
                fit, belief = _solve_choices(self._as_choices(), self.prior, *self._settings)
            else:
                fit, belief = _solve(self._rows, self.prior, *self._settings)
            self._solved = fit, Gaussian(*(np.asarray(part) for part in belief))
        return self._solved
