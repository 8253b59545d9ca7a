"""What a run says: tidy rows, the headline, and one prompt answered for two people."""

import numpy as np
from jaxtyping import Int

from experiments.quickstart.draw import Config
from experiments.quickstart.methods import RULES
from prefjax import metrics
from prefjax.data.attributes import make_world, split_world
from prefjax.lab import plots
from prefjax.types import Array

ORDER = ("population", "per-user", "pref-map", "pref", "oracle")


def place(name: str) -> tuple:
    """Where a curve stands in the table: controls last, the methods as in the docstring."""
    method, questions, control = name.split("/")
    return control, ORDER.index(method), questions != "random"


def tidy_rows(curves: dict, config: Config) -> list[dict]:
    """One row per curve, seed, number of answers and metric."""
    rows = []
    for name, measured in sorted(curves.items(), key=lambda curve: place(curve[0])):
        method, questions, control = (part or None for part in name.split("/"))
        for metric, values in measured.items():
            for (seed, i), value in np.ndenumerate(np.asarray(values)):
                rows.append(
                    {
                        "method": method,
                        "dataset": "attributes",
                        "questions": questions,
                        "control": control,
                        "seed": seed,
                        "num_answers": config.num_answers[i],
                        "metric": metric,
                        "value": value,
                    }
                )
    return rows


def ten(config: Config) -> tuple[int, int]:
    """Ten answers, or the most below that, and their place on the curves."""
    number = max((n for n in config.num_answers if n <= 10), default=0)
    return number, config.num_answers.index(number)


def headline(curves: dict, config: Config) -> str:
    """Personal − population where ten answers are in, paired by seed, and the win rate there."""
    number, place = ten(config)
    lines = ["The people and their answers are simulated; the texts are written by the simulation."]

    def line(name: str, values: np.ndarray, sign: str) -> None:
        value, low, high, _ = metrics.mean_interval(values)
        lines.append(f"{name}: {value:{sign}.3f} [{low:{sign}.3f}, {high:{sign}.3f}]")

    def values(name: str, metric: str) -> np.ndarray:
        return np.asarray(curves[name][metric])[:, place]

    for control in ("", "shuffled-users"):
        for rule in RULES:
            personal = values(f"pref/{rule}/{control}", "auc_user")
            what = f"{control or 'personal'} − population at {number} answers, {plots.label(rule)}"
            line(what, personal - values("population//", "auc_user"), "+")
    for name, said in (("pref/d_optimal/", "their own model"), ("population//", "the population")):
        line(f"win rate over the default, best of 16 by {said}", values(name, "win_rate"), "")
    return "\n".join(lines)


def side_by_side(served: Int[Array, "answers user prompt"], config: Config) -> str:
    """The first new prompt of seed 0, as everybody and as its two most different people get it.

    Args:
        served: What `pref` serves to every new person, after each number of answers.
        config: Of the run; the world is written again.
    """
    number, place = ten(config)
    world = make_world(config.world, 0)
    split = split_world(world, new_users=config.new_users, seed=0)
    default = int(world.unseen[0, 0])
    weight = world.weights[split.new_users]
    unit = weight / np.maximum(np.linalg.norm(weight, axis=1, keepdims=True), 1e-12)
    two = np.unravel_index(np.argmin(unit @ unit.T), (len(unit), len(unit)))
    dataset = world.dataset
    parts = [
        f"Asked: {dataset.prompts[dataset.prompt_index[default]]}",
        f"By default:\n{dataset.responses[default]}",
    ]
    for user in two:
        text = dataset.responses[int(served[place, user, 0])]
        name = dataset.users[split.new_users[user]]
        parts.append(f"For {name} (simulated), after {number} answers:\n{text}")
    return "\n\n".join(parts)
