"""Comparisons: draws, nulls, cells on disk, tables, the command."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from experiments import compare as command
from prefjax import basis, families
from prefjax.basis import rows as layout
from prefjax.basis.heads import linear_params
from prefjax.data import split_new_prompts
from prefjax.data.attributes import ChoiceConfig, WorldConfig
from prefjax.lab import compare
from prefjax.lab.compare import questions
from prefjax.lab.compare._measure import another, partners, strongest
from prefjax.lab.compare.cases import shuffle_labels, shuffle_users
from prefjax.lab.compare.cells import LENGTH_ONLY
from prefjax.lab.compare.store import cell_path
from prefjax.person import InterviewConfig
from prefjax.types import BASELINE, Comparisons, Gaussian, RewardBasis

SMALL = WorldConfig(num_prompts=12, responses_per_prompt=4, pairs_per_prompt=6, pairs_per_user=40)
OWN = "random", ""
PLAN = compare.Plan(families=("bradley-terry", "per-user"), seeds=(0, 1), num_answers=(0, 5))


def world(seed):
    return compare.attributes("hashed", seed, SMALL)


def small(dataset, encoder, seed):
    """Ten people who compare twelve responses to six prompts, without texts."""
    rng = np.random.default_rng(seed)
    user = np.repeat(np.arange(10), 20)
    first = rng.integers(12, size=200)
    label = rng.integers(2, size=200).astype(np.float32)
    ids = (column.astype(np.int32) for column in (user, first, first ^ 1))
    rows = Comparisons(*ids, label, np.ones(200, np.float32))
    group = np.arange(12, dtype=np.int32) // 2
    cut = partial(split_new_prompts, group=group, max_answers=40)
    people, items = np.arange(10), np.arange(12)
    outer = cut(rows, known_users=people[:8], new_users=people[8:], is_new_response=items >= 8)
    train = outer.train
    inner = cut(train, known_users=people[:6], new_users=people[6:8], is_new_response=items >= 6)
    seen = {
        "embeddings": rng.normal(size=(12, 3)).astype(np.float32),
        "context": np.zeros((12, 0), np.float32),
    }
    draws = (compare.Draw(split, **seen) for split in (outer, inner))
    return compare.Source(*draws, rng.random((12, 1)).astype(np.float32), votes=False)


def test_new_people_and_new_prompts_are_in_no_training_row():
    source = world(0)
    for draw in source.draw, source.inner:
        trained = np.union1d(draw.split.train.first, draw.split.train.second)
        tested = draw.tests.first[draw.tests.mask]
        asked = draw.answers.first[draw.answers.mask]
        assert not np.isin(tested, trained).any()
        assert not np.isin(tested, asked).any()
        assert draw.split.train.user.max() + 1 == len(draw.split.known_users)
    assert np.isin(source.inner.split.train.first, source.draw.split.train.first).all()
    assert len(source.inner.split.train.user) < len(source.draw.split.train.user)


def test_held_out_people_of_shared_items_answer_and_are_tested_on_different_items():
    rng = np.random.default_rng(0)
    user, item = np.divmod(np.arange(300), 10)
    ids = (user.astype(np.int32), item.astype(np.int32))
    label = rng.integers(2, size=300).astype(np.float32)
    rows = Comparisons(*ids, np.full(300, BASELINE, np.int32), label, np.ones(300, np.float32))
    texts = tuple(f"item {number}" for number in range(10))
    names = tuple(f"user {number}" for number in range(30))
    dataset = compare.sources.Dataset("votes", rows, texts, np.zeros(10, int), ("",), names, {})
    split = compare.hold_out_people(dataset, rows, np.arange(30), "response", 0)
    answers, tests = split.by_user("calibration"), split.by_user("test")
    assert len(split.new_users) == 6
    assert len(split.known_users) == 24
    for n in range(6):
        asked = answers.first[n][answers.mask[n]]
        assert not np.isin(tests.first[n][tests.mask[n]], asked).any()


def test_nulls_keep_the_rows_and_lose_what_is_named():
    draw, rng = small("attributes", "hashed", 0).draw, np.random.default_rng(0)
    users = shuffle_users(rng, draw)
    np.testing.assert_array_equal(np.sort(users.split.train.user), np.sort(draw.split.train.user))
    assert np.any(users.split.train.user != draw.split.train.user)
    mask = draw.answers.mask
    for mine, theirs in zip(users.answers[:3], draw.answers[:3], strict=True):
        np.testing.assert_array_equal(np.sort(mine[mask]), np.sort(theirs[mask]))
    assert np.any(users.answers.first[mask] != draw.answers.first[mask])
    labels = shuffle_labels(rng, draw)
    np.testing.assert_array_equal(
        np.sort(labels.split.train.label), np.sort(draw.split.train.label)
    )
    np.testing.assert_array_equal(labels.split.train.first, draw.split.train.first)
    jax.tree.map(np.testing.assert_array_equal, labels.tests, draw.tests)


def test_nobody_keeps_their_own_state_as_the_wrong_user():
    states = {"weights": np.arange(24.0).reshape(2, 4, 3)}
    partner = partners(0, 3)
    assert sorted(partner) == [0, 1, 2]
    assert np.all(partner != np.arange(3))
    wrong = another(states, partner)["weights"]
    np.testing.assert_array_equal(wrong[:, :3], states["weights"][:, partner])
    np.testing.assert_array_equal(wrong[:, 3], states["weights"][:, 3])
    assert another((), partner) == ()


def test_the_wrong_user_of_a_sorted_list_is_of_the_same_group_no_more_often_than_by_chance():
    group = np.arange(100) // 50
    same = [np.mean(group == group[partners(seed, 100)]) for seed in range(40)]
    assert np.mean(same) == pytest.approx(49 / 99, abs=0.03)


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """A comparison in which one family fails, with what was said on the way."""
    folder, said = tmp_path_factory.mktemp("compared"), []

    def broken(key, data, config):
        raise FloatingPointError("no fit today")

    bad = families.get_family("bradley-terry")._replace(name="broken", fit=broken)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(families.REGISTRY, "broken", bad)
        plan = compare.Plan(**{**vars(PLAN), "families": (*PLAN.families, "broken")})
        cells = compare.run_cells(plan, folder, say=said.append, make=small)
    return folder, said, cells


def test_a_family_that_fails_is_reported_and_the_rest_continue(compared):
    _, said, cells = compared
    assert len(cells) == len(said) == 2 * 4
    failed = [cell.method for cell in cells if "error" in cell.about]
    assert failed == ["broken", "broken"]
    rows = compare.tidy_rows(cells, PLAN.num_answers)
    text = compare.report(rows, cells, 5)
    assert "| broken | FloatingPointError: no fit today |" in text
    assert "| per-user | 4 | 0.500 ± 0.000 |" in text
    ran = compare.manifest(cells)
    assert {entry["method"] for entry in ran} == {*PLAN.families, "broken", LENGTH_ONLY}
    assert all("commit" in entry for entry in ran)


def test_a_stopped_comparison_goes_on(compared):
    folder, _, cells = compared
    cell_path(folder, "attributes", "hashed", 1, "per-user").write_bytes(b"half a file")
    said = []
    again = compare.run_cells(PLAN, folder, say=said.append, make=small)
    assert [line.split(": ")[0] for line in said] == ["attributes, hashed, seed 1, per-user"]
    scores = {(cell.method, cell.seed): cell.scores for cell in cells}
    for cell in again:
        np.testing.assert_array_equal(cell.scores[OWN].auc, scores[cell.method, cell.seed][OWN].auc)


def test_a_cell_of_other_settings_or_grid_is_computed_again(tmp_path, compared, monkeypatch):
    _, _, cells = compared
    for one in cells:
        if "error" not in one.about:
            compare.save_cell(tmp_path, one)
    family = families.get_family("per-user")
    fewer = family._replace(config_grid=lambda config: family.config_grid(config)[:2])
    monkeypatch.setitem(families.REGISTRY, "per-user", fewer)
    said = []
    compare.run_cells(PLAN, tmp_path, say=said.append, make=small)
    assert [line.split(": ")[0] for line in said] == [
        f"attributes, hashed, seed {seed}, per-user" for seed in PLAN.seeds
    ]
    said.clear()
    fewer = replace(PLAN, num_answers=(0, 3), families=("per-user",), seeds=(0,))
    compare.run_cells(fewer, tmp_path, say=said.append, make=small)
    assert [line.split(": ")[0] for line in said] == [
        f"attributes, hashed, seed 0, {method}" for method in ("per-user", LENGTH_ONLY)
    ]


def test_a_part_of_a_comparison_is_reported_beside_the_rest(tmp_path, compared):
    _, _, cells = compared
    good = [one for one in cells if "error" not in one.about]
    for one in good:
        compare.save_cell(tmp_path, one._replace(encoder="qwen:Qwen/Qwen2.5-0.5B"))
    part = replace(PLAN, families=("per-user",), encoders=("qwen:Qwen/Qwen2.5-0.5B",), seeds=(1,))
    (own, *_) = ran = compare.run_cells(part, tmp_path, say=lambda line: None, make=small)
    found = compare.with_earlier(ran, part, tmp_path, make=small)
    assert (own.method, own.seed, own.encoder) == ("per-user", 1, "qwen:Qwen/Qwen2.5-0.5B")
    assert {(c.method, c.seed) for c in found} == {(c.method, c.seed) for c in good}
    other = replace(part, num_answers=(0, 3))
    assert compare.with_earlier([], other, tmp_path, make=small) == []
    (tmp_path / "cells" / "notes.npz").write_bytes(b"of another kind")
    assert len(compare.with_earlier([], part, tmp_path, make=small)) == len(good)


def test_missing_data_is_a_reason_in_the_table(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_DATA", str(tmp_path))
    plan = compare.Plan(families=("bradley-terry",), datasets=("dices350",), seeds=(0,))
    cells = compare.run_cells(plan, tmp_path, say=lambda line: None)
    assert all("put the files of dices350 there" in cell.about["error"] for cell in cells)


def cell(method, seed, auc, dataset="d"):
    scores = {OWN: compare.Measured(np.array(auc), np.zeros((2, 3)))}
    return compare.Cell(dataset, "e", seed, method, np.array([4, 5, 6]), scores, {})


def test_simulated_people_of_two_seeds_are_different_people():
    cells = [
        cell("pref", 0, [[0.5, 0.6, 0.7]] * 2, "attributes"),
        cell("pref", 1, [[0.7, 0.6, np.nan]] * 2, "attributes"),
    ]
    (row, *_) = compare.tidy_rows(cells, (0, 5))
    assert row["num_users"] == 5
    np.testing.assert_allclose(row["value"], (0.5 + 0.6 + 0.7 + 0.7 + 0.6) / 5)


def test_a_person_of_two_seeds_is_one_person_and_pairs_are_by_person():
    cells = [
        cell("bradley-terry", 0, [[0.5, 0.6, 0.7]] * 2),
        cell("bradley-terry", 1, [[0.7, 0.6, np.nan]] * 2),
        cell("pref", 0, [[0.5, 0.6, 0.7], [0.9, 0.8, 0.8]]),
        cell("pref", 1, [[0.5, 0.6, np.nan], [0.7, 0.6, np.nan]]),
    ]
    rows = {
        (row["method"], row["metric"], row["num_answers"]): row
        for row in compare.tidy_rows(cells, (0, 5))
    }
    assert rows["bradley-terry", "auc_user", 0]["num_users"] == 3
    np.testing.assert_allclose(rows["bradley-terry", "auc_user", 0]["value"], (0.6 + 0.6 + 0.7) / 3)
    gain = rows["pref", "minus_population", 5]["value"]
    np.testing.assert_allclose(gain, np.mean([0.3, 0.1, 0.1]))
    assert rows["pref", "minus_population", 0]["value"] == 0
    against = rows["pref", "minus_bradley_terry", 5]["value"]
    np.testing.assert_allclose(against, np.mean([0.2, 0.1, 0.1]))


def test_a_second_encoder_is_compared_with_the_first_person_by_person():
    first = [
        cell("pref", 0, [[0.5, 0.6, 0.7], [0.9, 0.8, 0.8]]),
        cell("pref", 1, [[0.5, 0.6, np.nan], [0.7, 0.6, np.nan]]),
    ]
    other = [
        one._replace(encoder="f", scores={OWN: compare.Measured(auc, np.zeros((2, 3)))})
        for one, auc in zip(first, [one.scores[OWN].auc + 0.1 for one in first], strict=True)
    ]
    other[0].scores[OWN].auc[1, 0] += 0.1
    rows = [
        row
        for row in compare.tidy_rows([*first, *other], (0, 5))
        if row["metric"] == "minus_first_encoder"
    ]
    assert {row["encoder"] for row in rows} == {"f"}
    np.testing.assert_allclose([row["value"] for row in rows], [0.1, np.mean([0.15, 0.1, 0.1])])
    assert "AUC − AUC with e" in compare.report(
        compare.tidy_rows([*first, *other], (0, 5)), [*first, *other], 5
    )


def test_hurt_people_and_the_worst_tenth_are_counted_by_person():
    rng = np.random.default_rng(0)
    before, after = rng.uniform(0.4, 0.9, (2, 50))
    after[7] = before[7] = np.nan
    scores = {OWN: compare.Measured(np.stack([before, after]), np.zeros((2, 50)))}
    cells = [compare.Cell("d", "e", 0, "pref", np.arange(50), scores, {"ceiling": 0.9})]
    rows = {(row["metric"], row["num_answers"]): row for row in compare.tidy_rows(cells, (0, 5))}
    assert rows["hurt_rate", 0]["value"] == 0
    np.testing.assert_allclose(rows["hurt_rate", 5]["value"], np.sum(after < before) / 49)
    assert rows["ceiling", None]["value"] == 0.9
    kept = np.sort(after[~np.isnan(after)])
    quantile = np.quantile(kept, 0.1)
    # 4.9 of 49 people are a tenth, the fifth in part, at the quantile itself.
    below = kept[kept < quantile]
    exact = (below.sum() + (4.9 - len(below)) * quantile) / 4.9
    np.testing.assert_allclose(rows["worst_decile", 5]["value"], exact)
    assert rows["worst_decile", 5]["low"] < exact < rows["worst_decile", 5]["high"]


def test_reversed_answers_change_what_was_learned_of_a_person_only():
    numbers, names = (0, 20), ("bradley-terry", compare.as_given(families.get_family("pref-map")))
    told = {"dataset": "planted", "controls": ("reversed-answers",)}
    source = compare.make_planted(compare.PlantedConfig(num_users=40, num_prompts=8), 0).source
    shared, personal = (
        cell.scores["random", "reversed-answers"].flip_rate
        for cell in compare.run_families(names, [source], [0], numbers, **told)
    )
    assert np.nanmax(shared) == 0
    assert np.nanmax(personal[0]) == 0
    assert np.nanmean(personal[1]) > 0.2


def test_nobody_is_right_more_often_than_the_true_weights_of_simulated_people():
    source = world(0)
    assert 0.7 < source.ceiling < 1
    assert np.isnan(small("", "", 0).ceiling)


def test_calibration_is_read_from_the_logits_of_all_draws():
    rng = np.random.default_rng(0)

    def cell(seed):
        logit = rng.normal(size=(2, 30, 20))
        label = (rng.random((30, 20)) < 1 / (1 + np.exp(-2 * logit[1]))).astype(float)
        label[:, 15:] = np.nan
        auc = np.full((2, 30), 0.6)
        own = compare.Measured(auc, np.zeros((2, 30)), logit=logit, label=label)
        return compare.Cell("d", "e", seed, "pref", np.arange(30), {OWN: own}, {})

    cells = [cell(0), cell(1)]
    rows = compare.tidy_rows(cells, (0, 5))
    found = {row["num_answers"]: row for row in rows if row["metric"] == "calibration_slope"}
    assert found[5]["low"] < 2 < found[5]["high"]
    assert found[5]["num_users"] == 30
    assert abs(found[0]["value"]) < 0.3
    said = compare.report(rows, cells, 5)
    assert "slope of the label on the logit" in said
    assert "intercept" not in said


def test_a_null_of_shuffled_users_asks_others():
    """One person against the rest: dealt out, the answers are those of the rest."""
    basis = RewardBasis(
        linear_params(np.eye(1, 2, dtype=np.float32)),
        Gaussian(np.zeros(1, np.float32), np.eye(1, dtype=np.float32)),
        np.float32(1),
    )
    half = np.linspace(0.5, 2, 12, dtype=np.float32)
    inputs = np.stack([-half, half], axis=1)[:, :, None]
    weights = np.full((20, 1), -4.0, np.float32)
    weights[0] = 4.0
    config = InterviewConfig(num_questions=10)
    static = {"choice": ChoiceConfig(), "config": config}
    told = jax.random.key(0), basis, inputs, inputs, weights, jnp.int32(20)
    means = {
        dealt: np.asarray(questions._ask_simulated(*told, dealt=dealt, **static).mean)[:, -1, 0]
        for dealt in (False, True)
    }
    assert means[False][0] > 0.5
    assert means[True][0] < 0
    assert means[True].max() < 0.5


def test_diagnostics_are_in_the_report():
    def cell(seed, rank):
        scores = {OWN: compare.Measured(np.array([[0.5, 0.6]]), np.zeros((1, 2)))}
        about = {"diagnostics": {"effective_rank": rank}}
        return compare.Cell("d", "e", seed, "lore", np.arange(2), scores, about)

    cells = [cell(0, 1.0), cell(1, 4.0)]
    text = compare.report(compare.tidy_rows(cells, (0,)), cells, 0)
    assert "| lore | effective_rank | 2.5 | 1 | 4 | 1: one reward |" in text


@pytest.mark.parametrize(
    ("change", "names"),
    [
        ({"families": ("prefs",)}, "bradley-terry"),
        ({"datasets": ("prisms",)}, "attributes"),
        ({"encoders": ("bert",)}, "hashed"),
        ({"controls": ("none",)}, "wrong-user"),
        ({"questions": ("random", "best")}, "d_optimal"),
        ({"questions": ("d_optimal",)}, "must begin with 'random'"),
    ],
)
def test_unknown_names_list_the_valid_ones(change, names):
    with pytest.raises(ValueError, match=names):
        compare.check(compare.Plan(**change))


@pytest.mark.parametrize("numbers", [(), (5,), (5, 0), (0, 5, 5), (0, 80)])
def test_numbers_of_answers_rise_from_the_population_to_what_is_asked(numbers):
    with pytest.raises(ValueError, match=r"num_answers must begin at 0.*at most 40"):
        compare.check(compare.Plan(num_answers=numbers))


def test_the_command_lists_what_can_be_compared(capsys):
    command.main(["--list"])
    printed = capsys.readouterr().out
    assert "pref-map" in printed
    assert "ukpconvarg" in printed
    assert (
        "controls: wrong-user, shuffled-users, shuffled-labels, reversed-answers, length-only"
        in printed
    )
    with pytest.raises(SystemExit, match="bradley-terry"):
        command.main(["smoke", "--families", "prefs"])


def test_where_nothing_could_be_computed_the_report_says_why(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PREFJAX_DATA", str(tmp_path))
    settings = ["--datasets", "prism", "--families", "lore", "--folder", str(tmp_path / "run")]
    with pytest.raises(SystemExit, match=r"No cell could be computed; .*summary\.md"):
        command.main(["smoke", *settings])
    assert "utterances.jsonl" in capsys.readouterr().out.splitlines()[-1]


def test_differences_are_shown_at_a_number_of_answers_that_is_measured(compared, monkeypatch):
    folder, *_ = compared
    sources = {"attributes": lambda encoder, seed: small("attributes", encoder, seed)}
    monkeypatch.setattr(compare.sources, "SOURCES", sources)
    config = command.Config(PLAN, number=20)
    assert "Differences of AUC after 5 answers" in command.compare(config, folder).summary


def test_planted_people_choose_by_their_own_weights_and_groups_want_opposites():
    config = compare.PlantedConfig(
        num_users=40, num_prompts=8, num_groups=2, shared=0.0, sharpness=50.0
    )
    world = compare.make_planted(config, 0)
    draw = world.source.draw
    old = world.weights[~world.is_new]
    rows, seen = draw.split.train, draw.embeddings
    gap = np.sum((seen[rows.first] - seen[rows.second]) * old[rows.user], axis=1)
    assert np.mean((gap > 0) == (rows.label > 0.5)) > 0.95
    assert not np.isin(draw.tests.first[draw.tests.mask], rows.first).any()
    np.testing.assert_array_equal(rows.first // 20, rows.second // 20)
    one, other = (world.weights[world.group == group][0] for group in (0, 1))
    np.testing.assert_allclose(one, -other, atol=1e-6)
    with pytest.raises(ValueError, match="6 factors need as many inputs"):
        compare.make_planted(compare.PlantedConfig(num_inputs=4), 0)


def test_the_strongest_trial_that_cannot_be_told_from_the_best_is_taken():
    rng = np.random.default_rng(0)
    person = rng.normal(0.7, 0.1, 40)
    noise = 0.02 * rng.normal(size=(4, 40))
    auc = person[None] + noise + np.array([0.0, 0.05, 0.0499, 0.02])[:, None]
    assert strongest(auc) == 2
    assert strongest(np.where(np.arange(4)[:, None] == 2, np.nan, auc)) == 1
    auc[:, 3] = np.nan
    assert strongest(auc) == 2
    assert strongest(np.full((4, 5), np.nan)) == 3


def test_rows_padded_to_one_size_change_no_sum():
    rng = np.random.default_rng(0)
    sets = [
        Comparisons(
            user=rng.integers(0, 5, size).astype(np.int32),
            first=rng.integers(0, 9, size).astype(np.int32),
            second=rng.integers(-1, 9, size).astype(np.int32),
            label=rng.random(size, np.float32),
            sample_weight=np.ones(size, np.float32),
        )
        for size in (20, 150)
    ]
    stacked = basis.stack_rows(sets, 9)
    table = rng.standard_normal((9, 2)).astype(np.float32)
    extended = np.concatenate([table, np.zeros((1, 2), np.float32)])
    for index, comparisons in enumerate(sets):
        gap = extended[comparisons.first] - extended[comparisons.second]
        by_user, by_response = np.zeros((5, 2)), np.zeros((10, 2))
        np.add.at(by_user, comparisons.user, gap)
        np.add.at(by_response, comparisons.first, gap)
        np.add.at(by_response, comparisons.second, -gap)
        rows = jax.tree.map(lambda column, index=index: np.asarray(column)[index], stacked)
        gaps = layout.feature_gap(table, rows) * rows.sample_weight[..., None]
        np.testing.assert_allclose(
            layout.sum_by_user(gaps.sum(1), rows, 5), by_user, rtol=1e-5, atol=1e-5
        )
        np.testing.assert_allclose(
            layout.sum_by_response(gaps, rows, 9), by_response[:9], rtol=1e-5, atol=1e-5
        )


def changed(dataset, encoder, seed):
    """The same set with one label turned over in the rows of the first training person."""
    source = small(dataset, encoder, seed)
    train = source.draw.split.train
    label = np.array(train.label)
    label[0] = 1 - label[0]
    split = source.draw.split._replace(train=train._replace(label=label))
    return source._replace(draw=source.draw._replace(split=split))


def another_encoder(dataset, encoder, seed):
    source = small(dataset, encoder, seed)
    return source._replace(draw=source.draw._replace(embeddings=1 + source.draw.embeddings))


@pytest.mark.parametrize("make", [changed, another_encoder])
def test_results_of_other_data_are_not_reused(tmp_path, compared, make):
    _, _, cells = compared
    for one in cells:
        if "error" not in one.about:
            compare.save_cell(tmp_path, one)
    part = replace(PLAN, families=("bradley-terry",), seeds=(0,))
    assert len(compare.with_earlier([], part, tmp_path, make=small)) == 6
    said = []
    assert compare.with_earlier([], part, tmp_path, make=make, say=said.append) == []
    assert said[0].endswith("left out, of other data")
    said.clear()
    compare.run_cells(part, tmp_path, say=said.append, make=make)
    assert [line.split(": ")[0] for line in said] == [
        f"attributes, hashed, seed 0, {method}" for method in ("bradley-terry", LENGTH_ONLY)
    ]


def test_a_family_is_known_by_its_code_not_by_its_comments(monkeypatch):
    family = families.get_family("bradley-terry")
    digest = compare.family_digest(family)
    assert digest != compare.family_digest(families.get_family("per-user"))
    read = Path.read_text
    for more, same in (("# A comment.", True), ("ANOTHER = 1", False)):
        compare.identity._code_digest.cache_clear()
        compare.identity._tree.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_text", lambda path, more=more: f"{read(path)}\n{more}\n")
            assert (compare.family_digest(family) == digest) is same
    compare.identity._code_digest.cache_clear()
    compare.identity._tree.cache_clear()


def test_names_of_sets_are_told_apart_and_cannot_leave_the_folder(tmp_path):
    scores = {OWN: compare.Measured(np.zeros((2, 3)), np.zeros((2, 3)))}
    for dataset in ("my", "my.data", "my.data.0"):
        one = compare.Cell(dataset, "a.b/c", 1, "pref-map", np.arange(3), scores, {})
        compare.save_cell(tmp_path, one)
    found = sorted(load.dataset for load in map(compare.load_cell, tmp_path.rglob("*.npz")))
    assert found == ["my", "my.data", "my.data.0"]
    for name in ("../out", "a/b", "", ".hidden", "a\0b"):
        with pytest.raises(ValueError, match="cannot name a data set or a method"):
            cell_path(tmp_path, name, "hashed", 0, "pref")
    moved = cell_path(tmp_path, "other", "a.b/c", 1, "pref-map")
    cell_path(tmp_path, "my", "a.b/c", 1, "pref-map").rename(moved)
    assert compare.load_cell(moved) is None


def test_rules_choose_questions_for_families_with_gaussian_beliefs():
    """Recorded answers of a real person, or any question to a simulated one."""
    numbers, rules = (0, 2, 5), ("random", "d_optimal")
    for sources in ([small("", "", 0)], [world(0)]):
        told = {"dataset": "attributes", "questions": rules, "controls": ("wrong-user",)}
        names = ("bradley-terry", "per-user", compare.as_given(families.get_family("pref-map")))
        cells = compare.run_families(names, sources, [0], numbers, **told)
        kinds = [set(cell.scores) for cell in cells]
        assert kinds[0] == {("random", ""), ("random", "wrong-user")}
        for cell in cells[1:]:
            own, chosen = (cell.scores[rule, ""] for rule in rules)
            assert set(cell.scores) == {(r, c) for r in rules for c in ("", "wrong-user")}
            np.testing.assert_allclose(own.nll[0], chosen.nll[0], rtol=1e-5)
            assert (own.nll[1] != chosen.nll[1]).any()
            if sources[0].people is None:
                assert own.win_rate is None
            else:
                assert own.served.shape == (3, len(cell.users), len(sources[0].people.unseen))


def test_settings_of_the_default_are_chosen_among_its_grid():
    (cases,) = compare.make_cases([small("", "", 0)], [0])
    family = families.get_family("pref")
    grid = family.config_grid(family.config)[3:5]
    some = family._replace(config_grid=lambda config: grid)
    config, tuned = compare.choose(jax.random.key(0), some, cases.inner, (0, 5))
    assert config in grid
    assert np.isfinite(tuned).all()


def test_all_recorded_answers_say_the_same_in_any_order():
    (cases,) = compare.make_cases([small("", "", 0)], [0])
    family = compare.as_given(families.get_family("pref-map"))
    case, key, numbers = cases.outer, jax.random.key(0), (0, 40)
    params = compare.fit(key, family, case.data)
    recorded, chosen = (
        compare.states_of(key, family, params, case, numbers, questions=rule)
        for rule in ("random", "d_optimal")
    )
    np.testing.assert_allclose(recorded.mean, chosen.mean, atol=2e-3)
    np.testing.assert_allclose(recorded.covariance, chosen.covariance, atol=2e-3)
