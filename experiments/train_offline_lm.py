"""Train the small language model that comes with the package.

    python -m experiments.train_offline_lm smoke    # a tiny model in half a minute
    python -m experiments.train_offline_lm paper    # about an hour of one free core

The model answers the prompts of the Attributes world as an average person's assistant would: in
all combinations of styles, none preferred. Every training response is written afresh, its style
drawn as in the world. As in the world of seed 0, the prompts that are its test prompts, and only
these, are answered with the phrases reserved for tests. Some responses to each prompt are held
out. The loss is that of the response and of the end token after it,

    L = − Σ_t log p(y_t | prompt, y_<t) / number of response tokens,

minimized by AdamW with warm-up and cosine decay. Weights, tokenizer and log are written to
``folder`` on the way. At the end the judge of the world measures answers to every prompt.
"""

import dataclasses
import json
import time
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from transformers import PreTrainedTokenizerFast, Qwen2Tokenizer

from prefjax import encoders, lm
from prefjax.data.attributes import (
    ATTRIBUTES,
    Prompt,
    WorldConfig,
    load_prompts,
    measure,
    write_responses,
)
from prefjax.encoders.batches import bucketed
from prefjax.lab import runs

END = "<|im_end|>"
HELD_OUT, LOG_EVERY = 8, 50
SAMPLING, MOST_TOKENS = lm.SamplingConfig(temperature=1.0, top_p=0.95), 320


MODEL = lm.QwenConfig(
    vocab_size=4096,
    hidden_size=256,
    intermediate_size=704,
    num_layers=4,
    num_heads=4,
    num_kv_heads=2,
    head_dim=64,
    max_length=512,
    rope_theta=1e4,
)
TINY = dataclasses.replace(
    MODEL, vocab_size=1024, hidden_size=32, intermediate_size=64, num_layers=1, head_dim=8
)


@dataclasses.dataclass(frozen=True)
class Config:
    """What is trained, and how long.

    Attributes:
        folder: Where weights, tokenizer and log are written.
        start: Folder of a model to train further; None starts from nothing.
        model: Sizes; the vocabulary is also that of the tokenizer.
        num_steps: Steps of the optimizer.
        batch_tokens: Tokens of a batch, padding included.
        learning_rate: Largest learning rate.
        num_warmup: Steps until it is reached.
        save_every: Steps between evaluations and saved weights.
        num_answers: Answers of the finished model to each prompt.
        seed: Source of the first weights, of the training texts and their order.
    """

    folder: Path = Path("prefjax/lm/offline")
    start: Path | None = None
    model: lm.QwenConfig = MODEL
    num_steps: int = 9000
    batch_tokens: int = 1024
    learning_rate: float = 3e-3
    num_warmup: int = 300
    save_every: int = 1500
    num_answers: int = 10
    seed: int = 0


SMOKE = Config(
    folder=Path("runs/train_offline_lm/smoke"),
    model=TINY,
    num_steps=60,
    num_warmup=10,
    num_answers=1,
)
PRESETS = {"smoke": SMOKE, "paper": Config()}


class Corpus(NamedTuple):
    """The prompts, and the reserved part of the phrases that answers to each are made of."""

    prompts: tuple[Prompt, ...]
    splits: tuple[str, ...]


class Batch(NamedTuple):
    """Padded rows of prompt and response; the targets are the tokens of the response."""

    tokens: np.ndarray
    mask: np.ndarray
    target: np.ndarray


def world_corpus() -> Corpus:
    """The prompts in the order and with the split of the world of seed 0."""
    material, config = load_prompts(), WorldConfig()
    order = np.random.default_rng(0).permutation(len(material))
    num_test = round(config.test_fraction * config.num_prompts)
    splits = ("test",) * num_test + ("train",) * (len(material) - num_test)
    return Corpus(tuple(material[index] for index in order), splits)


def write(corpus: Corpus, rng: np.random.Generator, which: Sequence[int]) -> list[str]:
    """One fresh response to each of the prompts named by index."""
    return [
        write_responses(corpus.prompts[index], 1, rng, split=corpus.splits[index])[0][0]
        for index in which
    ]


def make_tokenizer(corpus: Corpus, config: Config) -> PreTrainedTokenizerFast:
    """Byte-level BPE in the manner of Qwen2, learned on responses to all prompts."""
    if config.start is not None:
        return lm.load(config.start).tokenizer
    rng = np.random.default_rng((0, 1))
    texts = write(corpus, rng, np.tile(np.arange(len(corpus.prompts)), 100).tolist())
    questions = [prompt.question for prompt in corpus.prompts]
    tokenizer = Qwen2Tokenizer().train_new_from_iterator(
        questions + texts,
        vocab_size=config.model.vocab_size,
        new_special_tokens=["<|im_start|>", END],
        show_progress=False,
    )
    tokenizer.eos_token = END
    return tokenizer


def make_batches(
    tokenizer: PreTrainedTokenizerFast,
    corpus: Corpus,
    which: Sequence[int],
    texts: Sequence[str],
    config: Config,
) -> list[Batch]:
    """All texts with their prompts, in batches of like length."""
    questions = [encoders.chat_prompt(prompt.question) for prompt in corpus.prompts]
    heads = tokenizer(questions)["input_ids"]
    bodies = tokenizer([text + END for text in texts])["input_ids"]
    rows = {row: heads[at] + bodies[row] for row, at in enumerate(which)}
    batches = []
    for batch in bucketed(rows, bucket=32, batch_tokens=config.batch_tokens):
        first = np.zeros(len(batch.tokens), int)
        first[: len(batch.members)] = [len(heads[which[row]]) for row in batch.members]
        is_response = np.arange(batch.tokens.shape[1])[None] >= first[:, None]
        batches.append(Batch(batch.tokens, batch.mask, batch.mask & is_response))
    return batches


def stream(
    tokenizer: PreTrainedTokenizerFast, corpus: Corpus, held: frozenset[str], config: Config
) -> Iterator[Batch]:
    """Batches of fresh responses without end, none of them held out."""
    rng = np.random.default_rng((config.seed, 2))
    while True:
        which = rng.integers(0, len(corpus.prompts), 8192).tolist()
        texts = write(corpus, rng, which)
        fresh = [row for row, text in enumerate(texts) if text not in held]
        kept = [which[row] for row in fresh], [texts[row] for row in fresh]
        batches = make_batches(tokenizer, corpus, *kept, config)
        yield from (batches[index] for index in rng.permutation(len(batches)))


def loss(params: Any, config: lm.QwenConfig, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Sum of the negative log-likelihoods of the targets, and their number."""
    hidden = lm.forward(params, config, batch.tokens[:, :-1], batch.mask[:, :-1])
    scores = lm.logits(params, config, hidden)
    each = optax.losses.softmax_cross_entropy_with_integer_labels(scores, batch.tokens[:, 1:])
    counted = batch.target[:, 1:]
    return jnp.sum(jnp.where(counted, each, 0.0)), jnp.sum(counted)


def make_optimizer(config: Config) -> optax.GradientTransformation:
    """AdamW with clipped gradients, warm-up and cosine decay; matrices decay, vectors do not."""
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.learning_rate, config.num_warmup, config.num_steps, 0.02 * config.learning_rate
    )
    matrices = partial(jax.tree.map, lambda leaf: leaf.ndim > 1)
    adamw = optax.adamw(rate, b2=0.98, weight_decay=0.1, mask=matrices)
    return optax.chain(optax.clip_by_global_norm(1.0), adamw)


def train(tokenizer: PreTrainedTokenizerFast, corpus: Corpus, config: Config) -> list[dict]:
    """Train, writing weights and log on the way; the log comes back."""
    model = dataclasses.replace(config.model, eos_ids=(tokenizer.eos_token_id,))
    which = np.repeat(np.arange(len(corpus.prompts)), HELD_OUT).tolist()
    held = write(corpus, np.random.default_rng((0, 3)), which)
    held_batches = make_batches(tokenizer, corpus, which, held, config)
    evaluate = jax.jit(partial(loss, config=model))
    params = lm.init_params(jax.random.key(config.seed), model)
    if config.start is not None:
        params = lm.load(config.start).params
    optimizer = make_optimizer(config)
    state = optimizer.init(params)

    @partial(jax.jit, donate_argnums=(0, 1))
    def step(params, state, batch):
        def mean_loss(params):
            total, count = loss(params, model, batch)
            return total / count

        value, gradient = jax.value_and_grad(mean_loss)(params)
        change, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, change), state, value

    batches = stream(tokenizer, corpus, frozenset(held), config)
    log, recent, num_tokens, start = [], [], 0, time.perf_counter()
    for number in range(1, config.num_steps + 1):
        batch = next(batches)
        params, state, value = step(params, state, batch)
        recent.append(value)
        num_tokens += int(batch.mask.sum())
        if number % LOG_EVERY and number != config.num_steps:
            continue
        entry = {"step": number, "loss": float(np.mean(recent)), "tokens": num_tokens}
        if number % config.save_every == 0 or number == config.num_steps:
            parts = [evaluate(params, batch=some) for some in held_batches]
            total, count = np.sum(np.asarray(parts, float), axis=0)
            entry["held_out_perplexity"] = float(np.exp(total / count))
            stored = jax.tree.map(lambda leaf: leaf.astype(jnp.float16), params)
            lm.save(config.folder, stored, model, tokenizer=tokenizer)
        log.append(entry | {"seconds": round(time.perf_counter() - start, 1)})
        print(json.dumps(log[-1]), flush=True)
        lines = [json.dumps(line) + "\n" for line in log]
        (config.folder / "log.jsonl").write_text("".join(lines))
        recent = []
    return log


def run(config: Config) -> runs.Result:
    """Train, then let the judge read answers of the model beside fresh responses."""
    config.folder.mkdir(parents=True, exist_ok=True)
    corpus = world_corpus()
    log = train(make_tokenizer(corpus, config), corpus, config)
    model, answers, ended = lm.load(config.folder), [], []
    prompts = [encoders.chat_prompt(prompt.question) for prompt in corpus.prompts]
    for key in jax.random.split(jax.random.key(config.seed), config.num_answers):
        drawn = lm.complete(key, model, prompts, max_new_tokens=MOST_TOKENS, sampling=SAMPLING)
        answers += drawn.texts
        ended += drawn.ended.tolist()
    which = np.tile(np.arange(len(corpus.prompts)), config.num_answers).tolist()
    written = write(corpus, np.random.default_rng((config.seed, 4)), which)
    values = [
        ("offline-lm", "held_out_perplexity", log[-1]["held_out_perplexity"]),
        ("offline-lm", "ended", float(np.mean(ended))),
    ]
    for method, texts in (("offline-lm", answers), ("writer", written)):
        deviation = measure(texts).std(axis=0).tolist()
        for name, value in zip(ATTRIBUTES, deviation, strict=True):
            values.append((method, f"deviation of {name}", value))
    rows = [
        {"dataset": "attributes", "method": method, "metric": metric, "value": value}
        for method, metric, value in values
    ]
    lines = [f"{row['method']:>10}  {row['metric']:<26} {row['value']:.3f}" for row in rows]
    shown = np.random.default_rng(0).choice(len(corpus.prompts), 10, replace=False).tolist()
    lines += [f"\n## {corpus.prompts[index].question}\n\n{answers[index]}" for index in shown]
    return runs.Result(rows=rows, summary="\n".join(lines), metrics=log)


def plot(result: runs.Result) -> Figure:
    """Training loss and held-out loss against tokens."""
    figure = Figure(figsize=(5, 3.2), layout="constrained")
    axes = figure.subplots()
    lines = [line for line in result.metrics if "tokens" in line]
    held = [line for line in lines if "held_out_perplexity" in line]
    axes.plot([x["tokens"] for x in lines], [x["loss"] for x in lines], label="training")
    tokens = [line["tokens"] for line in held]
    axes.plot(tokens, np.log([x["held_out_perplexity"] for x in held]), "o", label="held out")
    axes.set(xlabel="tokens", ylabel="nats per response token", yscale="log")
    axes.legend()
    return figure


if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
