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

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from prefjax.basis import EMConfig, Problem, rows, svd
from prefjax.basis._fit import fit_utility
from prefjax.basis.heads import linear_params
from prefjax.data.attributes import WorldConfig
from prefjax.families import Family, gather, get_family
from prefjax.families.descent import adam, mean_loss
from prefjax.lab import compare, plots, row, runs
from prefjax.types import Gaussian, PRNGKey, RewardBasis


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
        learning_rate: First learning rate of Adam.
        penalty: Prior precision of a response's base reward, in the fits by joint MAP.
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
EM = EMConfig(num_factors=NUM_FACTORS)
MOST_SEEN = 60
"""Training answers by which a training person is known."""


def descent(
    key: PRNGKey, data: Problem, _: Any, *, config: Config, penalty: float, start: str
) -> RewardBasis:
    """Joint MAP by Adam, from the singular directions or from noise."""
    table, total = data.embeddings, jnp.sum(data.rows.sample_weight)
    assert table is not None
    head_key, user_key, start_key = jax.random.split(key, 3)
    if start == "svd":
        state = svd.start(start_key, data, fit_utility(data, jnp.float32(0.1), EM), EM)
        init = jnp.asarray(state.head), jnp.asarray(state.mean)
    else:
        num_inputs = table.shape[1]
        shape = num_inputs, NUM_FACTORS + 1
        head = jax.random.normal(head_key, shape) / jnp.sqrt(num_inputs)
        init = head, jax.random.normal(user_key, (data.num_users, NUM_FACTORS))

    def loss(params: tuple[jax.Array, jax.Array]) -> jax.Array:
        head, weights = params
        gap = rows.feature_gap(table @ head, data.rows)
        own = weights[data.rows.user][:, None, :]
        logit = jnp.sum(gap[..., :-1] * own, axis=-1) + gap[..., -1]
        squares = jnp.sum(jnp.square(head[:, :-1])) + 0.1 * jnp.sum(jnp.square(head[:, -1]))
        decay = penalty * (squares + jnp.sum(jnp.square(weights)))
        return jnp.asarray(mean_loss(logit, data.rows) + 0.5 * decay / total)

    head, _ = adam(loss, init, num_steps=config.num_steps, learning_rate=config.learning_rate)
    eye = jnp.eye(NUM_FACTORS) / config.penalty
    return RewardBasis(linear_params(head), Gaussian(jnp.zeros(NUM_FACTORS), eye), jnp.zeros(()))


def methods(config: Config) -> list[Family]:
    """The fits side by side."""
    strong, weak = config.penalty, config.weakened * config.penalty
    pref, pref_map = get_family("pref"), get_family("pref-map")

    def joint(name: str, penalty: float) -> Family:
        given = {"penalty": penalty, "utility_penalty": 0.1 * penalty, "beta": strong, "em": EM}
        return compare.as_given(pref_map, replace(pref_map.config, **given))._replace(name=name)

    def by_adam(name: str, penalty: float, start: str) -> Family:
        fit = partial(descent, config=config, penalty=penalty, start=start)
        return compare.as_given(pref)._replace(name=name, fit=fit)

    return [
        compare.as_given(pref),
        joint("pref-map", strong),
        joint("pref-map, no penalty", weak),
        by_adam("adam", strong, "svd"),
        by_adam("adam, random start", strong, "random"),
        by_adam("adam, no penalty", weak, "svd"),
    ]


def people(config: Config) -> dict[str, tuple[compare.Case, tuple[int]]]:
    """Seen and new people of the world, and after how many answers they are scored."""
    world, seed = config.world, config.world_seed
    source = compare.attributes("hashed", seed, world, num_inputs=config.num_inputs)
    new = compare.make_cases([source], [seed])[0].outer._replace(people=None)
    split = source.draw.split
    seen = new._replace(
        answers=gather(new.inputs, split.by_user("train", MOST_SEEN)),
        tests=gather(new.inputs, split.by_user("validation", world.test_length)),
        num_users=len(split.known_users),
    )
    return {"seen": (seen, (MOST_SEEN,)), "new": (new, (config.num_answers,))}


def spread(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds."""
    return f"{np.mean(values):.3f}, spread {np.std(values, ddof=1):.4f}"


def run(config: Config) -> runs.Result:
    """AUC of seen and of new people under every fit and seed."""
    cases = people(config)
    data = cases["new"][0].data
    found, lines = [], ["| method | seen people | new people |", "|---|---|---|"]
    for family in methods(config):
        values: dict[str, list[float]] = {kind: [] for kind in cases}
        for seed in range(config.num_seeds):
            key = jax.random.key(seed)
            params = compare.fit(key, family, data)
            for kind, (case, numbers) in cases.items():
                states = compare.states_of(key, family, params, case, numbers)
                auc = compare.scores_of(family, params, states, case, numbers).auc
                values[kind].append(float(np.nanmean(auc)))
                name, number = f"attributes, {kind} people", config.num_answers
                value = values[kind][-1]
                found.append(
                    row(family.name, name, "auc_user", value, seed=seed, num_answers=number)
                )
        lines.append(f"| {family.name} | {' | '.join(map(spread, values.values()))} |")
    lines.append("\nSpread is the standard deviation over seeds of the fit. People are simulated.")
    return runs.Result(rows=found, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """Every seed as a point, one column a fit."""
    return plots.strip(result.table)


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
