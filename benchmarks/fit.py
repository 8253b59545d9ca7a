"""The public fit, penalties learned and people integrated out, against Adam and scikit-learn.

``python -m benchmarks.fit [--small]``. Two sizes: the example of the README (240 responses, 20,160
comparisons), and the shape of PRISM (1,500 people, 2,262 pairs of responses × 50 people, embeddings
of 896 numbers, J = 6; planted base rewards). ``first`` compiles, without a cache on disk; the other
times are medians of further calls at the same shapes.

``block`` is the fit at the penalties that the search chose; ``adam`` is optax Adam on all rows of
the same bound, by the same people's posteriors (means and Cholesky factors) and the same base
rewards, from the same start, until its loss is within 0.1 % of that of ``block``, at the best of
three rates; neither may end 0.1 % below the other. ``logistic_regression_cv`` is scikit-learn's on
the pooled rows, one reward for everybody with the strength chosen of eight by three folds: what
people buy who do not care who said what. Some ten minutes, most of it scikit-learn's.
"""

import argparse
import warnings
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.linear_model import LogisticRegressionCV

import prefjax
from benchmarks import timing
from prefjax import basis
from prefjax.basis import em
from prefjax.basis._fit import as_arrays, fit_utility, start_program
from prefjax.basis.head_fit import feature_gap
from prefjax.basis.state import DEFAULT
from prefjax.data.attributes import WorldConfig, make_world
from prefjax.encoders import HashedConfig, make_hashed
from prefjax.types import Comparisons

NUM_FACTORS = 6
CLOSE = 1e-3
RATES = (0.003, 0.01, 0.03)
MAX_ADAM_STEPS = 2000


def make_readme():
    """Comparisons and embeddings of the example in the README."""
    world = make_world(WorldConfig(num_prompts=20, responses_per_prompt=12), seed=0)
    encoder = make_hashed(HashedConfig(dimension=128))
    return world.dataset.comparisons, encoder.encode(world.dataset.responses)


def make_planted(num_users, num_pairs, per_pair, num_inputs, seed=0):
    """Random people on every pair, by planted base rewards over embeddings of falling spectrum."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(2 * num_pairs, num_inputs)) / np.sqrt(1 + np.arange(num_inputs))
    kernel = rng.normal(size=(num_inputs, NUM_FACTORS + 1)) / np.sqrt(num_inputs)
    weights = rng.normal(size=(num_users, NUM_FACTORS))
    first = 2 * np.repeat(np.arange(num_pairs), per_pair)
    user = rng.integers(num_users, size=len(first))
    gap = (embeddings[first] - embeddings[first + 1]) @ kernel
    logit = np.sum(weights[user] * gap[:, :-1], axis=1) + gap[:, -1]
    label = rng.random(len(first)) < 1 / (1 + np.exp(-2 * logit / logit.std()))
    rows = Comparisons(
        user=user.astype(np.int32),
        first=first.astype(np.int32),
        second=(first + 1).astype(np.int32),
        label=label.astype(np.float32),
        sample_weight=np.ones(len(first), np.float32),
    )
    return rows, embeddings.astype(np.float32)


@partial(jax.jit, static_argnames=("config",))
def adam(state, problem, penalties, target, rate, config):
    """Steps of Adam until the bound is above ``target``; how many, and the bound reached."""
    optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=rate)
    total = jnp.sum(problem.rows.sample_weight)

    def loss(params):
        head, mean, root = params
        table = em.embed(head, problem.embeddings)
        features, offset = em.split(feature_gap(table, problem.rows, problem.num_responses))
        moved = state._replace(head=head, mean=mean, covariance=root @ root.swapaxes(1, 2))
        told = features, offset, problem.rows, penalties, config.bound
        return -em.objective(moved, *told) / total

    def step(carry):
        params, moments, _, count = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, moments = optimizer.update(gradient, moments, params)
        return optax.apply_updates(params, updates), moments, value, count + 1

    def unfinished(carry):
        return (carry[2] * total > -target) & (carry[3] < MAX_ADAM_STEPS)

    params = state.head, state.mean, jnp.linalg.cholesky(state.covariance)
    init = params, optimizer.init(params), jnp.asarray(jnp.inf), 0
    _, _, value, count = jax.lax.while_loop(unfinished, step, init)
    return count, -value * total


def start_of(problem, penalties, config):
    """Where `fit_block` and Adam start."""
    utility = fit_utility(problem, penalties.utility, config)
    return start_program(jax.random.key(0), problem, utility, config)


def pooled(rows, embeddings):
    """scikit-learn's logistic regression for everybody, its strength chosen by three folds."""
    gap = embeddings[rows.first] - embeddings[rows.second]
    settings: Any = {"l1_ratios": (0.0,), "use_legacy_attributes": False}
    model = LogisticRegressionCV(Cs=8, cv=3, fit_intercept=False, **settings)
    return model.fit(gap, rows.label > 0.5).coef_


def main():
    """Checks agreement, times, prints one line of JSON."""
    parser = argparse.ArgumentParser(description="The public fit, timed.")
    parser.add_argument("--small", action="store_true", help="a size that takes seconds")
    small = parser.parse_args().small
    jax.config.update("jax_enable_compilation_cache", False)
    size = (150, 200, 20, 64) if small else (1500, 2262, 50, 896)
    repeats = 2 if small else 3

    readme, planted = make_readme(), make_planted(*size)
    calls: dict[str, Any] = {"readme": partial(prefjax.fit, *readme)}
    calls["fit"] = partial(prefjax.fit, *planted, num_users=size[0])
    first = {f"{name}_first": timing.first_call(call) for name, call in calls.items()}

    problem = basis.make_problem(*planted, num_users=size[0])
    _, _, searched = basis.fit(jax.random.key(0), problem)
    penalties = as_arrays(searched.penalties)._replace(posterior_scale=np.float32(1.0))
    block = partial(basis.fit_block, jax.random.key(0), problem, penalties)
    _, _, info = block()
    reached = float(np.asarray(info.objective)[int(info.num_steps) - 1])
    print(f"block {reached:.1f} after {int(info.num_steps)} rounds")
    target = reached - CLOSE * abs(reached)
    start = start_of(problem, penalties, DEFAULT)
    runs = {rate: adam(start, problem, penalties, target, rate, config=DEFAULT) for rate in RATES}
    for rate, (count, value) in runs.items():
        print(f"adam {rate:<6} {float(value):.1f} after {int(count)} steps")
    best = min(RATES, key=lambda rate: int(runs[rate][0]))
    value = float(runs[best][1])
    if abs(value - reached) > CLOSE * abs(reached):
        raise AssertionError(f"block ends at {reached:.1f} and Adam at {value:.1f}")

    calls["block"] = block
    calls["adam"] = partial(adam, start, problem, penalties, target, best, config=DEFAULT)
    seconds = first | timing.interleaved(calls, repeats)
    seconds["logistic_regression_cv"] = timing.first_call(partial(pooled, *planted))
    for name, value in seconds.items():
        print(f"{name:24} {value:8.3f} s")
    ratios = {
        "adam": seconds["adam"] / seconds["block"],
        "logistic_regression_cv": seconds["logistic_regression_cv"] / seconds["fit"],
    }
    names = "users", "pairs", "per_pair", "inputs"
    sizes = {"readme": len(readme[0].user), "fit": dict(zip(names, size, strict=True))}
    print(timing.report("fit", sizes, seconds, ratios))


if __name__ == "__main__":
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        main()
