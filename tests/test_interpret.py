"""What axes mean: labels are named where they are true, and nowhere else."""

from dataclasses import replace

import numpy as np
import pytest
from interpret_world import NUM_FACTORS, NUM_KNOWN, POLES, make_world
from scipy import stats
from scipy.stats import ortho_group

from prefjax import interpret, metrics
from prefjax.align.judges import FakeJudge
from prefjax.interpret import (
    JudgeReader,
    NamingConfig,
    PropertyReader,
    auc_matrix,
    center_by_group,
    ends,
    fidelity,
    holm,
    make_axes,
    make_parts,
    match_axes,
    name_axes,
    turn_axes,
    varimax,
)
from prefjax.interpret.fidelity import random_directions, rotation_p
from prefjax.types import Comparisons

CONFIG = NamingConfig(num_pairs=160, num_directions=1000, num_intruders=20)


@pytest.fixture(scope="module")
def world():
    return make_world()


@pytest.fixture(scope="module")
def naming(world):
    reader = PropertyReader(world.properties)
    shared = {"split": world.split, "embeddings": world.embeddings, "config": CONFIG}
    return name_axes(world.axes, world.dataset, reader, **shared)


def test_axes_predict_what_the_basis_predicts(world):
    axes = world.axes
    gap, first, second = axes.gap(np.arange(9), np.arange(9, 18)), slice(9), slice(9, 18)
    kernel = np.asarray(world.basis.params["out"]["kernel"], np.float64)
    difference = np.asarray(world.embeddings[first] - world.embeddings[second], np.float64)
    before = difference @ kernel[:, :-1] @ np.asarray(world.people.mean).T
    np.testing.assert_allclose(gap @ axes.people.mean.T, before, atol=2e-4)
    np.testing.assert_allclose(
        axes.offset(np.arange(9), np.arange(9, 18)), difference @ kernel[:, -1], atol=1e-5
    )
    np.testing.assert_allclose(axes.basis.population.covariance, np.eye(NUM_FACTORS), atol=1e-4)
    canonical = make_axes(
        world.basis,
        world.people,
        world.embeddings,
        axes.group,
        shown=~world.split.is_new_response,
        rotation="canonical",
    )
    np.testing.assert_allclose(axes.variance.sum(), canonical.variance.sum(), rtol=1e-4)
    assert (np.diff(axes.variance) <= 0).all()


def test_varimax_finds_sparse_weights_again():
    rng = np.random.default_rng(0)
    weights = rng.choice((-1.0, 1.0), size=(600, 4)) * (rng.random((600, 4)) < 0.3)
    mixed = weights @ ortho_group(4, seed=1).rvs()
    rotation = varimax(mixed)
    np.testing.assert_allclose(rotation.T @ rotation, np.eye(4), atol=1e-10)
    correlation = np.abs(np.corrcoef((mixed @ rotation).T, weights.T)[:4, 4:])
    assert (correlation.max(axis=0) > 0.95).all()


def test_ends_take_one_response_a_prompt(world):
    high, low = ends(world.axes, 0, num=5, among=world.split.is_new_response)
    group = world.axes.group
    assert len(set(group[high])) == len(set(group[low])) == 5
    assert world.split.is_new_response[high].all()
    value = world.axes.features[:, 0]
    assert value[high[0]] == value[world.split.is_new_response].max()
    assert value[high].min() > value[low].max()
    one_prompt = world.axes._replace(group=np.zeros_like(group))
    assert len(ends(one_prompt, 0, num=5)[0]) == 5


def test_auc_and_spearman_are_those_of_other_code():
    rng = np.random.default_rng(0)
    gap = rng.normal(size=120)
    annotation = np.round(gap + rng.normal(size=120))
    annotation[5] = np.nan
    known = ~np.isnan(annotation)
    expected = metrics.pooled_auc(annotation[known], (gap[known] > 0).astype(float))
    found = auc_matrix(annotation[None], gap[:, None])
    assert found[0, 0] == pytest.approx(expected, abs=1e-12)
    both = [np.concatenate([x[known], -x[known]]) for x in (annotation, gap)]
    result = fidelity(annotation, gap, np.arange(120) // 10)
    assert result.spearman.value == pytest.approx(stats.spearmanr(*both).statistic)
    assert result.num_pairs == 119
    assert result.auc.low < result.auc.value < result.auc.high


def test_fidelity_covers_the_truth_of_a_judge_with_errors():
    """A judge who is wrong in ε of the pairs has the AUC 1 − ε."""
    rng, covered = np.random.default_rng(0), []
    block = np.repeat(np.arange(16), 8)
    for _ in range(40):
        gap = rng.normal(size=len(block))
        wrong = rng.random(len(gap)) < 0.2
        said = np.where(wrong, -1, 1) * np.sign(gap) / 2
        auc = fidelity(said, gap, block).auc
        covered.append(auc.low <= 0.8 <= auc.high)
    assert np.mean(covered) >= 0.9
    perfect = fidelity(np.sign(gap), gap, block).auc
    assert (perfect.value, perfect.high) == (1.0, 1.0)
    assert perfect.low == pytest.approx(0.025 ** (1 / 16))


def test_p_is_uniform_on_random_directions(world):
    parts = make_parts(0, world.axes.group, is_new=world.split.is_new_response, num_pairs=160)
    reader, test = PropertyReader(world.properties), parts.test
    labels, _ = reader.pool([])
    annotation = reader.annotate(labels, test.first, test.second)
    gap = world.axes.gap(test.first, test.second)
    null, fresh = (
        np.abs(auc_matrix(annotation, gap @ random_directions(seed, world.axes, 2000)) - 0.5)
        for seed in (0, 1)
    )
    best = fresh.argmax(axis=0)
    p = rotation_p(null, null.argmax(axis=0), fresh.max(axis=0), best)
    for level in (0.05, 0.5):
        assert np.mean(p <= level) == pytest.approx(level, abs=0.03)


def test_holm():
    np.testing.assert_allclose(holm(np.array([0.01, 0.5, 0.02, 0.9])), [0.04, 1.0, 0.06, 1.0])


def test_parts_share_no_prompt_and_new_prompts_test(world):
    for is_new in (None, world.split.is_new_response):
        parts = make_parts(3, world.axes.group, is_new=is_new, num_pairs=60)
        for part, pairs in enumerate(parts[:3]):
            group = world.axes.group[pairs.first]
            assert (parts.of_response[pairs.first] == part).all()
            assert (group == world.axes.group[pairs.second]).all()
            assert (pairs.first != pairs.second).all()
            if is_new is not None:
                assert (is_new[pairs.first] == (part == 2)).all()
    statements = make_parts(0, np.zeros(90, int), num_pairs=60)
    assert len(np.unique(statements.test.block)) >= 3
    with pytest.raises(ValueError, match="explain"):
        make_parts(0, np.arange(30), num_pairs=20)


def test_planted_axes_are_named(world, naming):
    assert naming.num_named == NUM_FACTORS
    assert {frozenset(name.split(" vs. ")) for name in naming.names} == set(map(frozenset, POLES))
    for entry in naming.axes:
        assert entry.p < 0.05
        assert entry.fidelity.auc.value > 0.95
        assert 0.5 < entry.component <= 1
        assert entry.best_other < entry.fidelity.auc.value
    choices = naming.choices
    assert choices.retained.low < 1.05
    assert choices.retained.value > 0.8
    assert choices.minus_population.low > 0
    # The label is true: where somebody weighs it up, the first word is what they want.
    known = center_by_group(world.properties.values, world.axes.group)
    for axis, entry in enumerate(naming.axes):
        correlation = np.corrcoef(known[:, entry.label.column], world.axes.features[:, axis])[0, 1]
        assert np.sign(correlation) == entry.label.sign


def test_random_rotations_are_not_named(world):
    reader, named = PropertyReader(world.properties), []
    for seed in range(5):
        turned = turn_axes(world.axes, ortho_group(NUM_FACTORS, seed=seed).rvs())
        lenient = replace(CONFIG, predict=False)
        found = name_axes(turned, world.dataset, reader, split=world.split, config=lenient)
        assert found.choices is None
        named.append(found.num_named)
    assert named == [0] * 5


def test_people_who_are_shuffled_name_nothing(world):
    rng = np.random.default_rng(0)
    cells = {
        name: getattr(world.split, name)._replace(
            user=rng.permutation(getattr(world.split, name).user)
        )
        for name in ("train", "calibration", "test")
    }
    split = world.split._replace(**cells)
    reader = PropertyReader(world.properties)
    found = name_axes(world.axes, world.dataset, reader, split=split, config=CONFIG)
    assert found.num_named == 0
    assert all("held-out people apart" in entry.failed[0] for entry in found.axes)
    assert found.named_choices is None


def test_axes_that_refits_do_not_find_have_no_name(world):
    reader = PropertyReader(world.properties)
    turned = turn_axes(world.axes, np.array([[2, 2, -1], [-1, 2, 2], [2, -1, 2]]) / 3)
    permuted = turn_axes(world.axes, np.eye(NUM_FACTORS)[:, [2, 0, 1]] * -1)
    matching = match_axes(world.axes, permuted, num_leading=NUM_FACTORS)
    np.testing.assert_allclose(matching.correlation, 1, atol=1e-6)
    assert matching.match.tolist() == [1, 2, 0]
    assert matching.largest_angle < 1e-2
    shared = {"split": world.split, "config": CONFIG}
    found = name_axes(world.axes, world.dataset, reader, refits={"halves": [turned]}, **shared)
    assert found.num_named == 0
    assert all("refits" in entry.failed[-1] for entry in found.axes)
    kept = name_axes(
        world.axes,
        world.dataset,
        reader,
        refits={"seeds": [permuted], "halves": [permuted, permuted, turned]},
        **shared,
    )
    assert kept.num_named == NUM_FACTORS
    assert [entry.agreement for entry in found.axes + kept.axes][3:] >= [0.75] * 3


def test_axes_of_other_responses_are_refused(world):
    reader = PropertyReader(world.properties)
    short = world.axes._replace(features=world.axes.features[:-1])
    with pytest.raises(ValueError, match="287 responses in the axes, 288"):
        name_axes(short, world.dataset, reader)
    few = interpret.own_properties(world.properties.values[:-1], world.properties.names)
    with pytest.raises(ValueError, match="properties of 287 responses"):
        name_axes(world.axes, world.dataset, PropertyReader(few))
    with pytest.raises(ValueError, match="287 responses in refit 1 of 'halves'"):
        name_axes(world.axes, world.dataset, reader, refits={"halves": [world.axes, short]})


def scripted(world, error=0.0, label=None):
    """A judge who knows the properties, and is wrong on a part of the pairs in both orders."""
    texts = {text: i for i, text in enumerate(world.dataset.responses)}
    poles = {" vs. ".join(pair): k for k, pair in enumerate(POLES)}
    poles |= {" vs. ".join(pair[::-1]): ~k for k, pair in enumerate(POLES)}
    rng = np.random.default_rng(0)
    wrong = {}

    def answer(request):
        if not request.choices:
            return label
        if request.question is None:
            if request.choices[0] not in poles:
                return request.choices[0]
            high, low = (
                [
                    texts[one]
                    for one in part.split("\n</text>")[0:-1]
                    for one in [one.split("<text>\n")[1]]
                ]
                for part in request.text.split("Group Y:")
            )
            gap = world.properties.values[high].mean(0) - world.properties.values[low].mean(0)
            k = int(np.argmax(np.abs(gap)))
            pair = POLES[k] if gap[k] > 0 else POLES[k][::-1]
            return " vs. ".join(pair)
        question = request.question
        k = poles[question.persona]
        sign = 1 if k >= 0 else -1
        a, b = texts[question.first], texts[question.second]
        column = world.properties.values[:, k if k >= 0 else ~k]
        more = sign * (column[a] - column[b]) > 0
        key = (max(k, ~k), *sorted((a, b)))
        flip = wrong.setdefault(key, rng.random() < error)
        return request.choices[0 if more != flip else 1]

    return FakeJudge(answer)


def test_a_judge_names_the_axes_and_its_errors_show(world):
    error = 0.15
    judge = scripted(world, error)
    reader = JudgeReader(judge, world.dataset, vocabulary=[" vs. ".join(pair) for pair in POLES])
    config = NamingConfig(
        num_candidates=2, num_pairs=96, num_directions=500, num_intruders=5, max_choice_pairs=400
    )
    found = name_axes(world.axes, world.dataset, reader, split=world.split, config=config)
    labels = [entry.label.text for entry in found.axes]
    assert {frozenset(label.split(" vs. ")) for label in labels} == set(map(frozenset, POLES))
    for entry in found.axes:
        auc = entry.fidelity.auc
        # Three intervals at once, so twice their width; the coverage itself is tested above.
        assert abs(auc.value - (1 - error)) < auc.high - auc.low
    assert found.reader["num_without_label"] == found.reader["num_without_annotation"] == 0
    assert found.choices.label_auc > 0.6
    before = judge.num_calls
    reader.annotate([found.axes[0].label], found.parts.test.first, found.parts.test.second)
    assert judge.num_calls == before


@pytest.mark.parametrize("said", ["", "I cannot say.", "x" * 200 + " vs. y", "warm vs. warm"])
def test_errors_of_a_judge_never_become_labels(world, said):
    reader = JudgeReader(scripted(world, label=said), world.dataset)
    config = NamingConfig(num_candidates=1, num_pairs=40, num_directions=50, num_intruders=2)
    found = name_axes(world.axes, world.dataset, reader, split=world.split, config=config)
    assert found.names == (interpret.UNNAMED,) * NUM_FACTORS
    assert all(entry.label is None for entry in found.axes)
    assert found.reader["num_without_label"] == found.reader["num_proposals"]
    assert np.isnan(found.matrix).all()


def test_a_judge_who_fails_on_pairs_leaves_them_out(world):
    judge = FakeJudge(lambda request: "neither" if request.choices else "warm vs. cold")
    reader = JudgeReader(judge, world.dataset)
    annotation = reader.annotate([interpret.Label("warm vs. cold")], np.arange(6), np.arange(6, 12))
    assert np.isnan(annotation).all()
    assert reader.report()["num_without_annotation"] == 6
    assert (
        reader.odd_one(np.arange(10).reshape(2, 5), np.arange(10, 20).reshape(2, 5)) == -1
    ).all()
    with pytest.raises(ValueError, match="votes"):
        reader.annotate([interpret.Label("warm vs. cold")], np.arange(2), np.full(2, -1))
    with pytest.raises(ValueError, match=r"X vs\. Y"):
        JudgeReader(judge, world.dataset, vocabulary=["warm"])


def test_votes_are_predicted_from_labels_too(world):
    """Rows against the zero baseline: half of the people say yes to nearly everything."""
    rng = np.random.default_rng(0)
    values, cells = world.properties.values, {}
    for name, num in (("train", NUM_KNOWN), ("calibration", 36), ("test", 36)):
        user = np.repeat(np.arange(num), 40).astype(np.int32)
        response = rng.integers(len(values), size=len(user)).astype(np.int32)
        taste = np.where(np.arange(num) % 2, 2.0, -2.0)[user]
        label = rng.random(len(user)) < 1 / (1 + np.exp(-taste * values[response, 0] - 1))
        cells[name] = Comparisons(
            user,
            response,
            np.full(len(user), -1, np.int32),
            label.astype(np.float32),
            np.ones(len(user), np.float32),
        )
    split = world.split._replace(**cells)
    labels = [interpret.Label("long vs. short", 0, 1.0), interpret.Label("warm vs. cold", 1, 1.0)]
    reader = PropertyReader(world.properties)
    found = interpret.predict_choices(0, world.axes, labels, split, reader)
    assert found.p[0] < 0.01 < found.p[1]
    assert found.label_auc > 0.75 > found.population_auc


def test_properties_of_texts():
    texts = (
        "Is it red? No!",
        "The red car, maybe.",
        "A long road to the blue sea and back",
        "Red!",
    )
    texts = texts * 3
    style = interpret.style_properties(texts)
    assert "question marks" in style.names
    column = style.values[:, style.names.index("question marks")]
    assert column.argmax() == 0
    content = interpret.content_properties(texts, max_share=0.9)
    assert "mentions “red”" in content.names
    both = interpret.join_properties(style, content)
    index = both.names.index("mentions “red”")
    assert both.label(index, -1.0) == "does not mention “red” vs. mentions “red”"
    assert interpret.content_properties(("a", "b")).names == ()
    with pytest.raises(ValueError, match="'depth' of response 1"):
        interpret.own_properties(np.array([[1.0], [np.nan]]), ("depth",))


def test_correlations_are_within_prompts(world):
    found = interpret.correlations(world.axes, world.properties)
    assert found.shape == (NUM_FACTORS, NUM_FACTORS)
    assert sorted(np.abs(found).argmax(axis=0)) == list(range(NUM_FACTORS))
    centered = center_by_group(world.properties.values, world.axes.group)
    expected = stats.spearmanr(centered[:, 0], world.axes.features[:, 1]).statistic
    assert found[0, 1] == pytest.approx(expected)
