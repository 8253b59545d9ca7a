"""Which argument convinces, on a topic nobody judged? 32 leave-one-topic-out folds of UKPConvArg.

    python -m experiments.ukp_topics smoke     # four topics, without PReF
    python -m experiments.ukp_topics paper     # all 32

Expected of ``paper`` (9 minutes of one core), accuracy and cross-entropy: Bradley–Terry .698 /
.578, PReF .692 / .580; of workers with more than 50 pairs .710 / .568 and .707 / .566.

One judgment of each pair by real crowd workers (``crowdsample``), read below ``PREFJAX_DATA``; all
rows of one topic are tested by what the rows of the other 31 taught. Everything is text: items of
the test topic are new. Accuracy and cross-entropy over all rows, and over those of workers with
more than 50 pairs. Published (Simpson and Gurevych 2020), with text embeddings and 32,000
linguistic features: GPPL .71 / .56, personal crowdGPPL .72 / .58; workers with more than 50 pairs
.72 / .55 and .74 / .55. A logistic regression on TF-IDF without users: .687 / .599 and .698 / .578.

Penalties of Bradley–Terry are chosen in each fold on every fifth of the 31 training topics.
"""

from dataclasses import dataclass
from operator import itemgetter

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from prefjax import metrics
from prefjax.data import ukpconvarg
from prefjax.data.group import group_by_user
from prefjax.families import Family, gather, get_family, stack_data
from prefjax.lab import compare, plots, runs
from prefjax.lab.compare.sources import encode
from prefjax.types import Comparisons


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        families: Methods.
        encoder: Name for `get_encoder`.
        num_inputs: Principal components of the texts.
        max_topics: Folds run, all 32 by default.
        max_answers: Training rows of one worker that are heard.
        many: Pairs of a worker whose rows are also counted apart.
    """

    families: tuple[str, ...] = ("bradley-terry", "pref")
    encoder: str = "hashed"
    num_inputs: int = 128
    max_topics: int = 32
    max_answers: int = 60
    many: int = 50


PRESETS = {
    "smoke": Config(families=("bradley-terry",), max_topics=4),
    "paper": Config(),
}


MOST_HELD = 2000
"""Rows of held-out topics on which penalties are chosen."""


def pick(rows: Comparisons, chosen: np.ndarray) -> Comparisons:
    """The chosen rows."""
    return Comparisons(*(column[chosen] for column in rows))


def predictor(family: Family):
    """Compiled logits of flat rows, each under its worker's state."""

    @jax.jit
    def predict(params, answers, user, first, second, config):
        states = jax.vmap(family.adapt, in_axes=(None, 0, None))(params, answers, config)
        own = jax.tree.map(lambda leaf: leaf[user], states)
        nothing = jnp.zeros((len(first), 0))
        in_axes = (None, 0 if jax.tree.leaves(own) else None, 0, 0, 0)
        return jax.vmap(family.logit, in_axes=in_axes)(params, own, first, second, nothing)

    return predict


def logits_of(name: str, rows: Comparisons, topic: np.ndarray, table: np.ndarray, config: Config):
    """Logit of every row of the folds that are run, NaN elsewhere."""
    family, num_users = get_family(name), int(rows.user.max()) + 1
    folds = range(config.max_topics)
    sets, tables = [], []
    for fold in folds:
        inner = (topic != fold) & (topic % 5 != (fold + 1) % 5)
        for kept in (inner, topic != fold):
            sets.append(pick(rows, kept))
            tables.append(table)
    data = stack_data(sets, tables, num_users=num_users)
    fit, predict = jax.jit(family.fit), predictor(family)
    longest = max(MOST_HELD, int(np.bincount(topic).max()))
    grid = list(family.config_grid(family.config))
    logit = np.full(len(topic), np.nan)

    def guess(params, answers, tested: np.ndarray, trial) -> np.ndarray:
        padded = pick(rows, np.pad(tested, (0, longest - len(tested))))
        pairs = table[padded.first], table[padded.second]
        return np.asarray(predict(params, answers, padded.user, *pairs, trial))[: len(tested)]

    for fold in folds:
        places = 2 * fold, 2 * fold + 1
        inner, outer = (jax.tree.map(itemgetter(place), data) for place in places)
        heard, all_heard = (
            gather(
                table,
                group_by_user(sets[place], num_users, length=config.max_answers, longer="truncate"),
            )
            for place in places
        )
        key = jax.random.key(fold)
        held = np.flatnonzero((topic != fold) & (topic % 5 == (fold + 1) % 5))
        held = np.random.default_rng(fold).permutation(held)[:MOST_HELD]
        losses = []
        for trial in grid if len(grid) > 1 else ():
            guessed = guess(fit(key, inner, trial), heard, held, trial)
            losses.append(float(np.mean(metrics.nll(jnp.asarray(guessed), rows.label[held]))))
        chosen = grid[int(np.argmin(losses))] if losses else grid[0]
        tested = np.flatnonzero(topic == fold)
        logit[tested] = guess(fit(key, outer, chosen), all_heard, tested, chosen)
    return logit


def run(config: Config) -> runs.Result:
    """Accuracy and cross-entropy of every method."""
    dataset = ukpconvarg.load(part="crowdsample")
    rows = dataset.comparisons
    table = compare.text_block(
        encode(dataset.responses, config.encoder),
        np.arange(dataset.num_responses),
        config.num_inputs,
    )
    topic = dataset.prompt_index[rows.first]
    run_here = topic < config.max_topics
    often = np.bincount(rows.user)[rows.user] > config.many
    found, lines = [], ["| method | workers | rows | accuracy | cross-entropy |", "|---" * 5 + "|"]
    for name in config.families:
        logit = logits_of(name, rows, topic, table, config)
        for who, mask in (("all", run_here), (f"over {config.many} pairs", run_here & often)):
            right = np.asarray(metrics.correct(logit[mask], rows.label[mask]))
            loss = np.asarray(metrics.nll(jnp.asarray(logit[mask]), rows.label[mask]))
            measures = {"accuracy": right, "nll": loss}
            for metric, values in measures.items():
                means = [values[topic[mask] == t].mean() for t in np.unique(topic[mask])]
                spread = metrics.mean_interval(np.array(means))
                half = float(spread.high - spread.value)
                value = float(values.mean())
                found.append(
                    {
                        "method": name,
                        "dataset": f"ukpconvarg, {who}",
                        "metric": metric,
                        "encoder": config.encoder,
                        "value": value,
                        "low": value - half,
                        "high": value + half,
                    }
                )
            lines.append(
                f"| {name} | {who} | {mask.sum()} | {right.mean():.3f} | {loss.mean():.3f} |"
            )
    return runs.Result(rows=found, summary="\n".join(lines))


def plot(result: runs.Result) -> Figure:
    """Accuracy by method, all workers and those with many pairs."""
    return plots.strip(result.table, metric="accuracy")


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
