"""The engine of a study: state on the server, nothing lost, balanced, replayable."""

import dataclasses
import itertools
import json
import shutil
import sqlite3
import threading
import time

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from study_world import ANSWERS, CONFIG, make_materials, write_study

from prefjax.study import (
    AlreadyStartedError,
    RefusedError,
    Store,
    StudyClosedError,
    StudyEngine,
    anonymize,
    read_materials,
    replay,
    withdraw,
)
from prefjax.study.choosing import choose_question
from prefjax.study.config import ArmsConfig, LimitsConfig, PhasesConfig, StopConfig
from prefjax.study.config_file import write_config
from prefjax.study.design import make_design
from prefjax.study.pages import ConsentPage, EndPage, ReasonsPage, SurveyPage, TrialPage

MATERIALS = make_materials()
NUM_TRIALS = 1 + (4 + 1) + (6 + 2 + 1)


def begin(engine, **recruiting):
    number = engine.start(recruiting).participant
    assert engine.next(number) == ConsentPage()
    assert engine.consent(number, CONFIG.consent_version) == "recorded"
    assert engine.next(number) == SurveyPage()
    assert engine.survey(number, ANSWERS) == "recorded"
    return number


def finish(engine, number, choices):
    shown = []
    while isinstance(page := engine.next(number), TrialPage):
        assert engine.next(number) == page  # served again as it was
        choice = choices(page)
        assert engine.answer(number, page.index, choice) == "recorded"
        shown.append((page, choice))
    return shown


def by_number(page):
    return "ABN"[sum(map(ord, page.left)) % 3]


@pytest.fixture
def engine(tmp_path):
    engine = StudyEngine(MATERIALS, tmp_path)
    yield engine
    engine.close()


def test_from_consent_to_code(engine):
    number = begin(engine)
    shown = finish(engine, number, by_number)
    assert len(shown) == NUM_TRIALS
    assert [page.index for page, _ in shown] == list(range(NUM_TRIALS))
    assert [page.is_practice for page, _ in shown] == [True] + [False] * (NUM_TRIALS - 1)
    assert shown[-1][0].number == shown[-1][0].total == NUM_TRIALS - 1
    assert engine.next(number) == ReasonsPage()
    assert engine.reasons(number, "short ones\0") == "recorded"
    assert engine.next(number) == EndPage("complete", "COMPLETE")
    assert replay(MATERIALS, engine.store).differences == []
    prompts = [page.prompt for page, _ in shown]
    repeated = [p for p in set(prompts) if prompts.count(p) > 1]
    assert len(repeated) == 2
    for prompt in repeated:  # with the sides swapped
        first, second = (page for page, _ in shown if page.prompt == prompt)
        assert (first.left, first.right) == (second.right, second.left)


def test_the_same_number_and_answers_give_the_same_study(tmp_path):
    seen = []
    for place in ("one", "two"):
        engine = StudyEngine(MATERIALS, tmp_path / place)
        if place == "two":  # people in between change nothing
            begin(engine)
            with engine.store.write() as db:
                db.execute("DELETE FROM participant")
        seen.append(finish(engine, begin(engine), by_number))
        engine.close()
    assert seen[0] == seen[1]


def test_survey_enters_the_prior_and_screens_out(engine):
    number = engine.start().participant
    engine.consent(number, CONFIG.consent_version)
    for wrong in ({}, {"length": "Short"}, {"length": "Medium", "age": "Yes"}):
        with pytest.raises(RefusedError):
            engine.survey(number, wrong)
    assert engine.next(number) == SurveyPage()
    engine.survey(number, {**ANSWERS, "note": "'); DROP TABLE answer; --"})
    row = engine.store.one("SELECT * FROM participant WHERE number = ?", number)
    assert np.frombuffer(row["prior_mean"], np.float32).tolist() == [1.0, 0.0, -0.5]
    assert engine.survey(number, {"length": "Long", "age": "Yes"}) == "stale"
    other = engine.start().participant
    engine.consent(other, CONFIG.consent_version)
    engine.survey(other, {"length": "Long", "age": "No"})
    assert engine.next(other) == EndPage("screened_out", "SCREENED-OUT")
    assert engine.answer(other, 0, "A") == "stale"
    notes = engine.store.all("SELECT answer FROM survey WHERE question = 'note'")
    assert [row["answer"] for row in notes] == ["'); DROP TABLE answer; --"]


def test_answers_are_idempotent_and_the_first_stays(engine):
    number = begin(engine)
    page = engine.next(number)
    with pytest.raises(RefusedError):
        engine.answer(number, page.index, "C")
    assert engine.answer(number, page.index + 1, "A") == "stale"  # not served yet
    assert engine.answer(number, page.index, "A") == "recorded"
    assert engine.answer(number, page.index, "A") == "repeated"
    assert engine.answer(number, page.index, "B") == "stale"
    assert engine.answer(number, page.index + 1, "B") == "stale"  # written down by nobody yet
    rows = engine.store.all("SELECT idx, choice FROM answer")
    assert [tuple(row) for row in rows] == [(0, "A")]
    with pytest.raises(KeyError):
        engine.answer(number + 1, 0, "A")
    with pytest.raises(KeyError):
        engine.next(number + 1)


def test_an_answer_is_on_the_disk_when_it_is_acknowledged(tmp_path):
    engine = StudyEngine(MATERIALS, tmp_path / "study")
    number = begin(engine)
    for _ in range(3):
        engine.answer(number, engine.next(number).index, "N")
    # What another process would find if this one died now.
    shutil.copytree(tmp_path / "study", tmp_path / "copy")
    engine.close()
    later = StudyEngine(MATERIALS, tmp_path / "copy")
    assert later.next(number).index == 3
    assert later.store.one("SELECT COUNT(*) AS n FROM answer")["n"] == 3
    assert later.store.one("PRAGMA synchronous")[0] == 2
    assert later.store.one("PRAGMA journal_mode")[0] == "wal"
    later.close()


def test_two_tabs_and_double_clicks_at_once(engine):
    number = begin(engine)
    outcomes = []
    while isinstance(page := engine.next(number), TrialPage):
        threads = [
            threading.Thread(
                target=lambda choice, page=page: outcomes.append(
                    (page.index, engine.answer(number, page.index, choice))
                ),
                args=(choice,),
            )
            for choice in "ABAB"
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    recorded = [index for index, outcome in outcomes if outcome == "recorded"]
    assert recorded == list(range(NUM_TRIALS))
    assert replay(MATERIALS, engine.store).differences == []


class Session:
    """What a browser believes, whatever is done to it."""

    def __init__(self, folder):
        self.folder, self.engine = folder, StudyEngine(MATERIALS, folder)
        self.number, self.sent, self.page = begin(self.engine), {}, None

    def look(self):
        page = self.engine.next(self.number)
        if isinstance(self.page, TrialPage) and isinstance(page, TrialPage):
            assert page.index >= self.page.index
            if page.index == self.page.index:
                assert page == self.page
        self.page = page

    def press(self, choice):
        self.look()
        if isinstance(self.page, TrialPage):
            assert self.engine.answer(self.number, self.page.index, choice) == "recorded"
            self.sent[self.page.index] = choice

    def press_again(self, choice):
        if self.sent:
            index = max(self.sent)
            expected = "repeated" if self.sent[index] == choice else "stale"
            assert self.engine.answer(self.number, index, choice) == expected

    def go_back(self, choice):
        if len(self.sent) > 1:
            index = min(self.sent)
            expected = "repeated" if self.sent[index] == choice else "stale"
            assert self.engine.answer(self.number, index, choice) == expected

    def forge(self, choice):
        assert self.engine.answer(self.number, len(self.sent) + 1, choice) == "stale"
        assert self.engine.answer(self.number, -1, choice) == "stale"

    def restart(self, choice):
        self.engine.close()
        self.engine = StudyEngine(MATERIALS, self.folder)


ACTIONS = st.tuples(
    st.sampled_from(["press"] * 4 + ["press_again", "go_back", "forge", "restart", "look"]),
    st.sampled_from("ABN"),
)


@given(actions=st.lists(ACTIONS, max_size=20))
@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
def test_whatever_a_browser_does_every_trial_has_one_answer(tmp_path_factory, actions):
    session = Session(tmp_path_factory.mktemp("study"))
    for action, choice in actions:
        getattr(session, action)(*([] if action == "look" else [choice]))
    finish_rest = finish(session.engine, session.number, by_number)
    sent = session.sent | {page.index: choice for page, choice in finish_rest}
    rows = session.engine.store.all("SELECT idx, choice FROM answer ORDER BY idx")
    assert {row["idx"]: row["choice"] for row in rows} == sent
    assert len(rows) == NUM_TRIALS
    assert replay(MATERIALS, session.engine.store).differences == []
    session.engine.close()


@given(
    seed=st.integers(0, 2**20),
    participant=st.integers(1, 10**6),
    num_adaptive=st.integers(1, 6),
    arms=st.tuples(st.integers(1, 3), st.integers(0, 3), st.integers(0, 2)),
    num_repeats=st.integers(0, 3),
)
@settings(max_examples=60, deadline=None)
def test_designs_are_balanced(seed, participant, num_adaptive, arms, num_repeats):
    if sum(arms) > 6 or num_repeats > sum(arms) // 2:
        return
    config = dataclasses.replace(
        CONFIG,
        seed=seed,
        phases=PhasesConfig(num_adaptive=num_adaptive, num_repeats=num_repeats),
        arms=ArmsConfig(*arms),
    )
    materials = dataclasses.replace(MATERIALS, config=config)
    slots = make_design(materials, participant).slots
    assert make_design(materials, participant).slots == slots
    assert [slot.index for slot in slots] == list(range(len(slots)))
    kinds = {
        kind: [slot for slot in slots if slot.kind == kind]
        for kind in ("practice", "adaptive", "test", "repeat", "attention")
    }
    assert {kind: len(found) for kind, found in kinds.items()} == {
        "practice": 1, "adaptive": num_adaptive, "test": sum(arms), "repeat": num_repeats,
        "attention": 2,
    }  # fmt: skip
    for kind in ("adaptive", "test"):
        swapped = [slot.swapped for slot in kinds[kind]]
        assert abs(2 * sum(swapped) - len(swapped)) <= 1
    for arm, count in zip(("personal", "other", "default"), arms, strict=True):
        swapped = [slot.swapped for slot in kinds["test"] if slot.arm == arm]
        assert len(swapped) == count
        assert abs(2 * sum(swapped) - count) <= 1
    test_prompts = [slot.prompt for slot in kinds["test"]]
    assert len(set(test_prompts)) == len(test_prompts)
    asked = {slot.fallback[0] for slot in kinds["adaptive"]}
    assert not asked & set(test_prompts)
    for slot in kinds["repeat"]:
        original = slots[slot.source]
        assert (original.kind, original.prompt, original.arm) == ("test", slot.prompt, slot.arm)
        assert original.swapped != slot.swapped
        assert original.index < slot.index
    assert {slot.phase for slot in kinds["attention"]} == {"adaptive", "test"}
    assert slots[0].kind == "practice"
    assert slots[1].kind == "adaptive"


def test_arms_show_what_they_say(engine):
    number = begin(engine)
    finish(engine, number, by_number)
    features, utility, _ = MATERIALS.items
    row = engine.store.one("SELECT * FROM participant WHERE number = ?", number)
    design = engine.design(number)
    weights = {
        "personal": np.frombuffer(row["final_mean"], np.float32),
        "other": np.asarray(MATERIALS.model.people.mean)[design.other],
    }
    for trial in engine.store.all("SELECT * FROM trial WHERE kind = 'test'"):
        own = [r for r in MATERIALS.responses_of(trial["prompt"]) if r != trial["first"]]
        assert trial["first"] == MATERIALS.default[trial["prompt"]]
        assert trial["second"] in own
        if trial["arm"] in weights:
            rewards = features[own] @ weights[trial["arm"]] + utility[own]
            assert trial["second"] == own[int(np.argmax(rewards))]


def test_questions_are_the_best_of_the_pool(engine):
    """Dense twin: ``σ'(m) v`` of every pair of every prompt that was not asked yet."""
    finish(engine, begin(engine), by_number)
    features, utility, _ = MATERIALS.items
    asked = []
    for trial in engine.store.all("SELECT * FROM trial WHERE kind = 'adaptive' ORDER BY idx"):
        mean = np.frombuffer(trial["mean"], np.float32)
        covariance = np.frombuffer(trial["covariance"], np.float32).reshape(3, 3)
        scores = {}
        for prompt in set(MATERIALS.prompts_of("adaptive").tolist()) - set(asked):
            for first, second in itertools.combinations(MATERIALS.responses_of(prompt).tolist(), 2):
                gap = features[first] - features[second]
                p = 1 / (1 + np.exp(-gap @ mean - utility[first] + utility[second]))
                scores[prompt, first, second] = p * (1 - p) * (gap @ covariance @ gap)
        chosen = trial["prompt"], trial["first"], trial["second"]
        assert scores[chosen] >= max(scores.values()) * (1 - 1e-5)
        asked.append(trial["prompt"])
    assert len(asked) == 4


def test_a_late_question_is_drawn_in_advance_and_logged(tmp_path):
    config = dataclasses.replace(
        CONFIG, phases=PhasesConfig(num_adaptive=4, num_repeats=0, time_limit=0.05)
    )
    materials = dataclasses.replace(MATERIALS, config=config)
    calls = []

    def slow(*arguments):
        calls.append(1)
        if len(calls) % 2:
            time.sleep(0.3)
        return choose_question(*arguments)

    choose_question(materials, np.zeros(3, np.float32), [], 0)  # compiled before the clock runs
    engine = StudyEngine(materials, tmp_path, choose=slow)
    engine.warm()
    number = begin(engine)
    start = time.perf_counter()
    finish(engine, number, by_number)
    assert time.perf_counter() - start < 10
    rows = engine.store.all("SELECT * FROM trial WHERE kind = 'adaptive'")
    assert "random_late" in {row["origin"] for row in rows}
    assert len({row["prompt"] for row in rows}) == 4
    found = replay(materials, engine.store)
    assert found.differences == []
    assert found.num_late == sum(row["origin"] == "random_late" for row in rows)
    engine.close()


def test_replay_notices_what_was_changed(engine):
    finish(engine, begin(engine), by_number)
    with engine.store.write() as db:
        db.execute("UPDATE trial SET swapped = 1 - swapped WHERE idx = 8")
        db.execute("UPDATE answer SET choice = 'N' WHERE idx = 1")
    lines = replay(MATERIALS, engine.store).differences
    assert any(line.startswith("participant 1, trial 8: swapped") for line in lines)
    assert any("mean" in line for line in lines)


def test_recruiting_ids_let_back_in_and_are_dropped(tmp_path):
    engine = StudyEngine(MATERIALS, tmp_path)
    mine = {"PROLIFIC_PID": "5f1c-raw-identity", "SESSION_ID": "s1", "utm": "x"}
    ticket = engine.start(mine)
    assert engine.start(dict(mine)) == ticket
    assert engine.find(ticket.token) == ticket.participant
    assert engine.find("x" * 43) is None
    with pytest.raises(AlreadyStartedError):
        engine.start({**mine, "SESSION_ID": "s2"})
    assert engine.start({}).participant != ticket.participant
    assert json.loads(engine.store.one("SELECT parameters FROM recruiting")[0]) == {
        "PROLIFIC_PID": "5f1c-raw-identity", "SESSION_ID": "s1"
    }  # fmt: skip
    assert anonymize(engine.store) == 1
    engine.close()
    for path in tmp_path.iterdir():
        assert b"5f1c-raw-identity" not in path.read_bytes()
        assert ticket.token.encode() not in path.read_bytes()
    assert len(ticket.token) == 43  # 256 bits


def test_withdrawing_deletes(engine):
    number = begin(engine, PROLIFIC_PID="me")
    finish(engine, number, by_number)
    engine.reasons(number, "secret words")
    engine.withdraw(number)
    assert engine.next(number) == EndPage("withdrawn", "WITHDRAWN")
    for table in ("trial", "answer", "survey", "event", "recruiting"):
        assert not engine.store.all(f"SELECT * FROM {table}")
    row = engine.store.one("SELECT * FROM participant")
    assert row["reasons"] is row["final_mean"] is row["identity_hash"] is None
    with pytest.raises(KeyError):
        engine.withdraw(99)


def test_who_is_withdrawn_elsewhere_leaves_nothing(tmp_path):
    """Another process withdraws somebody while their next question is being chosen."""

    def choose(*arguments):
        store = Store(tmp_path / "study.sqlite")
        withdraw(store, 1, 0.0)
        store.close()
        return choose_question(*arguments)

    engine = StudyEngine(MATERIALS, tmp_path, choose=choose)
    number = begin(engine)
    engine.answer(number, engine.next(number).index, "A")
    assert engine.next(number) == EndPage("withdrawn", "WITHDRAWN")
    assert engine.store.all("SELECT * FROM trial") == []
    engine.close()


def test_nobody_new_after_the_end(tmp_path):
    now = [0.0]
    config = dataclasses.replace(
        CONFIG, stop=StopConfig(complete=1, deadline="1970-01-01T00:01:00+00:00"), ask_reasons=False
    )
    materials = dataclasses.replace(MATERIALS, config=config)
    engine = StudyEngine(materials, tmp_path, clock=lambda: now[0])
    first, second = begin(engine), begin(engine)
    finish(engine, first, by_number)
    with pytest.raises(StudyClosedError, match="enough"):
        engine.start()
    now[0] = 61.0
    with pytest.raises(StudyClosedError, match="over"):
        engine.start()
    finish(engine, second, by_number)  # who has begun may finish
    assert engine.next(second).end == "complete"
    engine.close()


def test_a_study_goes_on_only_with_its_materials(tmp_path):
    StudyEngine(MATERIALS, tmp_path).close()
    with pytest.raises(ValueError, match="other materials"):
        StudyEngine(dataclasses.replace(MATERIALS, digest="1" * 64), tmp_path)
    with pytest.raises(FileNotFoundError, match="nobody has begun"):
        Store(tmp_path / "elsewhere.sqlite")


def test_another_writer_is_waited_for(engine):
    number = begin(engine)
    page = engine.next(number)
    other = sqlite3.connect(
        engine.folder / "study.sqlite", isolation_level=None, check_same_thread=False
    )
    other.execute("BEGIN IMMEDIATE")
    release = threading.Timer(0.3, other.execute, ["COMMIT"])
    release.start()
    start = time.perf_counter()
    assert engine.answer(number, page.index, "A") == "recorded"
    assert time.perf_counter() - start > 0.2
    release.join()
    other.close()


def test_materials_on_disk(tmp_path):
    materials = write_study(tmp_path / "study")
    assert materials.config == CONFIG
    assert materials.digest == read_materials(tmp_path / "study").digest
    assert materials.prompts == MATERIALS.prompts
    assert np.array_equal(materials.default, MATERIALS.default)


def test_only_what_changes_no_answer_may_change(tmp_path):
    digest = write_study(tmp_path / "study").digest
    config = dataclasses.replace(
        CONFIG, stop=StopConfig(complete=90), limits=LimitsConfig(burst=7), information="Ask me."
    )
    write_config(tmp_path / "study", config)
    assert read_materials(tmp_path / "study").digest == digest
    write_config(tmp_path / "study", dataclasses.replace(config, consent="Agree!"))
    assert read_materials(tmp_path / "study").digest != digest


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use": "both"}, 'line 1: use must be "adaptive" or "test"'),
        ({"default": 4}, "line 1: default must be a place in 0 … 3"),
        ({"responses": ["a"]}, "line 1: responses must be a list of at least two"),
        ({"responses": ["a", "a ", "b", "c"]}, "line 1: two responses are the same"),
        ({"prompt": "PROMPT 1"}, "prompts 0 and 1 are the same"),
        ({"prompt": " "}, "line 1: the prompt or a response is empty"),
        ({"extra": 1}, "line 1 must have the fields"),
        ({"responses": ["a", "b", "c"], "default": 0}, "embeddings.npy has shape"),
    ],
)
def test_materials_that_cannot_be_run_are_refused(tmp_path, change, message):
    write_study(tmp_path / "study")
    path = tmp_path / "study" / "prompts.jsonl"
    lines = path.read_text().splitlines()
    lines[0] = json.dumps(json.loads(lines[0]) | change)
    path.write_text("\n".join(lines))
    with pytest.raises(ValueError, match=message):
        read_materials(tmp_path / "study")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("seed = 0", None),
        ("seeed = 1", "seeed is an unknown field"),
        ('phases = {rule = "best"}', "unknown acquisition rule"),
        ("arms = {personal = 60}", "60 trials need as many prompts|trials need as many prompts"),
        ('stop = {deadline = "2027-01-01T00:00:00"}', "has no time zone"),
        ("power = {effect = 0.0}", "effect must be positive"),
        ("attention = []", "attention needs at least 2 checks"),
        ('recruiting = {identity = "pid"}', "identity 'pid' is not among"),
    ],
)
def test_settings_that_cannot_be_run_are_refused(tmp_path, change, message):
    write_study(tmp_path / "study")
    path = tmp_path / "study" / "study.toml"
    name = change.split(" ")[0]
    lines = [line for line in path.read_text().splitlines() if not line.startswith(f"{name} =")]
    path.write_text("\n".join([*lines, change]) + "\n")
    if message is None:
        read_materials(tmp_path / "study")
        return
    with pytest.raises(ValueError, match=message):
        read_materials(tmp_path / "study")
