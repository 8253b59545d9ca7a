"""Ask, answer, update: the whole interview of one person as one ``lax.scan``.

At question n the answers so far give the posterior ``N(m, H⁻¹)`` of `prefjax.logistic.fit_gaussian`
(or the MAP with its curvature, as published); the rule picks the question with the largest score
under it; the person answers; repeat. Answers live in buffers of fixed length in which weight 0
means "not yet", so that every step has the same shape and `interview` vmaps over people and seeds
with the pool shared:

    paths = jax.jit(jax.vmap(interview_one))(keys, people)

`prefjax.person.Person` is the same interview on the host.

References:
    PReF, arXiv 2503.06358, Algorithm 2 and Eq. 5–8.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Bool, Float, Int

from prefjax import logistic
from prefjax.numerics import positive_inverse, precision, symmetric_power
from prefjax.person.acquisition import Rule, get_rule
from prefjax.person.inference import infer
from prefjax.person.pools import Pool, PoolQuestion, gap_at, select
from prefjax.types import Array, FeatureGap, Gaussian, Mixture, Population, PRNGKey

Answer: TypeAlias = Callable[[PRNGKey, Int[jax.Array, ""]], Float[jax.Array, ""]]
"""The label in [0, 1] that the person gives to the question of that index."""


@dataclass(frozen=True)
class InterviewConfig:
    """How one person is interviewed.

    Attributes:
        num_questions: Questions asked, the length of every buffer.
        rule: A name in `RULES`.
        solver: Which posterior each refit is, and when it stops.

    Raises:
        ValueError: The rule is unknown or ``num_questions`` is below one.
    """

    num_questions: int = 20
    rule: str = "d_optimal"
    solver: logistic.Solver = logistic.GAUSSIAN

    def __post_init__(self):
        get_rule(self.rule)
        if self.num_questions < 1:
            raise ValueError(f"num_questions is {self.num_questions}; at least one is needed")


DEFAULT = InterviewConfig()


class InterviewState(NamedTuple):
    """An interview after ``num_steps`` questions; unused rows have ``sample_weight`` 0."""

    key: PRNGKey
    num_steps: Int[jax.Array, ""]
    chosen: Int[jax.Array, " question"]
    gap: FeatureGap
    label: Float[jax.Array, " question"]
    sample_weight: Float[jax.Array, " question"]
    posterior_scale: Float[jax.Array, ""]
    fit: logistic.LogisticFit


class InterviewPath(NamedTuple):
    """An interview from no answers to the last.

    Attributes:
        chosen: Index of each question, −1 where nothing was left to ask.
        label: The answers, ½ where nothing was asked.
        asked: Whether a question was asked.
        beliefs: N(m, H⁻¹) after 0, 1, … answers.
        converged: Whether each refit converged.
    """

    chosen: Int[Array, " question"]
    label: Float[Array, " question"]
    asked: Bool[Array, " question"]
    beliefs: Gaussian
    converged: Bool[Array, " step"]


def make_recorded(label: Float[Array, " candidate"]) -> Answer:
    """Answers that were recorded: the question of index i gets ``label[i]``.

    Set the pool's ``mask`` to False where the person did not answer, and it is never asked.
    """

    def answer(key: PRNGKey, index: Int[jax.Array, ""]) -> Float[jax.Array, ""]:
        del key
        return jnp.asarray(label)[jnp.maximum(index, 0)]

    return answer


def make_simulated(weights: Float[Array, " factor"], pool: Pool) -> Answer:
    """Answers of a simulated person: 1 with probability ``σ(weights·f + t)``, otherwise 0."""

    def answer(key: PRNGKey, index: Int[jax.Array, ""]) -> Float[jax.Array, ""]:
        gap = gap_at(pool, index)
        probability = jax.nn.sigmoid(weights @ gap.features + gap.offset)
        return jax.random.bernoulli(key, probability).astype(gap.offset.dtype)

    return answer


def init(
    key: PRNGKey,
    population: Population,
    config: InterviewConfig,
    posterior_scale: Float[Array, ""] | float = 1.0,
) -> InterviewState:
    """An interview before the first question: the fit is the population."""
    mean = jnp.asarray(population.mean)
    zeros = jnp.zeros((config.num_questions,), mean.dtype)
    features = jnp.zeros((config.num_questions, mean.shape[0]), mean.dtype)
    gap = FeatureGap(features, zeros, zeros)
    state = InterviewState(
        key=key,
        num_steps=jnp.int32(0),
        chosen=jnp.full((config.num_questions,), -1, jnp.int32),
        gap=gap,
        label=zeros + 0.5,
        sample_weight=zeros,
        posterior_scale=jnp.asarray(posterior_scale, mean.dtype),
        fit=None,  # pyright: ignore[reportArgumentType]
    )
    return _refit(state, population, config)


def ask(
    key: PRNGKey,
    fit: logistic.LogisticFit,
    pool: Pool,
    asked: Int[Array, " asked"],
    num_answers: Int[Array, ""],
    population: Population,
    rule: Rule,
) -> PoolQuestion:
    """The question to ask a person now; pure, for one person.

    Args:
        key: Drives rules that draw; the same key gives the same question.
        fit: Mean and precision from the answers so far.
        pool: The questions.
        asked: Questions that may not be asked again; −1 says nothing.
        num_answers: Answers so far, for rules that begin at random.
        population: Prior of the person.
        rule: How questions are scored.
    """
    searched = rule
    if rule.num_random:
        early, rank = num_answers < rule.num_random, rule.rank
        searched = replace(rule, rank=lambda m: jnp.where(early, m.noise, rank(m)))
    hessian = jnp.asarray(fit.hessian)
    if rule.ridge is not None:
        eye = jnp.eye(hessian.shape[0], dtype=hessian.dtype)
        told = hessian - precision(population)
        if isinstance(population, Mixture):  # answers that leave components open may widen it
            told = symmetric_power(told, 1.0)
        hessian = told + rule.ridge * eye
    belief = Gaussian(fit.weights, positive_inverse(hessian))
    return select(key, pool, belief, asked, searched)


@partial(jax.jit, static_argnames="rule")
def ask_live(
    key: PRNGKey,
    fit: logistic.LogisticFit,
    pool: Pool,
    asked: Int[Array, " asked"],
    num_answers: Int[Array, ""],
    population: Population,
    rule: str,
) -> tuple[Int[Array, ""], FeatureGap]:
    """The place of the question of `ask` and its gap, with the keys of an interview.

    Args:
        key: Of the interview as a whole.
        fit: As of `ask`.
        pool: As of `ask`.
        asked: As of `ask`.
        num_answers: As of `ask`.
        population: As of `ask`.
        rule: Name of the rule, static.
    """
    ask_key, _ = step_keys(key, num_answers)
    index = ask(ask_key, fit, pool, asked, num_answers, population, get_rule(rule)).index
    return index, gap_at(pool, index)


def tell(
    state: InterviewState,
    index: Int[jax.Array, ""],
    label: Float[Array, ""],
    pool: Pool,
    population: Population,
    config: InterviewConfig,
) -> InterviewState:
    """Record the answer to question ``index`` and refit; index −1 adds an empty row."""
    row, gap = state.num_steps, gap_at(pool, index)
    asked = index >= 0
    state = state._replace(
        num_steps=row + 1,
        chosen=state.chosen.at[row].set(index),
        gap=jax.tree.map(lambda rows, one: rows.at[row].set(one), state.gap, gap),
        label=state.label.at[row].set(jnp.where(asked, label, 0.5)),
        sample_weight=state.sample_weight.at[row].set(jnp.where(asked, 1.0, 0.0)),
    )
    return _refit(state, population, config)


def _refit(
    state: InterviewState, population: Population, config: InterviewConfig
) -> InterviewState:
    settings = {"posterior_scale": state.posterior_scale, "config": config.solver}
    fit = infer(state.gap, state.label, state.sample_weight, prior=population, **settings)
    return state._replace(fit=fit)


def interview(
    key: PRNGKey,
    pool: Pool,
    answer: Answer,
    population: Population,
    config: InterviewConfig = DEFAULT,
    posterior_scale: Float[Array, ""] | float = 1.0,
) -> InterviewPath:
    """Interview one person; pure, for ``jit`` and ``vmap``.

    Args:
        key: Drives random rules and simulated answers.
        pool: The questions, shared between people; a `PairPool` may carry one mask per person.
        answer: The person; `make_recorded` or `make_simulated`.
        population: Belief before the first answer.
        config: How many questions and by which rule.
        posterior_scale: That of the basis.

    Returns:
        Questions, answers and the belief after each. A pool with fewer questions than
        ``config.num_questions`` ends in steps that ask nothing and change nothing.
    """
    rule = get_rule(config.rule)

    def step(state: InterviewState, _):
        ask_key, answer_key = step_keys(state.key, state.num_steps)
        question = ask(ask_key, state.fit, pool, state.chosen, state.num_steps, population, rule)
        label = answer(answer_key, question.index)
        state = tell(state, question.index, label, pool, population, config)
        return state, state.fit

    start = init(key, population, config, posterior_scale)
    final, fits = lax.scan(step, start, None, length=config.num_questions)
    fits = jax.tree.map(lambda x, y: jnp.concatenate([x[None], y]), start.fit, fits)
    return InterviewPath(
        chosen=final.chosen,
        label=final.label,
        asked=final.chosen >= 0,
        beliefs=Gaussian(fits.weights, jax.vmap(positive_inverse)(fits.hessian)),
        converged=fits.converged,
    )


def step_keys(key: PRNGKey, num_answers: Int[Array, ""] | int) -> tuple[PRNGKey, PRNGKey]:
    """Keys of the question and of the answer after some answers."""
    ask_key, answer_key = jax.random.split(jax.random.fold_in(key, num_answers))
    return ask_key, answer_key
