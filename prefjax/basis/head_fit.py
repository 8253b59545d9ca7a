"""Fits the reward head to choices: start, rounds on the likelihood, population; one pure program.

Model and bound are those of `prefjax.basis.em`, with z(e) of `prefjax.basis.heads` in the place of
the embedding:

    Σ_r w_r (y z̄ − E_q softplus(z)) − Σ_u KL(q_u ‖ N(0, I)) − ½ Σ_j τ_j ‖θ_j‖² − decay(trunk).

Posterior scale 1 integrates the users out, 0 is joint MAP with ½‖Λ‖² (as published; the β of the
paper is in the scale of θ). A round is an E-step on the users, a Newton step on the last layer θ by
conjugate gradients, and Adam steps on the hidden layers if there are any. Without hidden layers
this is the objective of `prefjax.basis.fit_block`.

The penalties are an argument. `prefjax.basis.search_penalties` learns them for the linear head from
held-out users; nothing here learns ``trunk_penalty`` or the penalties of an MLP.

References:
    arXiv 2503.06358, eq. 4 and Algorithm 1 (fit to factors, then refine by likelihood).
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Float

from prefjax.basis import _fit, em, heads
from prefjax.basis import rows as layout
from prefjax.basis.heads import HeadConfig
from prefjax.basis.problem import Problem
from prefjax.basis.regression import make_optimizer, regress
from prefjax.basis.rows import Rows
from prefjax.basis.state import EMState
from prefjax.types import Array, FitInfo, Gaussian, Params, Penalties, PRNGKey, RewardBasis

DEFAULT = HeadConfig()


class HeadState(NamedTuple):
    """Between two rounds.

    Attributes:
        users: Posteriors of the users, and θ of the last layer.
        trunk: Hidden layers.
        moments: State of their optimizer.
    """

    users: EMState
    trunk: Params
    moments: optax.OptState


@partial(jax.custom_vjp, nondiff_argnums=(2,))
def feature_gap(
    table: Float[Array, "response feature"], rows: Rows, num_responses: int
) -> Float[Array, "chunk slot feature"]:
    """`basis.rows.feature_gap`, whose gradient is a sum by response instead of a scatter."""
    return layout.feature_gap(table, rows)


def _gap_forward(table, rows, num_responses):
    return layout.feature_gap(table, rows), rows


def _gap_backward(num_responses, rows, cotangent):
    return layout.sum_by_response(cotangent, rows, num_responses), None


feature_gap.defvjp(_gap_forward, _gap_backward)


def bound(
    params: Params,
    users: EMState,
    problem: Problem,
    penalties: Penalties,
    config: HeadConfig,
) -> Float[Array, ""]:
    """The module's objective in nats, to be maximized; differentiable in ``params``.

    Args:
        params: The head, for the standardized embeddings of the problem.
        users: Posteriors of the users; its ``head`` is not read.
        problem: What is fitted.
        penalties: On θ, and the posterior scale.
        config: Settings.
    """
    items = heads.apply(params, problem.embeddings)
    table = jnp.concatenate([items.features, items.utility[:, None]], axis=1)
    features, offset = em.split(feature_gap(table, problem.rows, problem.num_responses))
    users = users._replace(head=params["out"]["kernel"])
    value = em.objective(users, features, offset, problem.rows, penalties, config.bound)
    return value - heads.trunk_decay(params, config)


def init_state(
    key: PRNGKey,
    problem: Problem,
    penalties: Penalties,
    target: Float[Array, "response factor_and_utility"] | None,
    config: HeadConfig,
) -> HeadState:
    """First state, from target factors or singular directions."""
    trunk_key, start_key = jax.random.split(key)
    inputs = em.embeddings_of(problem)
    params = heads.init(trunk_key, inputs.shape[1], config)
    expanded = problem._replace(embeddings=heads.expand(params, inputs))
    if target is None:
        utility = _fit.fit_utility(expanded, penalties.utility, config)
        users = _fit.svd.start(start_key, expanded, utility, config)
    else:
        # A row pins its logit with a curvature of at most ¼.
        weight = layout.sum_by_response(
            problem.rows.sample_weight[..., None],
            problem.rows,
            problem.num_responses,
            signed=False,
        )
        params = regress(params, inputs, target, penalties.factor, config, 0.25 * weight[:, 0])
        kernel = params["out"]["kernel"]
        users = em.init(start_key, expanded, kernel[:, :-1], config)
        users = users._replace(head=jnp.asarray(users.head).at[:, -1].set(kernel[:, -1]))
    trunk = params.get("trunk", {})
    moments = make_optimizer(config, config.max_steps * config.trunk_steps).init(trunk)
    return HeadState(users=users, trunk=trunk, moments=moments)


def assemble(state: HeadState) -> Params:
    """The parameters of a state, as `heads.apply` takes them."""
    return heads.with_kernel({"trunk": state.trunk} if state.trunk else {}, state.users.head)


def step(state: HeadState, problem: Problem, penalties: Penalties, config: HeadConfig) -> HeadState:
    """One round: users, last layer, hidden layers."""
    params = assemble(state)
    expanded = problem._replace(embeddings=heads.expand(params, em.embeddings_of(problem)))
    users = em.step(state.users, expanded, penalties, config)
    place = users.num_steps - 1
    value = users.objective[place] - heads.trunk_decay(params, config)
    last = jnp.where(place > 0, users.objective[place - 1], -jnp.inf)
    users = users._replace(
        objective=jnp.asarray(users.objective).at[place].set(value), gain=value - last
    )
    state = state._replace(users=users)
    if not config.hidden:
        return state
    optimizer = make_optimizer(config, config.max_steps * config.trunk_steps)

    def loss(trunk):
        params = heads.with_kernel({"trunk": trunk}, users.head)
        return -bound(params, users, problem, penalties, config)

    def improve(carry, _):
        trunk, moments = carry
        update, moments = optimizer.update(jax.grad(loss)(trunk), moments)
        return (optax.apply_updates(trunk, update), moments), None

    (trunk, moments), _ = jax.lax.scan(
        improve, (state.trunk, state.moments), None, length=config.trunk_steps
    )
    return state._replace(trunk=trunk, moments=moments)


def rotate_inputs(params: Params, rotation: Float[Array, "input rotated"]) -> Params:
    """Parameters for embeddings e from parameters for ``e @ rotation``."""
    num_rotated = rotation.shape[1]
    kernel = params["out"]["kernel"]
    kernel = jnp.concatenate([rotation @ kernel[:num_rotated], kernel[num_rotated:]])
    params = heads.with_kernel(params, kernel)
    if "trunk" not in params:
        return params
    first = params["trunk"]["layer0"]
    first = {**first, "kernel": rotation @ first["kernel"]}
    return {**params, "trunk": {**params["trunk"], "layer0": first}}


@partial(jax.jit, static_argnames="config")
def _fit_head(key, problem, penalties, target, config):
    rotation = _fit.principal_axes(em.embeddings_of(problem))
    rotated = problem._replace(embeddings=em.embeddings_of(problem) @ rotation)
    rotated = rotated._replace(standardizer=None)
    state = init_state(key, rotated, penalties, target, config)
    enough = config.tolerance * jnp.sum(problem.rows.sample_weight)

    def unfinished(state):
        users = state.users
        moving = jnp.asarray(bool(config.hidden)) | (users.num_steps < 3) | (users.gain > enough)
        return (users.num_steps < config.max_steps) & moving

    state = jax.lax.while_loop(
        unfinished, lambda state: step(state, rotated, penalties, config), state
    )
    last = bound(assemble(state), state.users, rotated, penalties, config)
    users = state.users
    users = users._replace(
        objective=jnp.asarray(users.objective).at[users.num_steps].set(last),
        gain=jnp.abs(last - users.objective[users.num_steps - 1])
        if config.hidden
        else jnp.abs(users.gain),
    )
    if not config.hidden:
        users = _fit.sharpen(users, rotated, penalties, config)
    basis, people, info = _fit.finish(users, rotated, None, penalties, config)
    if config.population == "mixture":
        several = _fit.as_mixture(key, users, rotated, basis.population)
        basis = basis._replace(population=several)
    params = assemble(state._replace(users=users._replace(head=basis.params["out"]["kernel"])))
    basis = basis._replace(params=rotate_inputs(params, rotation))
    return heads.to_raw(basis, problem.standardizer), people, info


def fit_head(
    key: PRNGKey,
    problem: Problem,
    penalties: Penalties,
    *,
    target: Float[Array, "response factor_and_utility"] | None = None,
    config: HeadConfig = DEFAULT,
) -> tuple[RewardBasis, Gaussian, FitInfo]:
    """Regression on target factors and refinement by likelihood; pure, vmappable over ``key``.

    Args:
        key: Draws the hidden layers and breaks ties.
        problem: From `make_problem`, with embeddings.
        penalties: In units of φ (the prior precision of one response's φ_j), and the posterior
            scale: 1 for the marginal fit, 0 for joint MAP.
        target: Target factors [Φ, t], for example of `fit_block` without embeddings; rows of
            responses that were never compared are not read. None starts at singular directions.
        config: Settings, static.

    Returns:
        The basis for raw embeddings, the posterior of every training user, and how it was reached.

    Raises:
        ValueError: The problem has no embeddings.

    References:
        arXiv 2503.06358, Algorithm 1.
    """
    em.embeddings_of(problem)
    penalties = Penalties(*(jnp.asarray(value, jnp.float32) for value in penalties))
    return _fit_head(key, problem, penalties, target, config)
