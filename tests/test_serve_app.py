"""The server in one process: what it answers is what the library says; what is wrong is refused."""

import asyncio
import base64
import json

import numpy as np
import pytest
from serve_world import PROMPTS, RESPONSES, make_model
from starlette.testclient import TestClient

from prefjax.serve import (
    PeopleService,
    PeopleStore,
    ServerConfig,
    make_app,
    openrlhf_reward,
    trl_reward,
    verl_reward,
)
from prefjax.serve.batching import Batcher
from prefjax.serve.ranking import RankRequest
from prefjax.serve.store import ConflictError

POOL = [{"prompt": prompt, "candidates": RESPONSES} for prompt in PROMPTS]
JSON = {"Content-Type": "application/json"}
RANK = {"prompt": PROMPTS[0], "candidates": RESPONSES}


@pytest.fixture(scope="module")
def model():
    return make_model()


@pytest.fixture
def client(model, tmp_path):
    config = ServerConfig(max_body=200_000, body_seconds=2.0)
    with TestClient(make_app(model, PeopleStore(tmp_path / "people"), config)) as opened:
        yield opened


def post(client, path, body, status=200, **headers):
    response = client.post(path, json=body, headers=headers)
    assert response.status_code == status, response.text
    return response.json()


def test_a_person_is_asked_and_ranked_for_as_by_the_library(client, model):
    post(client, "/people", {"id": "ann", "seed": 3}, 201)
    person = model.new_person(seed=3)
    for turn in range(4):
        question = post(client, "/people/ann/ask", {"pool": POOL})["question"]
        assert question == post(client, "/people/ann/ask", {"pool": POOL})["question"]
        mine = person.ask([(one["prompt"], one["candidates"]) for one in POOL])
        assert (question["first"], question["second"]) == (mine.shown.first, mine.shown.second)
        assert question["prompt"] == mine.shown.prompt
        label = float(turn % 2)
        told = post(client, "/people/ann/tell", {"label": label, "question": question["id"]})
        person.tell(label)
        assert told == {"num_answers": turn + 1}
    post(client, "/people/ann/observe", {"prompt": "", "first": "a", "second": "b", "label": 0.5})
    person.observe("", "a", "b", 0.5)
    found = post(client, "/people/ann/rank", RANK)
    expected = person.rank(PROMPTS[0], RESPONSES)
    assert found["order"] == expected.order.tolist()
    for name in ("reward", "win_probability", "low", "high"):
        np.testing.assert_allclose(found[name], getattr(expected, name), rtol=1e-6)
    about = client.get("/people/ann").json()
    assert about["num_answers"] == 5
    np.testing.assert_allclose(about["weights"], person.weights, rtol=1e-6)


def test_people_of_the_training_data_are_known(client, model):
    found = post(client, "/people/w2/rank", RANK)
    expected = model.person("w2").rank(PROMPTS[0], RESPONSES)
    np.testing.assert_allclose(found["reward"], expected.reward, rtol=1e-6)
    body = {"prompt": PROMPTS[1], "first": RESPONSES[0], "second": RESPONSES[1], "label": 1}
    assert post(client, "/people/w2/observe", body) == {"num_answers": 1}
    person = model.person("w2")
    person.observe(PROMPTS[1], RESPONSES[0], RESPONSES[1], 1.0)
    np.testing.assert_allclose(
        client.get("/people/w2").json()["weights"], person.weights, rtol=1e-6
    )
    post(client, "/people", {"id": "copy", "like": "w1"}, 201)
    np.testing.assert_allclose(
        client.get("/people/copy").json()["weights"], model.person("w1").weights, rtol=1e-6
    )


def test_embeddings_are_taken_as_well(client, model):
    embeddings = model.encoder.read(RESPONSES, [""] * len(RESPONSES))
    post(client, "/people", {"id": "ann"}, 201)
    found = post(client, "/people/ann/rank", {"candidates": np.asarray(embeddings).tolist()})
    expected = model.new_person().rank(embeddings)
    np.testing.assert_allclose(found["reward"], expected.reward, rtol=1e-5)
    for candidates, message in (
        ([[1.0, 2.0]], "2"),
        ([[1.0], [1.0, 2.0]], "embeddings of 1 and of 2 numbers"),
        ([[1e300] * 128], "not finite"),
    ):
        found = post(client, "/people/ann/rank", {"candidates": candidates}, 422)
        assert message in error(found)
    body = {"first": np.asarray(embeddings)[0].tolist(), "label": 1.0}
    assert post(client, "/people/ann/observe", body) == {"num_answers": 1}


def test_embeddings_are_taken_as_bytes(client, model):
    table = np.asarray(model.encoder.read(RESPONSES, [""] * len(RESPONSES)), "<f4")
    encoded = [{"float32": base64.b64encode(row.tobytes()).decode()} for row in table]
    found = post(client, "/people/w1/rank", {"candidates": encoded})
    np.testing.assert_allclose(found["reward"], model.person("w1").rank(table).reward, rtol=1e-5)
    body = {"first": encoded[0], "second": encoded[1], "label": 1.0}
    assert post(client, "/people/w1/observe", body) == {"num_answers": 1}
    person = model.person("w1")
    person.observe(table[0], table[1], 1.0)
    np.testing.assert_allclose(
        client.get("/people/w1").json()["weights"], person.weights, rtol=1e-5
    )
    for text in ("####", "AAAAAAA=AA", "AAAAAAAA", "AAAA\u00e9AAA"):
        post(client, "/people/w1/rank", {"candidates": [{"float32": text}]}, 422)
    infinite = base64.b64encode(np.full(128, np.inf, "<f4").tobytes()).decode()
    post(client, "/people/w1/rank", {"candidates": [{"float32": infinite}]}, 422)


def test_requests_of_one_moment_are_ranked_together_and_each_is_answered_its_own(model, tmp_path):
    rng, sizes = np.random.default_rng(0), [1, 3, 20, 70, 4, 9]
    with PeopleStore(tmp_path / "people") as store:
        service = PeopleService(model, store)
        requests, expected = [], []
        for place, size in enumerate(sizes * 12):
            person = model.person(f"w{place % 4}")
            table = rng.normal(size=(size, 128)).astype(np.float32)
            prompt, candidates = None, table
            if place % 3 == 0:
                prompt, candidates = PROMPTS[0], [f"{place} {row}" for row in range(size)]
            requests.append(RankRequest(person.belief, prompt, candidates))
            expected.append(
                person.rank(*([candidates] if prompt is None else [prompt, candidates]))
            )
        for found, alone in zip(service.rank(requests), expected, strict=True):
            assert found.reference == alone.reference
            for one, other in zip(found[:-1], alone[:-1], strict=True):
                np.testing.assert_allclose(one, other, rtol=1e-5, atol=5e-5)  # rewards up to 40


def test_a_request_that_is_wrong_spoils_no_other_of_its_moment():
    def work(requests):
        if "bad" in requests:
            raise ValueError("bad")
        sizes.append(len(requests))
        return [request.upper() for request in requests]

    async def ask():
        batcher = Batcher(work, len, most=8)
        names = ["a", "bad", "b", "cc", "too long for a batch"]
        return await asyncio.gather(*map(batcher, names), return_exceptions=True)

    sizes: list[int] = []
    first, bad, *others = asyncio.run(ask())
    assert [first, *others] == ["A", "B", "CC", "TOO LONG FOR A BATCH"]
    assert isinstance(bad, ValueError)


def test_reward_functions_of_trainers(model):
    weights = model.person("w1").weights
    items = model.items(PROMPTS[0], RESPONSES)
    personal = items.features @ weights + items.utility
    shared = items.features @ model.basis.population.mean + items.utility
    trl = trl_reward(model)
    messages = [[{"role": "assistant", "content": text}] for text in RESPONSES]
    asked = [[{"role": "user", "content": PROMPTS[0]}]] * 4
    found = trl(prompts=asked, completions=messages, user=["w1", None, "", "w1"])
    np.testing.assert_allclose(found, [personal[0], *shared[1:3], personal[3]], rtol=1e-5)
    with pytest.raises(KeyError, match=r"no column 'user' that names people; it has who"):
        trl(prompts=asked, completions=messages, who=["w1"] * 4)
    np.testing.assert_allclose(trl_reward(model, column=None)(asked, messages), shared, rtol=1e-5)
    queries = [PROMPTS[0] + text for text in RESPONSES]
    told = openrlhf_reward(model)(queries, [PROMPTS[0]] * 4, ["w1"] * 4)
    np.testing.assert_allclose(told["rewards"], personal, rtol=1e-5)
    about = {"prompt": PROMPTS[0], "user": "w1"}
    np.testing.assert_allclose(
        verl_reward(model)("set", RESPONSES[1], None, about), personal[1], rtol=1e-5
    )
    with pytest.raises(ValueError, match="prompt and the user"):
        verl_reward(model)("set", RESPONSES[1], None, {"prompt": PROMPTS[0]})
    with pytest.raises(KeyError, match="w99"):
        trl(asked, messages, user=["w99"] * 4)


def test_rewards_of_other_tools(client, model):
    weights, population = model.person("w1").weights, model.basis.population.mean
    items = model.items(PROMPTS[0], RESPONSES)
    score = {"response_text": RESPONSES[1], "query": PROMPTS[0]}
    for profile, one in (("w1", weights), ("", population)):
        found = post(client, "/score", score | {"profile": profile})["score"]
        np.testing.assert_allclose(found, items.features[1] @ one + items.utility[1], rtol=1e-5)
    body = {
        "query": [PROMPTS[0] + response for response in RESPONSES],
        "prompts": [PROMPTS[0]] * len(RESPONSES),
        "labels": ["w1", None, "", "w1"],
    }
    found = post(client, "/get_reward", body)
    personal, shared = (items.features @ one + items.utility for one in (weights, population))
    np.testing.assert_allclose(
        found["rewards"], [personal[0], shared[1], shared[2], personal[3]], rtol=1e-5
    )
    assert found["scores"] == found["rewards"]
    assert "no person 'w99'" in error(post(client, "/score", score | {"profile": "w99"}, 404))
    stray = body | {"prompts": ["Something else"] * len(RESPONSES)}
    assert "query 0 does not begin" in error(post(client, "/get_reward", stray, 422))


def test_a_request_that_is_repeated_counts_once(client):
    post(client, "/people", {"id": "ann"}, 201)
    body = {"prompt": "", "first": "a", "second": "b", "label": 1}
    for _ in range(3):
        told = post(client, "/people/ann/observe", body, **{"Idempotency-Key": "k1"})
        assert told == {"num_answers": 1}
    assert post(client, "/people/ann/observe", body) == {"num_answers": 2}
    other = post(
        client, "/people/ann/observe", body | {"label": 0}, 422, **{"Idempotency-Key": "k1"}
    )
    assert "the key 'k1' belongs to another request" in error(other)
    question = post(client, "/people/ann/ask", RANK)
    assert post(client, "/people/ann/ask", RANK, **{"Idempotency-Key": "k2"}) == question
    post(client, "/people/ann/tell", {"label": 1})
    assert post(client, "/people/ann/ask", RANK, **{"Idempotency-Key": "k2"}) == question


def test_an_answer_to_another_question_is_refused(client):
    post(client, "/people", {"id": "ann"}, 201)
    assert "no question is open" in error(post(client, "/people/ann/tell", {"label": 1}, 409))
    first = post(client, "/people/ann/ask", RANK)["question"]["id"]
    post(client, "/people/ann/tell", {"label": 1, "question": first})
    post(client, "/people/ann/ask", RANK)
    stale = post(client, "/people/ann/tell", {"label": 1, "question": first}, 409)
    assert "q0 came, and q1 is open" in error(stale)
    assert client.get("/people/ann").json()["num_answers"] == 1


def test_everything_is_there_after_a_restart(model, tmp_path):
    with TestClient(make_app(model, PeopleStore(tmp_path / "people"))) as client:
        post(client, "/people", {"id": "ann"}, 201)
        question = post(client, "/people/ann/ask", RANK)["question"]
        post(client, "/people/ann/tell", {"label": 0.25})
        opened = post(client, "/people/ann/ask", RANK)["question"]
        before = client.get("/people/ann").json()
    with TestClient(make_app(model, PeopleStore(tmp_path / "people"))) as client:
        after = client.get("/people/ann").json()
        assert after["question"] == before["question"] == opened != question
        np.testing.assert_allclose(after["weights"], before["weights"], atol=1e-6)
    with TestClient(make_app(make_model(seed=1), PeopleStore(tmp_path / "people"))) as client:
        other = make_model(seed=1).new_person()
        other.observe(question["prompt"], question["first"], question["second"], 0.25)
        body = {"prompt": "", "first": "a", "second": "b", "label": 1}
        np.testing.assert_allclose(
            client.get("/people/ann").json()["weights"], other.weights, atol=1e-6
        )
        post(client, "/people/ann/observe", body)
        other.observe("", "a", "b", 1.0)
    with TestClient(make_app(make_model(seed=1), PeopleStore(tmp_path / "people"))) as client:
        np.testing.assert_allclose(
            client.get("/people/ann").json()["weights"], other.weights, atol=1e-6
        )
        assert client.delete("/people/ann").status_code == 204
        assert client.get("/people/ann").status_code == 404
        assert client.delete("/people/ann").status_code == 404


def test_two_replicas_keep_both_answers(model, tmp_path):
    services = [
        PeopleService(model, PeopleStore(tmp_path / "people"), is_shared=True) for _ in range(2)
    ]
    services[0].create("ann")
    for turn in range(6):
        found = services[turn % 2].observe("ann", "", f"a{turn}", "b", 1.0)
        assert found == {"num_answers": turn + 1}
    expected = model.new_person()
    for turn in range(6):
        expected.observe("", f"a{turn}", "b", 1.0)
    for service in services:
        np.testing.assert_allclose(service.describe("ann")["weights"], expected.weights, atol=1e-6)
        service.store.close()


def test_whoever_is_made_again_is_somebody_else_for_every_replica(model, tmp_path):
    one, other = (
        PeopleService(model, PeopleStore(tmp_path / "people"), is_shared=True) for _ in range(2)
    )
    one.create("ann", like="w0")
    one.observe("w1", "", "a", "b", 1.0)
    other.delete("ann")
    other.create("ann")
    other.delete("w1")
    np.testing.assert_allclose(one.describe("ann")["weights"], model.basis.population.mean)
    assert one.describe("w1")["num_answers"] == 0
    for service in (one, other):
        service.store.close()


def test_embeddings_of_another_encoder_are_not_taken_over(model, tmp_path):
    service = PeopleService(model, PeopleStore(tmp_path / "people"))
    service.create("ann")
    embedding = np.asarray(model.encoder.read(["a"], [""]))[0]
    service.observe("ann", None, embedding, None, 1.0)
    service.store.close()
    later = make_model(seed=1, dimension=256)
    with TestClient(make_app(later, PeopleStore(tmp_path / "people"))) as client:
        response = client.get("/people/ann")
        assert response.status_code == 409
        assert "embeddings of the encoder" in error(response.json())


def test_a_change_that_cannot_be_stored_leaves_no_trace(model, tmp_path, monkeypatch):
    service = PeopleService(model, PeopleStore(tmp_path / "people"))
    service.create("ann")
    before = service.describe("ann")

    def fail(*args, **kwargs):
        raise ConflictError("no")

    with monkeypatch.context() as patch:
        patch.setattr(service.store, "commit", fail)
        with pytest.raises(ConflictError, match="being changed by others"):
            service.observe("ann", "", "a", "b", 1.0)
    assert service.describe("ann") == before
    service.store.close()


def error(body):
    return body["error"]["message"]


LARGE = [{"prompt": "", "candidates": ["a"] * 1000}] * 21
WRONG = [
    ("/people", {"id": ""}, 422, "id"),
    ("/people", {"id": "a/b"}, 422, "id"),
    ("/people", {"id": "x" * 201}, 422, "id"),
    ("/people", {"id": "a", "rule": "best"}, 422, "rule"),
    ("/people", {"id": "a", "more": 1}, 422, "more"),
    ("/people", {"id": "a", "like": "w99"}, 404, "w99"),
    ("/people", ["a"], 422, "body"),
    ("/people/ann/rank", {"candidates": RESPONSES}, 422, "texts need a prompt"),
    ("/people/ann/rank", {"prompt": "", "candidates": []}, 422, "candidates"),
    ("/people/ann/rank", {"prompt": "", "candidates": ["a"] * 1001}, 422, "candidates"),
    ("/people/ann/rank", {"prompt": "", "candidates": ["a", 1]}, 422, "candidates"),
    ("/people/ann/rank", {"prompt": "", "candidates": ["x" * 100_001]}, 422, "candidates"),
    ("/people/ann/rank", {"candidates": [[1.0, 2.0]]}, 422, "2"),
    ("/people/ann/ask", {"prompt": "", "candidates": ["a"]}, 422, "two"),
    ("/people/ann/ask", {}, 422, "either"),
    (
        "/people/ann/ask",
        {"pool": [{"prompt": "", "candidates": ["a"] * 1000}] * 21},
        422,
        "pool has",
    ),
    ("/score", {"response_text": "a", "query": "b", "profile": "a\0b"}, 422, "control character"),
    ("/people/ann/tell", {"label": 2}, 422, "label"),
    ("/people/ann/tell", {"label": "yes"}, 422, "label"),
    ("/people/ann/observe", {"first": "a", "second": [1.0], "label": 1}, 422, "both"),
    ("/people/zoe/rank", {"prompt": "", "candidates": ["a", "b"]}, 404, "zoe"),
]


@pytest.mark.parametrize(("path", "body", "status", "message"), WRONG)
def test_what_is_wrong_is_named(client, path, body, status, message):
    post(client, "/people", {"id": "ann"}, 201)
    assert message in error(post(client, path, body, status))


def test_bodies_that_are_none(client):
    post(client, "/people", {"id": "ann"}, 201)
    for content, status in (
        (b"{", 400),
        (b"", 400),
        (b'{"prompt": "\\ud800", "candidates": ["a", "b"]}', 400),
        (b"\xff\xfe", 400),
        (b'{"label": NaN}', 400),
        (b" " * 200_001, 413),
    ):
        response = client.post("/people/ann/rank", content=content, headers=JSON)
        assert response.status_code == status, (content[:20], response.text)
        assert error(response.json())

    def endless():
        for _ in range(100):
            yield b" " * 10_000

    assert client.post("/people/ann/rank", content=endless(), headers=JSON).status_code == 413
    plain = {"Content-Type": "text/plain"}
    assert client.post("/people/ann/rank", content=b"{}", headers=plain).status_code == 415
    assert client.post("/people", json={"id": "ann"}).status_code == 409
    assert client.get("/people/ann/rank").status_code == 405
    assert client.get("/nothing").status_code == 404
    assert client.get("/health").json() == {"status": "ok"}


def test_a_token_is_asked_for_everywhere_but_at_the_door(model, tmp_path):
    config = ServerConfig(token="secret")
    with TestClient(make_app(model, PeopleStore(tmp_path / "people"), config)) as client:
        assert client.get("/health").status_code == 200
        for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "secret"}):
            assert client.get("/people/w1", headers=headers).status_code == 401
            assert client.get("/metrics", headers=headers).status_code == 401
        good = {"Authorization": "Bearer secret"}
        assert client.get("/people/w1", headers=good).status_code == 200


def test_a_page_of_another_site_reaches_nothing_under_its_own_name(model, tmp_path):
    config = ServerConfig(hosts=("localhost", "::1"))
    with TestClient(make_app(model, PeopleStore(tmp_path / "people"), config)) as client:
        for host, status in (
            ("localhost", 200),
            ("LOCALHOST:8765", 200),
            ("[::1]:8765", 200),
            ("evil.example", 421),
            ("localhost.evil.example:8765", 421),
            ("", 421),
        ):
            for path in ("/health", "/people/w1", "/openapi.json"):
                assert client.get(path, headers={"Host": host}).status_code == status, host


def test_numbers_and_description(client):
    post(client, "/people", {"id": "ann"}, 201)
    post(client, "/people/ann/rank", RANK)
    numbers = client.get("/metrics").text
    assert 'prefjax_requests_total{route="rank",status="200"} 1.0' in numbers
    assert "prefjax_num_texts 4.0" in numbers
    described = client.get("/openapi.json").json()
    assert set(described["paths"]) >= {"/people", "/people/{person}/ask", "/score", "/health"}
    schema = described["components"]["schemas"]["CreateBody"]
    assert schema["properties"]["rule"]["enum"][0] == "eq8"
    text = json.dumps(described)
    for part in text.split('"$ref": "')[1:]:
        name = part.split('"')[0].rpartition("/")[2]
        assert name in described["components"]["schemas"], name
