"""Joint MAP of a sparse matrix of votes: block solves against Adam, sparse start against dense SVD.

``python -m benchmarks.factorization [--small]``. 1,500 users × 2,262 items, 50 votes an item
(113,100 in all), J = 6, β = 1, γ = .1; planted factors, labels drawn from the model.

``fit`` is the whole program, start included, stopped when a round gains less than 1e-4 of the
objective; it must end within 0.1 % of the optimum that SciPy's L-BFGS finds in float64.
``fit_converged`` is the same at the default tolerance. ``adam`` is full-batch optax Adam from the
same start, given the optimum: it stops as soon as it is within 0.1 %, at the best of three rates.

``start`` is the start alone; its directions must hold 99 % of what NumPy's dense SVD holds.
``dense_svd`` is the published start, ten dense imputations; a fit from it must reach the optimum
too. About four minutes, most of it the dense decompositions.
"""

import argparse
import json
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from scipy.optimize import minimize
from scipy.special import expit

from benchmarks import timing
from prefjax.basis import (
    AlternatingConfig,
    Factors,
    alternating,
    dense_imputation,
    make_matrix,
)
from prefjax.metrics import subspace_angles
from prefjax.types import BASELINE, Comparisons

NUM_FACTORS = 6
CLOSE = 1e-3
RATES = (0.03, 0.1, 0.3)
MAX_ADAM_STEPS = 2000


def make_votes(num_users, num_items, votes_per_item, seed=0):
    """Votes of random users on every item, drawn from planted factors."""
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(num_users, NUM_FACTORS))
    features = rng.normal(size=(num_items, NUM_FACTORS)) * 1.5 / np.sqrt(NUM_FACTORS)
    user = [rng.choice(num_users, votes_per_item, replace=False) for _ in range(num_items)]
    user, item = np.concatenate(user), np.repeat(np.arange(num_items), votes_per_item)
    probability = expit(np.sum(weight[user] * features[item], axis=1))
    return Comparisons(
        user=user.astype(np.int32),
        first=item.astype(np.int32),
        second=np.full(len(user), BASELINE, np.int32),
        label=(rng.random(len(user)) < probability).astype(np.float32),
        sample_weight=np.ones(len(user), np.float32),
    )


def find_optimum(votes, start, config):
    """Smallest objective that L-BFGS finds in float64 from the start."""
    user, item, label = votes.user, votes.first, votes.label.astype(np.float64)
    num_users = len(start.weights)
    shape = (num_users + len(start.features), NUM_FACTORS)
    penalty = np.full((shape[0], 1), config.item_penalty)
    penalty[:num_users] = config.user_penalty

    def loss(flat):
        table = flat.reshape(shape)
        weight, features = table[user], table[num_users + item]
        logit = np.sum(weight * features, axis=1)
        residual = (expit(logit) - label)[:, None]
        gradient = penalty * table
        pulls = np.concatenate([residual * features, residual * weight])
        target = np.concatenate([user, num_users + item])
        for j in range(NUM_FACTORS):
            gradient[:, j] += np.bincount(target, pulls[:, j], shape[0])
        value = np.sum(np.logaddexp(0, logit) - label * logit) + np.sum(penalty * table**2) / 2
        return value, gradient.ravel()

    begun = np.concatenate([start.weights, start.features]).astype(np.float64)
    options = {"maxiter": 1000, "maxfun": 2000, "maxcor": 20}
    return minimize(loss, begun.ravel(), jac=True, method="L-BFGS-B", options=options).fun


def make_adam(matrix, config, target):
    """Adam from a start until its loss is at most ``target``; the step count and the loss."""

    @jax.jit
    def descend(start, rate):
        optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=rate)

        def loss(tables):
            weight, features = tables
            factors = Factors(weight, features, start.offset)
            return alternating.objective(factors, matrix.by_user, config)

        def step(carry):
            tables, state, _, count = carry
            value, gradient = jax.value_and_grad(loss)(tables)
            updates, state = optimizer.update(gradient, state, tables)
            return optax.apply_updates(tables, updates), state, value, count + 1

        def unfinished(carry):
            return (carry[2] > target) & (carry[3] < MAX_ADAM_STEPS)

        tables = (start.weights, start.features)
        begun = (tables, optimizer.init(tables), jnp.asarray(jnp.inf), 0)
        _, _, value, count = jax.lax.while_loop(unfinished, step, begun)
        return count, value

    return descend


def main():
    parser = argparse.ArgumentParser(description="Joint MAP of a matrix of votes, timed.")
    parser.add_argument("--small", action="store_true", help="a size that takes seconds")
    small = parser.parse_args().small
    num_users, num_items, per_item = (300, 400, 120) if small else (1500, 2262, 50)
    repeats = 3 if small else 5

    votes = make_votes(num_users, num_items, per_item)
    matrix = jax.tree.map(jnp.asarray, make_matrix(votes, num_users, num_items))
    config = AlternatingConfig(num_factors=NUM_FACTORS)
    key = jax.random.key(0)
    rough = AlternatingConfig(num_factors=NUM_FACTORS, tolerance=1e-4)
    calls: dict[str, Any] = {
        "fit": jax.jit(partial(alternating.fit, config=rough)),
        "fit_converged": jax.jit(partial(alternating.fit, config=config)),
        "start": jax.jit(partial(alternating.init, config=config)),
    }
    for name, call in calls.items():
        print(f"{name:14} first call {timing.first_call(partial(call, key, matrix)):6.2f} s")

    start = alternating.turn(calls["start"](key, matrix), config)
    optimum = find_optimum(votes, jax.tree.map(np.asarray, start), config)
    target = (1 + CLOSE) * optimum
    print(f"optimum        {optimum:.1f} (L-BFGS, float64)")
    for name in ("fit", "fit_converged"):
        fitted = calls[name](key, matrix)
        reached = float(fitted.objective[fitted.num_rounds])
        print(f"{name:14} {reached:.1f} after {int(fitted.num_rounds)} rounds")
        if reached > target:
            raise AssertionError(f"{name} ended at {reached}, not within {CLOSE} of {optimum}")

    adam = make_adam(matrix, config, target)
    runs = {rate: adam(start, rate) for rate in RATES}
    for rate, (count, value) in runs.items():
        print(f"adam {rate:<9} {float(value):.1f} after {int(count)} steps")
    best = min(RATES, key=lambda rate: int(runs[rate][0]))
    if runs[best][1] > target:
        raise AssertionError(f"adam did not come within {CLOSE} of {optimum} at any rate")

    dense = np.full((num_users, num_items), np.nan, np.float32)
    dense[votes.user, votes.first] = votes.label
    centred = np.nan_to_num(dense - 0.5)
    _, values, right = np.linalg.svd(centred, full_matrices=False)
    angle = subspace_angles(np.asarray(start.features).T, right[:NUM_FACTORS]).max()
    axes = np.linalg.qr(start.features)[0]
    captured = np.sum((centred @ axes) ** 2) / np.sum(values[:NUM_FACTORS] ** 2)
    print(
        f"start          holds {captured:.4f} of what NumPy's SVD does, {angle:.1f} degrees apart"
    )
    if captured < 0.99:
        raise AssertionError("the sparse start has other directions than the dense SVD")
    begun = Factors(*dense_imputation(dense, NUM_FACTORS), np.zeros(num_items, np.float32))
    imputed = jax.jit(partial(alternating.fit, config=config))(
        key, matrix, start=jax.tree.map(jnp.asarray, begun)
    )
    reached = float(imputed.objective[imputed.num_rounds])
    print(f"from dense_svd {reached:.1f} after {int(imputed.num_rounds)} rounds")
    if reached > target:
        raise AssertionError("the fit from ten dense imputations ends elsewhere")

    candidates = {name: partial(call, key, matrix) for name, call in calls.items()}
    candidates["adam"] = partial(adam, start, best)
    seconds = timing.interleaved(candidates, repeats)
    published = partial(dense_imputation, dense, NUM_FACTORS)
    seconds["dense_svd"] = float(np.median([timing.first_call(published) for _ in range(3)]))
    for name, value in seconds.items():
        print(f"{name:14} {value:8.3f} s")
    result = {
        "benchmark": "factorization",
        "device": jax.devices()[0].device_kind,
        "sizes": {"users": num_users, "items": num_items, "votes": len(votes.user)},
        "seconds": seconds,
        "ratios": {
            "adam": seconds["adam"] / seconds["fit"],
            "dense_svd": seconds["dense_svd"] / seconds["start"],
        },
        "agrees": True,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
