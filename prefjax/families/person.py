"""One person's vector under a frozen reward that is not linear in it: damped Newton steps.

    θ = argmin F(θ),  F = Σ_i w_i ℓ(s_i(θ), y_i) + prior(θ),    (∇²F + γI) d = −∇F

γ falls when a step lowers F and grows when it does not, in which case the step is not taken, so
that a Hessian that is not positive does no harm. Steps end when one with little damping gains
nothing that float32 can tell. Weights on the simplex are w = softmax θ with the
prior κ KL(w ‖ w̄); exponentiated gradient has the same minimum and needs hundreds of steps for it.

References:
    Levenberg (1944); Marquardt (1963). Kivinen and Warmuth (1997), for exponentiated gradient.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Float

from prefjax.families.answers import Answers
from prefjax.families.config import Number
from prefjax.numerics import softplus_loss
from prefjax.types import Array

NUM_STEPS = 40
SLACK = 1e-6  # rounding of the objective must not stop the last steps
FREE = 0.03  # damping below which a step is Newton's own


def minimize(
    logits: Callable[[jax.Array], Array],
    prior: Callable[[jax.Array], jax.Array],
    start: Float[Array, " code"],
    answers: Answers,
) -> Float[Array, " code"]:
    """θ of the module's equation.

    Args:
        logits: s of every answered pair.
        prior: Its negative logarithm, up to a constant.
        start: Where the steps begin.
        answers: Labels and weights; rows of weight 0 must be clean.
    """

    def objective(code):
        return answers.sample_weight @ softplus_loss(logits(code), answers.label) + prior(code)

    def unfinished(state):
        _, _, _, gain, number = state
        return (number < NUM_STEPS) & (gain > SLACK)

    def step(state):
        code, value, damping, gain, number = state
        hessian = jax.hessian(objective)(code) + damping * jnp.eye(len(code))
        trial = code - jnp.linalg.solve(hessian, jax.grad(objective)(code))
        reached = objective(trial)
        better = reached <= value + SLACK * (1 + jnp.abs(value))
        free = better & (damping < FREE)
        gain = jnp.where(free, (value - reached) / (1 + jnp.abs(value)), jnp.inf)
        code, value = jnp.where(better, trial, code), jnp.where(better, reached, value)
        damping = jnp.clip(damping * jnp.where(better, 0.3, 5.0), 1e-5, 1e5)
        return code, value, damping, gain, number + 1

    damping = jnp.full_like(start[0], 0.1)
    init = start, objective(start), damping, jnp.full_like(damping, jnp.inf), 0
    return jax.lax.while_loop(unfinished, step, init)[0]


def simplex_weights(
    logits: Callable[[jax.Array], Array],
    center: Float[Array, " component"],
    penalty: Number,
    answers: Answers,
) -> Float[Array, " component"]:
    """Weights on the simplex under ``κ KL(w ‖ w̄)``; without answers exactly w̄.

    Args:
        logits: s of every answered pair as a function of w.
        center: w̄, positive.
        penalty: κ > 0, in answers.
        answers: Labels and weights; rows of weight 0 must be clean.
    """
    start = jnp.log(center)

    def divergence(code):
        return penalty * jax.nn.softmax(code) @ (jax.nn.log_softmax(code) - start)

    code = minimize(lambda code: logits(jax.nn.softmax(code)), divergence, start, answers)
    return jnp.where(jnp.any(answers.sample_weight > 0), jax.nn.softmax(code), center)
