"""One person: ask, hear the answer, rank."""

import hashlib
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax import logistic
from prefjax.person import ResponsePool, get_rule, laplace, select
from prefjax.person.acquisition import Belief
from prefjax.person.pools import split_index
from prefjax.types import Array, GaussianPrior

if TYPE_CHECKING:
    from prefjax.model.fitted import PreferenceModel

_ANSWERS_A_PROGRAM = 16


class Question(NamedTuple):
    """A pair to show: places in the pool that was passed to `User.ask`.

    Attributes:
        first: Place of the first response.
        second: Place of the second response.
        prompt: Which prompt of a pool with several, otherwise 0.
    """

    first: int
    second: int
    prompt: int


class Ranking(NamedTuple):
    """Responses in the order one person is expected to like them.

    Attributes:
        order: Places of the responses, best first.
        reward: Expected reward of each response.
        win_probability: Probability that the person prefers it to ``reference``.
        low: 95 % credible limits of that probability, as the weights are uncertain.
        high: The upper limit.
        reference: The response that the population likes best.
    """

    order: Int[np.ndarray, " response"]
    reward: Float[np.ndarray, " response"]
    win_probability: Float[np.ndarray, " response"]
    low: Float[np.ndarray, " response"]
    high: Float[np.ndarray, " response"]
    reference: int


@jax.jit
def _solve(features, offset, label, weight, prior):
    fitted = logistic.fit(features, label, weight, prior=prior, offset=offset)
    return laplace.posterior(fitted)


@partial(jax.jit, static_argnames="rule")
def _choose(key, pool, belief, asked, rule):
    return select(key, pool, belief, asked, get_rule(rule)).index


@jax.jit
def _compare(items, belief, reference):
    features = items.features - items.features[reference][None]
    offset = items.utility - items.utility[reference]
    mean, variance = jax.vmap(partial(laplace.predict_logit, belief))(features, offset)
    return mean, variance, jax.vmap(laplace.win_probability)(mean, variance)


class User:
    """One person: the answers so far and what they say of the weights.

    Attributes:
        answers: (feature gap, offset, label) of every answer, in order.
        belief: Posterior of the weights under the population prior.
    """

    def __init__(self, model: "PreferenceModel", prior: GaussianPrior, rule: str, seed: int):
        self.model, self.rule = model, rule
        self.answers: list[tuple[np.ndarray, float, float]] = []
        self._prior = jax.tree.map(jnp.asarray, prior)
        self._key = jax.random.key(seed)
        self._asked: dict[str, list[int]] = {}
        self._open: tuple[np.ndarray, float] | None = None
        self.belief = self._update()

    def _update(self) -> laplace.Posterior:
        """Refits; answers are padded so that few programs are compiled."""
        count = len(self.answers)
        size = -(-max(count, 1) // _ANSWERS_A_PROGRAM) * _ANSWERS_A_PROGRAM
        features = np.zeros((size, self.model.num_factors), np.float32)
        offset, label, weight = (np.zeros(size, np.float32) for _ in range(3))
        for row, (gap, shared, answer) in enumerate(self.answers):
            features[row], offset[row], label[row], weight[row] = gap, shared, answer, 1.0
        return _solve(features, offset, label, weight, self._prior)

    def ask(self, pool: Float[Array, "*prompt response input"]) -> Question:
        """The pair of a pool whose answer tells most; every pair is scored.

        Args:
            pool: Embeddings of the responses of one prompt, or of several prompts with the same
                number of responses.

        Raises:
            ValueError: The pool is invalid, has no two responses, or all its pairs were asked.
        """
        pool = np.asarray(pool)
        items = self.model.items(pool if pool.ndim == 3 else pool[None])
        name = hashlib.sha256(np.ascontiguousarray(pool).tobytes()).hexdigest()
        before = self._asked.setdefault(name, [])
        key = jax.random.fold_in(self._key, len(self.answers))
        shown = np.full(-(-(len(before) + 1) // 16) * 16, -1, np.int32)
        shown[: len(before)] = before
        responses = ResponsePool(
            jnp.asarray(items.features),
            jnp.asarray(items.utility),
            jnp.ones(items.utility.shape, bool),
        )
        belief = Belief(self.belief.mean, self.belief.covariance)
        index = int(_choose(key, responses, belief, shown, self.rule))
        if index < 0:
            raise ValueError("every pair of this pool has been asked")
        prompt, first, second = (int(place) for place in split_index(responses, np.array(index)))
        gap = np.asarray(items.features[prompt, first] - items.features[prompt, second])
        shared = items.utility[prompt, first] - items.utility[prompt, second]
        before.append(index)
        self._open = (gap, float(shared))
        return Question(first=first, second=second, prompt=prompt)

    def tell(self, label: float) -> None:
        """The answer to the question last asked.

        Args:
            label: 1 if the first is preferred, 0 if the second, ½ for a tie.

        Raises:
            ValueError: Nothing was asked, or the label is outside [0, 1].
        """
        if self._open is None:
            raise ValueError("tell() without a question: call ask() first")
        if not 0.0 <= label <= 1.0:
            raise ValueError(f"label {label} is outside [0, 1]")
        self.answers.append((*self._open, float(label)))
        self._open = None
        self.belief = self._update()

    def rank(self, embeddings: Float[Array, "response input"]) -> Ranking:
        """Orders responses for this person, with win probabilities and their uncertainty."""
        items = self.model.items(embeddings)
        reference = int(np.argmax(items.utility + items.features @ self.model.prior.mean))
        mean, variance, probability = (
            np.asarray(part) for part in _compare(items, self.belief, reference)
        )
        reward = items.features @ np.asarray(self.belief.mean) + items.utility
        half = 1.959964 * np.sqrt(variance)
        return Ranking(
            order=np.argsort(-reward, kind="stable"),
            reward=np.asarray(reward),
            win_probability=probability,
            low=np.asarray(jax.nn.sigmoid(mean - half)),
            high=np.asarray(jax.nn.sigmoid(mean + half)),
            reference=reference,
        )
