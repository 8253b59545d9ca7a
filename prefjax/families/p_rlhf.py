"""P-RLHF's user model: a learned vector of each person enters a reward shared by all.

    r(e, q) = u·e + vᵀ tanh(We + Cq + d),    s = r(e_a, q_u) − r(e_b, q_u),    q_u = q_0 + o_u
    min  Σ_r [α ℓ(s_{q_u}, y) + (1 − α) ℓ(s_{q_0}, y)] + ρ/2 Σ_u ‖o_u‖² + τ/2 (‖u‖² + ‖W‖²)

q_0 is the generic person, trained on everybody's answers by the second term; who answers nothing is
that person. A new person's o minimizes Σ ℓ + ρ/2 ‖o‖² by damped Newton steps with the network
frozen.

The published method prepends q_u as soft prompt to a language model and trains with DPO; it also
computes users from text they wrote and from clusters, and gives a new person q_0. Training here is
Adam over chunks of people's rows.

References:
    arXiv 2402.05133, eq. 6–8 (user model, individualized preferences) and the loss of section 5.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families.answers import Answers, clean
from prefjax.families.config import POSITIVE, FamilyConfig, Number, integer, make_grid
from prefjax.families.contract import Family
from prefjax.families.descent import adam, get_batch, inputs, sum_of_squares
from prefjax.families.person import minimize
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.numerics import softplus_loss
from prefjax.types import Array, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: τ, prior precision of one response's reward.
        user_penalty: ρ.
        share: α.
        learning_rate: Of Adam.
        size: Dimension of q.
        hidden: Hidden units.
        num_steps: Of Adam.
        batch: Chunks of rows a step.
    """

    penalty: Number = 1.0
    user_penalty: Number = field(default=1.0, metadata=POSITIVE)
    share: Number = 0.5
    learning_rate: Number = 0.03
    size: int = integer(8)
    hidden: int = integer(32)
    num_steps: int = integer(400)
    batch: int = integer(32)


class Network(NamedTuple):
    """r: ``straight`` is u, ``inward`` W, ``person`` C, ``shift`` d, ``outward`` v."""

    straight: Float[Array, " input"]
    inward: Float[Array, "input hidden"]
    person: Float[Array, "code hidden"]
    shift: Float[Array, " hidden"]
    outward: Float[Array, " hidden"]


class Params(NamedTuple):
    """Reward and people.

    Attributes:
        network: r, of standardized embeddings.
        generic: q_0.
        own: o of every training person.
    """

    network: Network
    generic: Float[Array, " code"]
    own: Float[Array, "user code"]


def reward(
    network: Network,
    embedding: Float[Array, "*pairs input"],
    person: Float[Array, "*pairs code"],
) -> Float[Array, "*pairs"]:
    """r(e, q)."""
    hidden = embedding @ network.inward + person @ network.person
    curved = jnp.tanh(hidden + jnp.broadcast_to(network.shift, hidden.shape))
    return embedding @ network.straight + curved @ network.outward


def reward_gap(
    network: Network,
    first: Float[Array, "*pairs input"],
    second: Float[Array, "*pairs input"],
    person: Float[Array, "*pairs code"],
) -> Float[Array, "*pairs"]:
    """r(e_a, q) − r(e_b, q)."""
    return reward(network, first, person) - reward(network, second, person)


def init_network(key: PRNGKey, num_inputs: int, size: int, hidden: int) -> Network:
    """A network whose hidden units have about unit size."""
    inward, person, outward = jax.random.split(key, 3)
    return Network(
        straight=jnp.zeros(num_inputs),
        inward=jax.random.normal(inward, (num_inputs, hidden)),
        person=jax.random.normal(person, (size, hidden)) / jnp.sqrt(size),
        shift=jnp.zeros(hidden),
        outward=jax.random.normal(outward, (hidden,)) / jnp.sqrt(hidden),
    )


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """Everything by Adam; ``key`` draws the start and the chunks of every step."""
    table, total = inputs(problem), jnp.sum(problem.rows.sample_weight)
    start_key, step_key = jax.random.split(key)
    num_chunks = len(problem.rows.user)

    def loss(params, key, progress):
        network, generic, own = params
        index = jax.random.randint(key, (min(config.batch, num_chunks),), 0, num_chunks)
        rows = get_batch(problem, table, index)

        def mean(person):
            code = jnp.broadcast_to(person, (*rows.label.shape, config.size))
            logit = reward_gap(network, rows.first, rows.second, code)
            losses = rows.sample_weight * softplus_loss(logit, rows.label)
            return jnp.sum(losses) / jnp.maximum(jnp.sum(rows.sample_weight), 1e-12)

        shared = generic[None, None, :]
        personal = mean(shared + own[rows.user][:, None, :])
        ridge = config.penalty * sum_of_squares((network.straight, network.inward))
        ridge = ridge + config.user_penalty * sum_of_squares(own)
        return config.share * personal + (1 - config.share) * mean(shared) + 0.5 * ridge / total

    network, generic, own = adam(
        loss,
        (
            init_network(start_key, table.shape[1], config.size, config.hidden),
            jnp.zeros(config.size),
            jnp.zeros((problem.num_users, config.size)),
        ),
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
        key=step_key,
    )
    return Params(network, generic, own)


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """What sets a new person apart from the generic one."""
    answers = clean(answers)

    def logits(own):
        code = jnp.broadcast_to(params.generic + own, (len(answers.label), config.size))
        return reward_gap(params.network, answers.first, answers.second, code)

    def prior(own):
        return 0.5 * config.user_penalty * own @ own

    return minimize(logits, prior, jnp.zeros(config.size), answers)


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """``r(e_a, q_0 + o) − r(e_b, q_0 + o)``."""
    return reward_gap(params.network, first, second, params.generic + state)


P_RLHF = Family(
    "p-rlhf",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(0.1, 1.0, 10.0, 100.0), user_penalty=(0.3, 3.0)),
)
