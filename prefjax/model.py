"""The front door: fit a model of many people, then learn one new person by asking.

    model = fit(comparisons, embeddings)        # many people's choices, frozen embeddings
    user = model.new_user()
    question = user.ask(pool)                   # the most informative pair of the pool
    user.tell(1.0)                              # 1: the first is preferred
    user.rank(candidates).order[0]              # what to show this person

Everything here is the kernels of `factorization`, `elicit`, `logistic` and `laplace` with checked
input; research code that needs more control calls those.
"""

import hashlib
import json
import warnings
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from safetensors.numpy import load_file, save_file

from prefjax import factorization, laplace, logistic
from prefjax.data.validate import validate_comparisons, validate_embeddings
from prefjax.elicit import ResponsePool, get_rule, select
from prefjax.elicit.acquisition import Belief
from prefjax.elicit.pool import split_index
from prefjax.factorization import EMConfig, LearnConfig
from prefjax.runs import replace as write_atomically
from prefjax.types import Array, Comparisons, GaussianPrior, Items

FORMAT = 1
_ANSWERS_A_PROGRAM = 16


@dataclass(frozen=True)
class PreferenceModel:
    """A fitted population: how responses are described and how people differ.

    Attributes:
        head: θ; ``embedding @ head`` is [φ, t], the J base rewards and the shared utility.
        prior: The population of weights.
        weight: Posterior mean of every training user's weights.
        covariance: Their posterior covariance.
    """

    head: Float[np.ndarray, "input factor_and_utility"]
    prior: GaussianPrior
    weight: Float[np.ndarray, "user factor"]
    covariance: Float[np.ndarray, "user factor factor"]

    @property
    def num_factors(self) -> int:
        """J."""
        return self.head.shape[1] - 1

    def items(self, embeddings: Float[Array, "*responses input"]) -> Items:
        """Base rewards φ and shared utility t of any responses.

        Raises:
            ValueError: An embedding is not finite or has another width than the training ones.
        """
        embeddings = np.asarray(embeddings)
        if embeddings.ndim < 2 or embeddings.shape[-1] != self.head.shape[0]:
            raise ValueError(
                f"embeddings have shape {embeddings.shape}; the model was fitted on vectors of "
                f"{self.head.shape[0]} numbers, one row a response"
            )
        flat = validate_embeddings(embeddings.reshape(-1, embeddings.shape[-1])).values
        described = (flat @ self.head).reshape(*embeddings.shape[:-1], -1)
        return Items(features=described[..., :-1], utility=described[..., -1])

    def new_user(self, *, rule: str = "d_optimal", seed: int = 0) -> "User":
        """Somebody of whom nothing is known yet.

        Args:
            rule: How questions are chosen, a name in `prefjax.elicit.RULES`.
            seed: Drives the rules that draw at random.
        """
        get_rule(rule)
        return User(self, self.prior, rule, seed)

    def user(self, index: int, *, rule: str = "d_optimal", seed: int = 0) -> "User":
        """A training user, known from the training answers.

        Raises:
            KeyError: There is no such user.
        """
        if not 0 <= index < len(self.weight):
            raise KeyError(f"no user {index}: the model was fitted on {len(self.weight)} users")
        precision = np.linalg.inv(self.covariance[index])
        known = GaussianPrior(self.weight[index], (precision + precision.T) / 2)
        return User(self, known, rule, seed)

    def save(self, folder: str | Path) -> None:
        """Writes ``model.safetensors`` and ``model.json``; `load` gives the same bits back."""
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        arrays = {
            "head": self.head,
            "prior_mean": self.prior.mean,
            "prior_precision": self.prior.precision,
            "weight": self.weight,
            "covariance": self.covariance,
        }
        arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
        write_atomically(folder / "model.safetensors", lambda path: save_file(arrays, path))
        about = {
            "format": FORMAT,
            "shapes": {name: list(array.shape) for name, array in arrays.items()},
        }
        text = json.dumps(about, indent=2) + "\n"
        write_atomically(folder / "model.json", lambda path: Path(path).write_text(text))


def load(folder: str | Path) -> PreferenceModel:
    """Reads a saved model.

    Raises:
        FileNotFoundError: The folder holds no model.
        ValueError: It was written in another format, or the arrays are not what it says.
    """
    folder = Path(folder)
    about = json.loads((folder / "model.json").read_text())
    if about.get("format") != FORMAT:
        raise ValueError(f"{folder} is in format {about.get('format')}; this reads {FORMAT}")
    arrays = load_file(folder / "model.safetensors")
    found = {name: list(array.shape) for name, array in arrays.items()}
    if found != about["shapes"]:
        raise ValueError(f"{folder}: expected arrays {about['shapes']}, found {found}")
    prior = GaussianPrior(arrays["prior_mean"], arrays["prior_precision"])
    return PreferenceModel(arrays["head"], prior, arrays["weight"], arrays["covariance"])


def fit(
    comparisons: Comparisons,
    embeddings: Float[Array, "response input"],
    *,
    num_users: int | None = None,
    unit: Int[Array, " response"] | None = None,
    seed: int = 0,
    config: EMConfig = EMConfig(),
    learn_config: LearnConfig = LearnConfig(),
) -> PreferenceModel:
    """Fits base rewards and the population to many people's choices.

    Args:
        comparisons: Who preferred which response to which.
        embeddings: One frozen embedding a response, in order of response id.
        num_users: U; the largest user id and one more by default.
        unit: Group of each response, such as `Dataset.prompt_of`, if new people will be asked about
            some groups and served on others; the penalties are then learned for that.
        seed: Of the split on which the penalties are learned.
        config: J and the settings of the fit; J may be too large without harm.
        learn_config: Candidate penalties.

    Raises:
        ValueError: A row or an embedding is invalid; the message names it.
    """
    embeddings = validate_embeddings(np.asarray(embeddings)).values
    if num_users is None:
        num_users = int(np.max(np.asarray(comparisons.user), initial=-1)) + 1
    checked = validate_comparisons(comparisons, num_users, len(embeddings))
    rows = factorization.make_rows(checked, len(embeddings))
    program = partial(
        factorization.fit_learned,
        num_users=num_users,
        num_responses=len(embeddings),
        config=config,
        learn_config=learn_config,
    )
    if unit is not None:
        unit = np.asarray(unit)
        if unit.shape != (len(embeddings),) or not np.issubdtype(unit.dtype, np.integer):
            raise ValueError(
                f"unit must be one group number for each of {len(embeddings)} responses"
            )
    rows, embeddings, unit = jax.tree.map(jnp.asarray, (rows, embeddings, unit))
    fitted, _ = jax.jit(program)(jax.random.key(seed), rows, embeddings, unit=unit)
    if not bool(fitted.converged):
        warnings.warn(
            f"the fit still gained after {int(fitted.num_steps)} rounds; raise max_steps",
            stacklevel=2,
        )
    fitted, _ = factorization.fix(fitted)
    return PreferenceModel(
        head=np.asarray(fitted.head),
        prior=jax.tree.map(np.asarray, fitted.prior),
        weight=np.asarray(fitted.weight),
        covariance=np.asarray(fitted.covariance),
    )


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

    def __init__(self, model: PreferenceModel, prior: GaussianPrior, rule: str, seed: int):
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
