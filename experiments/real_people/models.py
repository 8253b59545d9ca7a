"""The models of real people: the default, the published one, the population, and each alone."""

from dataclasses import dataclass
from functools import partial
from operator import itemgetter
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.decomposition import PCA

from prefjax import basis
from prefjax.basis import EMConfig, Strength
from prefjax.data import Dataset, Split
from prefjax.data.group import group_by_user
from prefjax.encoders import encode_responses, fit_hashed, get_encoder
from prefjax.person import ridge_losses, ridge_prior
from prefjax.types import BASELINE, Comparisons, GaussianPrior, Items, UserBatch


@dataclass(frozen=True)
class Config:
    """What is run.

    Attributes:
        datasets: Names for `load_split`.
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


MOST_ANSWERS = 40
"""Answers of a new person, padded to one length in all sets."""
PUBLISHED = 1.0, 0.1, 0.0
"""Fields of `Strength` for joint MAP with little penalty."""
NOBODY = 1e6
"""Penalty under which the factors vanish and the shared utility remains."""


class Model(NamedTuple):
    """Items with the prior under which a new person is solved."""

    items: Items
    prior: GaussianPrior


def gaps(table: np.ndarray, batch: UserBatch) -> np.ndarray:
    """First minus second row of a table for every pair of a batch."""
    extended = np.concatenate([table, np.zeros_like(table[:1])])
    return extended[batch.first] - extended[np.where(batch.second == BASELINE, -1, batch.second)]


def train(key: jax.Array, split: Split, num_responses: int, config: Config):
    """The default and the published fit, and the population model, on the training people."""
    shuffled = np.random.default_rng(0).permutation(split.train.user)
    both = [split.train, split.train._replace(user=shuffled)]
    stacked = jax.tree.map(jnp.asarray, basis.stack_rows(both, num_responses))
    rows, shuffled_rows = (jax.tree.map(itemgetter(place), stacked) for place in range(2))
    static = {
        "num_users": len(split.known_users),
        "num_responses": num_responses,
        "config": EMConfig(num_factors=config.num_factors),
    }
    learned = jax.jit(partial(basis.fit, unit=split.group, **static))
    given = jax.jit(partial(basis.fit_block, **static))
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
    practice, kept = batch._replace(mask=batch.mask & ~held), batch._replace(mask=held)
    losses = jax.jit(ridge_losses)(gap, practice, gap, kept, jnp.asarray(config.ridges))
    best = config.ridges[int(np.argmin(losses))]
    items = Items(features=features, utility=np.zeros(len(features), np.float32))
    return Model(items, GaussianPrior(jnp.zeros(width), best * jnp.eye(width)))
