"""Questions to new people chosen by a rule, for families whose belief about a person is Gaussian.

Where people are simulated every pair of two responses to a seen prompt can be asked and is answered
by the person's true weights; where they are real, what the person did answer. `pref` and `pref-map`
are asked in their base rewards, `per-user` in the embedding itself, which is a basis too:

    φ(e) = e,    t = 0,    w_u ~ N(v, I/τ).

References:
    PReF, arXiv 2503.06358, Algorithm 2.
"""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from prefjax.basis import apply
from prefjax.basis.heads import linear_params
from prefjax.data.attributes import ChoiceConfig, choose
from prefjax.families import Answers, Family, per_user
from prefjax.lab.compare.cases import Case
from prefjax.lab.compare.draws import SimulatedPeople
from prefjax.person import (
    RULES,
    InterviewConfig,
    PairPool,
    ResponsePool,
    gap_at,
    interview,
    make_recorded,
)
from prefjax.types import Array, Gaussian, Items, PRNGKey, RewardBasis

RECORDED = "random"
"""Questions in the order in which they were answered, which is random."""
QUESTIONS = (RECORDED, *(name for name in RULES if name != RECORDED))


def as_basis(params: Any) -> RewardBasis | None:
    """The base rewards and the population in which a person is asked; None where there are none.

    Args:
        params: Parameters of a family.
    """
    if isinstance(params, RewardBasis):
        return params
    if isinstance(params, per_user.Params):
        eye = jnp.eye(len(params.center))
        kernel = jnp.concatenate([eye, 0 * eye[:, :1]], axis=1)
        population = Gaussian(params.center, eye / params.precision)
        return RewardBasis(linear_params(kernel), population, jnp.zeros(()))
    return None


@partial(jax.jit, static_argnames=("choice", "config", "dealt"))
def _ask_simulated(
    key: PRNGKey,
    basis: RewardBasis,
    inputs: Float[Array, "prompt response input"],
    attributes: Float[Array, "prompt response attribute"],
    weights: Float[Array, "user attribute"],
    num_users: Int[Array, ""],
    choice: ChoiceConfig,
    config: InterviewConfig,
    dealt: bool,
) -> Gaussian:
    """Beliefs about simulated people after 0, 1, … answers: axes user and answers.

    ``weights`` are those of ``num_users`` people and of padding behind them.
    """
    mask = jnp.ones(inputs.shape[:2], bool)
    items: Items = apply(basis.params, inputs)
    pool = ResponsePool(items.features, items.utility, mask, items.spread)
    truth = ResponsePool(attributes, jnp.zeros(mask.shape), mask)

    def one(user: Int[Array, ""], weights: Float[Array, " attribute"]) -> Gaussian:
        ask_key, answer_key = jax.random.split(jax.random.fold_in(key, user))

        def answer(_: PRNGKey, index: Int[Array, ""]) -> Float[jax.Array, ""]:
            # Noise of the person and the question, so that every method hears the same answer.
            noise = jax.random.fold_in(answer_key, index)
            own = weights
            if dealt:
                own = everybody[jax.random.randint(jax.random.fold_in(noise, 1), (), 0, num_users)]
            return choose(noise, gap_at(truth, index).features @ own, choice)

        return interview(
            ask_key, pool, answer, basis.population, config, basis.posterior_scale
        ).beliefs

    everybody = weights
    return jax.vmap(one)(jnp.arange(len(weights)), weights)


@partial(jax.jit, static_argnames=("config",))
def _ask_recorded(
    key: PRNGKey, basis: RewardBasis, answers: Answers, config: InterviewConfig
) -> Gaussian:
    """The same of people whose answers were recorded."""

    def one(key: PRNGKey, answers: Answers) -> Gaussian:
        first, second = (apply(basis.params, part) for part in (answers.first, answers.second))
        gap = first.gap_to(second)
        pool = PairPool(
            gap.features, gap.offset, answers.sample_weight > 0, jnp.asarray(gap.variance)
        )
        answer = make_recorded(answers.label)
        return interview(key, pool, answer, basis.population, config, basis.posterior_scale).beliefs

    return jax.vmap(one)(jax.random.split(key, len(answers.label)), answers)


def adaptive_states(
    key: PRNGKey,
    family: Family,
    params: Any,
    case: Case,
    num_answers: tuple[int, ...],
    rule: str,
) -> Any:
    """States of new people after each number of answers to questions chosen by a rule.

    Args:
        key: Drives rules that draw, and the noise of simulated people.
        family: Which.
        params: Parameters of the family.
        case: Whose new people are asked.
        num_answers: After how many answers the states are wanted.
        rule: A name in `prefjax.person.RULES`.

    Returns:
        States of the family, with leading axes answers and user, or None where the family has no
        Gaussian belief over base rewards.
    """
    basis = as_basis(params)
    if basis is None:
        return None
    most, people = max(num_answers), case.people
    if isinstance(people, SimulatedPeople):
        inputs, attributes = (table[people.seen] for table in (case.inputs, people.attributes))
        padding = (0, len(case.answers.label) - len(people.weights)), (0, 0)
        weights = np.pad(people.weights, padding)
        config = InterviewConfig(num_questions=most, rule=rule)
        told = inputs, attributes, weights, np.int32(len(people.weights))
        static = {"choice": people.choice, "config": config, "dealt": people.dealt}
        beliefs = _ask_simulated(key, basis, *told, **static)
    else:
        most = min(most, case.answers.label.shape[1])
        config = InterviewConfig(num_questions=most, rule=rule)
        beliefs = _ask_recorded(key, basis, case.answers, config)
    after = np.minimum(num_answers, most)
    beliefs = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, 1, 0)[after], beliefs)
    return beliefs if isinstance(params, RewardBasis) else beliefs.mean
