"""A judge behind HTTP: a real server on loopback that misbehaves, the cache, and the dry run."""

import asyncio
import json
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from prefjax.align.judges import (
    Cache,
    DryRunJudge,
    OpenAIConfig,
    OpenAIJudge,
    ReplayJudge,
    Request,
    Result,
    Status,
)
from prefjax.align.judges.gate import Gate

CHOICES = ("Output (a)", "Output (b)")
FAULTS = ("429", "500", "malformed", "slow", "empty")


def make_requests(num):
    return [Request("You prefer short responses.", f"case {i}", CHOICES) for i in range(num)]


def answer_to(text):
    """What the server says of a case, known to the test as well."""
    case = int(text.split()[1])
    if case % 50 == 7:
        return {"content": None, "refusal": "I would rather not."}
    if case % 50 == 8:
        return {"content": "I cannot decide."}
    return {"content": f"Both are fine. {CHOICES[case % 2]}"}


class Server(ThreadingHTTPServer):
    """Chat completions on loopback; ``faults`` maps a case to what goes wrong, once each."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self, faults=None):
        super().__init__(("127.0.0.1", 0), Handler)
        self.faults = {case: list(kinds) for case, kinds in (faults or {}).items()}
        self.seen, self.charged = Counter(), Counter()
        self.busy = self.most_busy = 0
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_):
        """A client that does not wait is tested, and not an error of this server."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        text = body["messages"][-1]["content"]
        server = self.server
        with server.lock:
            server.busy += 1
            server.most_busy = max(server.most_busy, server.busy)
            server.seen[text] += 1
            kinds = server.faults.get(int(text.split()[1]))
            kind = kinds.pop(0) if kinds else None
            if kind in (None, "slow"):
                server.charged[text] += 1
        try:
            self.reply(kind, text)
        finally:
            with server.lock:
                server.busy -= 1

    def reply(self, kind, text):
        if kind == "slow":
            self.server.closing.wait(0.1)
        if kind in ("429", "500", "400"):
            return self.send(int(kind), {"error": {"message": f"fault {kind}"}})
        if kind == "empty":
            return self.send(200, {"id": "1", "object": "chat.completion", "choices": []})
        message = {"role": "assistant", **answer_to(text)}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        usage = {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14}
        full = {"id": "1", "object": "chat.completion", "created": 0, "model": "m"}
        full |= {"choices": [choice], "usage": usage}
        return self.send(200, full, cut=25 if kind == "malformed" else None)

    def send(self, code, payload, cut=None):
        data = json.dumps(payload).encode()[:cut]
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


@contextmanager
def serving(faults=None):
    server = Server(faults)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def make_judge(server, cache=None, **settings):
    pytest.importorskip("openai", reason="the extra `judge` is not installed")
    defaults = {"backoff": 0.001, "longest_wait": 0.01, "timeout": 20.0}
    config = OpenAIConfig("m", base_url=server.url, **(defaults | settings))
    return OpenAIJudge(config, cache=cache, api_key="none")


def check(results, requests):
    for request, result in zip(requests, results, strict=True):
        case = int(request.text.split()[1])
        if case % 50 == 7:
            assert (result.status, result.choice) == (Status.REFUSED, None)
        elif case % 50 == 8:
            assert (result.status, result.choice) == (Status.INVALID, None)
        else:
            assert (result.status, result.choice) == (Status.OK, case % 2)


def storm(num, tmp_path):
    rng = np.random.default_rng(0)
    faulty = rng.permutation(num)[: num // 10]
    faults = {int(case): [FAULTS[i % len(FAULTS)]] * (1 + i % 3) for i, case in enumerate(faulty)}
    requests = make_requests(num)
    cache = Cache(tmp_path / "answers.sqlite")
    with serving(faults) as server:
        judge = make_judge(server, cache)
        # Half of the requests come twice; they must not be sent twice.
        results = judge.complete(requests + requests[: num // 2])
        assert len(results) == num + num // 2
        check(results, requests + requests[: num // 2])
        assert len(server.charged) == num
        assert max(server.charged.values()) == 1
        assert server.most_busy <= 64
        assert judge.num_calls == sum(server.seen.values())
        invalid = sum(case % 50 == 8 for case in range(num))
        assert len(cache) == num - invalid

        before = judge.num_calls
        answered = [r for r in requests if int(r.text.split()[1]) % 50 != 8]
        again = judge.complete(answered)
        assert judge.num_calls == before
        assert all(result.cached for result in again)
        check(again, answered)
    cache.close()


def test_small_storm(tmp_path):
    storm(200, tmp_path)


@pytest.mark.slow
def test_storm_of_two_thousand(tmp_path):
    storm(2000, tmp_path)


def test_too_many_requests_halve_the_gate_once_a_round():
    async def run():
        gate = Gate(64)
        rounds = [await gate.enter() for _ in range(10)]
        for entered_in in rounds:
            gate.halve(entered_in)
            gate.leave(answered=False)
        assert gate.limit == 32
        gate.halve(await gate.enter())
        gate.leave(answered=False)
        assert gate.limit == 16
        for _ in range(16):
            await gate.enter()
            gate.leave(answered=True)
        assert gate.limit == 17
        for _ in range(10):
            gate.halve(await gate.enter())
            gate.leave(answered=False)
        assert gate.limit == 1

    asyncio.run(run())


def test_final_errors_are_not_tried_again_and_passing_ones_end():
    requests = make_requests(3)
    with serving({0: ["400"], 1: ["500"] * 9, 2: ["500"] * 6}) as server:
        results = make_judge(server).complete(requests)
        assert [server.seen[request.text] for request in requests] == [1, 7, 7]
    assert [result.status for result in results] == [Status.FAILED, Status.FAILED, Status.OK]
    assert "fault 400" in results[0].text


def test_a_judge_that_is_down_fails_every_request_soon():
    with serving() as server:
        judge = make_judge(server, concurrency=2, retries=1, give_up_after=4)
    results = judge.complete(make_requests(200))
    assert len(results) == 200
    assert {result.status for result in results} == {Status.FAILED}
    assert {result.choice for result in results} == {None}
    assert judge.num_calls < 20
    assert "in a row" in results[-1].text


def test_a_slow_judge_is_not_waited_for():
    with serving({0: ["slow", "slow"]}) as server:
        judge = make_judge(server, timeout=0.02, retries=1)
        (result,) = judge.complete(make_requests(1))
    assert result.status == Status.FAILED
    assert "imed out" in result.text or "imeout" in result.text


def test_cache_keeps_what_will_not_change(tmp_path):
    payload = OpenAIConfig("m").payload
    request, other = make_requests(2)
    cache = Cache(tmp_path / "deep" / "answers.sqlite")
    ok = Result(Status.OK, 1, "Output (b)", 5, 2)
    for result in (Result(Status.FAILED, text="down"), Result(Status.INVALID, text="hm")):
        cache.put(payload(request), result)
        assert cache.get(payload(request), request) is None
    cache.put(payload(request), ok)
    cache.close()
    cache = Cache(tmp_path / "deep" / "answers.sqlite")
    assert cache.get(payload(request), request) == ok._replace(cached=True)
    assert cache.get(OpenAIConfig("another").payload(request), request) is None

    replayed = ReplayJudge(cache, payload).complete([request, other])
    assert [result.status for result in replayed] == [Status.OK, Status.FAILED]
    cache.close()

    (tmp_path / "text").write_text("this is no database, " * 50)
    with pytest.raises(OSError, match="Cannot use"):
        Cache(tmp_path / "text")


def test_dry_run_counts_what_is_new_and_answers_nothing(tmp_path, capsys):
    payload = OpenAIConfig("m").payload
    first, second = make_requests(2)
    cache = Cache(tmp_path / "answers.sqlite")
    cache.put(payload(first), Result(Status.OK, 0, "Output (a)"))
    judge = DryRunJudge(payload, cache=cache)
    results = judge.complete([first, second, second])
    assert [result.status for result in results] == [Status.OK, Status.FAILED, Status.FAILED]
    assert judge.num_calls == 1
    assert 20 < judge.input_tokens < 60
    assert "3 requests, 1 calls" in capsys.readouterr().out
    cache.close()
