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
from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure
from sklearn.decomposition import PCA

from prefjax import factorization, laplace, metrics, plots, runs
from prefjax.adapt import adapt, adapt_path, ridge_prior
from prefjax.data import Dataset
from prefjax.data.group import group_by_user
from prefjax.data.protocol import Protocol, load_protocol
from prefjax.elicit import ElicitConfig, PairPool, elicit, make_recorded
from prefjax.encoders import encode_responses, fit_hashed, get_encoder
from prefjax.factorization import EMConfig, Strength
from prefjax.numerics import positive_inverse
from prefjax.types import BASELINE, Comparisons, GaussianPrior, Items, UserBatch


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        datasets: Names for `load_protocol`.
        seeds: Draws of people, items and pairs.
        encoder: What reads the texts for ``per-user``; ``hashed`` is fitted to them.
        num_factors: J of both fits.
        num_answers: Where the curves are read off.
        num_inputs: Principal components of the text embedding that ``per-user`` sees.
        ridges: Candidate ridges of ``per-user``, chosen on training users.
    """

    datasets: tuple[str, ...] = (
        "polis_bowling_green",
        "jester5k",
        "dices350",
        "value_portrait",
        "ukpconvarg",
    )
    seeds: tuple[int, ...] = (0, 1)
    encoder: str = "hashed"
    num_factors: int = 8
    num_answers: tuple[int, ...] = (0, 1, 3, 5, 10, 20, 40)
    num_inputs: int = 48
    ridges: tuple[float, ...] = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)


PRESETS = {
    "smoke": Config(datasets=("polis_bowling_green", "dices350"), seeds=(0,)),
    "paper": Config(),
}

PUBLISHED = 1.0, 0.1, 0.0
"""Fields of `Strength` for joint MAP with little penalty."""
NOBODY = 1e6
"""Penalty under which the factors vanish and the shared utility remains."""

fit_users = jax.jit(adapt)


class Model(NamedTuple):
    """Items with the prior under which a new person is solved."""

    items: Items
    prior: GaussianPrior


def gaps(table: np.ndarray, batch: UserBatch) -> np.ndarray:
    """First minus second row of a table for every pair of a batch."""
    extended = np.concatenate([table, np.zeros_like(table[:1])])
    return extended[batch.first] - extended[np.where(batch.second == BASELINE, -1, batch.second)]


class Path(NamedTuple):
    """Weights of every new person after each number of answers, and how uncertain they are."""

    weight: Float[jax.Array, "answers user factor"]
    covariance: Float[jax.Array, "answers user factor factor"]


@jax.jit
def random_path(features, offset, batch, counts, prior) -> Path:
    """Beliefs after the first answers of every user; they come in random order."""
    columns = features, offset, batch.label, batch.weight
    fits = adapt_path(*columns, counts, prior=prior)
    return Path(jnp.asarray(fits.weight), jax.vmap(jax.vmap(positive_inverse))(fits.hessian))


@jax.jit
def adaptive_path(key, features, offset, batch, counts, prior) -> Path:
    """Beliefs after answers to questions chosen among those the person did answer."""
    num_users, num_questions = batch.label.shape
    config = ElicitConfig(num_questions=num_questions, rule="d_optimal")

    def interview(key, features, offset, label, mask):
        pool = PairPool(features=features, offset=offset, mask=mask)
        path = elicit(key, pool, make_recorded(label), prior, config)
        return Path(
            jnp.asarray(path.weight)[counts], jax.vmap(positive_inverse)(path.hessian[counts])
        )

    keys = jax.random.split(key, num_users)
    paths = jax.vmap(interview)(keys, features, offset, batch.label, batch.mask)
    return jax.tree.map(lambda leaf: jnp.swapaxes(leaf, 0, 1), paths)


@partial(jax.jit, static_argnames="mirrored")
def user_auc(features, offset, path, tests, mirrored):
    """AUC of every user after each number of answers, by the moderated logit: [answers, user]."""
    mean = jnp.einsum("upj,nuj->nup", features, path.weight) + offset[None]
    variance = jnp.einsum("upi,nuij,upj->nup", features, path.covariance, features)
    one = partial(metrics.auc, mirrored=mirrored)
    score = laplace.moderated_logit(mean, variance)
    return jax.vmap(jax.vmap(one), in_axes=(0, None, None))(score, tests.label, tests.mask)


def train(key: jax.Array, protocol: Protocol, num_responses: int, config: Config):
    """The default and the published fit, and the population model, on the training people."""
    shuffled = np.random.default_rng(0).permutation(protocol.train.user)
    both = [protocol.train, protocol.train._replace(user=shuffled)]
    stacked = jax.tree.map(jnp.asarray, factorization.stack_rows(both, num_responses))
    rows, shuffled_rows = (jax.tree.map(itemgetter(place), stacked) for place in range(2))
    static = {
        "num_users": len(protocol.train_users),
        "num_responses": num_responses,
        "config": EMConfig(num_factors=config.num_factors),
    }
    learned = jax.jit(partial(factorization.fit_learned, unit=protocol.unit, **static))
    given = jax.jit(partial(factorization.fit, **static))
    fitted, search = learned(key, rows, None)
    chosen = jax.tree.map(lambda leaf: leaf[search.chosen], search.strength)
    published = given(key, rows, None, Strength(*map(jnp.float32, PUBLISHED)))
    nobody = Strength(jnp.float32(NOBODY), chosen.utility_penalty, jnp.float32(0.0))
    population = given(key, rows, None, nobody)
    null, _ = learned(key, shuffled_rows, None)
    models = {
        "pref": Model(fitted.items, fitted.prior),
        "pref-map": Model(published.items, ridge_prior(config.num_factors, 1.0)),
        "shuffled-users": Model(null.items, null.prior),
    }
    return models, population.items.utility, chosen


def per_user_model(dataset: Dataset, train_rows: Comparisons, config: Config) -> Model:
    """Text features with the ridge that predicts training users' own answers best."""
    fitted = config.encoder == "hashed"
    encoder = fit_hashed(dataset.responses) if fitted else get_encoder(config.encoder)
    embedding = encode_responses(encoder, dataset)
    width = min(config.num_inputs, *embedding.shape)
    features = PCA(width, random_state=0).fit_transform(embedding).astype(np.float32)
    features /= np.sqrt(np.mean(np.sum(features**2, axis=1)))
    some = train_rows.user < 300
    rows = Comparisons(*(column[some] for column in train_rows))
    batch = group_by_user(rows, int(rows.user.max()) + 1, length=60, longer="truncate")
    gap = gaps(features, batch)
    order = np.argsort(np.random.default_rng(0).random(batch.label.shape), axis=1)
    held = (order < batch.label.shape[1] // 3) & batch.mask
    weight = np.where(held, 0.0, batch.weight).astype(np.float32)
    items = Items(features=features, utility=np.zeros(len(features), np.float32))

    def loss(ridge: float) -> float:
        prior = GaussianPrior(jnp.zeros(width), ridge * jnp.eye(width))
        fitted = fit_users(gap, np.zeros_like(weight), batch.label, weight, prior=prior)
        logit = np.einsum("upj,uj->up", gap, fitted.weight)
        return float(np.mean(np.asarray(metrics.nll(logit, batch.label))[held]))

    best = min(config.ridges, key=loss)
    return Model(items, GaussianPrior(jnp.zeros(width), best * jnp.eye(width)))


def curves_of_draw(name: str, seed: int, config: Config) -> list[dict]:
    """AUC of every new person under every method and control: one record per curve."""
    dataset, protocol = load_protocol(name, seed=seed)
    answers, tests = protocol.answers, protocol.tests
    most = answers.label.shape[1]
    counts = tuple(n for n in config.num_answers if n <= most)
    mirrored = not np.any(tests.second[tests.mask] == BASELINE)
    key = jax.random.key(seed)
    per_user = per_user_model(dataset, protocol.train, config)
    models, utility, chosen = train(key, protocol, dataset.num_responses, config)
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


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
