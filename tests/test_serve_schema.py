"""The server against its own description: no 5xx, and answers are what the description says."""

import hypothesis
import pytest
from serve_world import make_model

from prefjax.serve import PeopleStore, ServerConfig, make_app

schemathesis = pytest.importorskip("schemathesis", reason="schemathesis is not installed")
from schemathesis import GenerationMode  # noqa: E402
from schemathesis.checks import CHECKS, load_all_checks  # noqa: E402

load_all_checks()
CHOSEN = CHECKS.get_by_names(
    [
        "not_a_server_error",
        "status_code_conformance",
        "content_type_conformance",
        "response_schema_conformance",
    ]
)
pytestmark = pytest.mark.slow
PERSON = {"person": "w1"}
LIMITS = {
    "max_examples": 10,
    "deadline": None,
    "database": None,
    "derandomize": True,
    "suppress_health_check": list(hypothesis.HealthCheck),
}

OPERATIONS = {
    "create": "POST /people",
    "describe": "GET /people/{person}",
    "delete": "DELETE /people/{person}",
    "ask": "POST /people/{person}/ask",
    "tell": "POST /people/{person}/tell",
    "observe": "POST /people/{person}/observe",
    "rank": "POST /people/{person}/rank",
    "score": "POST /score",
    "get_reward": "POST /get_reward",
    "health": "GET /health",
    "metrics": "GET /metrics",
}


KNOWN = ("describe", "ask", "tell", "observe", "rank")
"""Operations about somebody who is there."""


@pytest.fixture(scope="module")
def operations(tmp_path_factory):
    store = PeopleStore(tmp_path_factory.mktemp("schema") / "people")
    app = make_app(make_model(), store, ServerConfig(max_body=200_000))
    described = schemathesis.openapi.from_asgi("/openapi.json", app)
    return {one.label: one for one in (result.ok() for result in described.get_all_operations())}


def test_every_operation_is_tried(operations):
    assert set(operations) == set(OPERATIONS.values())


@pytest.mark.parametrize("mode", ["positive", "negative"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_answers_are_as_described(operations, name, mode):
    if mode == "negative" and name in ("health", "metrics"):
        pytest.skip("nothing can be wrong with it")
    known = {"path_parameters": PERSON} if name in KNOWN and mode == "positive" else {}
    strategy = operations[OPERATIONS[name]].as_strategy(GenerationMode(mode), **known)

    @hypothesis.settings(**LIMITS)
    @hypothesis.given(case=strategy)
    def check(case):
        case.validate_response(case.call(), checks=CHOSEN)

    check()
