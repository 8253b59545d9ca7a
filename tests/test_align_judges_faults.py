"""Servers that cut, stall, refuse, answer oddly or speak a dialect: each has its named outcome."""

import json
import threading
import time
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from prefjax.align.judges import (
    PROFILE,
    Cache,
    OpenAIConfig,
    OpenAIJudge,
    Question,
    Request,
    Status,
    compare,
    quality,
)

pytest.importorskip("openai", reason="the extra `judge` is not installed")

CHOICES = ("Output (a)", "Output (b)")


@contextmanager
def serving(answer, delay=0.0):
    """A server whose body is ``answer(request body)``; with a delay it sends a byte at a time."""
    bodies, closing = [], threading.Event()

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            bodies.append(body)
            status, reply = answer(body)
            data = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            for start in range(0, len(data), 1 if delay else len(data)):
                if closing.wait(delay):
                    return
                self.wfile.write(data[start : start + (1 if delay else len(data))])
                self.wfile.flush()

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_):
            pass  # a client that hangs up is what is tested

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    server.bodies, server.url = bodies, f"http://127.0.0.1:{server.server_port}/v1"
    try:
        yield server
    finally:
        closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def chat(content, finish="stop", usage=(9, 2), **message):
    counts = dict(
        zip(("prompt_tokens", "completion_tokens", "total_tokens"), (*usage, 0), strict=True)
    )
    choice = {"index": 0, "message": {"role": "assistant", "content": content, **message}}
    choice["finish_reason"] = finish
    return 200, {"id": "x", "object": "chat.completion", "created": 1, "model": "m",
                 "choices": [choice], "usage": counts}  # fmt: skip


def refuse(message, status=400):
    return status, {"error": {"message": message, "type": "invalid_request_error"}}


def ask(server, requests, cache=None, **settings):
    defaults = {"backoff": 0.001, "longest_wait": 0.01, "retries": 2}
    config = OpenAIConfig("m", base_url=server.url, **(defaults | settings))
    return OpenAIJudge(config, cache=cache).complete(requests)


def make_requests(num):
    return [Request("", f"case {i}", CHOICES) for i in range(num)]


@pytest.fixture(autouse=True)
def no_key(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("reply", "status", "num_calls", "reason"),
    [
        (chat("<think>It says Output (a). Output (a)", "length"), "failed", 1, "max_tokens=64"),
        (chat("", "length", reasoning_content="Output (a)"), "failed", 1, "max_tokens=64"),
        (chat(None, "length", reasoning="Hm"), "failed", 1, "max_tokens=64"),
        (chat("Output (a) since it", "length"), "invalid", 1, "max_tokens=64"),
        (chat("", reasoning_content="Output (a)"), "failed", 1, "reasoning"),
        (chat(None, reasoning="Output (a)"), "failed", 1, "reasoning"),
        (chat(None), "failed", 3, "no text"),
        (chat(""), "invalid", 1, ""),
        (chat(None, refusal="I would rather not."), "refused", 1, "rather not"),
    ],
)
def test_a_cut_or_empty_answer_is_not_ok_and_not_kept(tmp_path, reply, status, num_calls, reason):
    cache = Cache(tmp_path / "answers.sqlite")
    with serving(lambda _: reply) as server:
        (result,) = ask(server, make_requests(1), cache)
        assert len(server.bodies) == num_calls
    assert (result.status, result.choice) == (Status(status), None)
    assert reason in result.text
    assert len(cache) == (status == "refused")
    cache.close()


def test_a_cut_answer_is_asked_for_again_in_other_words_and_then_left_out():
    with serving(lambda _: chat("Reply A is short. [[A]] since", "length")) as server:
        judge = OpenAIJudge(OpenAIConfig("m", base_url=server.url))
        verdicts = compare(judge, [Question("p", "q", "x", "y")], PROFILE)
        texts = [body["messages"][-1]["content"] for body in server.bodies]
    assert len(set(texts)) == 4
    assert np.isnan(verdicts.win[0])
    assert quality(verdicts).invalid_rate == 1.0


@pytest.mark.parametrize("status", [400, 404, 413, 422])
def test_what_one_request_is_refused_for_stops_no_other(status):
    def answer(body):
        number = int(body["messages"][-1]["content"].split()[1])
        return refuse("not this one", status) if number < 40 else chat("Output (b)")

    with serving(answer) as server:
        results = ask(server, make_requests(60), concurrency=3, give_up_after=5)
    assert [result.status for result in results] == [Status.FAILED] * 40 + [Status.OK] * 20


@pytest.mark.parametrize("status", [401, 403, 503])
def test_a_wrong_key_and_passing_errors_count_against_the_server(status):
    with serving(lambda _: refuse("go away", status)) as server:
        results = ask(server, make_requests(60), concurrency=1, give_up_after=5, retries=0)
        assert len(server.bodies) == 5
    assert {result.status for result in results} == {Status.FAILED}
    assert "5 requests in a row" in results[-1].text


def test_parameters_are_renamed_left_out_and_added():
    parameters = {
        "max_tokens": None, "max_completion_tokens": 7, "top_p": 0.5,
        "chat_template_kwargs": {"enable_thinking": False},
    }  # fmt: skip
    with serving(lambda _: chat("Output (a)", "length")) as server:
        (result,) = ask(server, make_requests(1), temperature=None, parameters=parameters)
        (body,) = server.bodies
    assert set(body) == {"model", "messages", *parameters} - {"max_tokens"}
    assert body["chat_template_kwargs"] == {"enable_thinking": False}
    assert "max_completion_tokens=7" in result.text


def test_the_other_name_of_the_limit_is_found_and_other_names_are_said():
    def strict(body):
        if "max_tokens" in body:
            return refuse("'max_tokens' is not supported. Use 'max_completion_tokens' instead.")
        if "temperature" in body:
            return refuse("'temperature' does not support 0 with this model.")
        return chat("Output (b)")

    with serving(strict) as server:
        (result,) = ask(server, make_requests(1))
        assert "parameters={'temperature': None}" in result.text
        (result,) = ask(server, make_requests(1), temperature=None)
        assert (result.status, result.choice) == (Status.OK, 1)


def test_a_server_of_ones_own_needs_no_key_and_openais_does():
    with serving(lambda _: chat("Output (a)")) as server:
        assert ask(server, make_requests(1))[0].choice == 0
    with pytest.raises(ValueError, match="OPENAI_API_KEY"):
        OpenAIJudge(OpenAIConfig("m"))


@pytest.mark.parametrize("reply", [
    chat("Output (b) \ud83d"), chat("Output (b)", usage=(None, None)),
    chat("Output (b)", usage=(2**70, -1)), chat("Output (b)", usage=("many", 1.5)),
])  # fmt: skip
def test_odd_answers_end_no_batch_also_when_run_again(tmp_path, reply):
    requests = [
        *make_requests(2),
        Request("", "half \ud83d", CHOICES),
        Request("\udc00", "x", CHOICES),
    ]
    cache = Cache(tmp_path / "answers.sqlite")
    with serving(lambda _: reply) as server:
        first = ask(server, requests, cache)
        again = ask(server, requests, cache)
        assert len(server.bodies) == 2
    cache.close()
    for results in (first, again):
        assert [r.status for r in results] == [Status.OK] * 2 + [Status.FAILED] * 2
        assert [r.choice for r in results] == [1, 1, None, None]
        assert "lone surrogate at character 5" in results[2].text
        assert all(isinstance(count, int) and count >= 0 for r in results for count in r[3:5])
    assert all(result.cached for result in again[:2])


@pytest.mark.parametrize("body", [b"", b"null", b"[]", b'"Output (a)"', b"\xff\xfe", b"[" * 5000,
                                  b'{"choices": {"0": 1}}', b'{"choices": [null]}'])  # fmt: skip
def test_bodies_that_are_no_completion_fail(body):
    with serving(lambda _: (200, body or b" ")) as server:
        (result,) = ask(server, make_requests(1), retries=1)
        assert len(server.bodies) == 2
    assert result.status == Status.FAILED


def test_one_cache_keeps_two_servers_apart(tmp_path):
    cache = Cache(tmp_path / "answers.sqlite")
    (request,) = make_requests(1)
    with serving(lambda _: chat("Output (a)")) as one, serving(lambda _: chat("Output (b)")) as two:
        assert [ask(server, [request], cache)[0].choice for server in (one, two)] == [0, 1]
        assert [ask(server, [request], cache)[0].choice for server in (one, two)] == [0, 1]
        assert len(one.bodies) == len(two.bodies) == 1
        slash = OpenAIConfig("m", base_url=one.url + "/")
        assert slash.payload(request) == OpenAIConfig("m", base_url=one.url).payload(request)
    cache.close()


def test_an_answer_that_drips_is_not_waited_for():
    start = time.monotonic()
    with serving(lambda _: chat("Output (a)"), delay=0.05) as server:
        (result,) = ask(server, make_requests(1), timeout=0.3, retries=0)
        elapsed = time.monotonic() - start
    assert result.status == Status.FAILED
    assert "timed out" in result.text
    assert elapsed < 5.0  # the whole body would take some 14 seconds


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"concurrency": 0}, "concurrency must be at least 1"),
        ({"max_tokens": 0}, "max_tokens must be at least 1"),
        ({"give_up_after": 0}, "give_up_after must be at least 1"),
        ({"retries": -1}, "retries must be finite and not negative"),
        ({"timeout": 0.0}, "timeout must be positive"),
        ({"timeout": float("inf")}, "timeout must be finite"),
        ({"backoff": float("nan")}, "backoff must be finite"),
        ({"temperature": -0.1}, "temperature must be finite and not negative"),
        ({"base_url": "127.0.0.1:8000"}, "must start with http"),
        ({"parameters": {"stream": True}}, "must not hold 'stream'"),
        ({"parameters": {"x": float("nan")}}, "must be JSON"),
        ({"model": ""}, "name of a model"),
    ],
)
def test_settings_are_checked_when_they_are_made(settings, match):
    with pytest.raises(ValueError, match=match):
        OpenAIConfig(**({"model": "m"} | settings))


def test_a_cache_that_cannot_be_read_is_named(tmp_path):
    cache = Cache(tmp_path / "answers.sqlite")
    cache._connection.execute("DROP TABLE answer")
    with pytest.raises(OSError, match=r"answers\.sqlite as a cache of answers"):
        cache.get({}, make_requests(1)[0])
    cache.close()


def test_an_error_of_the_caller_sends_nothing_more():
    def stop(result):
        raise KeyboardInterrupt

    with serving(lambda _: chat("Output (a)"), delay=0.001) as server:
        config = OpenAIConfig("m", base_url=server.url, concurrency=1)
        with pytest.raises(KeyboardInterrupt):
            OpenAIJudge(config, on_result=stop).complete(make_requests(50))
        assert len(server.bodies) <= 3
