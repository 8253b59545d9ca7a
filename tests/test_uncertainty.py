"""How uncertain φ and t are: where it comes from, what it changes, and that it travels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import prefjax
from prefjax import basis, person
from prefjax.align import BestOfNConfig, best_of_n_checked
from prefjax.basis import EMConfig, make_problem, uncertainty
from prefjax.basis.heads import linear_params
from prefjax.families import Answers, pref
from prefjax.person import PairPool, Person, ResponsePool
from prefjax.types import Comparisons, FeatureGap, Gaussian, Penalties, RewardBasis

KEY = jax.random.key(0)
PRIOR = Gaussian(jnp.zeros(2), jnp.eye(2))


def draw(rng, weights, head, embeddings, num_pairs):
    """Comparisons of everybody, and the logit by which each was made."""
    user = np.repeat(np.arange(len(weights)), num_pairs)
    first = rng.integers(0, len(embeddings), len(user))
    second = (first + rng.integers(1, len(embeddings), len(user))) % len(embeddings)
    gap = (embeddings[first] - embeddings[second]) @ head
    logit = np.sum(gap[:, :-1] * weights[user], axis=1) + gap[:, -1]
    label = (rng.random(len(user)) < expit(logit)).astype(np.float32)
    pair = (column.astype(np.int32) for column in (user, first, second))
    return Comparisons(*pair, label, np.ones_like(label)), logit


def world(num_users, num_pairs=30, personal=1.0, num_responses=80, num_inputs=10):
    rng = np.random.default_rng(0)
    embeddings = (rng.normal(size=(num_responses, num_inputs)) / 3).astype(np.float32)
    head = rng.normal(size=(num_inputs, 4)) * np.array([personal] * 3 + [1.0])
    weights = rng.normal(size=(num_users, 3))
    return rng, embeddings, head, draw(rng, weights, head, embeddings, num_pairs)[0]


def test_the_curvature_is_that_of_a_logistic_regression_where_nobody_differs():
    """J = 1 pruned to nothing: t alone, whose variance in one direction is known exactly."""
    rng = np.random.default_rng(0)
    embeddings = np.eye(2, dtype=np.float32)
    count = 200
    label = (rng.random(count) < 0.6).astype(np.float32)
    pair = np.zeros(count, np.int32)
    rows = Comparisons(np.arange(count, dtype=np.int32), pair, pair + 1, label, 0 * label + 1)
    problem = make_problem(rows, embeddings, num_users=count)
    penalties = Penalties(*np.float32([1e6, 0.1, 1.0]))
    fitted, _, _ = basis.fit_block(KEY, problem, penalties, config=EMConfig(num_factors=1))
    items = basis.apply(fitted.params, embeddings)
    gap = float(np.sum(np.square(items.spread[0] - items.spread[1])))
    standard = label.mean() * (1 - label.mean()) * count
    assert gap == pytest.approx(1 / (standard + 0.05), rel=0.05)


@pytest.mark.slow
@pytest.mark.parametrize("num_users", [100, 400])
def test_intervals_of_new_people_cover_what_they_claim(num_users):
    rng, embeddings, head, rows = world(num_users)
    problem = make_problem(rows, embeddings, num_users=num_users)
    fitted, _, _ = basis.fit(KEY, problem, config=EMConfig(num_factors=6))
    blind = fitted._replace(params={"out": fitted.params["out"]})
    shares = []
    for known in (fitted, blind):
        inside = []
        for seed in range(60):
            rng = np.random.default_rng(seed)
            weights = rng.normal(size=(1, 3))
            asked, _ = draw(rng, weights, head, embeddings, 20)
            one = Person(known)
            for first, second, label in zip(asked.first, asked.second, asked.label, strict=True):
                one.observe(embeddings[first], embeddings[second], float(label))
            ranking = one.rank(embeddings)
            reward = embeddings @ head
            reward = reward[:, :-1] @ weights[0] + reward[:, -1]
            truth = expit(reward - reward[ranking.reference])
            other = np.arange(len(truth)) != ranking.reference
            inside.append(((ranking.low <= truth) & (truth <= ranking.high))[other].mean())
        shares.append(np.mean(inside))
    assert 0.9 < shares[0] < 0.98
    assert shares[1] < shares[0]


def test_a_population_alone_is_not_certain_and_the_uncertainty_travels(tmp_path):
    """Dealt-out answers leave one population; its intervals have a width, before and after disk."""
    _, embeddings, _, rows = world(40, num_pairs=8, personal=0.0)
    with pytest.warns(UserWarning, match="nothing personal"):
        model = prefjax.fit(rows, embeddings, num_users=40, config=EMConfig(num_factors=2))
    ranking = model.new_person().rank(embeddings)
    other = np.arange(len(embeddings)) != ranking.reference
    assert np.all(ranking.high - ranking.low >= 0)
    assert (ranking.high - ranking.low)[other].min() > 0.02
    model.save(tmp_path)
    again = prefjax.load(tmp_path).new_person().rank(embeddings)
    np.testing.assert_array_equal(again.low, ranking.low)
    _, deviation = model.new_person().reward(embeddings)
    assert deviation.min() > 0


def test_the_prior_that_many_entries_tell_is_found_and_what_was_shrunk_beyond_it_counts():
    """Entries of variance 4, seen with information 10 and fitted under a penalty of 30."""
    rng = np.random.default_rng(0)
    truth = 2 * rng.normal(size=(4000, 1))
    seen = truth + rng.normal(size=truth.shape) / np.sqrt(10)
    fitted = seen * 10 / (10 + 30)
    information = np.full(truth.shape, 10.0)
    error = uncertainty._square_error(
        jnp.asarray(fitted, jnp.float32), jnp.asarray(information, jnp.float32), jnp.float32(30)
    )
    wanted = np.mean(np.square(truth - fitted))
    assert float(jnp.mean(error)) == pytest.approx(wanted, rel=0.35)
    assert wanted / 50 > 1 / 40


def test_what_a_comparison_measures_is_what_a_person_is_served():
    """`pref` on embeddings of a problem, and `Person`, by the same basis and answers."""
    rng, embeddings, head, rows = world(30)
    problem = make_problem(rows, embeddings, num_users=30)._replace(standardizer=None)
    inputs = np.asarray(problem.embeddings)
    penalties = Penalties(*np.float32([4, 1, 1]))
    fitted, _, _ = basis.fit_block(KEY, problem, penalties, config=EMConfig(num_factors=2))
    asked, _ = draw(rng, rng.normal(size=(1, 3)), head, embeddings, 6)
    one = Person(fitted)
    for first, second, label in zip(asked.first, asked.second, asked.label, strict=True):
        one.observe(inputs[first], inputs[second], float(label))
    answers = Answers(
        inputs[asked.first], inputs[asked.second], np.zeros((6, 0)), asked.label, np.ones(6)
    )
    state = pref.adapt(fitted, answers, pref.Config())
    np.testing.assert_allclose(state.mean, one.belief.mean, atol=2e-5)
    np.testing.assert_allclose(state.covariance, one.belief.covariance, atol=2e-5)
    ranking = one.rank(inputs)
    logit = [pref.logit(fitted, state, x, inputs[ranking.reference], np.zeros(0)) for x in inputs]
    np.testing.assert_allclose(ranking.win_probability, expit(np.array(logit)), atol=1e-5)
    assert (ranking.low <= ranking.win_probability + 0.2).all()


def test_an_uncertainty_that_is_none_is_refused():
    gap = FeatureGap(np.ones((2, 2)), np.zeros(2))
    pairs = PairPool(gap.features, gap.offset, np.ones(2, bool), np.zeros(2))
    one = Person(RewardBasis(linear_params(jnp.eye(2, 3)), PRIOR, jnp.ones(())))
    for variance, message in (
        (np.array([0.0, -1.0]), "negative variance"),
        (np.array([np.nan, 1.0]), "variance that is not finite"),
        (np.zeros(3), "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            one.ask(pairs._replace(variance=variance))
    features = np.zeros((1, 3, 2))
    features[0, :, 0] = np.arange(3)
    pool = ResponsePool(features, np.zeros((1, 3)), np.ones((1, 3), bool))
    for spread, message in (
        (np.full((1, 3, 2), np.inf), "spread that is not finite"),
        (np.zeros((1, 2, 2)), "shape"),
        (np.zeros((1, 3)), "shape"),
    ):
        with pytest.raises(ValueError, match=message):
            one.ask(pool._replace(spread=spread))
    hidden = pairs._replace(mask=np.array([True, False]), variance=np.array([0.5, np.nan]))
    assert one.ask(hidden).index == 0


def test_the_lower_limit_of_the_best_of_many_knows_what_phi_leaves_open():
    """Two responses, one a little better and of unknown reward."""
    pool = ResponsePool(
        np.zeros((1, 2, 1)),
        np.array([[0.3, 0.0]]),
        np.ones((1, 2), bool),
        np.array([[[3.0], [0.0]]]),
    )
    people = Gaussian(np.zeros((1, 1)), np.ones((1, 1, 1)))
    best = best_of_n_checked(people, pool, config=BestOfNConfig("lcb"))
    # Both are as far from their mean.
    np.testing.assert_allclose(best.score[0, 0], 0.15 - 1.5, rtol=1e-5)
    with pytest.raises(ValueError, match="is not finite"):
        best_of_n_checked(people, pool._replace(spread=pool.spread + np.nan))


def test_the_probability_of_the_best_of_many_has_the_scale_of_the_basis():
    pool = ResponsePool(np.array([[[1.0], [-1.0]]]), np.zeros((1, 2)), np.ones((1, 2), bool))
    people = Gaussian(np.ones((1, 1)), 4 * np.ones((1, 1, 1)))
    config = BestOfNConfig("pwin")
    known = best_of_n_checked(people, pool, posterior_scale=0.0, config=config).score[0, 0]
    np.testing.assert_allclose(known, expit(1.0), rtol=1e-5)
    moderated = best_of_n_checked(people, pool, config=config).score[0, 0]
    np.testing.assert_allclose(moderated, expit(1 / np.sqrt(1 + np.pi / 2)), rtol=1e-5)


def test_rules_as_written_see_the_mean_that_they_name():
    belief = Gaussian(jnp.asarray([1.0, 0.0]), jnp.eye(2))
    gap = FeatureGap(jnp.asarray([[1.0, 0.0], [0.9, 0.0]]), jnp.zeros(2), jnp.asarray([9.0, 0.0]))
    np.testing.assert_allclose(
        person.score(KEY, gap, belief, rule="entropy"), [-1.0, -0.9], rtol=1e-5
    )
    for rule in ("official", "prob_variance"):
        blind = person.score(KEY, gap._replace(variance=0.0), belief, rule=rule)
        found = person.score(KEY, gap, belief, rule=rule)
        assert np.allclose(found, blind) == (rule == "official")


def test_many_inputs_are_projected_with_nearly_the_same_distances():
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(150, 150)).astype(np.float32)
    weights, head = rng.normal(size=(30, 2)), rng.normal(size=(150, 3)) / 12
    rows, _ = draw(rng, weights, head, embeddings, 20)
    problem = make_problem(rows, embeddings, num_users=30)
    fitted, _, _ = basis.fit_block(
        KEY, problem, Penalties(*np.float32([4, 1, 1])), config=EMConfig(num_factors=2)
    )
    spread = np.asarray(basis.apply(fitted.params, embeddings).spread)
    assert spread.shape == (150, uncertainty.MOST_COLUMNS)
    size = np.sum(np.square(spread), axis=1)
    assert size.std() < 0.4 * size.mean()


def test_a_question_about_unknown_rewards_teaches_less():
    gap = FeatureGap(jnp.ones((2, 2)), jnp.zeros(2), jnp.asarray([0.0, 4.0]))
    belief = PRIOR
    for rule in ("d_optimal", "bald", "eq8", "v_optimal"):
        score = person.score(KEY, gap, belief, rule=rule)
        assert score[0] > score[1]
    sure = person.score(KEY, gap._replace(variance=0.0), belief, rule="bald")
    np.testing.assert_allclose(sure, person.score(KEY, gap, belief, rule="bald")[0], rtol=1e-5)
    pairs = PairPool(gap.features, gap.offset, jnp.ones(2, bool), gap.variance)
    params = {
        **linear_params(jnp.eye(2, 3)),
        "spread": {"kernel": jnp.eye(2), "bias": jnp.zeros(2)},
    }
    one = Person(RewardBasis(params, PRIOR, jnp.ones(())))
    assert one.ask(pairs).index == 0
    one.tell(1.0)
    features = jnp.asarray([[[1.0, 0.0], [0.0, 0.0], [1.0, 0.1]]])
    spread = jnp.asarray([[[0.0], [0.0], [3.0]]])
    pool = ResponsePool(features, jnp.zeros((1, 3)), jnp.ones((1, 3), bool), spread)
    assert Person(RewardBasis(params, PRIOR, jnp.ones(()))).ask(pool)[:2] == (0, 1)
    known = pool._replace(spread=None)
    assert Person(RewardBasis(params, PRIOR, jnp.ones(()))).ask(known)[:2] == (1, 2)


def test_an_answer_about_unknown_rewards_moves_the_belief_less():
    embeddings = np.float32([[1, 0], [0, 0]])
    sure = RewardBasis(linear_params(jnp.eye(2, 3)), PRIOR, jnp.ones(()))
    spread = {"spread": {"kernel": 2 * jnp.eye(2), "bias": jnp.zeros(2)}}
    unsure = sure._replace(params={**sure.params, **spread})
    people = Person(sure), Person(unsure)
    for one in people:
        one.observe(*embeddings, 1.0)
    assert 0 < people[1].weights[0] < people[0].weights[0]
    assert people[1].log[0].variance == pytest.approx(4.0)
    assert people[1].to_dict()["answers"][0]["variance"] == pytest.approx(4.0)
