"""Ask, answer, update: the whole interview of one user as one ``lax.scan``.

At question n the answers so far give ``λ̂ = argmin Σ ℓ(λ·f_i + t_i, y_i) + ½(λ−μ)ᵀP(λ−μ)`` with
curvature ``H``; the rule picks the question with the largest score under ``N(λ̂, H⁻¹)``; the user
answers; repeat. Answers live in buffers of fixed length in which weight 0 means "not yet", so that
every step has the same shape and ``elicit`` vmaps over users and seeds with the pool shared:

    paths = jax.jit(jax.vmap(interview))(keys, people)

References:
    PReF, arXiv 2503.06358, Algorithm 2 and Eq. 5–8.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int

from prefjax import logistic
from prefjax.numerics import positive_inverse
from prefjax.person.acquisition import Belief, Rule, get_rule
from prefjax.person.pools import Pool, Question, gap_at, select
from prefjax.types import Array, GaussianPrior, PRNGKey

Answer: TypeAlias = Callable[[PRNGKey, Int[jax.Array, ""]], Float[jax.Array, ""]]
"""The label in [0, 1] that the user gives to the question of that index."""


@dataclass(frozen=True)
class ElicitConfig:
    """How one user is interviewed.

    Attributes:
        num_questions: Questions asked, the length of every buffer.
        rule: A name in `RULES`.
        newton: When each refit stops.

    Raises:
        ValueError: The rule is unknown or ``num_questions`` is below one.
    """

    num_questions: int = 20
    rule: str = "d_optimal"
    newton: logistic.NewtonConfig = logistic.DEFAULT

    def __post_init__(self):
        get_rule(self.rule)
        if self.num_questions < 1:
            raise ValueError(f"num_questions is {self.num_questions}; at least one is needed")


DEFAULT = ElicitConfig()


class ElicitState(NamedTuple):
    """An interview after ``num_steps`` questions; unused rows have ``row_weight`` 0."""

    key: PRNGKey
    num_steps: Int[jax.Array, ""]
    chosen: Int[jax.Array, " question"]
    features: Float[jax.Array, "question factor"]
    offset: Float[jax.Array, " question"]
    label: Float[jax.Array, " question"]
    row_weight: Float[jax.Array, " question"]
    fit: logistic.LogisticFit


class ElicitPath(NamedTuple):
    """An interview from no answers to the last.

    Attributes:
        chosen: Index of each question, −1 where nothing was left to ask.
        label: The answers, ½ where nothing was asked.
        asked: Whether a question was asked.
        weights: λ̂ after 0, 1, … answers.
        hessian: Curvature H after 0, 1, … answers.
        converged: Whether each refit converged.
    """

    chosen: Int[Array, " question"]
    label: Float[Array, " question"]
    asked: Bool[Array, " question"]
    weights: Float[Array, "step factor"]
    hessian: Float[Array, "step factor factor"]
    converged: Bool[Array, " step"]


def make_recorded(label: Float[Array, " candidate"]) -> Answer:
    """Answers that were recorded: the question of index i gets ``label[i]``.

    Set the pool's ``mask`` to False where the user did not answer, and it is never asked.
    """

    def answer(key: PRNGKey, index: Int[jax.Array, ""]) -> Float[jax.Array, ""]:
        del key
        return jnp.asarray(label)[jnp.maximum(index, 0)]

    return answer


def make_simulated(weights: Float[Array, " factor"], pool: Pool) -> Answer:
    """Answers of a simulated user: 1 with probability ``σ(weight·f + t)``, otherwise 0."""

    def answer(key: PRNGKey, index: Int[jax.Array, ""]) -> Float[jax.Array, ""]:
        gap = gap_at(pool, index)
        probability = jax.nn.sigmoid(weights @ gap.features + gap.offset)
        return jax.random.bernoulli(key, probability).astype(gap.offset.dtype)

    return answer


def init(key: PRNGKey, prior: GaussianPrior, config: ElicitConfig) -> ElicitState:
    """An interview before the first question: the fit is the prior."""
    mean = jnp.asarray(prior.mean)
    rows = jnp.zeros((config.num_questions,), mean.dtype)
    features = jnp.zeros((config.num_questions, mean.shape[0]), mean.dtype)
    return ElicitState(
        key=key,
        num_steps=jnp.int32(0),
        chosen=jnp.full((config.num_questions,), -1, jnp.int32),
        features=features,
        offset=rows,
        label=rows + 0.5,
        row_weight=rows,
        fit=logistic.fit(features, rows, rows, prior=prior, offset=rows, config=config.newton),
    )


def belief_of(fit: logistic.LogisticFit, prior: GaussianPrior, rule: Rule) -> Belief:
    """N(λ̂, H⁻¹), or with the rule's ridge in place of the prior's precision."""
    hessian = jnp.asarray(fit.hessian)
    if rule.ridge is not None:
        eye = jnp.eye(hessian.shape[0], dtype=hessian.dtype)
        hessian = hessian - prior.precision + rule.ridge * eye
    return Belief(weights=fit.weights, covariance=positive_inverse(hessian))


def ask(state: ElicitState, pool: Pool, prior: GaussianPrior, config: ElicitConfig) -> Question:
    """The question to ask now; asking twice gives the same one."""
    rule = get_rule(config.rule)
    if rule.num_random:
        early, rank = state.num_steps < rule.num_random, rule.rank
        searched = replace(rule, rank=lambda m: jnp.where(early, m.noise, rank(m)))
    else:
        searched = rule
    belief = belief_of(state.fit, prior, rule)
    key_ask, _ = _step_keys(state)
    return select(key_ask, pool, belief, state.chosen, searched)


def tell(
    state: ElicitState,
    index: Int[jax.Array, ""],
    label: Float[Array, ""],
    pool: Pool,
    prior: GaussianPrior,
    config: ElicitConfig,
) -> ElicitState:
    """Record the answer to question ``index`` and refit; index −1 adds an empty row."""
    row, gap = state.num_steps, gap_at(pool, index)
    asked = index >= 0
    state = state._replace(
        num_steps=row + 1,
        chosen=state.chosen.at[row].set(index),
        features=state.features.at[row].set(gap.features),
        offset=state.offset.at[row].set(gap.offset),
        label=state.label.at[row].set(jnp.where(asked, label, 0.5)),
        row_weight=state.row_weight.at[row].set(jnp.where(asked, 1.0, 0.0)),
    )
    fit = logistic.fit(
        state.features,
        state.label,
        state.row_weight,
        prior=prior,
        offset=state.offset,
        config=config.newton,
    )
    return state._replace(fit=fit)


def elicit(
    key: PRNGKey,
    pool: Pool,
    answer: Answer,
    prior: GaussianPrior,
    config: ElicitConfig = DEFAULT,
) -> ElicitPath:
    """Interview one user; pure, for ``jit`` and ``vmap``.

    Args:
        key: Drives random rules and simulated answers.
        pool: The questions, shared between users; a `PairPool` may carry one mask per user.
        answer: The user; `make_recorded` or `make_simulated`.
        prior: Belief before the first answer.
        config: How many questions and by which rule.

    Returns:
        Questions, answers and the fit after each. A pool with fewer questions than
        ``config.num_questions`` ends in steps that ask nothing and change nothing.
    """

    def step(state: ElicitState, _):
        _, key_answer = _step_keys(state)
        question = ask(state, pool, prior, config)
        label = answer(key_answer, question.index)
        state = tell(state, question.index, label, pool, prior, config)
        return state, (state.fit.weights, state.fit.hessian, state.fit.converged)

    start = init(key, prior, config)
    final, path = lax.scan(step, start, None, length=config.num_questions)
    first = (start.fit.weights, start.fit.hessian, start.fit.converged)
    weight, hessian, converged = (
        jnp.concatenate([x[None], y]) for x, y in zip(first, path, strict=True)
    )
    return ElicitPath(
        chosen=final.chosen,
        label=final.label,
        asked=final.chosen >= 0,
        weights=weight,
        hessian=hessian,
        converged=converged,
    )


def _step_keys(state: ElicitState) -> tuple[PRNGKey, PRNGKey]:
    key_ask, key_answer = jax.random.split(jax.random.fold_in(state.key, state.num_steps))
    return key_ask, key_answer
