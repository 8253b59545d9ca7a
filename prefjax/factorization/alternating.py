"""Logistic matrix factorization by block solves: joint MAP over users × items.

A column of the matrix is an item with features of its own: one response that people vote on, or one
pair of responses as a whole. Both are comparisons against the zero baseline,

    P[u, i] = σ(λ_u·φ_i + t_i),   minimized over Λ, Φ, t:

    F = Σ_(u,i) w ℓ(λ_u·φ_i + t_i, y) + β/2 ‖Λ‖² + γ/2 ‖Φ‖² + γ_t/2 ‖t‖²,
    ℓ(s, y) = softplus(s) − y s.

One round extrapolates the items, Φ ← Φ + m (Φ − Φ_before) with Nesterov's m, and then solves every
user given the items and every item given the users: ``num_newton`` Newton steps for each block,
warm, so that one is all but exact. A step is shortened as in `prefjax.logistic` and never raises F;
a round in which the extrapolation did is dropped and the next one starts without momentum.

Of all factors with the same product ΛΦᵀ = U S Vᵀ the cheapest are Λ = (γ/β)^¼ U S^½ and
Φ = (β/γ)^¼ V S^½, the gauge of start and result. Only the product βγ matters to the predictions:
there both penalties are √(βγ) times the nuclear norm of ΛΦᵀ.

This is the published matrix objective, and that of `prefjax.factorization.fit` at temperature 0
when no response stands as second (β = 1, γ and γ_t its penalties); for a matrix this is the fast
way. It knows no embeddings and, as joint MAP does, lets every user's λ absorb noise.

References:
    arXiv 2503.06358, eq. 4 and Algorithm 1 (P = σ(ΛᵀΦ), start by SVD, penalty on Λ).
    Srebro, Rennie and Jaakkola (2004), Maximum-margin matrix factorization, for the nuclear norm.
    O'Donoghue and Candès (arXiv 1204.3982), section 3.2, for the restart.
"""

from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax.factorization.matrix import Matrix
from prefjax.factorization.svd import singular_directions
from prefjax.numerics import softplus_loss, symmetric_power, symmetric_sqrt
from prefjax.types import Array, PRNGKey, UserBatch

LONGEST = 1.79  # solves exp(x) − x − 1 = x²: a Newton step that moves no logit further is safe


@dataclass(frozen=True)
class AlternatingConfig:
    """Settings of one fit.

    Attributes:
        num_factors: J.
        user_penalty: β.
        item_penalty: γ; small, so that what holds the items is their data.
        offset_penalty: γ_t of the offset that all users share; None for no offset.
        max_rounds: Most rounds.
        tolerance: Stop when a round lowers F by less than this part of it.
        num_newton: Newton steps of a block in a round.
    """

    num_factors: int = 6
    user_penalty: float = 1.0
    item_penalty: float = 0.1
    offset_penalty: float | None = None
    max_rounds: int = 100
    tolerance: float = 2e-5
    num_newton: int = 1


DEFAULT = AlternatingConfig()


class Factors(NamedTuple):
    """Λ, Φ and t."""

    weight: Float[Array, "user factor"]
    features: Float[Array, "item factor"]
    offset: Float[Array, " item"]


class AlternatingState(NamedTuple):
    """Factors, and what the extrapolation remembers.

    Attributes:
        factors: The best so far.
        before: Φ and t one round earlier, as columns.
        speed: Nesterov's sequence; 1 means no momentum.
        objective: F at the start and after every round, NaN for rounds not taken.
        gain: How far the last round lowered F.
        num_rounds: Rounds taken.
    """

    factors: Factors
    before: Float[Array, "item factor_and_offset"]
    speed: Float[Array, ""]
    objective: Float[Array, " round"]
    gain: Float[Array, ""]
    num_rounds: Int[Array, ""]


class AlternatingFit(NamedTuple):
    """The factors and how they were reached.

    Attributes:
        factors: Λ, Φ and t, in the gauge of the module's docstring.
        objective: F at the start and after every round, NaN for rounds not taken; never rises.
        num_rounds: Rounds taken.
        converged: Whether the last round gained less than the tolerance.
    """

    factors: Factors
    objective: Float[Array, " round"]
    num_rounds: Int[Array, ""]
    converged: Bool[Array, ""]


def present(batch: UserBatch) -> tuple[Float[Array, "one entry"], Float[Array, "one entry"]]:
    """Weights, 0 where masked, and labels, ½ where there is no weight, whatever stands there."""
    weight = jnp.where(batch.mask, batch.weight, 0)
    return weight, jnp.where(weight > 0, batch.label, 0.5)


def init(key: PRNGKey, matrix: Matrix, config: AlternatingConfig) -> Factors:
    """Leading singular vectors of the matrix centred at ½, unobserved entries 0.

    They are scaled so that the mean square of an observed logit is 1.

    Args:
        key: Starts the subspace iteration.
        matrix: The entries.
        config: Settings, static.
    """
    num_users, num_items = matrix.by_user.first.shape[0], matrix.by_item.first.shape[0]
    rows = matrix.rows
    residual = rows.weight * (rows.label - 0.5)
    directions, values = singular_directions(
        key, rows, residual, None, config.num_factors, num_users, num_items
    )
    features = directions * jnp.sqrt(values)[None]
    batch = matrix.by_user
    given, label = present(batch)
    weight = jnp.einsum("up,upj->uj", given * (label - 0.5), directions[batch.first])
    weight = weight / jnp.sqrt(jnp.maximum(values, 1e-12))[None]
    logit = jnp.einsum("uj,upj->up", weight, features[batch.first])
    square = jnp.sum(given * jnp.square(logit)) / jnp.maximum(jnp.sum(given), 1e-12)
    scale = jnp.power(square + 1e-12, -0.25)
    return Factors(weight * scale, features * scale, jnp.zeros(num_items))


def objective(factors: Factors, batch: UserBatch, config: AlternatingConfig) -> Float[Array, ""]:
    """F of the module's docstring, in nats."""
    features, offset = factors.features[batch.first], factors.offset[batch.first]
    logit = jnp.einsum("uj,upj->up", factors.weight, features) + offset
    weight, label = present(batch)
    penalty = config.user_penalty * jnp.sum(jnp.square(factors.weight))
    penalty = penalty + config.item_penalty * jnp.sum(jnp.square(factors.features))
    if config.offset_penalty is not None:
        penalty = penalty + config.offset_penalty * jnp.sum(jnp.square(factors.offset))
    return jnp.sum(weight * softplus_loss(logit, label)) + 0.5 * penalty


def newton_step(
    point: Float[Array, " factor"],
    features: Float[Array, "pair factor"],
    offset: Float[Array, " pair"],
    label: Float[Array, " pair"],
    weight: Float[Array, " pair"],
    penalty: Float[Array, " factor"],
) -> Float[Array, " factor"]:
    """One damped Newton step on one row of Λ or Φ; never raises F.

    References:
        Bach, arXiv 0910.4627, Proposition 2, as in `prefjax.logistic`.
    """
    probability = jax.nn.sigmoid(features @ point + offset)
    curvature = weight * probability * (1 - probability)
    gradient = features.T @ (weight * (probability - label)) + penalty * point
    hessian = (features * curvature[:, None]).T @ features + jnp.diag(penalty)
    direction = -jnp.linalg.solve(hessian, gradient)
    reach = jnp.max(jnp.abs(features @ direction))
    length = jnp.where(reach <= LONGEST, 1.0, jnp.log1p(reach) / jnp.maximum(reach, LONGEST))
    return point + length * direction


def solve_block(
    points: Float[Array, "one factor"],
    table: Float[Array, "other factor"],
    offset: Float[Array, " other"],
    batch: UserBatch,
    penalty: Float[Array, " factor"],
    num_newton: int,
) -> Float[Array, "one factor"]:
    """Newton steps on every row at once, given the factors of the other side."""
    weight, label = present(batch)
    features, shared = table[batch.first], offset[batch.first]
    move = jax.vmap(newton_step, in_axes=(0, 0, 0, 0, 0, None))
    for _ in range(num_newton):
        points = move(points, features, shared, label, weight, penalty)
    return points


def turn(factors: Factors, config: AlternatingConfig) -> Factors:
    """The factors of the same ΛΦᵀ with the smallest penalty."""
    weight_gram = factors.weight.T @ factors.weight
    feature_gram = factors.features.T @ factors.features
    left, values, right = jnp.linalg.svd(symmetric_sqrt(weight_gram) @ symmetric_sqrt(feature_gram))
    ratio = (config.item_penalty / config.user_penalty) ** 0.25
    root = jnp.sqrt(values)[None]
    weight_axes = factors.weight @ symmetric_power(weight_gram, -0.5)
    feature_axes = factors.features @ symmetric_power(feature_gram, -0.5)
    return factors._replace(
        weight=weight_axes @ left * root * ratio, features=feature_axes @ right.T * root / ratio
    )


def step(state: AlternatingState, matrix: Matrix, config: AlternatingConfig) -> AlternatingState:
    """One round: extrapolate, users, items; kept if it lowers F."""
    factors, num_factors = state.factors, config.num_factors
    penalty = jnp.full(num_factors, config.item_penalty)
    items = jnp.column_stack((factors.features, factors.offset))
    speed = (1 + jnp.sqrt(1 + 4 * jnp.square(state.speed))) / 2
    ahead = items + (state.speed - 1) / speed * (items - state.before)

    weight = solve_block(
        factors.weight,
        ahead[:, :num_factors],
        ahead[:, num_factors],
        matrix.by_user,
        jnp.full(num_factors, config.user_penalty),
        config.num_newton,
    )
    zeros = jnp.zeros_like(weight[:, 0])
    if config.offset_penalty is None:
        points, table = ahead[:, :num_factors], weight
    else:
        points, table = ahead, jnp.column_stack((weight, jnp.ones_like(zeros)))
        penalty = jnp.append(penalty, config.offset_penalty)
    solved = solve_block(points, table, zeros, matrix.by_item, penalty, config.num_newton)
    offset = factors.offset if config.offset_penalty is None else solved[:, num_factors]

    moved = Factors(weight, solved[:, :num_factors], offset)
    last, value = state.objective[state.num_rounds], objective(moved, matrix.by_user, config)
    kept = value <= last
    return AlternatingState(
        factors=jax.tree.map(partial(jnp.where, kept), moved, factors),
        before=items,
        speed=jnp.where(kept, speed, 1.0),
        objective=jnp.asarray(state.objective)
        .at[state.num_rounds + 1]
        .set(jnp.where(kept, value, last)),
        # A dropped round says nothing about the next one, unless it had no momentum.
        gain=jnp.where(kept, last - value, jnp.where(state.speed > 1, jnp.inf, 0.0)),
        num_rounds=state.num_rounds + 1,
    )


def fit(
    key: PRNGKey,
    matrix: Matrix,
    config: AlternatingConfig = DEFAULT,
    start: Factors | None = None,
) -> AlternatingFit:
    """Rounds of block solves until F falls no more; pure, one program.

    Args:
        key: Only for the start.
        matrix: From `prefjax.factorization.matrix.make_matrix`.
        config: Settings, static.
        start: Factors to start from; `init` if None.

    Returns:
        The fit with the objective after every round.
    """
    begun = turn(init(key, matrix, config) if start is None else start, config)
    first = objective(begun, matrix.by_user, config)

    def gaining(state):
        return state.gain > config.tolerance * state.objective[state.num_rounds]

    state = jax.lax.while_loop(
        lambda state: gaining(state) & (state.num_rounds < config.max_rounds),
        lambda state: step(state, matrix, config),
        AlternatingState(
            factors=begun,
            before=jnp.column_stack((begun.features, begun.offset)),
            speed=jnp.ones(()),
            objective=jnp.full(config.max_rounds + 1, jnp.nan).at[0].set(first),
            gain=jnp.asarray(jnp.inf),
            num_rounds=jnp.zeros((), jnp.int32),
        ),
    )
    return AlternatingFit(
        factors=turn(state.factors, config),
        objective=state.objective,
        num_rounds=state.num_rounds,
        converged=~gaining(state),
    )
