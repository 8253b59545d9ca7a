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

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families.contract import (
    STATIC,
    Answers,
    Family,
    Number,
    clean,
    no_alarms,
)
from prefjax.families.descent import adam, chunks, inputs
from prefjax.families.person import minimize
from prefjax.numerics import softplus_loss
from prefjax.settings import check_settings
from prefjax.types import Array, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config:
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
    user_penalty: Number = 1.0
    share: Number = 0.5
    learning_rate: Number = 0.03
    size: int = field(default=8, metadata=STATIC)
    hidden: int = field(default=32, metadata=STATIC)
    num_steps: int = field(default=400, metadata=STATIC)
    batch: int = field(default=32, metadata=STATIC)

    def __post_init__(self):
        check_settings(self, "size", "hidden", "num_steps", "batch")


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
        network: r, of embeddings in their own units.
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
    bent = jnp.tanh(hidden + jnp.broadcast_to(network.shift, hidden.shape))
    return embedding @ network.straight + bent @ network.outward


def start_network(key: PRNGKey, num_inputs: int, size: int, hidden: int) -> Network:
    """A network whose hidden units have about unit size."""
    inward, person, outward = jax.random.split(key, 3)
    return Network(
        straight=jnp.zeros(num_inputs),
        inward=jax.random.normal(inward, (num_inputs, hidden)),
        person=jax.random.normal(person, (size, hidden)) / jnp.sqrt(size),
        shift=jnp.zeros(hidden),
        outward=jax.random.normal(outward, (hidden,)) / jnp.sqrt(hidden),
    )


def fit(key: PRNGKey, data: Problem, config: Config) -> Params:
    """Everything by Adam; ``key`` draws the start and the chunks of every step."""
    table, total = inputs(data), jnp.sum(data.rows.sample_weight)
    start_key, step_key = jax.random.split(key)
    num_chunks = len(data.rows.user)

    def loss(params, key, progress):
        network, generic, own = params
        index = jax.random.randint(key, (min(config.batch, num_chunks),), 0, num_chunks)
        rows = chunks(data, table, index)

        def mean(person):
            code = jnp.broadcast_to(person, (*rows.label.shape, config.size))
            logit = reward(network, rows.first, code) - reward(network, rows.second, code)
            losses = rows.sample_weight * softplus_loss(logit, rows.label)
            return jnp.sum(losses) / jnp.maximum(jnp.sum(rows.sample_weight), 1e-12)

        everybody = generic[None, None, :]
        told = mean(everybody + own[rows.user][:, None, :])
        squares = jnp.sum(jnp.square(network.straight)) + jnp.sum(jnp.square(network.inward))
        ridge = config.penalty * squares + config.user_penalty * jnp.sum(jnp.square(own))
        return config.share * told + (1 - config.share) * mean(everybody) + 0.5 * ridge / total

    network, generic, own = adam(
        loss,
        (
            start_network(start_key, table.shape[1], config.size, config.hidden),
            jnp.zeros(config.size),
            jnp.zeros((len(data.count), config.size)),
        ),
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
        keys=jax.random.split(step_key, config.num_steps),
    )
    return Params(network, generic, own)


def adapt(params: Params, answers: Answers, config: Config) -> Float[Array, " code"]:
    """What sets a new person apart from the generic one."""
    answers = clean(answers)

    def logits(own):
        code = jnp.broadcast_to(params.generic + own, (len(answers.label), config.size))
        first = reward(params.network, answers.first, code)
        return first - reward(params.network, answers.second, code)

    def prior(own):
        return 0.5 * config.user_penalty * own @ own

    return minimize(logits, prior, jnp.zeros(config.size), answers)


def logit(
    params: Params,
    state: Float[Array, " code"],
    first: Float[Array, " input"],
    second: Float[Array, " input"],
    context: Float[Array, " context"],
) -> Float[Array, ""]:
    """``r(e_a, q_0 + o) − r(e_b, q_0 + o)``."""
    person = params.generic + state
    return reward(params.network, first, person) - reward(params.network, second, person)


def trials(config: Config) -> tuple[Config, ...]:
    """Penalties of the network and of a person."""
    return tuple(
        replace(config, penalty=penalty, user_penalty=own)
        for penalty in (0.1, 1.0, 10.0, 100.0)
        for own in (0.3, 3.0)
    )


P_RLHF = Family("p-rlhf", Config(), fit, adapt, logit, no_alarms, trials)
