"""A live interview: ``ask()`` a person, ``tell()`` the answer.

The kernels are those of `elicit`, so a session with the same key, pool and answers asks the same
questions. This is the host edge: everything here checks its input and raises.

A session asks at most ``config.num_questions`` questions. It always shows the pair in the order of
the pool; a study that fears order effects swaps sides itself and reports ``1 − label``.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax.numerics import positive_inverse
from prefjax.person import interview as loop
from prefjax.person.pools import PairPool, Pool, num_candidates, split_index
from prefjax.types import GaussianPrior, PRNGKey


class Asked(NamedTuple):
    """A question as the host sees it.

    Attributes:
        index: Its name in the pool.
        prompt: Prompt, or ``None`` in a `PairPool`.
        first: First response of that prompt, or ``None`` in a `PairPool`.
        second: Second response of that prompt, or ``None`` in a `PairPool`.
    """

    index: int
    prompt: int | None
    first: int | None
    second: int | None


_init = jax.jit(loop.init, static_argnames="config")
_ask = jax.jit(loop.ask, static_argnames="config")
_tell = jax.jit(loop.tell, static_argnames="config")
_inverse = jax.jit(positive_inverse)


class Session:
    """One person being asked.

    Args:
        key: Drives random rules.
        pool: The questions: listed, or all pairs of each prompt's responses.
        prior: Belief before the first answer.
        config: How many questions at most and by which rule.

    Raises:
        ValueError: The pool is empty, disagrees with the prior on the number of factors, or has a
            NaN or infinity in an unmasked row.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from prefjax.types import GaussianPrior
        >>> gaps = jnp.array([[1.0, 0.0], [0.0, 2.0]])
        >>> pool = PairPool(features=gaps, offset=jnp.zeros(2), mask=jnp.ones(2, bool))
        >>> prior = GaussianPrior(mean=jnp.zeros(2), precision=jnp.eye(2))
        >>> session = Session(jax.random.key(0), pool, prior)
        >>> session.ask().index
        1
        >>> session.tell(1.0)
        >>> session.ask().index
        0
    """

    def __init__(
        self,
        key: PRNGKey,
        pool: Pool,
        prior: GaussianPrior,
        config: loop.ElicitConfig = loop.DEFAULT,
    ):
        _check(pool, prior)
        self._pool: Pool = jax.tree.map(jnp.asarray, pool)
        self._prior = jax.tree.map(jnp.asarray, prior)
        self._config = config
        self._state = _init(key, self._prior, config=config)
        self._pending: Asked | None = None

    def ask(self) -> Asked:
        """The question to ask now; the same one until it is answered.

        Raises:
            ValueError: All ``num_questions`` are answered, or the pool has nothing left.
        """
        if self._pending is not None:
            return self._pending
        asked, most = int(self._state.num_steps), self._config.num_questions
        if asked == most:
            raise ValueError(f"all {most} questions of this session are answered")
        question = _ask(self._state, self._pool, self._prior, config=self._config)
        index = int(question.index)
        if index < 0:
            raise ValueError(f"the pool has no question left after {asked} answers")
        self._pending = self._describe(index)
        return self._pending

    def tell(self, label: float) -> None:
        """Record the answer to the question last asked and refit.

        Args:
            label: 1 if the first response is preferred, 0 if the second, ½ for a tie, or any
                probability between.

        Raises:
            ValueError: No question is open, or the label lies outside [0, 1].
        """
        if self._pending is None:
            raise ValueError("tell() without a question: call ask() first")
        if not 0.0 <= label <= 1.0:
            hint = "; use 0 for the second response" if label == -1 else ""
            raise ValueError(f"label {label} is outside [0, 1]{hint}")
        self._state = _tell(
            self._state,
            jnp.int32(self._pending.index),
            jnp.asarray(label, self._state.label.dtype),
            self._pool,
            self._prior,
            config=self._config,
        )
        self._pending = None

    @property
    def weights(self) -> Float[jax.Array, " factor"]:
        """λ̂, the person's weights given the answers so far."""
        return self._state.fit.weights

    @property
    def covariance(self) -> Float[jax.Array, "factor factor"]:
        """H⁻¹ under the prior, the Laplace covariance of the weights."""
        fit = self._state.fit
        return _inverse(fit.hessian)

    @property
    def history(self) -> list[tuple[Asked, float]]:
        """Questions and answers in the order they were given."""
        count = int(self._state.num_steps)
        chosen, label = np.asarray(self._state.chosen), np.asarray(self._state.label)
        return [(self._describe(int(chosen[i])), float(label[i])) for i in range(count)]

    def _describe(self, index: int) -> Asked:
        if isinstance(self._pool, PairPool):
            return Asked(index=index, prompt=None, first=None, second=None)
        prompt, first, second = split_index(self._pool, np.asarray(index))
        return Asked(index=index, prompt=int(prompt), first=int(first), second=int(second))


def _check(pool: Pool, prior: GaussianPrior) -> None:
    factors, expected = pool.features.shape[-1], prior.mean.shape[0]
    if factors != expected:
        raise ValueError(f"the pool has {factors} factors and the prior {expected}")
    if num_candidates(pool) > np.iinfo(np.int32).max:
        raise ValueError("the pool has more questions than a 32-bit index can name; split it")
    mask = np.asarray(pool.mask)
    if not mask.any():
        raise ValueError("the pool has no unmasked question")
    shared = pool.offset if isinstance(pool, PairPool) else pool.utility
    finite = np.isfinite(np.asarray(pool.features)).all(axis=-1) & np.isfinite(np.asarray(shared))
    bad = np.argwhere(mask & ~finite)
    if len(bad):
        rows = ", ".join(str(tuple(int(i) for i in row)) for row in bad[:3])
        raise ValueError(f"{len(bad)} unmasked rows of the pool are not finite, the first: {rows}")
