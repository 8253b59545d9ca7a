"""Which argument convinces, on a topic nobody judged? 32 leave-one-topic-out folds of UKPConvArg.

    python -m experiments.ukp_topics smoke     # four topics, without PReF
    python -m experiments.ukp_topics paper     # all 32
    python -m experiments.ukp_topics paper --encoders hashed smollm2    # and the difference

Expected of ``paper`` (9 minutes of one core for each encoder; SmolLM2 reads the 1,052 arguments in
some minutes, once), accuracy and cross-entropy, of workers with more than 50 pairs in brackets:

    hashed     Bradley–Terry   .698 / .578   (.710 / .568)
               PReF            .695 / .580   (.711 / .567)
    smollm2    Bradley–Terry   .727 / .536   (.732 / .531)
               PReF            .731 / .533   (.741 / .522)

and PReF, smollm2 − hashed on the same rows, intervals over topics: accuracy +.036 [+.022, +.049],
cross-entropy −.048 [−.066, −.030]; over 50 pairs +.030 [+.012, +.048] and −.045 [−.064, −.025].

One judgment of each pair by real crowd workers (``crowdsample``), read below ``PREFJAX_DATA``; all
rows of one topic are tested by what the rows of the other 31 taught. Everything is text: items of
the test topic are new. Accuracy and cross-entropy over all rows, and over those of workers with
more than 50 pairs. Published (Simpson and Gurevych 2020), with text embeddings and 32,000
linguistic features: GPPL .71 / .56, personal crowdGPPL .72 / .58; workers with more than 50 pairs
.72 / .55 and .74 / .55. A logistic regression on TF-IDF without users: .687 / .599 and .698 / .578.

Penalties of Bradley–Terry are chosen in each fold on every fifth of the 31 training topics.
"""

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int
from matplotlib.figure import Figure

from prefjax import metrics
from prefjax.basis import stack_problems, standardize
from prefjax.data import ukpconvarg
from prefjax.data.cut import select_rows
from prefjax.data.group import group_by_user
from prefjax.families import Answers, Family, gather, get_family
from prefjax.lab import compare, interval_of, plots, row, runs, show
from prefjax.types import Array, Comparisons


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        families: Methods.
        encoders: Specifications for `get_encoder`; the others are compared with the first, row by
            row.
        num_inputs: Principal components of the texts.
        max_topics: Folds run, all 32 by default.
        max_answers: Training rows of one worker that are heard.
        many: Pairs of a worker whose rows are also counted apart.
    """

    families: tuple[str, ...] = ("bradley-terry", "pref")
    encoders: tuple[str, ...] = ("hashed",)
    num_inputs: int = 128
    max_topics: int = 32
    max_answers: int = 60
    many: int = 50


PRESETS = {
    "smoke": Config(families=("bradley-terry",), max_topics=4),
    "paper": Config(),
}


MOST_HELD_OUT = 2000
"""Rows of held-out topics on which penalties are chosen."""


@partial(jax.jit, static_argnames=("family",))
def predict(
    params: Any,
    answers: Answers,
    user: Int[Array, " row"],
    pairs: tuple[Array, Array],
    config: Any,
    *,
    family: Family,
) -> Float[jax.Array, " row"]:
    """Logits of flat rows, the inputs of first and second, each under its worker's state."""
    states = jax.vmap(family.adapt, in_axes=(None, 0, None))(params, answers, config)
    own = jax.tree.map(lambda leaf: leaf[user], states)
    context = jnp.zeros((len(user), 0))
    in_axes = (None, 0 if jax.tree.leaves(own) else None, 0, 0, 0)
    return jnp.asarray(jax.vmap(family.logit, in_axes=in_axes)(params, own, *pairs, context))


def logits_of(name: str, rows: Comparisons, topic: np.ndarray, table: np.ndarray, config: Config):
    """Logit of every row of the folds that are run, NaN elsewhere."""
    family, num_users = get_family(name), int(rows.user.max()) + 1
    folds = range(config.max_topics)
    is_inner = [topic % 5 != (fold + 1) % 5 for fold in folds]
    sets = [
        select_rows(rows, (topic != fold) & chosen)
        for fold in folds
        for chosen in (is_inner[fold], np.ones(len(topic), bool))
    ]
    data = stack_problems(sets, [table] * len(sets), num_users=num_users)
    longest = max(MOST_HELD_OUT, int(np.bincount(topic).max()))
    grid = list(family.config_grid(family.config))
    logit = np.full(len(topic), np.nan)

    def guess(fold: int, place: int, tested: np.ndarray, trial: Any) -> np.ndarray:
        """Logits of some rows by what another set of rows teaches."""
        problem = jax.tree.map(itemgetter(place), data)
        inputs = standardize(problem.standardizer, table)
        heard = group_by_user(sets[place], num_users, length=config.max_answers, longer="truncate")
        params = compare.fit(jax.random.key(fold), family, problem, trial)
        padded = select_rows(rows, np.pad(tested, (0, longest - len(tested))))
        pairs = inputs[padded.first], inputs[padded.second]
        told = padded.user, pairs, trial
        return np.asarray(predict(params, gather(inputs, heard), *told, family=family))[
            : len(tested)
        ]

    for fold in folds:
        held_out = np.flatnonzero((topic != fold) & ~is_inner[fold])
        held_out = np.random.default_rng(fold).permutation(held_out)[:MOST_HELD_OUT]
        losses = []
        for trial in grid if len(grid) > 1 else ():
            guessed = guess(fold, 2 * fold, held_out, trial)
            losses.append(float(np.mean(metrics.nll(guessed, rows.label[held_out]))))
        chosen = grid[int(np.argmin(losses))] if losses else grid[0]
        tested = np.flatnonzero(topic == fold)
        logit[tested] = guess(fold, 2 * fold + 1, tested, chosen)
    return logit


def over_topics(metric: str, values: np.ndarray, topic: np.ndarray) -> metrics.Interval:
    """Mean over rows, with the half-width of the interval over topics."""
    means = [values[topic == one].mean() for one in np.unique(topic)]
    value, spread = values.mean(), interval_of(metric, np.array(means))
    half = spread.high - spread.value
    return spread._replace(value=value, low=value - half, high=value + half)


def run(config: Config) -> runs.Result:
    """Accuracy and cross-entropy of every method."""
    dataset = ukpconvarg.load(part="crowdsample")
    rows, everything = dataset.comparisons, np.arange(dataset.num_responses)
    topic = dataset.prompt_index[rows.first]
    run_here = topic < config.max_topics
    often = np.bincount(rows.user)[rows.user] > config.many
    found, arrays = [], {}
    lines = ["| encoder | method | workers | rows | accuracy | cross-entropy |", "|---" * 6 + "|"]
    for encoder in config.encoders:
        table = compare.text_inputs(dataset, encoder, config.num_inputs)(everything)
        for name in config.families:
            logit = logits_of(name, rows, topic, table, config)
            arrays[f"{encoder} {name}"] = logit
            first = arrays[f"{config.encoders[0]} {name}"]
            for who, mask in (("all", run_here), (f"over {config.many} pairs", run_here & often)):
                label, shown = rows.label[mask], []
                for metric, of in {"accuracy": metrics.correct, "nll": metrics.nll}.items():
                    values = np.asarray(of(logit[mask], label))
                    gap = values - np.asarray(of(first[mask], label))
                    interval = over_topics(metric, values, topic[mask])
                    people = f"ukpconvarg, {who}"
                    found.append(row(name, people, metric, interval, encoder=encoder))
                    text = f"{float(interval.value):.3f}"
                    if encoder != config.encoders[0]:
                        spread = over_topics("minus_first", gap, topic[mask])
                        compared = f"minus_first_{metric}"
                        found.append(row(name, people, compared, spread, encoder=encoder))
                        text += f" ({show(found[-1], '+')})"
                    shown.append(text)
                cells = (encoder, name, who, str(mask.sum()), *shown)
                lines.append(f"| {' | '.join(cells)} |")
    arrays = {name.replace("/", "_"): values for name, values in arrays.items()}
    return runs.Result(rows=found, arrays=arrays, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """Accuracy by method, all workers and those with many pairs."""
    return plots.strip(result.table, metric="accuracy")


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
