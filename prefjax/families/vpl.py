"""VPL: an encoder reads a person's answers and gives a latent vector to a shared reward.

    s = r(e_a, z) − r(e_b, z),    r(e, z) = u·e + vᵀ tanh(We + Cz + d)
    t_j = MLP([e_winner; e_loser]),  one head of self-attention over a context of answers, mean
    (μ, ν) from the mean;  z = μ + exp(ν/2) ε in training, μ after
    min  mean ℓ(s, y) + β_t KL(N(μ, e^ν) ‖ N(0, I)) / targets,  targets disjoint from the context

Contexts are random parts, of random size, of one person's rows. β_t rises from 0 to β by half a
cosine in the first half of each cycle. Without answers μ = 0, the mean of the prior. An unsure
label y mixes the token of both orders; an answer of weight 2 is an answer heard twice.

The published code fixes the size of the context, concatenates μ to a language model's embedding and
tunes the scale of r by hand for offline reinforcement learning.

References:
    arXiv 2408.10075, eq. 3 and section 4.
    Fu et al. (arXiv 1903.10145), cyclical annealing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families.answers import Answers, clean
from prefjax.families.config import FamilyConfig, Number, integer, make_grid
from prefjax.families.contract import Family
from prefjax.families.descent import (
    NUM_ORDERS,
    adam,
    divide_answers,
    get_batch,
    inputs,
    sample_batch,
    shuffle_rows,
    sum_of_squares,
)
from prefjax.families.p_rlhf import Network, init_network, reward_gap
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.numerics import softplus_loss
from prefjax.types import Array, PRNGKey

ACTIVE_VARIANCE = 0.005
MAX_LOG_VARIANCE = 8.0


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: Prior precision of one response's reward.
        beta: β.
        learning_rate: Of Adam.
        size: Z, dimension of z.
        hidden: Hidden units of encoder and reward.
        context: Longest context in training.
        targets: Most targets of a context.
        cycles: Cycles of β.
        num_steps: Of Adam.
        batch: Contexts a step.
    """

    penalty: Number = 3.0
    beta: Number = 0.01
    learning_rate: Number = 0.01
    size: int = integer(8)
    hidden: int = integer(32)
    context: int = integer(24)
    targets: int = integer(24)
    cycles: int = integer(4)
    num_steps: int = integer(1000)
    batch: int = integer(32)


Encoder: TypeAlias = Mapping[str, Float[Array, "_ _"]]
"""``winner``, ``loser``, ``token``, ``query``, ``key``, ``value``, ``mean`` and ``spread``."""


class Params(NamedTuple):
    """Encoder and reward, of standardized embeddings."""

    encoder: Encoder
    network: Network


class Latent(NamedTuple):
    """Posterior of z: mean and log-variance."""

    mean: Float[Array, " latent"]
    log_variance: Float[Array, " latent"]


def init_encoder(key: PRNGKey, num_inputs: int, hidden: int, size: int) -> Encoder:
    """Matrices that keep unit size; a token begins as a function of what won minus what lost."""
    shapes = {
        "winner": (num_inputs, hidden),
        "loser": (num_inputs, hidden),
        "token": (hidden, hidden),
        "query": (hidden, hidden),
        "key": (hidden, hidden),
        "value": (hidden, hidden),
        "mean": (hidden, size),
        "spread": (hidden, size),
    }
    keys = jax.random.split(key, len(shapes))
    fan = {"winner": 1.0, "loser": 1.0}
    drawn = {
        name: jax.random.normal(key, shape) / jnp.sqrt(fan.get(name, hidden))
        for key, (name, shape) in zip(keys, shapes.items(), strict=True)
    }
    return {**drawn, "loser": -drawn["winner"]}


def encode(
    encoder: Encoder,
    first: Float[Array, "pair input"],
    second: Float[Array, "pair input"],
    label: Float[Array, " pair"],
    sample_weight: Float[Array, " pair"],
) -> Latent:
    """Posterior of z after some answers; of no answers, the prior.

    Args:
        encoder: From training.
        first: Embeddings of the first responses.
        second: Embeddings of the second responses.
        label: Probability that the first is preferred.
        sample_weight: 0 leaves an answer out.
    """

    def token(winner, loser):
        return jax.nn.gelu(winner @ encoder["winner"] + loser @ encoder["loser"])

    likely = label[:, None]
    tokens = likely * token(first, second) + (1 - likely) * token(second, first)
    tokens = tokens @ encoder["token"]
    attention = (tokens @ encoder["query"]) @ (tokens @ encoder["key"]).T
    attention = attention / jnp.sqrt(tokens.shape[1])
    answered = jnp.any(sample_weight > 0)
    weight = jnp.where(answered, sample_weight, 1.0)
    share = jnp.where(weight > 0, jnp.log(jnp.where(weight > 0, weight, 1.0)), -jnp.inf)
    attention = jax.nn.softmax(attention + share[None, :], axis=1)
    mixed = jax.nn.gelu(tokens + attention @ (tokens @ encoder["value"]))
    pooled = weight @ mixed / jnp.sum(weight)
    mean = jnp.where(answered, pooled @ encoder["mean"], 0.0)
    spread = jnp.where(answered, pooled @ encoder["spread"] - 4.0, 0.0)
    return Latent(mean, jnp.clip(spread, -MAX_LOG_VARIANCE, MAX_LOG_VARIANCE))


def divergence(latent: Latent) -> Float[Array, ""]:
    """KL from the standard normal, in nats."""
    mean, log_variance = latent
    return 0.5 * jnp.sum(jnp.square(mean) + jnp.exp(log_variance) - 1 - log_variance)


def annealed(progress: Float[Array, ""], cycles: int) -> Float[Array, ""]:
    """β_t / β."""
    place = (progress * cycles) % 1.0
    return 0.5 * (1 - jnp.cos(jnp.pi * jnp.minimum(2 * place, 1.0)))


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """Encoder and reward by Adam; ``key`` draws the start, the contexts and z."""
    table, total = inputs(problem), jnp.sum(problem.rows.sample_weight)
    encoder_key, network_key, order_key, step_key = jax.random.split(key, 4)
    index = shuffle_rows(order_key, problem, NUM_ORDERS)

    def one(params, key):
        row_key, size_key, noise_key = jax.random.split(key, 3)
        rows = sample_batch(row_key, index, problem, table, config.context + config.targets)
        first, second, label, weight = rows.first, rows.second, rows.label, rows.sample_weight
        given, target = divide_answers(size_key, weight, config.context)
        context = [part[: config.context] for part in (first, second, label, given)]
        latent = encode(params.encoder, *context)
        noise = jax.random.normal(noise_key, latent.mean.shape)
        z = latent.mean + jnp.exp(0.5 * latent.log_variance) * noise
        code = jnp.broadcast_to(z, (len(label), len(z)))
        logit = reward_gap(params.network, first, second, code)
        return target @ softplus_loss(logit, label), jnp.sum(target), divergence(latent)

    def loss(params, key, progress):
        keys = jax.random.split(key, config.batch)
        losses, count, kl = jax.vmap(one, in_axes=(None, 0))(params, keys)
        read = params.network.straight, params.network.inward, params.encoder["winner"]
        squares = sum_of_squares((*read, params.encoder["loser"]))
        beta = config.beta * annealed(progress, config.cycles)
        bound = jnp.sum(losses) + beta * jnp.sum(kl)
        bound = bound / jnp.maximum(jnp.sum(count), 1e-12)
        return bound + 0.5 * config.penalty / total * squares

    init = Params(
        init_encoder(encoder_key, table.shape[1], config.hidden, config.size),
        init_network(network_key, table.shape[1], config.size, config.hidden),
    )
    return adam(
        loss,
        init,
        num_steps=config.num_steps,
        learning_rate=config.learning_rate,
        key=step_key,
    )


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """μ of a new person: one forward pass."""
    answers = clean(answers)
    parts = answers.first, answers.second, answers.label, answers.sample_weight
    return encode(params.encoder, *parts).mean


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """``r(e_a, z) − r(e_b, z)``."""
    return reward_gap(params.network, first, second, state)


def diagnostics(params: Params, problem: Problem, config: Config) -> dict[str, jax.Array]:
    """Collapse of z: units whose μ differs between training contexts, and the mean KL in nats."""
    batch = get_batch(problem, inputs(problem), jnp.arange(len(problem.rows.user)))
    size = config.context
    first, second, label, weight = (
        part[:, :size] for part in (batch.first, batch.second, batch.label, batch.sample_weight)
    )
    latent = jax.vmap(encode, in_axes=(None, 0, 0, 0, 0))(
        params.encoder, first, second, label, weight
    )
    active = jnp.sum(jnp.var(latent.mean, axis=0) > ACTIVE_VARIANCE)
    return {"active_units": active, "kl": jnp.mean(jax.vmap(divergence)(latent))}


VPL = Family(
    "vpl",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(0.3, 1.0, 3.0, 10.0), beta=(0.003, 0.03)),
    diagnostics,
)
