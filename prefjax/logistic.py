r"""One user's weights from their answers: the MAP of a logistic model under a Gaussian prior.

.. math::

    F(λ) = Σ_i w_i ℓ(λ·f_i + o_i, y_i) + ½ (λ-μ)ᵀ P (λ-μ),   ℓ(s, y) = softplus(s) - y s

``f_i`` is the feature gap of answer i, ``o_i`` its offset (the logit that everybody shares),
``y_i`` ∈ [0, 1] its label, ``w_i`` ≥ 0 its weight, ``N(μ, P⁻¹)`` the prior. With p = σ(λ·f + o),

.. math:: g = Fᵀ w (p - y) + P (λ - μ),   H = Fᵀ diag(w p (1-p)) F + P,   d = -H⁻¹ g.

The step is monotone without evaluating F. Along d the third derivative is at most D times the
second, D = max_i |f_i·d|, so a step of length a lowers F if a (exp(aD) - aD - 1) ≤ (aD)²; by
convexity any step at whose end the slope g·d is still negative lowers F too. The full step is
tried first; where neither holds, a = log(1 + D) / D, which is guaranteed, is taken instead.

References:
    PReF, arXiv 2503.06358, Eq. 5. The step: Bach, arXiv 0910.4627, Proposition 2.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Bool, Float, Int

from prefjax.types import Array, GaussianPrior


@dataclass(frozen=True)
class NewtonConfig:
    """When to stop.

    Attributes:
        max_steps: Most evaluations of gradient and Hessian.
        tolerance: Stop when every ``|g_j| ≤ tolerance · (Σ_i w_i |f_ij| + Σ_k |P_jk (λ-μ)_k|)``,
            the size of the terms that must cancel; never below eight units of rounding.
    """

    max_steps: int = 50
    tolerance: float = 1e-6


DEFAULT = NewtonConfig()


class Status(IntEnum):
    """How a fit ended."""

    OK = 0
    NO_DATA = 1
    SEPARABLE = 2
    NOT_CONVERGED = 3


class LogisticFit(NamedTuple):
    """MAP estimate of one user's weights and the curvature there.

    Attributes:
        weight: λ̂; the last, unevaluated Newton step is included.
        hessian: H at the last evaluated point.
        gradient_norm: ‖g‖∞ there.
        num_steps: Evaluations of gradient and Hessian.
        converged: Whether the tolerance was met at a minimum.
        status: A ``Status``.
    """

    weight: Float[Array, " factor"]
    hessian: Float[Array, "factor factor"]
    gradient_norm: Float[Array, ""]
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]
    status: Int[Array, ""]


def fit(
    features: Float[Array, "pair factor"],
    label: Float[Array, " pair"],
    weight: Float[Array, " pair"],
    *,
    prior: GaussianPrior,
    offset: Float[Array, " pair"] | None = None,
    config: NewtonConfig = DEFAULT,
) -> LogisticFit:
    """Minimize the penalized logistic loss of one user by damped Newton steps."""
    offset = jnp.zeros_like(label) if offset is None else offset
    kept = weight > 0
    features = jnp.where(kept[:, None], features, 0)
    label = jnp.where(kept, label, 0.5)
    offset = jnp.where(kept, offset, 0)
    weight = jnp.where(kept, weight, 0)
    eps = float(jnp.finfo(features.dtype).eps)
    tolerance = max(config.tolerance, 8 * eps)
    load = weight @ jnp.abs(features)
    bound = jnp.diagonal(prior.precision) + weight @ (features * features) / 4
    jitter = jnp.where(bound > 0, 8 * eps * bound, 1)

    def evaluate(point):
        p = jax.nn.sigmoid(features @ point + offset)
        shift = point - prior.mean
        gradient = (weight * (p - label)) @ features + prior.precision @ shift
        hessian = (features.T * (weight * p * (1 - p))[None, :]) @ features + prior.precision
        direction = -jnp.linalg.solve(hessian + jnp.diag(jitter), gradient)
        terms = load + jnp.abs(prior.precision) @ jnp.abs(shift)
        small = jnp.all(jnp.abs(gradient) <= tolerance * terms)
        return gradient, hessian, direction, small

    def body(state):
        point, length, direction, reach, gradient, hessian, steps, _ = state
        trial = point + length * direction
        gradient_, hessian_, direction_, small = evaluate(trial)
        x = length * reach
        safe = length * (jnp.expm1(x) - x) <= x * x
        accept = safe | (gradient_ @ direction <= 0) | (length < 1)
        reach_ = jnp.max(jnp.abs(features @ direction_), initial=0)
        free = direction_ @ (prior.precision @ direction_) <= -1e-3 * (gradient_ @ direction_)
        finite = jnp.all(jnp.isfinite(direction_))
        done = accept & ((small & ((reach_ <= 0.5) | free)) | ~finite)

        def pick(new, old):
            return jnp.where(accept, new, old)

        return (
            pick(trial, point),
            pick(jnp.ones_like(length), jnp.log1p(reach) / reach),
            pick(jnp.where(finite, direction_, 0), direction),
            pick(reach_, reach),
            pick(gradient_, gradient),
            pick(hessian_, hessian),
            steps + 1,
            jnp.where(done, jnp.where(finite, 1, 2), 0),
        )

    zero = jnp.zeros_like(prior.mean)
    one = jnp.ones((), features.dtype)
    state = (prior.mean, one, zero, 0 * one, zero, prior.precision, 0, 0)
    state = jax.lax.while_loop(lambda s: (s[-1] == 0) & (s[-2] < config.max_steps), body, state)
    point, _, direction, reach, gradient, hessian, steps, stop = state
    ended = stop == 1
    flat = jnp.any((jnp.diagonal(hessian) <= jitter) & (bound > 0))
    separable = ended & ((reach > 0.5) | flat)
    status = jnp.where(ended, Status.OK, Status.NOT_CONVERGED)
    status = jnp.where(separable, Status.SEPARABLE, status)
    status = jnp.where(jnp.any(kept), status, Status.NO_DATA)
    return LogisticFit(
        weight=point + jnp.where(ended & ~separable, direction, 0),
        hessian=hessian,
        gradient_norm=jnp.max(jnp.abs(gradient)),
        num_steps=steps,
        converged=ended & ~separable,
        status=status,
    )
