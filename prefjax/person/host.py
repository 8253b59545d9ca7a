"""One person on the host: asked, heard, ranked for; a log that can be written as JSON.

    person = Person(basis)
    question = person.ask(pool)        # the most informative pair of the pool
    person.tell(1.0)                   # 1: the first is preferred
    person.observe(first, second, 0.0) # a choice made elsewhere
    person.rank(candidates).order[0]   # what to show this person

The kernels are those of `prefjax.person`: with the same seed, pool and answers the same questions
are asked as by `interview`. Everything here checks its input and raises.
"""

import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from prefjax import logistic
from prefjax.numerics import precision
from prefjax.person import laplace
from prefjax.person._interview import ask as ask_kernel
from prefjax.person._interview import step_keys
from prefjax.person.acquisition import get_rule
from prefjax.person.checks import check_gaussian, check_pool
from prefjax.person.items import bucket, describe
from prefjax.person.pools import PairPool, Pool, ResponsePool, gap_at, split_index
from prefjax.person.ranking import Ranking, rank
from prefjax.types import Array, FeatureGap, Gaussian, Items, RewardBasis

ANSWERS_A_PROGRAM = 16
"""Numbers of answers are padded to a multiple of this, so that few programs are compiled."""


class Question(NamedTuple):
    """A pair to show: places in the pool that was passed to `Person.ask`.

    Attributes:
        first: Place of the first response; of the pair in a `PairPool`.
        second: Place of the second response, or −1 in a `PairPool`.
        prompt: Which prompt of a pool with several, otherwise 0.
        index: Number of the question in the pool.
    """

    first: int
    second: int
    prompt: int
    index: int


class LoggedAnswer(NamedTuple):
    """What was observed of one pair.

    Attributes:
        features: φ(first) − φ(second).
        offset: t(first) − t(second).
        label: Probability that the first was preferred.
        asked: The question, or None for a choice made elsewhere.
    """

    features: list[float]
    offset: float
    label: float
    asked: Question | None


@jax.jit
def _solve(features, offset, label, sample_weight, prior):
    return logistic.fit(
        features,
        label,
        sample_weight,
        mean=prior.mean,
        precision=precision(prior),
        offset=offset,
    )


_posterior = jax.jit(laplace.posterior)


@partial(jax.jit, static_argnames="rule")
def _choose(key, fit, pool, asked, num_answers, prior, rule):
    ask_key, _ = step_keys(key, num_answers)
    index = ask_kernel(ask_key, fit, pool, asked, num_answers, prior, get_rule(rule)).index
    return index, gap_at(pool, index)


class Person:
    """One person: the answers so far and what they say of the weights.

    Args:
        basis: φ, t and the population.
        belief: What is known before the first answer; the population by default.
        rule: How questions are chosen, a name in `RULES`.
        seed: Drives the rules that draw at random.
        num_questions: Most questions asked; None for no limit.
        describe: Gives φ and t of whatever is passed for responses; embeddings by default.

    Attributes:
        basis: As given.
        belief: N(λ̂, H⁻¹) given the answers so far.
        log: Every answer in order.

    Raises:
        ValueError: The rule is unknown, or belief and basis disagree on the number of factors.

    Examples:
        >>> import jax.numpy as jnp
        >>> from prefjax.basis.heads import linear_params
        >>> from prefjax.types import Gaussian, RewardBasis
        >>> population = Gaussian(jnp.zeros(2), jnp.eye(2))
        >>> person = Person(RewardBasis(linear_params(jnp.eye(2, 3)), population, jnp.ones(())))
        >>> pool = jnp.array([[1.0, 0.0], [0.0, 0.0], [0.0, 2.0]])
        >>> person.ask(pool)[:2]
        (0, 2)
        >>> person.tell(1.0)
        >>> person.rank(pool).order.tolist()
        [0, 1, 2]
    """

    def __init__(
        self,
        basis: RewardBasis,
        *,
        belief: Gaussian | None = None,
        rule: str = "d_optimal",
        seed: int = 0,
        num_questions: int | None = None,
        describe: Callable[[Any], Items] | None = None,
    ):
        get_rule(rule)
        prior = basis.population if belief is None else belief
        check_gaussian(prior, "a person's prior")
        if np.shape(prior.mean) != np.shape(basis.population.mean):
            raise ValueError(
                f"the belief has {np.shape(prior.mean)[-1]} factors, the basis "
                f"{np.shape(basis.population.mean)[-1]}"
            )
        self.basis, self.rule, self.num_questions = basis, rule, num_questions
        self.log: list[LoggedAnswer] = []
        self._describe = partial(_describe_embeddings, basis) if describe is None else describe
        self._prior = jax.tree.map(jnp.asarray, prior)
        self._key = jax.random.key(seed)
        self._asked: dict[str, list[int]] = {}
        self._open: tuple[Question, FeatureGap] | None = None
        self._update()

    @property
    def weights(self) -> Float[np.ndarray, " factor"]:
        """λ̂, the person's weights given the answers so far."""
        return np.asarray(self.belief.mean)

    @property
    def num_answers(self) -> int:
        """Answers so far."""
        return len(self.log)

    def ask(self, pool: Any) -> Question:
        """The pair of a pool whose answer tells most; every pair is scored.

        The open question is given again until it is answered.

        Args:
            pool: A `PairPool` or `ResponsePool` of features; or embeddings of the responses of one
                prompt, or of several prompts with the same number of responses.

        Raises:
            ValueError: The pool is invalid, has no two responses, or all its pairs were asked; or
                ``num_questions`` are answered.
        """
        if self._open is not None:
            return self._open[0]
        num_asked = sum(answer.asked is not None for answer in self.log)
        if num_asked == self.num_questions:
            raise ValueError(f"all {num_asked} questions of this person are answered")
        questions, name = self._pool_of(pool)
        before = self._asked.setdefault(name, [])
        asked = np.full(bucket(len(before) + 1), -1, np.int32)
        asked[: len(before)] = before
        index, gap = _choose(
            self._key, self._fit, questions, asked, self.num_answers, self._prior, self.rule
        )
        index = int(index)
        if index < 0:
            raise ValueError(
                f"the pool has no question left: all of its pairs were asked "
                f"({len(before)} of them answered)"
            )
        question = Question(index, -1, 0, index)
        if isinstance(questions, ResponsePool):
            prompt, first, second = (int(n) for n in split_index(questions, np.asarray(index)))
            question = Question(first, second, prompt, index)
        before.append(index)
        self._open = question, gap
        return question

    def tell(self, label: float) -> None:
        """Records the answer to the open question and updates the belief.

        Args:
            label: 1 if the first is preferred, 0 if the second, ½ for a tie, or any probability
                between.

        Raises:
            ValueError: No question is open, or the label is outside [0, 1].
        """
        if self._open is None:
            raise ValueError("tell() without a question: call ask() first")
        question, gap = self._open
        self._record(gap, label, question)
        self._open = None

    def observe(self, first: Any, second: Any, label: float) -> None:
        """Records a choice that was made elsewhere; an open question stays open.

        Args:
            first: Embedding of the first response.
            second: Embedding of the second response, or None for a vote on the first alone.
            label: Probability that the first was preferred.

        Raises:
            ValueError: An embedding or the label is not legal.
        """
        shown = [first] if second is None else [first, second]
        items = self._describe(np.stack([np.asarray(one) for one in shown]))
        features, utility = np.asarray(items.features), np.asarray(items.utility)
        if second is not None:
            features, utility = features[:1] - features[1:], utility[:1] - utility[1:]
        self._record(FeatureGap(features[0], utility[0]), label, None)

    def rank(self, responses: Any) -> Ranking:
        """Orders responses for this person, with win probabilities and their uncertainty.

        Args:
            responses: Embeddings, one row a response.
        """
        return rank(self.basis, self.belief, self._describe(responses))

    def reward(
        self, responses: Any
    ) -> tuple[Float[np.ndarray, " response"], Float[np.ndarray, " response"]]:
        """Expected reward of responses and its standard deviation, as the weights are uncertain.

        Args:
            responses: Embeddings, one row a response.
        """
        items = self._describe(responses)
        mean, variance = laplace.predict_logit(self.belief, items.features, items.utility)
        return np.asarray(mean), np.sqrt(np.asarray(variance))

    def _pool_of(self, pool: Any) -> tuple[Pool, str]:
        """Questions in a padded pool, and a name by which the pool is known again."""
        if isinstance(pool, PairPool | ResponsePool):
            check_pool(pool, len(self._prior.mean))
            return pool, _digest(*pool)
        items = self._describe(pool)
        features, utility = np.asarray(items.features), np.asarray(items.utility)
        if utility.ndim == 1:
            features, utility = features[None], utility[None]
        prompts, responses = utility.shape
        size = 1 if prompts == 1 else bucket(prompts), bucket(responses)
        missing = [(0, size[0] - prompts), (0, size[1] - responses)]
        mask = np.pad(np.ones(utility.shape, bool), missing)
        padded = ResponsePool(np.pad(features, [*missing, (0, 0)]), np.pad(utility, missing), mask)
        return padded, _digest(features, utility)

    def _record(self, gap: FeatureGap, label: float, question: Question | None) -> None:
        if not 0.0 <= label <= 1.0:
            hint = "; use 0 for the second response" if label == -1 else ""
            raise ValueError(f"label {label} is outside [0, 1]{hint}")
        features = [float(value) for value in np.asarray(gap.features)]
        self.log.append(LoggedAnswer(features, float(gap.offset), float(label), question))
        self._update()

    def _update(self) -> None:
        """Refits; answers are padded so that few programs are compiled."""
        count = len(self.log)
        size = -(-max(count, 1) // ANSWERS_A_PROGRAM) * ANSWERS_A_PROGRAM
        num_factors = len(self._prior.mean)
        features = np.zeros((size, num_factors), np.float32)
        offset, label, weight = (np.zeros(size, np.float32) for _ in range(3))
        for row, answer in enumerate(self.log):
            features[row], offset[row], label[row] = answer[:3]
            weight[row] = 1.0
        self._fit = _solve(features, offset, label, weight, self._prior)
        self.belief = _posterior(self._fit)

    def to_dict(self) -> dict[str, Any]:
        """Answers and belief in plain values, for JSON."""
        return {
            "log": [
                {**answer._asdict(), "asked": answer.asked and list(answer.asked)}
                for answer in self.log
            ],
            "mean": np.asarray(self.belief.mean).tolist(),
            "covariance": np.asarray(self.belief.covariance).tolist(),
            "rule": self.rule,
        }


def _describe_embeddings(basis: RewardBasis, embeddings: Any) -> Items:
    return describe(basis, embeddings)


def _digest(*arrays: Array) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
