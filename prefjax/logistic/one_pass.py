"""The Newton solve of `prefjax.logistic.newton` for accelerators: a step reads the answers once.

The equations, the stopping rule and the safeguard are those of that module, but the bound of a step
is ``D = Σ_j max_i |f_ij| |d_j| ≥ max_i |f_i·d|``, which needs no second look at the answers. Every
number of the algebra is one vector over the users, so that XLA forms all sums over the answers in
one kernel and makes few of what follows. Sums that no step changes are formed beside the others
rather than stored. On a CPU, where a block of users stays in the cache, that only costs.
"""

import functools
import operator
from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from prefjax.logistic.newton import Block, LogisticFit, NewtonConfig, Status
from prefjax.numerics import solve_positive

Vectors: TypeAlias = list[jax.Array]
"""For every factor one number of each user."""

MOST_FACTORS = 12
MOST_PRODUCTS = 1152
"""Numbers of answers times products f_i f_j, beyond which the compiled expression is too long."""


class _Sums(NamedTuple):
    gradient: Vectors
    hessian: list[Vectors]  # lower triangle
    load: Vectors  # Σ_i w_i |f_ij|
    square: Vectors  # Σ_i w_i f_ij²
    widest: Vectors  # max_i |f_ij|


class _State(NamedTuple):
    point: Vectors
    direction: Vectors
    length: jax.Array
    reach: jax.Array
    num_steps: jax.Array
    active: jax.Array
    ended: jax.Array


def fits(num_pairs: int, num_factors: int) -> bool:
    """Whether the answers of a user can be summed in one compiled expression."""
    return num_factors <= MOST_FACTORS and num_pairs * num_factors**2 <= MOST_PRODUCTS


def _dot(left: Iterable[jax.Array], right: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.add, map(operator.mul, left, right))


def _all(conditions: Iterable[jax.Array]) -> jax.Array:
    return functools.reduce(operator.and_, conditions)


class _Answers(NamedTuple):
    features: jax.Array  # pair, factor, user
    label: jax.Array  # user, pair: as they lie
    sample_weight: jax.Array
    offset: jax.Array


def _add_up(answers: _Answers, point: Vectors) -> _Sums:
    """All sums over the answers at a point, the prior's part left out."""
    num_pairs, num_factors, _ = answers.features.shape
    zero = jnp.zeros(answers.label.shape[0], answers.features.dtype)
    zeros = [zero] * num_factors
    total = _Sums(zeros, [[zero] * (i + 1) for i in range(num_factors)], zeros, zeros, zeros)
    offset = jnp.broadcast_to(answers.offset, (answers.offset.shape[0], num_pairs))
    for index in range(num_pairs):
        f = [answers.features[index, j] for j in range(num_factors)]
        label, weight = answers.label[:, index], answers.sample_weight[:, index]
        counts = weight > 0
        p = jax.nn.sigmoid(_dot(f, point) + offset[:, index])
        likely = jnp.where(counts, weight * p, 0)
        residual = jnp.where(counts, weight * (p - label), 0)
        curved = [likely * (1 - p) * x for x in f]
        # Written with p, the weight belongs to the kernel of the sums that need p.
        whole = likely + jnp.where(counts, weight * (1 - p), 0)
        size = [jnp.where(whole > 0, jnp.abs(x), 0) for x in f]
        loads = [whole * x for x in size]
        total = _Sums(
            [t + residual * x for t, x in zip(total.gradient, f, strict=True)],
            [[t + c * f[j] for j, t in enumerate(row)]
             for row, c in zip(total.hessian, curved, strict=True)],
            [t + x for t, x in zip(total.load, loads, strict=True)],
            [t + x * y for t, x, y in zip(total.square, loads, size, strict=True)],
            [jnp.maximum(t, x) for t, x in zip(total.widest, size, strict=True)],
        )  # fmt: skip
    return jax.lax.optimization_barrier(total)


def solve_block(block: Block, config: NewtonConfig) -> LogisticFit:
    """Fit the users of a block whose shape `fits`; the result has the user axis first."""
    num_factors, num_users = block.features.shape[1], block.label.shape[1]
    factors = range(num_factors)
    dtype = block.features.dtype
    eps = float(jnp.finfo(dtype).eps)
    tolerance = max(config.tolerance, 8 * eps)
    mean, precision = list(block.mean), [list(row) for row in block.precision]
    answers = _Answers(
        block.features, block.label.T, block.sample_weight.T, jnp.asarray(block.offset).T
    )

    def times(vector: Sequence[jax.Array], matrix: Sequence[Vectors] = precision) -> Vectors:
        return [_dot(row, vector) for row in matrix]

    def evaluate(answers: _Answers, point: Vectors) -> tuple[_Sums, Vectors]:
        """The sums with the prior's part, and what is added to the Hessian's diagonal."""
        sums = _add_up(answers, point)
        held = times([x - m for x, m in zip(point, mean, strict=True)])
        bound = [precision[j][j] + sums.square[j] / 4 for j in factors]
        sums = sums._replace(
            gradient=[g + h for g, h in zip(sums.gradient, held, strict=True)],
            hessian=[[sums.hessian[i][j] + precision[i][j] for j in range(i + 1)] for i in factors],
        )
        return sums, [jnp.where(b > 0, 8 * eps * b, 1) for b in bound]

    def step(state: _State) -> _State:
        # Through the barrier the answers are no invariant of the loop, of which XLA would compute
        # and store before the loop what depends on nothing else.
        here, *point = jax.lax.optimization_barrier((answers, *state.point))
        trial = [x + state.length * d for x, d in zip(point, state.direction, strict=True)]
        sums, jitter = evaluate(here, trial)
        gradient = sums.gradient
        raised = [jnp.stack([*row[:-1], row[-1] + jitter[i]]) for i, row in enumerate(sums.hessian)]
        direction = [-x for x in solve_positive(raised, jnp.stack(gradient))]
        reach = _dot(sums.widest, [jnp.abs(d) for d in direction])
        finite = jnp.isfinite(reach)  # if not, the user stops, and the direction is not taken

        # 1.79 solves exp(x) - x - 1 = x²; a shortened step is safe by construction.
        safe = (state.length * state.reach <= 1.79) | (state.length < 1)
        accept = state.active & (safe | (_dot(gradient, state.direction) <= 0))
        slope = _dot(gradient, direction)
        distance = [jnp.abs(x - m) for x, m in zip(trial, mean, strict=True)]
        terms = times(distance, [[jnp.abs(p) for p in row] for row in precision])
        limit = [tolerance * (a + b) for a, b in zip(sums.load, terms, strict=True)]
        small = _all(jnp.abs(gradient[j]) <= limit[j] for j in factors)
        next_small = _all(0.6 * sums.widest[j] * -slope <= limit[j] for j in factors)
        # A gradient that vanishes while steps stay long: a minimum only if the prior bounds it.
        free = small & (_dot(direction, times(direction)) <= -1e-3 * slope)
        ended = accept & finite & (free | ((reach <= 0.5) & (small | next_small)))
        shorter = jnp.log1p(state.reach) / jnp.maximum(state.reach, 1)

        def chosen(new: Vectors, old: Vectors) -> Vectors:
            return [jnp.where(accept, n, o) for n, o in zip(new, old, strict=True)]

        return _State(
            point=chosen(trial, point),
            direction=chosen(direction, state.direction),
            length=jnp.where(accept, 1, shorter),
            reach=jnp.where(accept, reach, state.reach),
            num_steps=state.num_steps + state.active,
            active=state.active & ~ended & (finite | ~accept),
            ended=state.ended | ended,
        )

    def unfinished(carry):
        count, state = carry
        return (count < config.max_steps) & jnp.any(state.active)

    zero = jnp.zeros(num_users, dtype)
    start = _State(
        point=[jnp.broadcast_to(m, (num_users,)) for m in mean],
        direction=[zero] * num_factors,
        length=jnp.ones(num_users, dtype),
        reach=zero,
        num_steps=jnp.zeros(num_users, jnp.int32),
        active=jnp.ones(num_users, bool),
        ended=jnp.zeros(num_users, bool),
    )
    _, state = jax.lax.while_loop(unfinished, lambda c: (c[0] + 1, step(c[1])), (0, start))
    reached = state.ended & (state.reach <= 0.5)
    point = [
        x + jnp.where(reached, d, 0) for x, d in zip(state.point, state.direction, strict=True)
    ]
    # Apart from the loop, so that nothing is evaluated for a caller who reads only the weight.
    sums, jitter = evaluate(answers, point)
    curved = [
        (sums.hessian[j][j] > jitter[j]) | (precision[j][j] + sums.square[j] <= 0) for j in factors
    ]
    converged = reached & _all(curved)
    no_data = ~jnp.any(block.sample_weight > 0, axis=0)
    status = jnp.where(state.ended, Status.SEPARABLE, Status.NOT_CONVERGED)
    status = jnp.where(converged, Status.OK, status)
    status = jnp.where(no_data, Status.NO_DATA, status)
    whole = [[sums.hessian[max(i, j)][min(i, j)] for j in factors] for i in factors]
    return LogisticFit(
        weights=jnp.stack(point, axis=1),
        hessian=jnp.stack([jnp.stack(row, axis=1) for row in whole], axis=1),
        gradient_norm=jnp.max(jnp.abs(jnp.stack(sums.gradient)), axis=0),
        num_steps=state.num_steps,
        converged=converged | no_data,
        status=status.astype(jnp.int32),
    )
