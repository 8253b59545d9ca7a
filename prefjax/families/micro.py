"""MiCRo: a mixture of rewards whose weights follow the prompt, then a person.

    stage 1   p = Σ_k π_k(x) σ(W_k·Δ),  π(x) = softmax(U h(x) + b), by EM
    stage 2   w_k ∝ w_k exp(−η ℓ(W_k·Δ, y)) over a person's answers;  π(x) · w in place of π(x)

An E-step gives every row its responsibilities; the M-step takes a Newton step on the weighted ridge
logistic regression of every head, and one on the soft-label cross entropy of the router against
Böhning's bound of its curvature, which never lowers the likelihood. Of several random starts the
one with the best penalized likelihood after a few rounds goes on. η = 1 is Bayes' rule.

The published code trains the heads by gradient on a language model's hidden states, has one reward
model for each head, and updates the weights of a task rather than of a person. Nothing in stage 1
knows who answered: what people disagree about is found only as far as it shows in single answers,
by prompts that go with a head or by large gaps that are not decided. Where tastes cancel at every
prompt, as in the Attributes world, single answers are coin flips; then the heads merge and nobody
is personal, whatever the strengths.

References:
    arXiv 2505.24846, eq. 4–8. Böhning (1992), Multinomial logistic regression algorithm.
"""

from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.basis import Problem
from prefjax.families import linear
from prefjax.families.answers import Answers, clean
from prefjax.families.config import POSITIVE, FamilyConfig, Number, integer, make_grid
from prefjax.families.contract import Family
from prefjax.families.descent import standardize_context, sum_of_squares
from prefjax.families.mixture import hedge, mixture_logit
from prefjax.families.shapes import Context, Input, Scalar, State
from prefjax.numerics import softplus_loss
from prefjax.types import Array, PRNGKey


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Config(FamilyConfig):
    """Settings.

    Attributes:
        penalty: Prior precision of one response's reward under a head.
        router_penalty: Ridge of the router, in rows.
        rate: η.
        spread: Standard deviation of a response's reward between heads at the start.
        num_heads: K.
        num_starts: Draws of the heads, each of an eighth of the rounds.
        num_steps: Rounds of EM from the best of them.
    """

    penalty: Number = field(default=1.0, metadata=POSITIVE)
    router_penalty: Number = field(default=10.0, metadata=POSITIVE)
    rate: Number = 1.0
    spread: Number = 2.0
    num_heads: int = integer(4)
    num_starts: int = integer(6)
    num_steps: int = integer(32)


class Params(NamedTuple):
    """Heads and router; the router's last input is 1."""

    weights: Float[Array, "head input"]
    router: Float[Array, "context_and_one head"]


def fit(key: PRNGKey, problem: Problem, config: Config) -> Params:
    """Stage 1; ``key`` draws how the heads differ at every start."""
    contexts, origin, scale = standardize_context(problem)
    context = jnp.pad(contexts, ((0, 0), (0, 1)), constant_values=1.0)
    rows, size = problem.rows, config.num_heads
    gap, label = linear.gaps(problem), linear.labels(problem)[:, None]
    row_weight = rows.sample_weight.reshape(-1, 1)
    shared = linear.population(problem, config.penalty)
    center = jnp.zeros((size, gap.shape[1]))
    num_asked = jnp.bincount(rows.first.reshape(-1), row_weight[:, 0], length=len(context) + 1)[:-1]
    bound = 0.5 * (context * num_asked[:, None]).T @ context
    bound = bound + config.router_penalty * jnp.eye(len(bound))

    def route(router):
        return jax.nn.log_softmax(context @ router)

    def joint(params):
        logits = gap @ params.weights.T
        loss = softplus_loss(logits, jnp.broadcast_to(label, logits.shape))
        routed = jnp.pad(route(params.router), ((0, 1), (0, 0)))[rows.first.reshape(-1)]
        return routed - loss

    def step(params, _):
        share = row_weight * jax.nn.softmax(joint(params))
        weight = linear.solve(
            problem, share.T, center, config.penalty, start=params.weights, num_steps=1
        )
        wanted = jax.ops.segment_sum(share, rows.first.reshape(-1), len(context) + 1)[:-1]
        slope = context.T @ (wanted - num_asked[:, None] * jnp.exp(route(params.router)))
        slope = slope - config.router_penalty * params.router
        router = params.router + jax.scipy.linalg.solve(bound, slope, assume_a="pos")
        return Params(weight, router), None

    def objective(params):
        ridge = config.penalty * sum_of_squares(params.weights)
        ridge = ridge + config.router_penalty * sum_of_squares(params.router)
        return 0.5 * ridge - row_weight[:, 0] @ jax.nn.logsumexp(joint(params), axis=1)

    def from_start(key):
        scale = config.spread
        weight = shared[None] + scale * jax.random.normal(key, center.shape)
        init = Params(weight, jnp.zeros((context.shape[1], size)))
        params, _ = jax.lax.scan(step, init, None, length=-(-config.num_steps // 8))
        return params, objective(params)

    starts, costs = jax.vmap(from_start)(jax.random.split(key, config.num_starts))
    best = jax.tree.map(lambda leaf: leaf[jnp.argmin(costs)], starts)
    weights, router = jax.lax.scan(step, best, None, length=config.num_steps)[0]
    slopes = router[:-1] / scale
    return Params(weights, jnp.concatenate([slopes, router[-1:] - (origin @ slopes)[None]]))


def adapt(params: Params, answers: Answers, config: Config) -> State:
    """Stage 2: the person's log weights, zero mean information before the first answer."""
    answers = clean(answers)
    logits = (answers.first - answers.second) @ params.weights.T
    even = jnp.zeros(len(params.weights))
    return hedge(even, logits, answers.label, answers.sample_weight, config.rate)


def logit(params: Params, state: State, first: Input, second: Input, context: Context) -> Scalar:
    """Log odds of the mixture that the router and the person make."""
    routed = jnp.append(context, 1.0) @ params.router
    return mixture_logit(state + routed, params.weights @ (first - second))


def diagnostics(params: Params, problem: Problem, config: Config) -> dict[str, jax.Array]:
    """Collapse of the router: entropy of its mean weights, 1 if even and 0 if one head rules.

    ``routing_information`` is what the prompt tells of the head: mutual information over log K.
    ``head_spread`` is the standard deviation between heads of a response's reward; at 0 the heads
    have merged and no answer changes anything.
    """
    context = jnp.pad(problem.context, ((0, 0), (0, 1)), constant_values=1.0)
    weight = jax.nn.softmax(context @ params.router)

    def entropy(share):
        return -jnp.sum(share * jnp.log(jnp.maximum(share, 1e-30)), axis=-1)

    most = jnp.log(jnp.maximum(config.num_heads, 2))
    share = problem.compared / jnp.maximum(jnp.sum(problem.compared), 1)
    mean = entropy(share @ weight)
    shared = mean - jnp.sum(share * entropy(weight))
    apart = jnp.var(linear.embeddings(problem) @ params.weights.T, axis=1)
    return {
        "router_entropy": mean / most,
        "routing_information": shared / most,
        "head_spread": jnp.sqrt(share @ apart),
    }


MICRO = Family(
    "micro",
    Config(),
    fit,
    adapt,
    logit,
    make_grid(penalty=(0.1, 1.0, 10.0, 100.0), rate=(0.3, 1.0)),
    diagnostics,
)
