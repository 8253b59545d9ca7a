"""Weights of many users: ``jax.vmap(logistic.fit)`` against NumPy, scikit-learn, optax and torch.

``python -m benchmarks.logistic [--small]``. All minimize the same penalized loss, β = .02. The
batched Newton baselines take full steps until the largest gradient of the batch is below 1e-4;
scikit-learn runs in a loop and L-BFGS vmapped, both on a part of the users, scaled up.
Every baseline is checked against float64 scikit-learn before it is timed.
"""

import argparse
import importlib.util
import json
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.linear_model import LogisticRegression

from benchmarks import timing
from prefjax import logistic, numerics

BETA = 0.02
TOLERANCE = 1e-4
MAX_STEPS = 20


def numpy_newton(features, label):
    """Batched Newton, each matrix product a batched BLAS call."""
    weight = np.zeros((features.shape[0], features.shape[2]), features.dtype)
    ridge = BETA * np.eye(features.shape[2], dtype=features.dtype)
    transposed = features.transpose(0, 2, 1)
    for _ in range(MAX_STEPS):
        p = 1 / (1 + np.exp(-(features @ weight[:, :, None])[:, :, 0]))
        gradient = (transposed @ (p - label)[:, :, None])[:, :, 0] + BETA * weight
        if np.abs(gradient).max() < TOLERANCE:
            break
        hessian = (transposed * (p * (1 - p))[:, None, :]) @ features + ridge
        weight = weight - np.linalg.solve(hessian, gradient[:, :, None])[:, :, 0]
    return weight


def torch_newton(torch, features, label):
    """The same in torch, solved by a batched Cholesky factor."""
    weight = torch.zeros(features.shape[0], features.shape[2])
    ridge = BETA * torch.eye(features.shape[2])
    transposed = features.transpose(1, 2).contiguous()
    for _ in range(MAX_STEPS):
        p = torch.sigmoid(torch.bmm(features, weight[:, :, None])[:, :, 0])
        gradient = torch.bmm(transposed, (p - label)[:, :, None])[:, :, 0] + BETA * weight
        if gradient.abs().max() < TOLERANCE:
            break
        hessian = torch.bmm(transposed * (p * (1 - p))[:, None, :], features) + ridge
        factor = torch.linalg.cholesky(hessian)
        weight = weight - torch.cholesky_solve(gradient[:, :, None], factor)[:, :, 0]
    return weight


def sklearn_loop(features, label):
    """One model per user; who gave one label only is skipped, scikit-learn needs both."""
    weight = np.zeros((features.shape[0], features.shape[2]))
    for user, (f, y) in enumerate(zip(features, label, strict=True)):
        if y.min() < y.max():
            model = LogisticRegression(C=1 / BETA, fit_intercept=False, tol=1e-8, max_iter=1000)
            weight[user] = model.fit(f, y).coef_[0]
    return weight


def lbfgs(features, label):
    """optax.lbfgs for one user, 30 steps."""

    def loss(weight):
        fit = jnp.sum(numerics.softplus_loss(features @ weight, label))
        return fit + BETA * jnp.sum(weight**2) / 2

    optimizer = optax.lbfgs()
    value_and_grad = optax.value_and_grad_from_state(loss)

    def step(carry, _):
        weight, state = carry
        value, gradient = value_and_grad(weight, state=state)
        change, state = optimizer.update(
            gradient, state, weight, value=value, grad=gradient, value_fn=loss
        )
        return (optax.apply_updates(weight, change), state), None

    start = jnp.zeros(features.shape[1])
    (weight, _), _ = jax.lax.scan(step, (start, optimizer.init(start)), None, length=30)
    return weight


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="2,048 users instead of 65,536")
    num_users = 2048 if parser.parse_args().small else 65_536
    num_pairs, num_factors = 20, 6
    rng = np.random.default_rng(0)
    features = rng.normal(size=(num_users, num_pairs, num_factors)).astype(np.float32)
    truth = rng.normal(size=(num_users, num_factors))
    chance = 1 / (1 + np.exp(-np.einsum("utj,uj->ut", features, truth)))
    label = (rng.random(chance.shape) < chance).astype(np.float32)
    f, y = jnp.asarray(features), jnp.asarray(label)
    weight = jnp.ones_like(y)
    mean, precision = jnp.zeros(num_factors), BETA * jnp.eye(num_factors)

    fit_users = jax.jit(
        jax.vmap(lambda f, y, w: logistic.fit(f, y, w, mean=mean, precision=precision))
    )
    part = min(num_users, 2048)
    loop = 128
    doubles = features[:loop].astype(float)
    optax_users = jax.jit(jax.vmap(lbfgs))
    candidates = {
        "prefjax": lambda: fit_users(f, y, weight).weights,
        "numpy": lambda: numpy_newton(features, label),
        "optax": lambda: optax_users(f[:part], y[:part]),
        "sklearn": lambda: sklearn_loop(doubles, label[:loop]),
    }
    if importlib.util.find_spec("torch"):
        import torch

        torch_data = torch.from_numpy(features), torch.from_numpy(label)
        candidates["torch"] = lambda: torch_newton(torch, *torch_data)

    both = np.flatnonzero(label[:loop].min(axis=1) < label[:loop].max(axis=1))
    oracle = sklearn_loop(doubles[both], label[:loop][both])
    gaps = {
        n: float(np.abs(np.asarray(c())[:loop][both] - oracle).max()) for n, c in candidates.items()
    }
    limits = {"prefjax": 1e-4, "numpy": 1e-3, "torch": 1e-3, "sklearn": 1e-3, "optax": 1e-2}
    print("largest difference from float64 scikit-learn:", json.dumps(gaps))
    for name, gap in gaps.items():
        if gap > limits[name]:
            raise SystemExit(f"{name} disagrees with scikit-learn by {gap:.2g}; not timed")
    seconds = timing.interleaved(candidates, repeats=3)
    seconds["sklearn"] *= num_users / loop
    seconds["optax"] *= num_users / part
    print(f"scaled to all users: sklearn from {loop}, optax from {part}")
    steps = float(fit_users(f, y, weight).num_steps.sum())
    row_flops = 4 * num_factors + 2 * num_factors * (num_factors + 1) + 30
    roofline = timing.Roofline(
        features.nbytes + 2 * label.nbytes,
        steps * num_pairs * row_flops,
        *timing.measure_ceilings(),
    )
    print(f"roofline {roofline.seconds:.4f} s", json.dumps(roofline._asdict()))
    print(json.dumps(timing.environment()))
    sizes = {"user": num_users, "pair": num_pairs, "factor": num_factors}
    ratios = timing.ratios_to("prefjax", seconds)
    print(timing.report("logistic", sizes, seconds, ratios))


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
