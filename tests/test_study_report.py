"""From a database to a data set, to numbers, to a report; and whether the intervals cover."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from scipy import stats
from study_world import CONFIG, make_materials, make_model

from prefjax.align import best_of_n_checked
from prefjax.data.io import read_folder
from prefjax.metrics import mean_interval
from prefjax.person import InterviewConfig, gap_at, interview
from prefjax.study import StudyEngine, anonymize, export, read_export, replay, withdraw
from prefjax.study._export import config_of
from prefjax.study.analysis import analyze, find_power, power_of, win_rates
from prefjax.study.config import ArmsConfig, PhasesConfig, PowerConfig
from prefjax.study.design import ARMS
from prefjax.study.materials import make_pool
from prefjax.study.report import write_report
from prefjax.study.simulation import PeopleConfig, SimulatedPeople, take_part
from prefjax.types import Gaussian

MATERIALS = make_materials()
NUM_PEOPLE = 5


PEOPLE = PeopleConfig()


def linear_people(materials, count, rng, config=PEOPLE):
    """People of the model itself: true weights from its population."""
    weights = rng.standard_normal((count, materials.model.num_factors))
    utility = weights @ materials.items.features.T + materials.items.utility[None]
    return SimulatedPeople(weights, utility, config)


@pytest.fixture(scope="module")
def held(tmp_path_factory):
    """A study with five people, of whom one failed checks, and one who left after three answers."""
    folder = tmp_path_factory.mktemp("study")
    now = [1000.0]

    def clock():
        now[0] += 2.0
        return now[0]

    engine = StudyEngine(MATERIALS, folder, clock=clock)
    rng = np.random.default_rng(0)
    people = linear_people(MATERIALS, NUM_PEOPLE, rng)
    for user in range(NUM_PEOPLE):
        take_part(engine, people, user, rng)
    left = engine.start({"PROLIFIC_PID": "raw-id"}).participant
    engine.consent(left, CONFIG.consent_version)
    engine.survey(left, {"length": "Long", "age": "Yes", "note": "só"})
    for choice in "ABN":
        engine.answer(left, engine.next(left).index, choice)
    with engine.store.write() as db:
        db.execute(
            "UPDATE answer SET choice = 'N' WHERE participant = 2 AND idx IN "
            "(SELECT idx FROM trial WHERE participant = 2 AND kind = 'attention')"
        )
    engine.next(left)
    yield engine
    engine.close()


@pytest.fixture(scope="module")
def exported(held, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "export"
    export(MATERIALS, held.store, out)
    return out, read_export(out)


def test_the_export_is_a_data_set_with_every_choice(held, exported):
    out, study = exported
    data = read_folder(out / "choices")
    rows = held.store.all(
        "SELECT * FROM trial NATURAL JOIN answer WHERE kind IN ('adaptive', 'test', 'repeat') "
        "ORDER BY participant, idx"
    )
    assert len(data.comparisons.user) == len(rows) == NUM_PEOPLE * 12 + 2
    assert data.users == ("p0001", "p0002", "p0003", "p0004", "p0005", "p0006")
    for place, row in enumerate(rows):
        sides = [row["first"], row["second"]][:: -1 if row["swapped"] else 1]
        assert sides == [data.comparisons.first[place], data.comparisons.second[place]]
        assert data.comparisons.label[place] == {"A": 1.0, "B": 0.0, "N": 0.5}[row["choice"]]
        assert data.prompt_index[sides[0]] == data.prompt_index[sides[1]] == row["prompt"]
    assert data.responses == MATERIALS.responses
    assert config_of(study.study) == CONFIG
    person = study.participants[5]
    assert (person["end"], person["num_answers"]) == ("", 3)
    assert json.loads(person["survey"]) == {"length": "Long", "age": "Yes", "note": "só"}
    for path in out.rglob("*.*"):
        assert b"raw-id" not in path.read_bytes()


def test_beliefs_and_times_are_in_the_export(held, exported):
    _, study = exported
    for row in study.trials:
        if row["choice"] is not None:
            assert row["seconds"] > 0
        assert (row["mean"] is not None) == (row["kind"] == "adaptive")
        if row["kind"] == "test" and row["choice"] is not None:
            arm_is_left = row["swapped"]
            assert row["win"] == (row["label"] if arm_is_left else 1 - row["label"])
            default = MATERIALS.default[row["prompt"]]
            assert default == (row["right"] if arm_is_left else row["left"])
    final = held.store.one("SELECT final_mean FROM participant WHERE number = 1")[0]
    assert study.participants[0]["final_mean"] == np.frombuffer(final, np.float32).tolist()


def test_numbers_are_those_of_the_rows(exported):
    _, study = exported
    found = analyze(study, PowerConfig())
    assert found.num_people == {"complete": NUM_PEOPLE, "unfinished": 1}
    assert found.dropped_after == [3]
    assert found.failed_checks == {0: NUM_PEOPLE - 1, 2: 1}
    for place, arm in enumerate(ARMS):
        wins = [
            [
                row["win"]
                for row in study.trials
                if (row["participant"], row["kind"], row["arm"]) == (f"p000{n + 1}", "test", arm)
            ]
            for n in range(NUM_PEOPLE)
        ]
        means = np.array([np.mean(own) for own in wins])
        np.testing.assert_allclose(found.by_person[place], means)
        half = stats.t.ppf(0.975, NUM_PEOPLE - 1) * means.std(ddof=1) / np.sqrt(NUM_PEOPLE)
        interval = found.win_rate[arm]
        assert interval.value == pytest.approx(means.mean())
        assert interval.low == pytest.approx(max(means.mean() - half, 0.0))
        assert found.careful[arm].num == NUM_PEOPLE - 1
    assert found.accuracy.value.shape == (5,)
    assert (found.nll.value > 0).all()
    assert found.repeats.num == 2 * NUM_PEOPLE
    assert set(found.left) == {"adaptive", "test", "repeat"}
    assert all(low <= middle <= high for low, middle, high in found.seconds.values())


def test_the_learning_curve_is_that_of_the_beliefs(exported):
    """Dense twin: one person, the belief after all answers, pair by pair."""
    _, study = exported
    found = analyze(dataclasses.replace(study, participants=study.participants[:1]), PowerConfig())
    mean = np.array(study.participants[0]["final_mean"])
    covariance = np.array(study.participants[0]["final_covariance"]).reshape(3, 3)
    losses, right = [], []
    for row in study.trials:
        if row["participant"] == "p0001" and row["kind"] == "test":
            gap = study.items.features[row["left"]] - study.items.features[row["right"]]
            offset = study.items.utility[row["left"]] - study.items.utility[row["right"]]
            logit = (gap @ mean + offset) / np.sqrt(1 + np.pi * (gap @ covariance @ gap) / 8)
            p = 1 / (1 + np.exp(-logit))
            losses.append(-row["label"] * np.log(p) - (1 - row["label"]) * np.log1p(-p))
            tie = row["label"] == 0.5
            right.append(0.5 if tie else float((logit > 0) == (row["label"] == 1)))
    assert found.nll.value[-1] == pytest.approx(np.mean(losses), rel=1e-4)
    assert found.accuracy.value[-1] == pytest.approx(np.mean(right))


def test_the_report_says_it_and_draws_it(held, exported):
    out, study = exported
    simulated = json.loads(json.dumps(study.study))
    simulated["config"]["simulated"] = True
    path = write_report(
        dataclasses.replace(study, study=simulated), out, replay(MATERIALS, held.store)
    )
    text = path.read_text()
    found = analyze(study, PowerConfig())
    assert f"{100 * found.win_rate['personal'].value:.1f} % [" in text
    assert "bit for bit" in text
    assert "no real person took part" in text
    for name in ("win_rate", "histogram", "learning", "course"):
        assert f"({name}.png)" in text
        assert (out / f"{name}.png").stat().st_size > 5000


def test_an_export_is_replaced_only_if_it_is_one(held, tmp_path):
    export(MATERIALS, held.store, tmp_path / "out")
    with pytest.raises(FileExistsError):
        export(MATERIALS, held.store, tmp_path / "out")
    export(MATERIALS, held.store, tmp_path / "out", overwrite=True)
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError):
        export(MATERIALS, held.store, tmp_path / "other", overwrite=True)


def test_who_withdrew_is_not_in_it(tmp_path):
    engine = StudyEngine(MATERIALS, tmp_path / "data")
    rng = np.random.default_rng(1)
    people = linear_people(MATERIALS, 2, rng)
    for user in range(2):
        take_part(engine, people, user, rng)
    empty = StudyEngine(MATERIALS, tmp_path / "empty")
    with pytest.raises(ValueError, match="nobody has compared"):
        export(MATERIALS, empty.store, tmp_path / "nothing")
    withdraw(engine.store, 1, 0.0)
    anonymize(engine.store)
    export(MATERIALS, engine.store, tmp_path / "out")
    study = read_export(tmp_path / "out")
    assert study.dataset.users == ("p0002",)
    assert {row["participant"] for row in study.trials} == {"p0002"}
    assert study.participants[0]["end"] == "withdrawn"
    assert study.participants[0]["survey"] == "{}"
    engine.close()


def test_power_is_that_of_the_t_test():
    """Oracle: how often SciPy's t test finds it in simulated studies."""
    rng = np.random.default_rng(0)
    for num, effect, deviation in ((10, 0.1, 0.15), (28, 0.05, 0.2)):
        drawn = 0.5 + effect + deviation * rng.standard_normal((20_000, num))
        found = stats.ttest_1samp(drawn, 0.5, axis=1).pvalue < 0.05
        assert power_of(num, effect, deviation, 0.95) == pytest.approx(found.mean(), abs=0.012)
    planned = find_power(0.5 + 0.2 * rng.standard_normal(40), PowerConfig(effect=0.1, power=0.9))
    args = 0.1, planned.deviation, 0.95
    assert power_of(planned.needed, *args) >= 0.9 > power_of(planned.needed - 1, *args)
    assert power_of(40, planned.detectable, planned.deviation, 0.95) == pytest.approx(0.9)
    assert np.isnan(find_power(np.full(5, 0.6), PowerConfig()).power)


@pytest.mark.slow
def test_the_interval_of_the_report_covers_the_planted_effect():
    """1,000 studies of 28 people who answer by true weights; the truth is that of all 28,000.

    The interviews are those of `prefjax.person.interview`, the responses the best of each pool.
    """
    num_studies, num_people = 1000, 28
    arms = ArmsConfig(personal=9, other=3, default=3)
    config = dataclasses.replace(
        CONFIG, phases=PhasesConfig(num_adaptive=10, num_repeats=0), arms=arms
    )
    materials = make_materials(config, num_prompts=40, num_responses=9)
    rng = np.random.default_rng(0)
    people = linear_people(materials, num_studies * num_people, rng, PeopleConfig(sharpness=1.0))
    pool = materials.adaptive.pool
    population = materials.model.basis.population
    sharpness = people.config.sharpness

    def one(key, weights):
        def answer(key, index):
            gap = gap_at(pool, index)
            probability = jax.nn.sigmoid(sharpness * (weights @ gap.features + gap.offset))
            return jax.random.bernoulli(key, probability).astype(np.float32)

        path = interview(key, pool, answer, population, InterviewConfig(num_questions=10))
        return jax.tree.map(lambda part: part[-1], path.beliefs)

    keys = jax.random.split(jax.random.key(0), len(people.weights))
    beliefs = Gaussian(*jax.jit(jax.vmap(one))(keys, people.weights.astype(np.float32)))
    tested = materials.tested
    best = np.asarray(best_of_n_checked(beliefs, tested.pool).index)
    own = tested.response[np.arange(len(tested.prompt))[None], best]
    shown = {"personal": own, "other": np.roll(own, len(own) // 2, axis=0)}
    mask = np.asarray(tested.pool.mask)
    others = [row[use] for row, use in zip(tested.response, mask, strict=True)]
    shown["default"] = np.stack([rng.choice(row, len(own)) for row in others], axis=1)
    user = np.arange(len(own))[:, None]
    default = people.utility[user, materials.default[tested.prompt][None]]
    gaps = {arm: people.utility[user, shown[arm]] - default for arm in ARMS}
    truth = {arm: people.expected_win(gaps[arm]).mean() for arm in ARMS}
    assert truth["personal"] > 0.65
    assert truth["personal"] > truth["other"] + 0.1
    covered = dict.fromkeys(ARMS, 0)
    for study in range(num_studies):
        names = [f"p{n}" for n in range(num_people)]
        tests = []
        for n, name in enumerate(names):
            person = study * num_people + n
            prompts = iter(rng.permutation(len(tested.prompt)))
            for arm in ARMS:
                for _ in range(getattr(arms, arm)):
                    gap = gaps[arm][person, next(prompts)]
                    perceived = sharpness * gap + rng.logistic()
                    win = 0.5 if abs(perceived) <= people.config.tie else float(perceived > 0)
                    tests.append({"participant": name, "arm": arm, "win": win})
        for place, arm in enumerate(ARMS):
            interval = mean_interval(win_rates(tests, names)[place], bounds=(0.0, 1.0))
            covered[arm] += interval.low <= truth[arm] <= interval.high
    print(covered, truth)
    assert min(covered.values()) / num_studies >= 0.93, covered


def test_models_without_training_users_draw_somebody(tmp_path):
    rng = np.random.default_rng(3)
    model = make_model(rng, num_users=1)
    model = dataclasses.replace(
        model, people=Gaussian(np.zeros((0, 3), np.float32), np.zeros((0, 3, 3), np.float32)),
        users=(),
    )  # fmt: skip
    materials = dataclasses.replace(MATERIALS, model=model)
    engine = StudyEngine(materials, tmp_path)
    people = linear_people(materials, 1, rng)
    take_part(engine, people, 0, rng)
    assert engine.design(1).other == -1
    assert replay(materials, engine.store).differences == []
    assert len(make_pool(materials, np.array([0, 2])).prompt) == 2
    engine.close()
