"""Can the head rank, for one person, statements that nobody ever rated? It depends on the encoder.

    python -m experiments.unseen_statements smoke    # hashed and offline-lm, one split
    python -m experiments.unseen_statements paper    # all encoders and heads, five splits

A fifth of the people is new and a quarter of the statements (or the test prompts of the simulated
Attributes world) is unseen. The rest of the people and statements train: first the factors of every
seen statement are found from the answers alone, then a head is regressed on them. A new person
answers about seen statements, whose factors are known, and is scored on the unseen ones, whose
factors the head predicts from the text, by the AUC of that person's own comparisons. Side by side
for every encoder, on the same rows and principal components:

    population        the utility that everybody shares, predicted by the same head
    pref              the linear head, its ridge chosen on held-out training statements
    pref, head mlp    the same with a hidden layer beside the linear map

Intervals are Student's t over splits. ``hashed`` is fitted to the training statements (tf-idf).
``minilm`` needs the package that its error names. Reads the votes below ``PREFJAX_DATA``.

A split takes one to two minutes, embedding apart. Expected on Polis, five splits, personal −
population after 20 answers with the linear head, and the AUC it comes to: ``minilm`` +.018
[+.006, +.031] to .630, ``hashed`` +.020 [+.016, +.025] to .626, ``offline-lm`` +.010
[−.006, +.026] to .530; mlp heads are within .003 of these. The text tells a tenth of the variance
of a statement's factors, which bounds what a person's answers can add. A linear head fitted to the
answers directly ranks unseen statements worse, .591 with ``minilm`` (population .567). On the
Attributes world, three splits, linear head, AUC after 10 answers: ``hashed`` .614 [.543, .686],
``minilm`` .578 [.512, .643], ``offline-lm`` .563 [.538, .587]; the populations lie at .50 to .53.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from prefjax import basis, encoders, metrics
from prefjax.basis import EMConfig, HeadConfig, Rows
from prefjax.data import Dataset, Split, load_dataset, split_new_prompts
from prefjax.data.attributes import make_world
from prefjax.data.same_text import group_responses
from prefjax.lab import plots, runs
from prefjax.person import adapt
from prefjax.types import BASELINE, UserBatch


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        datasets: ``attributes`` or sets that `load_dataset` knows.
        encoders: Names for `get_encoder`.
        heads: ``linear`` and ``mlp``.
        num_splits: Divisions of people and statements.
        new_users: Part of the people who are new.
        new_groups: Part of the statements that is unseen, where there are no test prompts.
        num_factors: J.
        num_inputs: Most principal components of the embedding; training statements define them.
        hidden: Width of the hidden layer of ``mlp``.
        num_answers: Where the curves are read off.
    """

    datasets: tuple[str, ...] = ("polis_bowling_green", "attributes")
    encoders: tuple[str, ...] = ("hashed", "minilm", "offline-lm")
    heads: tuple[str, ...] = ("linear", "mlp")
    num_splits: int = 5
    new_users: float = 0.2
    new_groups: float = 0.25
    num_factors: int = 6
    num_inputs: int = 256
    hidden: int = 32
    num_answers: tuple[int, ...] = (0, 5, 10, 20, 40)


PRESETS = {
    "smoke": Config(datasets=("attributes",), encoders=("hashed", "offline-lm"), num_splits=1),
    "paper": Config(),
}
RIDGES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Candidate penalties of the heads."""
NUM_FOLDS = 3
MOST_TESTS = 80


def load(name: str, seed: int) -> Dataset:
    """A set of people and texts; the simulated world is written anew for every seed."""
    return make_world(seed=seed).dataset if name == "attributes" else load_dataset(name)


def divide(dataset: Dataset, seed: int, config: Config) -> Split:
    """Divide people and statements; the rows of every cell stand in random order."""
    rng = np.random.default_rng(seed)
    rows = dataset.comparisons
    if "test_prompts" in dataset.meta:
        group = dataset.prompt_index
        unseen = np.asarray(dataset.meta["test_prompts"])
    else:
        group = group_responses(dataset, "response")
        num_groups = int(group.max()) + 1
        unseen = rng.permutation(num_groups)[: round(config.new_groups * num_groups)]
    order = rng.permutation(dataset.num_users)
    num_known = round((1 - config.new_users) * dataset.num_users)
    return split_new_prompts(
        rows,
        known_users=order[:num_known],
        new_users=order[num_known:],
        is_new_response=np.isin(group, unseen),
        group=group,
        order=rng.permutation(len(rows.user)),
    )


def embed(
    name: str, dataset: Dataset, is_unseen: np.ndarray, config: Config
) -> Float[np.ndarray, "response input"]:
    """Principal components of the embeddings; seen statements define them."""
    seen = [text for text, new in zip(dataset.responses, is_unseen, strict=True) if not new]
    encoder = encoders.fit_hashed(seen) if name == "hashed" else encoders.get_encoder(name)
    embedding = encoders.encode_responses(encoder, dataset, progress=True)
    width = min(config.num_inputs, embedding.shape[1], int(np.sum(~is_unseen)))
    axes = PCA(width, svd_solver="full").fit(embedding[~is_unseen])
    values = axes.transform(embedding)
    return (values / np.sqrt(np.mean(np.sum(values**2, axis=1)))).astype(np.float32)


def gaps(table: Float[np.ndarray, "response *feature"], batch: UserBatch) -> np.ndarray:
    """First minus second entry of a table for every pair of a batch."""
    extended = np.concatenate([table, np.zeros_like(table[:1])])
    return extended[batch.first] - extended[np.where(batch.second == BASELINE, -1, batch.second)]


_fit_learned = jax.jit(
    lambda key, rows, unit, **static: basis.fit(key, rows, None, unit=unit, **static),
    static_argnames=("num_users", "num_responses", "config"),
)
_adapt = jax.jit(adapt)
_regress = jax.jit(basis.regress_chosen, static_argnames=("config", "num_folds"))


@partial(jax.jit, static_argnames="mirrored")
def score(features, utility, weight, label, mask, mirrored):
    """AUC of every new person: [user]."""
    logit = jnp.einsum("upj,uj->up", features, weight) + utility
    return jax.vmap(partial(metrics.auc, mirrored=mirrored))(logit, label, mask)


def all_splits(name: str, config: Config) -> Iterator[dict]:
    """Every split of a set; their training rows are padded alike and share one program."""
    datasets = [load(name, seed) for seed in range(config.num_splits)]
    splits = [divide(dataset, seed, config) for seed, dataset in enumerate(datasets)]
    trains = [split.train for split in splits]
    stacked = basis.stack_rows(trains, datasets[0].num_responses)
    for seed, (dataset, split) in enumerate(zip(datasets, splits, strict=True)):
        rows = jax.tree.map(lambda leaf, seed=seed: jnp.asarray(leaf[seed]), stacked)
        for record in one_split(dataset, split, rows, seed, config):
            yield {"dataset": name, "seed": seed, **record}


def one_split(
    dataset: Dataset, split: Split, rows: Rows, seed: int, config: Config
) -> Iterator[dict]:
    """Mean AUC of the new people by encoder, head and number of answers."""
    key, group = jax.random.key(seed), split.group
    answers = split.by_user("calibration", max(config.num_answers))
    tests = split.by_user("test", MOST_TESTS)
    mirrored = not np.any(tests.second[tests.mask] == BASELINE)
    fitted, _ = _fit_learned(
        key,
        rows,
        group,
        num_users=len(split.known_users),
        num_responses=dataset.num_responses,
        config=EMConfig(num_factors=config.num_factors),
    )
    target = np.concatenate([fitted.items.features, fitted.items.utility[:, None]], axis=1)
    second = split.train.second
    known = np.isin(np.arange(len(target)), [*split.train.first, *second[second != BASELINE]])
    fold = np.random.default_rng(seed).integers(0, NUM_FOLDS, int(group.max()) + 1)[group]

    def auc(table, weight) -> float:
        """Mean over the new people, on the unseen statements."""
        there = gaps(np.asarray(table), tests)
        parts = there[..., :-1], there[..., -1], np.asarray(weight, np.float32)
        return float(np.nanmean(score(*parts, tests.label, tests.mask, mirrored)))

    for encoder in config.encoders:
        embedding = embed(encoder, dataset, split.is_new_response, config)
        for name in config.heads:
            hidden = (config.hidden,) if name == "mlp" else ()
            structure = HeadConfig(num_factors=config.num_factors, hidden=hidden)
            data = embedding, target, known, fold, np.asarray(RIDGES, np.float32)
            predicted = _regress(key, *data, config=structure, num_folds=NUM_FOLDS)
            population = auc(predicted, np.zeros((len(tests.label), config.num_factors)))
            about = {"encoder": encoder, "head": name}
            yield {**about, "method": "population", "value": population}
            here = gaps(np.where(known[:, None], target, predicted), answers)
            for count in config.num_answers:
                seen = answers.sample_weight * (np.arange(answers.label.shape[1]) < count)[None]
                person = _adapt(
                    here[..., :-1], here[..., -1], answers.label, seen, prior=fitted.prior
                )
                value = auc(predicted, person.weights)
                gain = value - population
                curve = {"method": "pref", "num_answers": count}
                yield {**about, **curve, "value": value, "gain": gain}


def summarize(records: list[dict]) -> tuple[list[dict], list[str]]:
    """Tidy rows with intervals over splits, and a line for each."""
    curves: dict[tuple, list[dict]] = {}
    names = ("dataset", "encoder", "method", "head", "num_answers")
    for record in records:
        curves.setdefault(tuple(record.get(name) for name in names), []).append(record)
    rows, lines = [], []
    for curve, entries in curves.items():
        about = dict(zip(names, curve, strict=True))
        count = "population" if curve[4] is None else f"{curve[4]} answers"
        text = f"{curve[0]:<20} {curve[1]:<11} {curve[3]:<7} {count:<10}"
        for metric, field in (("auc_user", "value"), ("personal_minus_population", "gain")):
            values = np.array([entry[field] for entry in entries if field in entry])
            if not len(values):
                continue
            value, low, high, _ = metrics.mean_interval(values)
            numbers = {"value": float(value), "low": float(low), "high": float(high)}
            rows.append({**about, "questions": "random", "metric": metric, **numbers})
            each = " ".join(f"{v:+.3f}" for v in values) if field == "gain" else ""
            text += f"  {field} {value:+.3f} [{low:+.3f}, {high:+.3f}] {each}"
        lines.append(text)
    return rows, lines


def run(config: Config) -> runs.Result:
    """Every set, split, encoder and head."""
    for name in config.encoders:
        encoders.get_encoder(name)  # what is not installed is missed before the first fit
    records = [record for name in config.datasets for record in all_splits(name, config)]
    rows, lines = summarize(records)
    return runs.Result(rows=rows, summary="\n".join(lines), metrics=records)


def plot(result: runs.Result) -> Figure:
    """AUC against the number of answers with the linear head, a panel for each set of people."""
    drawn = [
        {**row, "method": row["encoder"]}
        for row in result.rows
        if row["metric"] == "auc_user" and row["head"] == "linear"
    ]
    return plots.learning_curves(runs.tidy(drawn), panel="dataset")


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
