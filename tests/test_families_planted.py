"""Every family finds what was planted from its own model, and groups are found only if there."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

from prefjax import metrics
from prefjax.basis import make_problem, standardize
from prefjax.families import REGISTRY, gather, get_family, score
from prefjax.families.k_means import k_means
from prefjax.families.worker_map import adjusted_rand, heat_map, t_sne
from prefjax.types import Comparisons, UserBatch

OLD, NEW, PROMPTS, EACH, INPUTS, PAIRS, ANSWERS, TESTS = 60, 24, 40, 4, 8, 40, 24, 60
PEOPLE, RESPONSES = OLD + NEW, PROMPTS * EACH


def test_points_that_do_not_count_move_no_cluster():
    rng = np.random.default_rng(0)
    points = np.concatenate([rng.normal(size=(20, 2)) + shift for shift in (0.0, 8.0, 500.0)])
    points = jnp.asarray(points, jnp.float32)
    find = partial(k_means, max_clusters=2, num_restarts=3)
    cluster = np.asarray(find(jax.random.key(0), points, 2, jnp.arange(60) < 40))
    assert len(set(cluster[:20])) == len(set(cluster[20:40])) == 1
    assert cluster[0] != cluster[20] == cluster[59]  # the others join the nearest
    everybody = np.asarray(find(jax.random.key(0), points, 2, jnp.ones(60, bool)))
    assert everybody[0] == everybody[20] != everybody[59]


def unit(rng, *shape):
    drawn = rng.normal(size=shape)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def linear(weight):
    return lambda user, a, b, h: np.sum(weight[user] * (a - b), axis=1)


def plant_bradley_terry(rng):
    return linear(np.repeat(unit(rng, 1, INPUTS), PEOPLE, axis=0))


def plant_per_user(rng):
    return linear(rng.normal(size=(PEOPLE, INPUTS)))


def plant_pref(rng):
    return linear(1.5 * rng.normal(size=(PEOPLE, 2)) @ unit(rng, 2, INPUTS))


def plant_lore(rng):
    basis = unit(rng, 2, INPUTS)
    return linear(3 * rng.dirichlet(np.full(4, 0.3), PEOPLE) @ np.concatenate([basis, -basis]))


def plant_axis(rng):
    return linear(rng.normal(size=(PEOPLE, 1)) * 1.5 * unit(rng, 1, INPUTS))


def plant_clusters(rng):
    return linear(2 * unit(rng, 3, INPUTS)[np.arange(PEOPLE) % 3])


def plant_pal_a(rng):
    turn, point = rng.normal(size=(INPUTS, 2)), rng.normal(size=(4, 2))
    ideal = rng.dirichlet(np.full(4, 0.3), PEOPLE) @ (point - point.mean(0)) * 6

    def logit(user, a, b, h):
        far, near = (np.linalg.norm(x @ turn - ideal[user], axis=1) for x in (b, a))
        return far - near

    return logit


def plant_pal_b(rng):
    turn, bend = rng.normal(size=(INPUTS, 3)), rng.normal(size=(4, 3, 3))
    constant, share = rng.normal(size=(4, 3)), rng.dirichlet(np.full(4, 0.3), PEOPLE)
    bend, constant = bend - bend.mean(0), constant - constant.mean(0)

    def logit(user, a, b, h):
        ideal = np.einsum("nk,nkd->nd", share[user], constant + np.einsum("nc,kcd->nkd", h, bend))
        ideal = ideal / np.linalg.norm(ideal, axis=1, keepdims=True)
        right, wrong = (x @ turn for x in (a, b))
        right, wrong = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (right, wrong))
        return 4 * np.sum(ideal * (right - wrong), axis=1)

    return logit


def plant_network(rng):
    """Pairs of hidden units that read the same direction against each other: a person opens one."""
    inward, person = unit(rng, 3, INPUTS).T, 1.5 * unit(rng, 3, 2).T
    latent = rng.normal(size=(PEOPLE, 2))

    def reward(x, user):
        read, moved = x @ inward, latent[user] @ person
        return 3 * np.sum(np.tanh(read + moved - 1) - np.tanh(read - moved - 1), axis=1)

    return lambda user, a, b, h: reward(a, user) - reward(b, user)


def plant_micro(rng):
    heads, share = unit(rng, 3, INPUTS), rng.dirichlet(np.full(3, 0.2), PEOPLE)
    heads = heads - heads.mean(0)
    heads = 3 * heads / np.linalg.norm(heads, axis=1, keepdims=True)

    def logit(user, a, b, h):
        weight = share[user] * np.where(h > 0, 1, 0.3)
        weight = weight / weight.sum(axis=1, keepdims=True)
        chosen = np.sum(weight * expit((a - b) @ heads.T), axis=1)
        return np.log(chosen) - np.log1p(-chosen)

    return logit


def plant_gpm(rng):
    turn, gates = rng.normal(size=(INPUTS + 1, 4)), 1 + 1.5 * rng.normal(size=(PEOPLE, 2))

    def logit(user, a, b, h):
        (p, q, r, s), (t, u, v, w) = (
            (np.concatenate([x, np.ones((len(x), 1))], axis=1) @ turn).T for x in (a, b)
        )
        return 0.5 * np.sum(gates[user] * np.stack([p * u - q * t, r * w - s * v], axis=1), axis=1)

    return logit


PLANTS = {
    "bradley-terry": plant_bradley_terry,
    "per-user": plant_per_user,
    "pref": plant_pref,
    "pref-map": plant_pref,
    "lore": plant_lore,
    "clusters": plant_clusters,
    "pal-a": plant_pal_a,
    "pal-b": plant_pal_b,
    "vpl": plant_network,
    "micro": plant_micro,
    "gpm": plant_gpm,
    "p-rlhf": plant_network,
    "p-ttt": plant_pref,
    "mrm": plant_axis,
    "temperature": plant_bradley_terry,
    "flip-noise": plant_bradley_terry,
}


def make_world(plant, seed):
    """Embeddings, topics, training rows, answers and tests of new people, and the true logit."""
    rng = np.random.default_rng(seed)
    embeddings = rng.normal(size=(RESPONSES, INPUTS)).astype(np.float32)
    topics = np.eye(3)[rng.integers(3, size=PROMPTS)]
    context = np.repeat(topics, EACH, axis=0).astype(np.float32)
    logit = plant(rng)

    def draw(people, count):
        user = np.repeat(people, count)
        prompt = rng.integers(PROMPTS, size=len(user))
        place = rng.integers(EACH, size=len(user))
        first = prompt * EACH + place
        second = prompt * EACH + (place + rng.integers(1, EACH, size=len(user))) % EACH
        s = logit(user, embeddings[first], embeddings[second], context[first])
        label = (rng.random(len(user)) < expit(s)).astype(np.float32)
        return Comparisons(user, first, second, label, np.ones(len(user), np.float32))

    def batch(count):
        rows = draw(np.arange(OLD, PEOPLE), count)
        columns = (column.reshape(NEW, count) for column in rows[1:])
        return UserBatch(*columns, mask=np.ones((NEW, count), bool))

    return embeddings, context, draw(np.arange(OLD), PAIRS), batch(ANSWERS), batch(TESTS), logit


def mean_auc(logits, tests):
    return float(jnp.mean(jax.vmap(metrics.auc)(logits, tests.label, tests.mask)))


def oracle_gain(world):
    """AUC of each new person's true logit less that of the best one for everybody."""
    embeddings, context, _, _, tests, logit = world
    first, second = tests.first.ravel(), tests.second.ravel()
    pairs = embeddings[first], embeddings[second], context[first]
    true = logit(np.repeat(np.arange(OLD, PEOPLE), TESTS), *pairs)
    chosen = np.mean([expit(logit(np.full(len(first), u), *pairs)) for u in range(PEOPLE)], axis=0)
    shared = np.log(chosen) - np.log1p(-chosen)
    own, best = (mean_auc(s.reshape(tests.label.shape), tests) for s in (true, shared))
    return own - best


def auc_after(family, params, world, standardizer, heard):
    embeddings, context, _, answers, tests, _ = world
    embeddings = standardize(standardizer, embeddings)
    asked = gather(embeddings, answers, context)
    asked = asked._replace(sample_weight=heard * asked.sample_weight)
    adapt = jax.jit(jax.vmap(partial(family.adapt, config=family.config), in_axes=(None, 0)))
    logits = score(family, params, adapt(params, asked), gather(embeddings, tests, context))
    return mean_auc(logits, tests)


@pytest.mark.parametrize("plant", dict.fromkeys(PLANTS.values()))
def test_planted_people_differ(plant):
    """Otherwise no family could show a gain."""
    gain = oracle_gain(make_world(plant, 0))
    assert gain == 0 if plant is plant_bradley_terry else gain > 0.15


@pytest.mark.slow
@pytest.mark.parametrize("name", REGISTRY)
def test_people_planted_from_a_familys_own_model_are_told_apart(name):
    family = get_family(name)
    world = make_world(PLANTS[name], 0)
    data = make_problem(world[2], world[0], num_users=OLD, context=world[1])
    params = jax.jit(family.fit)(jax.random.key(0), data, family.config)
    before, after = (
        auc_after(family, params, world, data.standardizer, heard) for heard in (0.0, 1.0)
    )
    if PLANTS[name] is plant_bradley_terry:  # of which the order is everybody's
        assert before > 0.65
    else:
        assert after > before + 0.05


@pytest.mark.slow
def test_groups_are_found_where_they_are_and_nowhere_else():
    """Three planted groups come back; with worker ids permuted there is one."""
    family = get_family("clusters")
    fit = jax.jit(family.fit)
    for seed in range(3):
        embeddings, _, rows, *_ = make_world(plant_clusters, seed)
        data = make_problem(rows, embeddings, num_users=OLD)
        found = fit(jax.random.key(seed), data, family.config)
        assert found.num_clusters == 3
        assert adjusted_rand(found.cluster, np.arange(OLD) % 3) >= 0.9
        shuffled = np.random.default_rng(seed).permutation(rows.user)
        null = make_problem(rows._replace(user=shuffled), embeddings, num_users=OLD)
        assert fit(jax.random.key(seed), null, family.config).num_clusters == 1


def test_a_heat_map_puts_groups_side_by_side_and_t_sne_keeps_neighbors():
    rng = np.random.default_rng(0)
    cluster = rng.permutation(np.arange(12) % 2)
    code = np.where(cluster[:, None] == 0, 1.0, -1.0) * [1.0, 0.2] + 0.1 * rng.normal(size=(12, 2))
    drawn = heat_map(code, cluster)
    assert np.all(np.diff(cluster[drawn.order]) >= 0)
    np.testing.assert_array_equal(
        drawn.cosine > 0, cluster[drawn.order][:, None] == cluster[drawn.order][None]
    )
    plane = t_sne(code, perplexity=3.0)
    apart = np.linalg.norm(plane[:, None] - plane[None], axis=2) + 1e9 * np.eye(12)
    np.testing.assert_array_equal(cluster[apart.argmin(1)], cluster)
    assert adjusted_rand(cluster, 1 - cluster) == 1.0
    with pytest.raises(ValueError, match="at least four people"):
        t_sne(code[:3])
