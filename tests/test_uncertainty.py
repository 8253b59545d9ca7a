"""How uncertain φ and t are: where it comes from, what it changes, and that it travels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit

import prefjax
from prefjax import basis, person
from prefjax.basis import EMConfig, make_problem, uncertainty
from prefjax.basis.heads import linear_params
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
