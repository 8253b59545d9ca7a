import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax import logistic
from prefjax.basis.heads import linear_params
from prefjax.person import (
    InterviewConfig,
    PairPool,
    Person,
    ResponsePool,
    gap_at,
    make_recorded,
    make_simulated,
)
from prefjax.person import interview as interview_kernel
from prefjax.types import Gaussian, RewardBasis

J, C, Q = 3, 30, 6
PRIOR = Gaussian(mean=jnp.asarray([0.3, -0.2, 0.1]), covariance=jnp.eye(J) / 2)
BASIS = RewardBasis(linear_params(jnp.eye(J, J + 1)), PRIOR, jnp.ones(()))


def make_pool(seed=0):
    rng = np.random.default_rng(seed)
    return PairPool(
        features=jnp.asarray(rng.normal(size=(C, J)), jnp.float32),
        offset=jnp.asarray(rng.normal(size=C), jnp.float32),
        mask=jnp.ones(C, bool),
    )


def make_labels(seed=1):
    return jnp.asarray(np.random.default_rng(seed).choice([0.0, 0.5, 1.0], C), jnp.float32)


def interview(key, pool, label, prior, rule="d_optimal"):
    config = InterviewConfig(Q, rule)
    return interview_kernel(key, pool, make_recorded(label), prior, config)


run = jax.jit(interview, static_argnames="rule")


def test_path_is_the_fit_of_the_answers_so_far():
    pool, label = make_pool(), make_labels()
    path = run(jax.random.key(0), pool, label, PRIOR)
    assert len(set(path.chosen.tolist())) == Q
    assert bool(path.converged.all())
    np.testing.assert_array_equal(path.label, label[path.chosen])
    np.testing.assert_array_equal(path.beliefs.mean[0], PRIOR.mean)
    np.testing.assert_allclose(path.beliefs.covariance[0], PRIOR.covariance, atol=1e-6)
    last = logistic.fit_gaussian(
        pool.features[path.chosen],
        path.label,
        jnp.ones(Q),
        mean=PRIOR.mean,
        precision=2 * jnp.eye(J),
        offset=pool.offset[path.chosen],
    )
    np.testing.assert_allclose(path.beliefs.mean[-1], last.weights, atol=1e-4)
    product = path.beliefs.covariance[-1] @ last.hessian
    np.testing.assert_allclose(product, np.eye(J), atol=1e-4)


@pytest.mark.parametrize("rule", ["thompson", "official"])
def test_a_person_is_asked_what_the_scan_asks(rule):
    pool, label = make_pool(), make_labels()
    path = run(jax.random.key(2), pool, label, PRIOR, rule=rule)
    person = Person(BASIS, rule=rule, seed=2, num_questions=Q)
    for expected in path.chosen.tolist():
        assert person.ask(pool).index == expected
        assert person.ask(pool).index == expected
        person.tell(float(label[expected]))
    np.testing.assert_allclose(person.weights, path.beliefs.mean[-1], atol=1e-4)
    covariance = person.belief.covariance
    np.testing.assert_allclose(covariance, path.beliefs.covariance[-1], atol=1e-4)
    assert [answer.asked.index for answer in person.log] == path.chosen.tolist()
    assert [answer.label for answer in person.log] == path.label.tolist()
    with pytest.raises(ValueError, match="all 6 questions"):
        person.ask(pool)


def test_a_choice_made_elsewhere_counts_as_an_answer_and_leaves_the_question_open():
    pool = make_pool()
    asked, seen = Person(BASIS, num_questions=Q), Person(BASIS)
    question = asked.ask(pool)
    first, second = np.float32([1.0, 0.0, 2.0]), np.float32([0.0, 1.0, 0.0])
    for person in (asked, seen):
        person.observe(first, second, 1.0)
    np.testing.assert_array_equal(asked.weights, seen.weights)
    assert asked.ask(pool) == question
    want = logistic.fit_gaussian(
        (first - second)[None], jnp.ones(1), jnp.ones(1), mean=PRIOR.mean, precision=2 * jnp.eye(J)
    )
    np.testing.assert_allclose(seen.weights, want.weights, atol=1e-5)
    with pytest.raises(ValueError, match="outside"):
        seen.observe(first, second, 2.0)


def test_vmap_is_the_single_interview():
    pool = make_pool()
    keys = jax.random.split(jax.random.key(0), 4)
    labels = jnp.stack([make_labels(seed) for seed in range(4)])
    paths = jax.jit(jax.vmap(interview, in_axes=(0, None, 0, None)))(keys, pool, labels, PRIOR)
    for user in range(4):
        path = run(keys[user], pool, labels[user], PRIOR)
        np.testing.assert_array_equal(paths.chosen[user], path.chosen)
        np.testing.assert_allclose(paths.beliefs.mean[user], path.beliefs.mean, atol=1e-4)


def test_only_what_was_answered_is_asked():
    pool, label = make_pool(), make_labels()
    mask = jnp.zeros(C, bool).at[jnp.asarray([3, 7, 11])].set(True)
    features = jnp.where(mask[:, None], pool.features, jnp.nan)
    label = jnp.where(mask, label, jnp.nan)
    path = run(jax.random.key(0), pool._replace(mask=mask, features=features), label, PRIOR)
    assert sorted(path.chosen.tolist()) == [-1, -1, -1, 3, 7, 11]
    np.testing.assert_array_equal(path.asked, [True] * 3 + [False] * 3)
    np.testing.assert_allclose(
        path.beliefs.mean[3:], path.beliefs.mean[3][None, :] * jnp.ones((4, 1)), atol=1e-6
    )


@pytest.mark.parametrize("rule", ["d_optimal"])
def test_gauge_change_changes_no_question(rule):
    pool, label = make_pool(), make_labels()
    change = jnp.asarray([[2.0, 0.5, 0.0], [0.0, 0.5, 1.0], [-1.0, 0.0, 1.5]])
    moved = pool._replace(features=pool.features @ change)
    inverse = jnp.linalg.inv(change)
    prior = Gaussian(inverse @ PRIOR.mean, inverse @ PRIOR.covariance @ inverse.T)
    ours = run(jax.random.key(0), pool, label, PRIOR, rule=rule)
    theirs = run(jax.random.key(0), moved, label, prior, rule=rule)
    np.testing.assert_array_equal(ours.chosen, theirs.chosen)


def test_a_person_is_asked_over_all_pairs_of_responses():
    rng = np.random.default_rng(0)
    responses = jnp.asarray(rng.normal(size=(2, 3, J)), jnp.float32)
    pool = ResponsePool(responses, jnp.zeros((2, 3)), jnp.ones((2, 3), bool).at[1, 2].set(False))
    person = Person(BASIS)
    seen = set()
    for _ in range(4):
        asked = person.ask(pool)
        seen.add((asked.prompt, asked.first, asked.second))
        gap = gap_at(pool, jnp.int32(asked.index))
        shown = responses[asked.prompt, asked.first] - responses[asked.prompt, asked.second]
        np.testing.assert_array_equal(gap.features, shown)
        person.tell(1.0)
    assert seen == {(0, 0, 1), (0, 0, 2), (0, 1, 2), (1, 0, 1)}
    with pytest.raises(ValueError, match=r"no question left: all of its pairs were asked \(4 of"):
        person.ask(pool)


def test_bad_input_is_refused():
    pool = make_pool()
    person = Person(BASIS)
    with pytest.raises(ValueError, match="call ask"):
        person.tell(1.0)
    with pytest.raises(ValueError, match="no unmasked"):
        person.ask(pool._replace(mask=jnp.zeros(C, bool)))
    broken = pool._replace(features=pool.features.at[4, 0].set(jnp.nan))
    with pytest.raises(ValueError, match=r"1 unmasked rows .*\(4,\)"):
        person.ask(broken)
    with pytest.raises(ValueError, match="2 factors and the person 3"):
        person.ask(pool._replace(features=pool.features[:, :2]))
    person.ask(pool)
    with pytest.raises(ValueError, match=r"label -1.0 is outside .*use 0"):
        person.tell(-1.0)
    with pytest.raises(ValueError, match="label nan is outside"):
        person.tell(float("nan"))
    with pytest.raises(ValueError, match="at least one"):
        InterviewConfig(num_questions=0)
    with pytest.raises(ValueError, match="valid rules"):
        InterviewConfig(rule="magic")
    with pytest.raises(ValueError, match="2 factors, the basis 3"):
        Person(BASIS, belief=Gaussian(jnp.zeros(2), jnp.eye(2)))


def auc(logit, label):
    above, below = logit[label][:, None], logit[~label][None, :]
    return np.mean((above > below) + 0.5 * (above == below))


@pytest.mark.slow
def test_eight_adaptive_questions_reach_twenty_random_ones():
    """240 simulated users, J=6, 2,000 pairs whose reward variance falls as 1/j² along factor j.

    Expected AUC on 400 other pairs after 3/5/8/10/20 answers: random .666/.696/.723/.733/.749,
    d_optimal .732/.751/.764/.770/.786; the true weights reach .812.
    """
    users, factors = 240, 6
    keys = jax.random.split(jax.random.key(1), 5)
    scale = 1.5 / (1 + jnp.arange(factors))
    weight = jax.random.normal(keys[0], (users, factors))
    gaps = jax.random.normal(keys[1], (2000, factors)) * scale[None, :]
    test = jax.random.normal(keys[2], (400, factors)) * scale[None, :]
    label = np.asarray(jax.random.bernoulli(keys[3], jax.nn.sigmoid(weight @ test.T)))
    pool = PairPool(gaps, jnp.zeros(2000), jnp.ones(2000, bool))
    prior = Gaussian(jnp.zeros(factors), jnp.eye(factors))

    def reached(rule, num_answers):
        def one(key, weight):
            config = InterviewConfig(num_answers, rule)
            path = interview_kernel(key, pool, make_simulated(weight, pool), prior, config)
            return path.beliefs.mean[-1]

        fitted = jax.jit(jax.vmap(one))(jax.random.split(keys[4], users), weight)
        logit = np.asarray(fitted @ test.T)
        return np.mean([auc(s, y) for s, y in zip(logit, label, strict=True)])

    assert reached("d_optimal", 8) > reached("random", 20)
