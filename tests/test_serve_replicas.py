"""Two servers over one database: each follows what the other wrote, and asks only for that."""

import numpy as np
import pytest
from serve_world import PROMPTS, RESPONSES, make_model

from prefjax.person import belief, items, ranking
from prefjax.serve import PeopleService, PeopleStore
from prefjax.serve.ranking import RankRequest
from prefjax.serve.warming import warm_up


@pytest.fixture
def pair(tmp_path):
    """Two services of one model, and where from the second read answers."""
    model, since = make_model(), []
    with PeopleStore(tmp_path / "people") as first, PeopleStore(tmp_path / "people") as second:
        read = second.read
        second.read = lambda person, start=0: since.append(start) or read(person, start)
        yield *(PeopleService(model, store, is_shared=True) for store in (first, second)), since


def observe(service, number):
    shown = RESPONSES[number % 3], RESPONSES[3]
    service.observe("w", PROMPTS[number % len(PROMPTS)], *shown, float(number % 2))


def test_only_new_answers_are_read(pair):
    first, second, since = pair
    first.create("w")
    start = first.store.look("w").version
    for number in range(6):
        observe(first if number % 3 else second, number)
    assert since == [0, start + 1]
    found, sequential = second.belief("w"), second.model.new_person()
    assert since == [0, start + 1, start + 4]
    for number in range(6):
        shown = RESPONSES[number % 3], RESPONSES[3]
        sequential.observe(PROMPTS[number % len(PROMPTS)], *shown, float(number % 2))
    for ours, theirs in zip(found, sequential.belief, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert second.describe("w")["num_answers"] == 6


def test_a_question_of_one_is_answered_through_the_other(pair):
    first, second, _ = pair
    first.create("w")
    second.describe("w")
    question = first.ask("w", [(PROMPTS[0], RESPONSES)])["question"]
    assert second.describe("w")["question"] == question
    second.tell("w", 1.0, question=question["id"])
    assert first.describe("w")["question"] is None
    assert first.ask("w", [(PROMPTS[0], RESPONSES)])["question"] != question


def test_somebody_who_came_again_is_read_anew(pair):
    first, second, since = pair
    first.create("w")
    observe(first, 0)
    second.describe("w")
    first.delete("w")
    first.create("w")
    assert second.describe("w")["num_answers"] == 0
    assert since[-1] == 0


def test_answers_under_another_model_are_described_again(pair, tmp_path):
    first, second, since = pair
    first.create("w")
    observe(second, 0)
    with PeopleStore(tmp_path / "people") as store:
        newer = PeopleService(make_model(1), store, is_shared=True)
        observe(newer, 1)
        second.belief("w")
        assert since[-1] == 0
        sequential = second.model.new_person()
        for number in range(2):
            shown = RESPONSES[number % 3], RESPONSES[3]
            sequential.observe(PROMPTS[number], *shown, float(number % 2))
        np.testing.assert_allclose(second.belief("w").mean, sequential.weights, atol=1e-6)


def test_after_warming_up_no_request_compiles(pair):
    programs = belief._solve, items._describe, ranking._compare
    service = pair[0]
    warm_up(service.model)
    before = [program._cache_size() for program in programs]
    service.create("w")
    for number in range(belief.SMALLEST + 2):
        observe(service, number)
        service.belief("w")
    one = RankRequest(service.belief("w"), PROMPTS[0], RESPONSES)
    for count in (1, 2, 9):
        service.rank([one] * count)
    assert [program._cache_size() for program in programs] == before
