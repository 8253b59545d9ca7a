"""Do a few answers of a real person tell what else that person prefers?

    python -m experiments.real_people smoke     # Polis and DICES-350, one draw
    python -m experiments.real_people paper     # five sets of people, two draws

About one minute a draw on two cores. Expected with two draws, ``pref`` and population after 20
answers: Polis .814/.746, Jester .703/.684, DICES-350 .830/.827; on Value Portrait (.690/.690) and
UKPConvArg (.869/.869) nothing personal carries over to other prompts, and the fit learns that.

Reads the sets below ``PREFJAX_DATA``. For each draw some people are new: the others train, each new
person answers questions about one part of the items and is scored on the other part, by the AUC of
that person's own comparisons. Side by side, on the same rows:

    population     the utility that everybody shares, no answers used
    per-user       ridge logistic regression on text embeddings from the person's answers alone
    pref-map       PReF as published: joint MAP of people and items, zero-mean ridge for the new one
    pref           the default: users integrated out, learned penalties, population prior

with the controls ``wrong-user`` (another new person's weights) and ``shuffled-users`` (training
answers dealt out to random people, so that there is nothing personal to learn). Questions are
``random``, or for ``pref`` also ``d_optimal`` among what the person did answer.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from experiments.real_people.beliefs import Path, adaptive_path, random_path, user_auc
from experiments.real_people.models import (
    MOST_ANSWERS,
    Config,
    Model,
    gaps,
    per_user_model,
    train,
)
from prefjax import metrics
from prefjax.data import load_split
from prefjax.lab import plots, runs
from prefjax.person import ridge_prior
from prefjax.types import BASELINE, Items, UserBatch

PRESETS = {
    "smoke": Config(datasets=("polis_bowling_green", "dices350"), seeds=(0,)),
    "paper": Config(),
}


def curves_of_draw(name: str, seed: int, config: Config) -> list[dict]:
    """AUC of every new person under every method and control: one record per curve."""
    dataset, split = load_split(name, seed=seed)
    answers, tests = split.by_user("calibration", MOST_ANSWERS), split.by_user("test")
    most = answers.label.shape[1]
    counts = tuple(n for n in config.num_answers if n <= most)
    mirrored = not np.any(tests.second[tests.mask] == BASELINE)
    key = jax.random.key(seed)
    per_user = per_user_model(dataset, split.train, config)
    models, utility, chosen = train(key, split, dataset.num_responses, config)
    models["per-user"] = per_user

    counted = jnp.asarray(counts)

    def described(model: Model, batch: UserBatch):
        features = gaps(np.asarray(model.items.features), batch)
        return features, gaps(np.asarray(model.items.utility)[:, None], batch)[..., 0]

    def test_auc(model: Model, path: Path) -> np.ndarray:
        return np.asarray(user_auc(*described(model, tests), path, tests, mirrored))

    records = []

    def record(method, values, questions: str | None = "random", control=None):
        records.append(
            {
                "dataset": name,
                "seed": seed,
                "method": method,
                "questions": questions,
                "control": control,
                "num_answers": counts,
                "auc": values,
            }
        )

    for method, model in models.items():
        path = random_path(*described(model, answers), answers, counted, model.prior)
        if method in ("pref-map", "per-user"):  # as published: the mean alone
            path = path._replace(covariance=jnp.zeros_like(path.covariance))
        control = method if method == "shuffled-users" else None
        record("pref" if control else method, test_auc(model, path), control=control)
        if method == "pref":
            another = jax.tree.map(lambda leaf: jnp.roll(leaf, 1, axis=1), path)
            record("pref", test_auc(model, another), control="wrong-user")
            path = adaptive_path(key, *described(model, answers), answers, counted, model.prior)
            record("pref", test_auc(model, path), questions="d_optimal")
    shared = Items(np.zeros((len(utility), 1), np.float32), utility)
    silent = jnp.zeros((len(counts), len(tests.label), 1))
    record(
        "population",
        test_auc(Model(shared, ridge_prior(1, 1.0)), Path(silent, silent[..., None])),
        questions=None,
    )
    strength = {name: float(value) for name, value in chosen._asdict().items()}
    return [{**entry, "strength": strength} for entry in records]


def over_draws(entries: list[dict], number: int, of: Callable[[dict], np.ndarray]):
    """Interval over people, each person's draws averaged by their place among the new ones."""
    values = [of(entry)[entry["num_answers"].index(number)] for entry in entries]
    return metrics.mean_interval(np.concatenate(values))


def summarize(records: list[dict]) -> tuple[list[dict], list[str]]:
    """Tidy rows with intervals over people, and the headline of every set."""
    population = {
        (entry["dataset"], entry["seed"]): entry["auc"]
        for entry in records
        if entry["method"] == "population"
    }
    curves: dict[tuple, list[dict]] = {}
    for entry in records:
        curve = (entry["dataset"], entry["method"], entry["questions"], entry["control"])
        curves.setdefault(curve, []).append(entry)
    rows, lines = [], []
    for (dataset, method, questions, control), entries in curves.items():
        measures = {
            "auc_user": lambda entry: entry["auc"],
            "personal_minus_population": lambda entry: (
                entry["auc"] - population[entry["dataset"], entry["seed"]]
            ),
        }
        for number in entries[0]["num_answers"]:
            for metric, of in measures.items():
                value, low, high, _ = over_draws(entries, number, of)
                rows.append(
                    {
                        "dataset": dataset,
                        "method": method,
                        "questions": questions,
                        "control": control,
                        "num_answers": number,
                        "metric": metric,
                        "value": float(value),
                        "low": float(low),
                        "high": float(high),
                    }
                )
                if (metric, number, questions) == ("personal_minus_population", 20, "random"):
                    name = control or method
                    lines.append(
                        f"{dataset}: {name} − population after {number} answers "
                        f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"
                    )
    return rows, lines


def run(config: Config) -> runs.Result:
    """All curves on all sets and draws."""
    records = [
        entry
        for name in config.datasets
        for seed in config.seeds
        for entry in curves_of_draw(name, seed, config)
    ]
    rows, lines = summarize(records)
    tables = plots.make_table(runs.tidy(rows))
    logged = [
        {"dataset": entry["dataset"], "seed": entry["seed"], **entry["strength"]}
        for entry in records
        if entry["method"] == "population"
    ]
    return runs.Result(rows=rows, summary="\n".join([tables, "", *lines]), metrics=logged)


def plot(result: runs.Result) -> Figure:
    """AUC against the number of answers, one panel for each set of people."""
    return plots.learning_curves(result.table, panel="dataset")
