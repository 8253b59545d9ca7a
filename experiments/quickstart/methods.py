"""All methods on one seed, as one pure program: fit, ask, predict, serve."""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Float, Int

from experiments.quickstart.draw import Config, Draw, at, stack
from prefjax import basis, metrics
from prefjax.align import best_of_n
from prefjax.basis import EMConfig, Rows, Strength
from prefjax.data.attributes import choose, expected_label
from prefjax.person import ElicitConfig, ResponsePool, elicit, gap_at, ridge_losses, ridge_prior
from prefjax.types import Array, Gaussian, GaussianPrior, Items, PRNGKey, UserBatch

RULES = ("random", "d_optimal")

PUBLISHED = 1.0, 0.1, 0.0
"""Fields of `Strength` for joint MAP with little penalty."""
SHUT = 1e6
"""Penalty under which the factors vanish and the shared utility remains."""


class Model(NamedTuple):
    """Items with the prior under which a new person is solved."""

    items: Items
    prior: GaussianPrior


def gaps(table: Float[Array, "response *feature"], batch: UserBatch) -> jax.Array:
    """First minus second entry of a table for every pair of a batch."""
    return jnp.asarray(table)[batch.first] - jnp.asarray(table)[batch.second]


def train_pref(key: PRNGKey, rows: Rows, shuffled: Rows, data: Draw, config: Config):
    """PReF, PReF as published and PReF on shuffled users, stacked; and the population's utility."""
    embeddings = data.embeddings[:, : config.num_inputs]
    static = {
        "num_users": data.practice.label.shape[0],
        "num_responses": len(embeddings),
        "config": EMConfig(num_factors=config.num_factors),
    }
    fit_learned = partial(basis.fit, key, embeddings=embeddings, unit=data.prompt_index, **static)
    learned, search = jax.lax.map(lambda r: fit_learned(rows=r), stack(rows, shuffled))
    chosen = search.strength.utility_penalty[0, search.chosen[0]]
    shut = Strength(jnp.float32(SHUT), chosen, jnp.float32(0))
    fit = partial(basis.fit_block, key, rows, embeddings, **static)
    given = jax.lax.map(
        lambda s: fit(strength=s), stack(Strength(*map(jnp.float32, PUBLISHED)), shut)
    )
    default, null = (Model(*at((learned.items, learned.prior), i)) for i in (0, 1))
    published = Model(at(given.items, 0), ridge_prior(config.num_factors, 1.0))
    return stack(default, published, null), given.items.utility[1]


def train_own(data: Draw, config: Config) -> Model:
    """Text features for a model of one person alone, with the ridge that suits training people."""
    width = config.num_own_inputs
    features = data.embeddings[:, :width]
    features = features / jnp.sqrt(jnp.mean(jnp.sum(jnp.square(features), axis=1)))
    asked, tested = gaps(features, data.practice), gaps(features, data.validation)
    ridges = jnp.asarray(config.own_ridges)
    losses = ridge_losses(asked, data.practice, tested, data.validation, ridges)
    items = Items(features=features, utility=jnp.zeros(len(features)))
    prior = GaussianPrior(jnp.zeros(width), ridges[jnp.argmin(losses)] * jnp.eye(width))
    return Model(items, prior)


def interview(model: Model, rule: str, data: Draw, config: Config) -> jax.Array:
    """Weights of every new person after the given numbers of answers: [user, answers, factor]."""
    num_prompts, num_responses = data.seen.shape
    mask = jnp.ones((num_prompts, num_responses), bool)
    pool = ResponsePool(model.items.features[data.seen], model.items.utility[data.seen], mask)
    truth = ResponsePool(data.attributes[data.seen], jnp.zeros(mask.shape), mask)
    elicit_config = ElicitConfig(num_questions=max(config.num_answers), rule=rule)

    def one(person: jax.Array, weights: Float[Array, " attribute"]):
        ask_key, answer_key = jax.random.split(jax.random.fold_in(data.key, person))

        def answer(_, index):
            # Noise of the person and the question, so that every method hears the same answer.
            key = jax.random.fold_in(answer_key, index)
            return choose(key, gap_at(truth, index).features @ weights, config.world.choice)

        return elicit(ask_key, pool, answer, model.prior, elicit_config).weights

    path = jax.vmap(one)(jnp.arange(len(data.weights)), data.weights)
    return jnp.asarray(path)[:, jnp.asarray(config.num_answers)]


def serve(items: Items, path: Float[Array, "user answers factor"], data: Draw, config: Config):
    """Best of the candidates for every new person and prompt: [answers, user, prompt]."""
    candidates = data.unseen[:, 1 : 1 + config.num_candidates]
    mask = jnp.ones(candidates.shape, bool)
    pool = ResponsePool(items.features[candidates], items.utility[candidates], mask)

    def choose(weights: Float[Array, "user factor"]):
        # The rule reads no covariance.
        people = Gaussian(weights, jnp.zeros((*weights.shape, weights.shape[1])))
        return best_of_n(people, pool).index

    best = jax.lax.map(choose, jnp.moveaxis(path, 1, 0))
    return candidates[jnp.arange(len(candidates))[None, None, :], best]


def win_rate(served: Int[Array, "answers user prompt"], data: Draw, config: Config) -> jax.Array:
    """How often the simulated judge prefers what is served to the default, ties ½: [answers]."""
    gained = data.attributes[served] - data.attributes[data.unseen[:, 0]][None, None]
    gap = jnp.einsum("nupa,ua->nup", gained, data.weights)
    return jnp.mean(expected_label(gap, config.world.choice), axis=(1, 2))


def measure(items: Items, path: Float[Array, "user answers factor"], data: Draw, config: Config):
    """Mean over new people of AUC, NLL and win rate after each number of answers."""
    test = data.test
    logit = jnp.einsum("upj,unj->nup", gaps(items.features, test), path)
    logit = logit + gaps(items.utility, test)[None]
    each = jax.vmap(jax.vmap(metrics.auc), in_axes=(0, None, None))
    nll = jax.vmap(metrics.nll, in_axes=(0, None))(logit, test.label)
    nll = jnp.where(test.mask[None], nll, 0.0).sum(2)
    return {
        "auc_user": jnp.nanmean(each(logit, test.label, test.mask), axis=1),
        "nll": jnp.mean(nll / test.mask.sum(1)[None], axis=1),
        "win_rate": win_rate(serve(items, path, data, config), data, config),
    }


def one_seed(rows: Rows, shuffled: Rows, data: Draw, config: Config):
    """One seed: curves by ``method/questions/control``, and what `pref` serves; pure."""
    score = partial(measure, data=data, config=config)
    models, utility = train_pref(data.key, rows, shuffled, data, config)
    own = train_own(data, config)
    shape = len(data.weights), len(config.num_answers)
    zeros = jnp.zeros((*shape, config.num_factors))
    shared = Items(jnp.zeros((len(utility), config.num_factors)), utility)
    truth = Items(data.attributes, jnp.zeros_like(utility))
    known = config.world.choice.sharpness * data.weights
    known = jnp.broadcast_to(known[:, None, :], (*shape, known.shape[1]))
    curves = {"population//": score(shared, zeros), "oracle//": score(truth, known)}
    names = "pref/{}/", "pref-map/{}/", "pref/{}/shuffled-users"
    for rule in RULES:
        ask = partial(interview, rule=rule, data=data, config=config)
        curves[f"per-user/{rule}/"] = score(own.items, ask(own))
        paths = jax.lax.map(ask, models)
        for i, name in enumerate(names):
            curves[name.format(rule)] = score(at(models.items, i), paths[i])
        served = serve(at(models.items, 0), paths[0], data, config)
        another = jnp.roll(paths[0], len(data.weights) // 2, axis=0)
        curves[f"pref/{rule}/wrong-user"] = score(at(models.items, 0), another)
    return curves, served
