"""Fits the reward head to choices: start, rounds on the likelihood, population; one pure program.

Model and bound are those of `prefjax.basis.em`, with z(e) of `prefjax.basis.heads` in the
place of the embedding:

    Σ_r w_r (y z̄ − E_q softplus(z)) − Σ_u KL(q_u ‖ N(0, I)) − ½ Σ_j τ_j ‖θ_j‖² − decay(trunk).

Temperature 1 integrates the users out (``marginal``), 0 is joint MAP with ½‖Λ‖² (``map``, as
published; the β of the paper is in the scale of θ). A round is an E-step on the users, a Newton
step on the last layer θ by conjugate gradients, and Adam steps on the hidden layers if there are
any. Without hidden layers this is the objective of `prefjax.basis._fit`.

The strengths are an argument. `prefjax.basis.search` learns them for the linear head from
held-out users; nothing here learns ``trunk_penalty`` or the strengths of an MLP.

References:
    arXiv 2503.06358, eq. 4 and Algorithm 1 (fit to factors, then refine by likelihood).
"""

from functools import partial
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Bool, Float, Int

from prefjax.basis import em, heads, svd
from prefjax.basis import rows as layout
from prefjax.basis._fit import in_input_units, input_scale, population
from prefjax.basis.heads import HeadConfig
from prefjax.basis.regression import make_optimizer, regress, with_kernel
from prefjax.basis.rows import Rows
from prefjax.basis.state import EMState, Strength
from prefjax.types import Array, GaussianPrior, Items, Params, PRNGKey

Objective = Literal["map", "marginal"]

DEFAULT = HeadConfig()


class HeadFit(NamedTuple):
    """A fitted head, in the gauge where training users have mean 0.

    Attributes:
        params: The head, for raw embeddings; see `prefjax.basis.apply`.
        items: φ and t of every response of the fit.
        weights: Weights of every training user.
        covariance: Their posterior covariance.
        prior: The population, for new users.
        trace: The penalized bound before each round, in nats; the last value is repeated.
        num_steps: Rounds taken.
        converged: Whether the last round changed the bound by less than the tolerance.
    """

    params: Params
    items: Items
    weights: Float[Array, "user factor"]
    covariance: Float[Array, "user factor factor"]
    prior: GaussianPrior
    trace: Float[Array, " round"]
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]


class HeadState(NamedTuple):
    """Between two rounds: θ and the users in ``users``, the hidden layers in ``trunk``."""

    users: EMState
    trunk: Params
    moments: optax.OptState
    trace: Float[Array, " round"]


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def gap(
    table: Float[Array, "response feature"], rows: Rows, num_responses: int
) -> Float[Array, "chunk slot feature"]:
    """`basis.rows.gap`, whose gradient is a sum by response instead of a scatter."""
    return layout.gap(table, rows)


def _gap_forward(table, rows, num_responses):
    return layout.gap(table, rows), rows


def _gap_backward(num_responses, rows, cotangent):
    return layout.sum_by_response(cotangent, rows, num_responses), None


gap.defvjp(_gap_forward, _gap_backward)


def bound(
    params: Params,
    users: EMState,
    inputs: Float[Array, "response input"],
    rows: Rows,
    strength: Strength,
    config: HeadConfig,
) -> Float[Array, ""]:
    """The module's objective in nats, to be maximized; differentiable in ``params``.

    Args:
        params: The head.
        users: Their posteriors; its ``head`` is not read.
        inputs: What the head is applied to.
        rows: From `make_rows`.
        strength: Penalties on θ as they stand, and the temperature.
        config: Settings.
    """
    items = heads.apply(params, inputs, config)
    table = jnp.concatenate([items.features, items.utility[:, None]], axis=1)
    features, offset = em.split(gap(table, rows, inputs.shape[0]))
    users = users._replace(head=params["out"]["kernel"])
    value = em.objective(users, features, offset, rows, strength, config.bound)
    return value - heads.trunk_decay(params, config)


def begin(
    key: PRNGKey,
    rows: Rows,
    inputs: Float[Array, "response input"],
    strength: Strength,
    target: Float[Array, "response factor_and_utility"] | None,
    num_users: int,
    config: HeadConfig,
) -> tuple[HeadState, Strength]:
    """First state, from target factors or singular directions, and the scaled penalties."""
    trunk_key, start_key = jax.random.split(key)
    num_responses, num_inputs = inputs.shape
    params = heads.init(trunk_key, num_inputs, config)
    if config.hidden:
        first = params["trunk"]["layer0"]
        first = {**first, "bias": -inputs.mean(0) @ first["kernel"]}
        params = {**params, "trunk": {**params["trunk"], "layer0": first}}
    expanded = heads.expand(params, inputs, config)
    strength = in_input_units(strength, expanded)
    if target is None:
        users = svd.start(start_key, rows, expanded, strength, num_users, num_responses, config)
    else:
        # A row pins its logit with a curvature of at most ¼.
        mass = 0.25 * layout.sum_by_response(
            rows.sample_weight[..., None], rows, num_responses, signed=False
        )
        params = regress(params, inputs, target, strength.penalty, config, mass[:, 0])
        kernel = params["out"]["kernel"]
        users = em.init(start_key, rows, kernel[:, :-1], num_users)
        users = users._replace(head=jnp.concatenate([users.head[:, :-1], kernel[:, -1:]], axis=1))
    trunk = params.get("trunk", {})
    moments = make_optimizer(config, config.max_steps * config.trunk_steps).init(trunk)
    trace = jnp.full((config.max_steps + 1,), -jnp.inf)
    return HeadState(users=users, trunk=trunk, moments=moments, trace=trace), strength


def assemble(state: HeadState) -> Params:
    """The parameters of a state, as `heads.apply` takes them."""
    trunk = {"trunk": state.trunk} if state.trunk else {}
    return with_kernel(trunk, state.users.head)


def step(
    state: HeadState,
    inputs: Float[Array, "response input"],
    rows: Rows,
    strength: Strength,
    config: HeadConfig,
) -> HeadState:
    """One round: users, last layer, hidden layers."""
    params = assemble(state)
    expanded = heads.expand(params, inputs, config)
    users = em.step(state.users, expanded, rows, inputs.shape[0], strength, config)
    before = users.objective - heads.trunk_decay(params, config)
    users = users._replace(objective=before, gain=before - state.users.objective)
    trace = jnp.asarray(state.trace).at[users.num_steps - 1].set(before)
    state = state._replace(users=users, trace=trace)
    if not config.hidden:
        return state
    optimizer = make_optimizer(config, config.max_steps * config.trunk_steps)

    def loss(trunk):
        params = {"trunk": trunk, "out": {"kernel": users.head}}
        return -bound(params, users, inputs, rows, strength, config)

    def improve(carry, _):
        trunk, moments = carry
        update, moments = optimizer.update(jax.grad(loss)(trunk), moments)
        return (optax.apply_updates(trunk, update), moments), None

    begun = state.trunk, state.moments
    (trunk, moments), _ = jax.lax.scan(improve, begun, None, length=config.trunk_steps)
    return state._replace(trunk=trunk, moments=moments)


def to_raw(params: Params, turn: Float[Array, "input turned"]) -> Params:
    """Parameters for embeddings e from parameters for ``e @ turn``."""
    num_turned = turn.shape[1]
    kernel = params["out"]["kernel"]
    kernel = jnp.concatenate([turn @ kernel[:num_turned], kernel[num_turned:]])
    params = with_kernel(params, kernel)
    if "trunk" not in params:
        return params
    first = params["trunk"]["layer0"]
    first = {**first, "kernel": turn @ first["kernel"]}
    return {**params, "trunk": {**params["trunk"], "layer0": first}}


def fit_head(
    key: PRNGKey,
    rows: Rows,
    embeddings: Float[Array, "response input"],
    strength: Strength,
    *,
    num_users: int,
    num_responses: int,
    objective: Objective | None = None,
    config: HeadConfig = DEFAULT,
    start: Float[Array, "response factor_and_utility"] | None = None,
) -> HeadFit:
    """Regression on target factors and refinement by likelihood; pure, vmappable over ``key``.

    Args:
        key: Draws the hidden layers and breaks ties.
        rows: From `prefjax.basis.make_rows`; rows of weight 0 count as absent.
        embeddings: One row a response, finite.
        strength: Penalties in units of φ (the prior precision of one response's φ_j), temperature.
        num_users: U, static.
        num_responses: Number of responses, static.
        objective: ``marginal`` or ``map``, in the place of the temperature; None keeps it.
        config: Settings, static.
        start: Target factors [Φ, t], for example of `basis.fit` without embeddings; rows of
            responses that nobody compared are not read. None starts at singular directions.

    Returns:
        The fit; ``converged`` says whether the last round still changed the bound.

    Raises:
        ValueError: ``embeddings`` has another number of rows than ``num_responses``.

    References:
        arXiv 2503.06358, Algorithm 1.
    """
    if embeddings.shape[0] != num_responses:
        raise ValueError(
            f"One embedding a response: {embeddings.shape[0]} rows for {num_responses} responses."
        )
    if objective is not None:
        fixed = jnp.full_like(strength.temperature, {"map": 0.0, "marginal": 1.0}[objective])
        strength = strength._replace(temperature=fixed)
    rows = rows._replace(label=jnp.where(rows.sample_weight > 0, rows.label, 0.5))
    turn = unit_axes(embeddings)
    inputs = embeddings @ turn
    state, strength = begin(key, rows, inputs, strength, start, num_users, config)
    enough = config.tolerance * jnp.sum(rows.sample_weight)

    def unfinished(state):
        users = state.users
        moving = jnp.asarray(bool(config.hidden)) | (users.num_steps < 3) | (users.gain > enough)
        return (users.num_steps < config.max_steps) & moving

    state = jax.lax.while_loop(
        unfinished, lambda state: step(state, inputs, rows, strength, config), state
    )
    last = bound(assemble(state), state.users, inputs, rows, strength, config)
    done = jnp.arange(config.max_steps + 1) < state.users.num_steps
    head, prior, users = population(state.users, rows)
    params = to_raw(assemble(state._replace(users=users._replace(head=head))), turn)
    return HeadFit(
        params=params,
        items=heads.apply(params, embeddings, config),
        weights=users.mean,
        covariance=users.covariance,
        prior=prior,
        trace=jnp.where(done, state.trace, last),
        num_steps=users.num_steps,
        converged=jnp.abs(users.gain) <= enough,
    )


def unit_axes(embeddings: Float[Array, "response input"]) -> Float[Array, "input input"]:
    """Turns inputs to uncorrelated axes and gives them mean squared norm 1 when centred."""
    axes = jnp.linalg.eigh(embeddings.T @ embeddings)[1]
    return axes / jnp.sqrt(jnp.maximum(input_scale(embeddings), 1e-30))
