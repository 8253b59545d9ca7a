"""N responses to each prompt: from a model, and from a scripted server that fails in every way."""

import hashlib
import json
import random
import threading
from collections import Counter
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import lm_tiny
import numpy as np
import pytest

from prefjax import align, lm
from prefjax.align.judges import Cache, OpenAIConfig

pytest.importorskip("openai", reason="the extra `judge` is not installed")


class Server(ThreadingHTTPServer):
    """Chat completions with ``n``; each request fails as its script says, then is answered."""

    daemon_threads = True
    request_queue_size = 512

    def __init__(self, script=lambda body: (), most=99):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.most = script, most
        self.tries, self.answered, self.bodies = Counter(), Counter(), []
        self.lock, self.closing = threading.Lock(), threading.Event()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, *_):
        """A client that hangs up is tested."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        server, name = self.server, json.dumps(body, sort_keys=True)
        with server.lock:
            faults = list(server.script(body))
            place = server.tries[name]
            server.tries[name] += 1
            fault = faults[place] if place < len(faults) else None
            if fault is None:
                server.answered[name] += 1
                server.bodies.append(body)
        if fault == "stall":
            server.closing.wait(30.0)
            self.close_connection = True
            return
        if fault in (429, 500, 400):
            self.send(fault, {"error": {"message": f"fault {fault}"}})
            return
        texts = [said(body, i) for i in range(min(body["n"], server.most))]
        choices = [
            {"index": i, "message": {"role": "assistant", "content": text},
             "finish_reason": "length" if i % 3 == 2 else "stop",
             "logprobs": {"content": [{"token": "a", "logprob": -0.5, "top_logprobs": []}] * 4}}
            for i, text in enumerate(texts)
        ]  # fmt: skip
        if fault == "nothing":
            choices = []
        full = {"id": "1", "object": "chat.completion", "created": 0, "model": "m",
                "choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 4,
                                              "total_tokens": 9}}  # fmt: skip
        self.send(200, full, cut=30 if fault == "cut" else None)

    def send(self, code, payload, cut=None):
        data = json.dumps(payload).encode()[:cut]
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def said(body, index):
    """What the server draws: a function of the prompt and the seed."""
    whole = f"{body['messages']} {body['seed']} {index}"
    return hashlib.sha256(whole.encode()).hexdigest()[:8]


@contextmanager
def serving(script=lambda body: (), **settings):
    server = Server(script, **settings)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        server.server_close()


def make(server, cache=None, **settings):
    own = {"samples_a_request": 16} | {
        name: settings.pop(name) for name in ("samples_a_request", "log_probs") if name in settings
    }
    config = {"backoff": 0.001, "timeout": 5.0, "concurrency": 64} | settings
    return align.OpenAISampler(OpenAIConfig("m", base_url=server.url, **config), cache=cache, **own)


def faults_of(body):
    """A third of the requests fail once to three times, a few for ever."""
    text = body["messages"][-1]["content"] + str(body["seed"])
    rng = random.Random(text)
    if body["messages"][-1]["content"].startswith("bad"):
        return [500] * 99
    if rng.random() < 0.002:
        return ["stall"]
    return rng.choices([429, 500, 500, "cut", "nothing"], k=rng.choice([0, 0, 1, 1, 2]))


@pytest.mark.slow
def test_two_thousand_requests_to_a_server_that_fails(tmp_path):
    """Every prompt has its samples or a counted failure, and nothing is asked again."""
    prompts = [f"prompt {i}" for i in range(990)] + [f"bad {i}" for i in range(10)]
    random.Random(0).shuffle(prompts)
    config = align.SampleConfig(max_new_tokens=9)
    path = tmp_path / "samples.sqlite"
    with serving(faults_of, most=4) as server:  # 8 are wanted, 4 at a time: two requests a prompt
        sampler = make(server, Cache(path), retries=8, give_up_after=1000)
        drawn = align.sample(sampler, prompts, 8, config=config)
        assert len(server.bodies) + server.tries.total() > 2000
        for prompt, own, failure in zip(prompts, drawn.samples, drawn.failures, strict=True):
            assert bool(failure) == prompt.startswith("bad")
            assert len(own) == (0 if failure else 8)
            assert "500" in failure or not failure
        assert drawn.num_failed == 10
        texts = {one.text for own in drawn.samples for one in own}
        assert len(texts) == 990 * 8
        assert set(server.answered.values()) == {1}

        num_tries = server.tries.total()
        again = align.sample(make(server, Cache(path), retries=0), prompts, 8, config=config)
        assert [s for s, f in zip(again.samples, again.failures, strict=True) if not f] == [
            s for s, f in zip(drawn.samples, drawn.failures, strict=True) if not f
        ]
        assert server.tries.total() == num_tries + 10  # the failures alone are asked again
        assert again.num_tokens == 0


def test_samples_are_those_of_the_server_and_kept(tmp_path):
    path = tmp_path / "samples.sqlite"
    prompts = ["why?", "why?", align.Ask("how?", "Be kind.", "Well")]
    with serving(lambda body: [429, "cut"][: len(body["messages"])], most=3) as server:
        drawn = align.sample(make(server, Cache(path), log_probs=True), prompts, 5)
        assert [len(own) for own in drawn.samples] == [5, 5, 5]
        assert drawn.num_failed == 0
        assert drawn.tokens_per_second > 0
        assert len({one.text for own in drawn.samples for one in own}) == 15
        first = drawn.samples[0][0]
        assert (first.ended, first.num_tokens, first.log_prob) == (True, 4, -2.0)
        assert not drawn.samples[0][2].ended
        asked = {(b["n"], len(b["messages"]), b.get("continue_final_message")) for b in
                 server.bodies}  # fmt: skip
        assert asked == {(5, 1, None), (2, 1, None), (5, 3, True), (2, 3, True)}
        calls = server.tries.total()
        again = align.sample(make(server, Cache(path), log_probs=True), prompts, 5)
        assert again.samples == drawn.samples
        assert server.tries.total() == calls
        other = align.sample(
            make(server, Cache(path), log_probs=True), prompts, 5, config=align.SampleConfig(seed=1)
        )
        assert other.samples[0] != drawn.samples[0]
    gone = align.sample(make(server, Cache(path), log_probs=True, retries=0), prompts, 5)
    assert gone.samples == drawn.samples  # the server is down, the cache is not


def test_a_server_that_is_down_is_a_failure_of_every_prompt():
    with serving(lambda body: [400] * 9) as server:
        drawn = align.sample(make(server), ["a", "b"], 2)
        assert drawn.samples == [[], []]
        assert all("HTTP 400: " in failure for failure in drawn.failures)
        assert server.tries.total() == 2
    with serving(lambda body: ["nothing"] * 9) as server:
        drawn = align.sample(make(server, retries=2), ["a"], 2)
        assert "no text" in drawn.failures[0]
        assert server.tries.total() == 3


def test_a_model_draws_what_it_is_asked_for():
    model, _ = lm_tiny.load("qwen2")
    config = align.SampleConfig(max_new_tokens=6, seed=3)
    prompts = ["?", align.Ask("!", beginning="So"), "long " * 60]
    tokenizer = model.tokenizer
    drawn = align.sample(model, prompts[2:], 2, config=config)
    assert drawn.num_failed == 1
    assert "more than 58" in drawn.failures[0]
    wide = model._replace(config=lm.QwenConfig(**{
        **{f: getattr(model.config, f) for f in model.config.__dataclass_fields__},
        "max_length": 256,
    }))  # fmt: skip
    drawn = align.sample(wide, prompts, 3, config=config, batch_size=2)
    assert [len(own) for own in drawn.samples] == [3, 3, 0]
    row = tokenizer.encode(align.sampling.chat_prompt("!") + "So", add_special_tokens=False)
    assert len(row) < 250
    for own in drawn.samples[:2]:
        for one in own:
            assert 1 <= one.num_tokens <= 6
            assert one.log_prob is not None
            assert one.log_prob < 0
    again = align.sample(wide, prompts[:2], 3, config=config, batch_size=5)
    assert [[one.text for one in own] for own in again.samples] == [
        [one.text for one in own] for own in drawn.samples[:2]
    ]
    with pytest.raises(ValueError, match="num_samples must be at least 1"):
        align.sample(wide, prompts, 0)
    with pytest.raises(ValueError, match="lone surrogate"):
        align.sample(wide, ["\ud800"], 1)


def test_blocks_go_on_from_the_best():
    def score(prompts, responses):
        return np.array([-int(response[-8:], 16) for response in responses], float)

    config = align.SampleConfig(max_new_tokens=40, seed=2)
    with serving() as server:
        drawn = align.sample_blockwise(
            make(server), ["a", "b"], score, num_blocks=3, num_continuations=3, config=config
        )
        beginnings = [b["messages"][-1]["content"] for b in server.bodies]
        assert {b["max_tokens"] for b in server.bodies} == {13}
    for own in drawn.samples:
        (one,) = own
        # Rows 0 and 1 of a request end by themselves, row 2 does not.
        assert one.text in {t for b in server.bodies for t in (said(b, i) for i in range(3))} or (
            one.text[:8] in beginnings
        )
    with pytest.raises(ValueError, match="50 blocks do not fit 40 tokens"):
        align.sample_blockwise(make(server), ["a"], score, num_blocks=50, config=config)
