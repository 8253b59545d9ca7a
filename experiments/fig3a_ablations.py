"""What do the start by SVD and the regularization bring? Fig. 3A of the paper.

    python -m experiments.fig3a_ablations smoke     # three seeds
    python -m experiments.fig3a_ablations paper     # ten seeds

Expected (paper, 1.5 minutes of one core), new people, mean and standard deviation over seeds:
``pref`` .740, .0012; ``pref-map`` .733, .0000; without penalty .729, .0000; ``adam`` .734, .0000;
from a random start .734, .0001; without penalty .726, .0001. Without penalties the mean falls, as
published. The spread does not grow, since there is none to grow: every fit runs to its optimum,
the shared utility takes what used to depend on the start, and each new person is solved exactly.
What is left of it in ``pref`` is the draw of the people on whom the strengths are learned.

One world of Attributes (simulated people, real differences in text), ten seeds of everything random
in the fit. Published: without SVD or without regularization the mean falls and the spread over
seeds grows. Side by side, on the same rows:

    pref                      the default: marginal fit, learned strengths
    pref-map                  joint MAP as published, penalties chosen on held-out people
    pref-map, no penalty      the same with penalties a thousandth as strong
    adam                      joint MAP by Adam from a start by SVD, as the published code trains
    adam, random start        the same from a random start
    adam, no penalty          the same with penalties a thousandth as strong

``seen`` are training people on new prompts, with the answers they trained with; ``new`` are new
people after 20 answers.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from prefjax import basis, metrics
from prefjax.basis import EMConfig, Strength
from prefjax.basis.rows import gap
from prefjax.basis.svd import start as singular_start
from prefjax.data.attributes import WorldConfig, make_world, split_world
from prefjax.encoders import make_hashed
from prefjax.families import Data, gather, get_family, make_data, pref, score
from prefjax.families.descent import adam, mean_loss
from prefjax.lab import compare, plots, runs
from prefjax.types import GaussianPrior


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        num_seeds: Seeds of the fit, of one world.
        world: Size and noise of the world.
        world_seed: Its seed.
        num_inputs: Principal components of the text embedding.
        num_answers: Answers of a new person.
        num_steps: Steps of Adam.
        learning_rate: Of Adam.
        penalty: Of a response's base reward, in the fits by joint MAP.
        weakened: Factor of all penalties where they are said to be off.
    """

    num_seeds: int = 10
    world: WorldConfig = field(default_factory=WorldConfig)
    world_seed: int = 0
    num_inputs: int = 64
    num_answers: int = 20
    num_steps: int = 1000
    learning_rate: float = 0.02
    penalty: float = 1.0
    weakened: float = 1e-3


PRESETS = {"smoke": Config(num_seeds=3, num_steps=300), "paper": Config()}
NUM_FACTORS = 6


def joint(key: Any, data: Data, config: Config, strength: float) -> pref.Params:
    """Joint MAP to its optimum, from the start by SVD."""
    fitted = basis.fit_block(
        key,
        data.rows,
        data.embeddings,
        Strength(jnp.float32(strength), jnp.float32(0.1 * strength), jnp.float32(0.0)),
        num_users=len(data.count),
        num_responses=len(data.embeddings),
        config=EMConfig(num_factors=NUM_FACTORS),
    )
    return ridge(jnp.asarray(fitted.head), config.penalty)


def descent(key: Any, data: Data, config: Config, strength: float, start: str) -> pref.Params:
    """Joint MAP by Adam, from the singular directions or from noise."""
    table = data.embeddings / jnp.sqrt(data.scale)
    shape = table.shape[1], NUM_FACTORS
    num_users = len(data.count)
    head_key, user_key, begin_key = jax.random.split(key, 3)
    if start == "svd":
        begun = singular_start(
            begin_key,
            data.rows,
            table,
            Strength(jnp.float32(1.0), jnp.float32(0.1), jnp.float32(0.0)),
            num_users,
            len(table),
            EMConfig(num_factors=NUM_FACTORS),
        )
        head, weight = jnp.asarray(begun.head), jnp.asarray(begun.mean)
    else:
        head = jax.random.normal(head_key, (shape[0], shape[1] + 1)) / jnp.sqrt(shape[0])
        weight = jax.random.normal(user_key, (num_users, shape[1]))
    total = jnp.sum(data.rows.sample_weight)

    def loss(params):
        head, weight = params
        described = gap(table @ head, data.rows)
        own = weight[data.rows.user][:, None, :]
        logit = jnp.sum(described[..., :-1] * own, axis=-1) + described[..., -1]
        squares = jnp.sum(jnp.square(head[:, :-1])) + 0.1 * jnp.sum(jnp.square(head[:, -1]))
        penalty = strength * (squares + jnp.sum(jnp.square(weight)))
        return mean_loss(logit, data.rows) + 0.5 * penalty / total

    head, _ = adam(
        loss, (head, weight), num_steps=config.num_steps, learning_rate=config.learning_rate
    )
    return ridge(head / jnp.sqrt(data.scale), config.penalty)


def ridge(head: jax.Array, beta: float) -> pref.Params:
    """Base rewards with the zero-mean prior of eq. 5."""
    eye = beta * jnp.eye(NUM_FACTORS)
    return pref.Params(head=head, prior=GaussianPrior(jnp.zeros(NUM_FACTORS), eye))


def default(key: Any, data: Data, config: Config) -> pref.Params:
    """The default fit."""
    family = get_family("pref")
    return family.fit(key, data, family.config)


def methods(config: Config) -> dict[str, Callable[..., pref.Params]]:
    """Fits by name; each is ``fit(key, data, config)``."""
    strong, weak = config.penalty, config.weakened * config.penalty
    return {
        "pref": default,
        "pref-map": partial(joint, strength=strong),
        "pref-map, no penalty": partial(joint, strength=weak),
        "adam": partial(descent, strength=strong, start="svd"),
        "adam, random start": partial(descent, strength=strong, start="random"),
        "adam, no penalty": partial(descent, strength=weak, start="svd"),
    }


def run(config: Config) -> runs.Result:
    """AUC of seen and of new people under every fit and seed."""
    world = make_world(config.world, config.world_seed)
    split = split_world(world, new_users=0.2, seed=config.world_seed)
    texts = make_hashed().encode(world.dataset.responses)
    table = compare.text_block(texts, world.seen.reshape(-1), config.num_inputs)
    data = make_data(split.train, table, num_users=len(split.known_users), unit=split.group)
    family = get_family("pref")
    practice = gather(table, split.by_user("train", 60))
    people = {
        "seen": (practice, gather(table, split.by_user("validation", config.world.test_length))),
        "new": (
            gather(table, split.by_user("calibration", config.num_answers)),
            gather(table, split.by_user("test")),
        ),
    }

    @jax.jit
    def auc(params, answers, tests):
        states = jax.vmap(family.adapt, in_axes=(None, 0, None))(params, answers, family.config)
        logit = score(family, params, states, tests)
        each = jax.vmap(metrics.auc)(logit, tests.label, tests.sample_weight > 0)
        return jnp.nanmean(each)

    rows, lines = [], ["| method | seen people | new people |", "|---|---|---|"]
    for name, fit in methods(config).items():
        compiled = jax.jit(partial(fit, config=config))
        values = {kind: [] for kind in people}
        for seed in range(config.num_seeds):
            params = compiled(jax.random.key(seed), data)
            for kind, (answers, tests) in people.items():
                value = float(auc(params, answers, tests))
                values[kind].append(value)
                rows.append(
                    {
                        "method": name,
                        "dataset": f"attributes, {kind} people",
                        "seed": seed,
                        "num_answers": config.num_answers,
                        "metric": "auc_user",
                        "value": value,
                    }
                )
        shown = (f"{np.mean(v):.3f}, spread {np.std(v, ddof=1):.4f}" for v in values.values())
        lines.append(f"| {name} | " + " | ".join(shown) + " |")
    lines.append("\nSpread is the standard deviation over seeds of the fit. People are simulated.")
    return runs.Result(rows=rows, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """Every seed as a point, one column a fit."""
    return plots.strip(result.table)


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
