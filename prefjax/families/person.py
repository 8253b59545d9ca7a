"""One person's vector under a frozen reward that is not linear in it: damped Gauss–Newton.

    θ = argmin Σ_i w_i ℓ(s_i(θ), y_i) + prior(θ),
    (Jᵀ diag(w σ') J + P + γI) d = −(Jᵀ w (σ − y) + ∇prior),    J = ∂s/∂θ

γ falls when a step lowers the objective and grows when it does not, in which case the step is not
taken. For s linear in θ and a ridge this is Newton's method. Weights on the simplex are w = softmax
θ with the prior κ KL(w ‖ w̄), whose curvature is taken as the Fisher information κ (diag w − wwᵀ);
exponentiated gradient has the same minimum and needs hundreds of steps for it.

References:
    Levenberg (1944); Marquardt (1963). Kivinen and Warmuth (1997), for exponentiated gradient.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.families.contract import Answers, Number
from prefjax.numerics import softplus_loss
from prefjax.types import Array

NUM_STEPS = 40
SLACK = 1e-6  # rounding of the objective must not stop the last steps


class Prior(NamedTuple):
    """A prior's value, gradient and curvature at some θ."""

    value: Float[Array, ""]
    gradient: Float[Array, " code"]
    curvature: Float[Array, "code code"]


def ridge(code: Float[Array, " code"], penalty: Number) -> Prior:
    """``ρ/2 ‖θ‖²``."""
    value = 0.5 * penalty * code @ code
    return Prior(value, penalty * code, penalty * jnp.eye(len(code)))


def divergence(
    code: Float[Array, " code"], center: Float[Array, " code"], strength: Number
) -> Prior:
    """``κ KL(softmax θ ‖ w̄)``."""
    log_weight = jax.nn.log_softmax(code)
    weight, excess = jnp.exp(log_weight), log_weight - jnp.log(center)
    fisher = jnp.diag(weight) - weight[:, None] * weight[None, :]
    return Prior(strength * weight @ excess, strength * (fisher @ excess), strength * fisher)


def minimize(
    logits: Callable[[jax.Array], jax.Array],
    prior: Callable[[jax.Array], Prior],
    start: Float[Array, " code"],
    answers: Answers,
) -> Float[Array, " code"]:
    """θ of the module's equation.

    Args:
        logits: s of every answered pair.
        prior: Value, gradient and curvature.
        start: Where the steps begin.
        answers: Labels and weights; rows of weight 0 must be clean.
    """

    def objective(code):
        loss = softplus_loss(logits(code), answers.label)
        return answers.weight @ loss + prior(code).value

    def step(state, _):
        code, value, damping = state
        slope, probability = jax.jacobian(logits)(code), jax.nn.sigmoid(logits(code))
        bent = answers.weight * probability * (1 - probability)
        _, gradient, curvature = prior(code)
        gradient = gradient + slope.T @ (answers.weight * (probability - answers.label))
        curvature = curvature + (slope * bent[:, None]).T @ slope
        trial = code - jnp.linalg.solve(curvature + damping * jnp.eye(len(code)), gradient)
        reached = objective(trial)
        better = reached <= value + SLACK * (1 + jnp.abs(value))
        code, value = jnp.where(better, trial, code), jnp.where(better, reached, value)
        damping = jnp.clip(damping * jnp.where(better, 0.3, 5.0), 1e-5, 1e5)
        return (code, value, damping), None

    begun = start, objective(start), jnp.full_like(start[0], 0.1)
    (code, _, _), _ = jax.lax.scan(step, begun, None, length=NUM_STEPS)
    return code


def simplex_weights(
    logits: Callable[[jax.Array], jax.Array],
    center: Float[Array, " component"],
    strength: Number,
    answers: Answers,
) -> Float[Array, " component"]:
    """Weights on the simplex under ``κ KL(w ‖ w̄)``; without answers exactly w̄.

    Args:
        logits: s of every answered pair as a function of w.
        center: w̄, positive.
        strength: κ > 0, in answers.
        answers: Labels and weights; rows of weight 0 must be clean.
    """
    start = jnp.log(center)
    code = minimize(
        lambda code: logits(jax.nn.softmax(code)),
        lambda code: divergence(code, center, strength),
        start,
        answers,
    )
    return jnp.where(jnp.any(answers.weight > 0), jax.nn.softmax(code), center)
