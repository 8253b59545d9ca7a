"""A population of several Gaussians: its fit, what answers say under it, and a model with one."""

from dataclasses import replace

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import multivariate_normal, norm

import prefjax
from prefjax import logistic
from prefjax.basis import EMConfig, mixture
from prefjax.basis.gauge import canonical, rotate
from prefjax.basis.heads import apply, linear_params
from prefjax.model import files
from prefjax.person import RULES, Person
from prefjax.types import Comparisons, Gaussian, Mixture, RewardBasis

KEY = jax.random.key(0)
TWO = Mixture(
    jnp.log(jnp.array([0.3, 0.7])),
    Gaussian(jnp.array([[-2.0], [1.0]]), jnp.array([[[0.3]], [[0.2]]])),
)


def answers_of(weights, rng, noise=0.5):
    """What answers say of people: N(m, S) under the prior N(0, I), whose factor is exact."""
    told = weights + noise * rng.normal(size=weights.shape)
    covariance = noise**2 / (1 + noise**2)
    size = weights.shape[1]
    return Gaussian(
        jnp.asarray(told / (1 + noise**2), jnp.float32),
        jnp.broadcast_to(covariance * jnp.eye(size), (len(weights), size, size)),
    )


def one_gaussian(people):
    away = people.mean - people.mean.mean(0)[None]
    covariance = people.covariance.mean(0) + away.T @ away / len(away)
    return Gaussian(people.mean.mean(0), covariance)


def crowd(centers, num_each, rng, spread=0.3):
    """People around some centers."""
    centers = np.repeat(np.asarray(centers, float), num_each, axis=0)
    return centers + spread * rng.normal(size=centers.shape)


def test_the_evidence_of_a_person_is_the_integral():
    noise, said = 0.6, 0.4
    people = Gaussian(
        jnp.array([[said / (1 + noise**2)]]), jnp.array([[[noise**2 / (1 + noise**2)]]])
    )
    found = mixture.evidence(TWO, mixture.told(people, jnp.array([True])))
    grid = np.linspace(-8, 8, 20_001)
    density = 0.3 * norm.pdf(grid, -2, 0.3**0.5) + 0.7 * norm.pdf(grid, 1, 0.2**0.5)
    factor = np.exp(-(grid**2) / (2 * noise**2) + said * grid / noise**2)
    assert float(found[0]) == pytest.approx(np.log(np.trapezoid(factor * density, grid)), abs=1e-4)


def test_a_round_never_lowers_the_penalized_evidence():
    rng = np.random.default_rng(0)
    people = answers_of(crowd([[-1.5, 0], [1, 1], [1, -1]], 30, rng), rng)
    own, known = one_gaussian(people), mixture.told(people, jnp.ones(90, bool))

    def objective(now):
        value, strength = mixture.evidence(now, known).sum(), mixture.STRENGTH * 2
        for covariance in now.components.covariance[:3]:
            inverse = jnp.linalg.inv(covariance)
            value -= strength / 2 * jnp.linalg.slogdet(covariance)[1]
            value -= strength / 2 * jnp.trace(inverse @ own.covariance)
        return float(value)

    step = jax.jit(mixture.step)
    now = mixture.start(KEY, people, known.weight, own, jnp.asarray(3), 4)
    values = []
    for _ in range(12):
        values.append(objective(now))
        now = step(now, known, own)
    assert np.diff(values).min() > -1e-3
    assert values[-1] > values[0] + 1
    assert float(jnp.exp(now.log_weight).sum()) == pytest.approx(1, abs=1e-5)
    assert float(now.log_weight[3]) < -1e20


@pytest.fixture(scope="module")
def fitted():
    """Mixtures of people around two centers and of people around one, and their Gaussians."""
    rng = np.random.default_rng(1)
    fit = jax.jit(mixture.fit_mixture)
    results = {}
    for name, centers in (("two", [[-1.5, 0.5], [1.5, -0.5]]), ("one", [[0.0, 0.0]])):
        weights = crowd(centers, 120 // len(centers), rng, 0.3 if name == "two" else 1.0)
        people = answers_of(weights, rng)
        # Somebody of whom nothing is known, whatever stands there, is nobody.
        people = Gaussian(*(jnp.concatenate([part, part[:1] * 0 + 1]) for part in people))
        people = people._replace(covariance=people.covariance.at[-1].set(jnp.eye(2)))
        present = jnp.arange(121) < 120
        own = one_gaussian(jax.tree.map(lambda part: part[:120], people))
        results[name] = mixture.trimmed(fit(KEY, people, present, own)), own, weights
    return results


def test_people_around_two_centers_are_told_from_people_around_one(fitted):
    found, _, weights = fitted["two"]
    assert isinstance(found, Mixture)
    truth = multivariate_normal.logpdf
    density = np.logaddexp.reduce(
        [
            log_weight + truth(weights, mean, covariance)
            for log_weight, mean, covariance in zip(
                found.log_weight, *found.components, strict=True
            )
        ]
    )
    moments = truth(weights, np.asarray(found.mean), np.asarray(found.covariance))
    assert density.mean() > moments.mean() + 0.3


def test_people_around_one_center_keep_their_gaussian_exactly(fitted):
    found, own, _ = fitted["one"]
    assert isinstance(found, Gaussian)
    chex.assert_trees_all_equal(found, jax.tree.map(np.asarray, own))


@pytest.fixture(scope="module")
def answered():
    rng = np.random.default_rng(2)
    features = rng.normal(size=(6, 1)).astype(np.float32)
    return features, np.array([1, 1, 0, 1, 0, 1], np.float32), np.ones(6, np.float32)


def test_answers_under_a_mixture_are_those_of_the_integral(answered):
    features, label, weight = answered
    fit = logistic.solve_under(features, label, weight, prior=TWO)
    grid = np.linspace(-8, 8, 20_001)
    density = 0.3 * norm.pdf(grid, -2, 0.3**0.5) + 0.7 * norm.pdf(grid, 1, 0.2**0.5)
    chance = expit(features * grid[None])
    density *= np.prod(np.where(label[:, None] > 0, chance, 1 - chance), axis=0)
    density /= np.trapezoid(density, grid)
    mean = np.trapezoid(grid * density, grid)
    variance = np.trapezoid((grid - mean) ** 2 * density, grid)
    assert float(fit.weights[0]) == pytest.approx(mean, abs=0.02)
    assert 1 / float(fit.hessian[0, 0]) == pytest.approx(variance, rel=0.05)


def test_no_answers_leave_the_mixture_and_equal_components_are_one(answered):
    features, label, weight = answered
    nothing = logistic.solve_under(features, label, 0 * weight, prior=TWO)
    chex.assert_trees_all_close(nothing.weights, TWO.mean, atol=1e-6)
    chex.assert_trees_all_close(nothing.hessian, 1 / TWO.covariance, rtol=1e-5)
    assert int(nothing.status) == logistic.Status.NO_DATA
    same = jax.tree.map(lambda part: part[1:].repeat(2, 0), TWO.components)
    variance = 0.5 * weight
    for config in (logistic.GAUSSIAN, logistic.DEFAULT):
        settings = {"offset": 0.2 * weight, "variance": variance, "config": config}
        alone, twice = (
            logistic.solve_under(features, label, weight, prior=prior, **settings)
            for prior in (Gaussian(*(part[0] for part in same)), TWO._replace(components=same))
        )
        chex.assert_trees_all_close(alone.weights, twice.weights, atol=1e-5)
        chex.assert_trees_all_close(alone.hessian, twice.hessian, rtol=1e-4)


@pytest.mark.parametrize("config", [logistic.GAUSSIAN, logistic.DEFAULT])
def test_choices_of_one_of_two_under_a_mixture_are_the_pairs(answered, config):
    features, label, weight = answered
    settings = {"prior": TWO, "variance": 0.5 * weight, "posterior_scale": 0.7, "config": config}
    pairs = logistic.solve_under(features, label, weight, offset=0.2 * weight, **settings)
    shown = np.stack([features, np.zeros_like(features), np.full_like(features, 9.0)], axis=1)
    said = np.stack([label, 1 - label, np.zeros_like(label)], axis=1)
    mask = np.broadcast_to([True, True, False], said.shape)
    offset = np.broadcast_to(np.float32([0.2, 0.0, 5.0]), said.shape)
    choices = logistic.fit_choices_under(shown, said, mask, weight, offset=offset, **settings)
    chex.assert_trees_all_close(choices.weights, pairs.weights, atol=2e-4)
    chex.assert_trees_all_close(choices.hessian, pairs.hessian, rtol=2e-3)


def test_many_people_under_a_mixture_are_each_by_themselves(answered):
    features, label, weight = answered
    people = np.stack([label, 1 - label, label * 0 + 0.5])
    every = jax.jit(
        jax.vmap(lambda said: logistic.solve_under(features, said, weight, prior=TWO).weights)
    )(people)
    for said, found in zip(people, every, strict=True):
        alone = logistic.solve_under(features, said, weight, prior=TWO).weights
        chex.assert_trees_all_close(found, alone, atol=1e-5)


@pytest.fixture(scope="module")
def model():
    """A model whose people want one of two opposite things."""
    rng = np.random.default_rng(3)
    embeddings = rng.normal(size=(60, 6)).astype(np.float32)
    weights = crowd([[3.0, 0.0], [-3.0, 0.0]], 30, rng, 0.2)
    user = np.repeat(np.arange(60), 40)
    first = rng.integers(60, size=user.size)
    second = (first + rng.integers(1, 60, size=user.size)) % 60
    gap = (embeddings[first] - embeddings[second])[:, :2]
    chance = expit(np.sum(gap * weights[user], axis=1))
    label = (rng.random(user.size) < chance).astype(np.float32)
    rows = Comparisons(user, first, second, label, np.ones_like(label))
    config = EMConfig(num_factors=2, population="mixture")
    return prefjax.fit(rows, embeddings, config=config), embeddings


def test_a_mixture_travels_with_the_model_and_its_people(model, tmp_path):
    fitted, embeddings = model
    population = fitted.basis.population
    assert isinstance(population, Mixture)
    assert fitted.report["num_components"] == len(population.log_weight) > 1
    chex.assert_trees_all_close(population.covariance, np.eye(2), atol=0.2)
    fitted.save(tmp_path)
    loaded = prefjax.load(tmp_path)
    chex.assert_trees_all_equal(loaded.basis, fitted.basis)
    person = fitted.new_person()
    for label in (1.0, 0.0, 1.0):
        person.ask(embeddings[:20])
        person.tell(label)
    person.save(tmp_path / "ann.json")
    again = loaded.load_person(tmp_path / "ann.json")
    chex.assert_trees_all_close(again.belief, person.belief, atol=1e-6)
    ranking = again.rank(embeddings[20:])
    assert np.all((ranking.low <= ranking.high) & np.isfinite(ranking.win_probability))
    spoiled = population._replace(log_weight=population.log_weight - 1)
    bad = replace(fitted, basis=fitted.basis._replace(population=spoiled))
    bad.save(tmp_path / "bad")
    with pytest.raises(ValueError, match="sum to"):
        files.load(tmp_path / "bad")


@pytest.mark.parametrize("rule", RULES)
def test_every_rule_asks_under_a_mixture(rule):
    population = TWO._replace(
        components=Gaussian(
            jnp.array([[-2.0, 0.0], [1.0, 0.5]]), jnp.stack([0.3 * jnp.eye(2), 0.2 * jnp.eye(2)])
        )
    )
    basis = RewardBasis(linear_params(jnp.eye(2, 3)), population, jnp.ones(()))
    pool = np.random.default_rng(4).normal(size=(8, 2)).astype(np.float32)
    person = Person(basis, rule=rule)
    asked = set()
    for label in (1.0, 0.0, 1.0, 1.0):
        asked.add(person.ask(pool)[:2])
        person.tell(label)
    assert len(asked) == 4
    assert np.linalg.eigvalsh(person.belief.covariance).min() > 0
    assert np.isfinite(person.rank(pool).win_probability).all()


def test_another_gauge_changes_no_reward():
    rng = np.random.default_rng(5)
    components = Gaussian(
        jnp.asarray(rng.normal(size=(2, 2)), jnp.float32),
        jnp.stack([jnp.eye(2), jnp.diag(jnp.array([2.0, 0.5]))]),
    )
    population = Mixture(TWO.log_weight, components)
    head = linear_params(jnp.asarray(rng.normal(size=(4, 3)), jnp.float32))
    basis = RewardBasis(head, population, jnp.ones(()))
    inputs = jnp.asarray(rng.normal(size=(9, 4)), jnp.float32)
    features = apply(basis.params, inputs).features
    turned, _ = rotate(basis, components, canonical(features, population.covariance))
    found = apply(turned.params, inputs).features
    chex.assert_trees_all_close(turned.population.covariance, jnp.eye(2), atol=1e-4)
    for old, new in zip(components.mean, turned.population.components.mean, strict=True):
        chex.assert_trees_all_close(features @ old, found @ new, atol=1e-4)
