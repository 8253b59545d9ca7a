"""The language model that comes with the package: its files, what it writes, how it is made."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from compilations import compilations

from experiments import train_offline_lm
from prefjax import encoders, lm
from prefjax.data.attributes import ATTRIBUTES, load_prompts, measure, write_responses
from prefjax.lab import runs
from prefjax.lm.bundled import OFFLINE


@pytest.fixture(scope="module")
def model():
    return lm.load(OFFLINE)


def test_files_are_small_and_the_tokenizer_keeps_every_text(model):
    assert sum(path.stat().st_size for path in OFFLINE.iterdir()) <= 12e6
    tokenizer = model.tokenizer
    assert len(tokenizer) == model.config.vocab_size
    assert model.config.eos_ids == (tokenizer.convert_tokens_to_ids("<|im_end|>"),)
    assert tokenizer.eos_token_id != tokenizer.pad_token_id
    strange = 'Naïve 漢字 🙂\t\x00 "quoted"\n\n- Zq7'
    assert tokenizer.decode(tokenizer(strange)["input_ids"]) == strange


def test_fresh_responses_are_likely_and_answers_to_something_else_are_not(model):
    rng = np.random.default_rng(123)
    prompts = load_prompts()[::27]
    texts = [write_responses(prompt, 1, rng)[0][0] for prompt in prompts]

    def perplexity(texts):
        heads = [
            model.tokenizer.encode(encoders.chat_prompt(prompt.question)) for prompt in prompts
        ]
        bodies = [model.tokenizer.encode(text + train_offline_lm.END) for text in texts]
        pairs = list(zip(heads, bodies, strict=True))
        tokens, mask = lm.pad_left([head + body for head, body in pairs], 288)
        target, _ = lm.pad_left([[0] * len(head) + [1] * len(body) for head, body in pairs], 288)
        batch = train_offline_lm.Batch(tokens, mask, target > 0)
        total, count = train_offline_lm.loss(model.params, model.config, batch)
        return float(np.exp(total / count))

    assert perplexity(texts) < 1.6
    assert perplexity(texts[1:] + texts[:1]) > 1.15 * perplexity(texts)


def test_reading_and_writing_a_second_time_compiles_nothing(model):
    """Neither does a second encoder or a second copy of the model."""
    greedy = lm.SamplingConfig(temperature=0.0)
    pairs = [("Why is the sky blue?", "Because of the air."), ("Why not?", "Who knows?")]

    def read(pairs):
        return encoders.get_encoder("offline-lm").encode(pairs)

    def write(model, prompt):
        return lm.complete(
            jax.random.key(0), model, [prompt], max_new_tokens=4, sampling=greedy
        ).texts

    first = read(pairs), write(model, "Hello there")
    with compilations() as seen:
        assert np.array_equal(read(pairs), first[0])
        read([(prompt + " I ask", response + " indeed") for prompt, response in pairs])
        assert write(lm.load(OFFLINE), "Hello there") == first[1]
        write(model, "Good day to you")
    assert not seen


@pytest.mark.slow
def test_answers_end_and_differ_in_all_attributes(model):
    prompts = [prompt.question for prompt in load_prompts()]
    drawn = lm.complete(
        jax.random.key(7),
        model,
        [encoders.chat_prompt(prompt) for prompt in prompts],
        max_new_tokens=train_offline_lm.MOST_TOKENS,
        sampling=train_offline_lm.SAMPLING,
    )
    assert drawn.ended.mean() >= 0.95
    deviation = measure(drawn.texts).std(axis=0)
    assert len(deviation) == len(ATTRIBUTES)
    assert (deviation > 0.5).all()
    subjects = [
        {word for word in prompt.lower().strip("?").split() if len(word) > 4} for prompt in prompts
    ]
    named = [
        any(word in text.lower() for word in words)
        for words, text in zip(subjects, drawn.texts, strict=True)
        if words
    ]
    shifted = [
        any(word in text.lower() for word in words)
        for words, text in zip(subjects, drawn.texts[1:], strict=False)
        if words
    ]
    assert np.mean(named) > np.mean(shifted) + 0.4


@pytest.mark.reference
def test_transformers_reads_the_same_model(model):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoModelForCausalLM.from_pretrained(OFFLINE, dtype=torch.float32)
    tokenizer = transformers.AutoTokenizer.from_pretrained(OFFLINE)
    ids = tokenizer([encoders.chat_prompt("Why is the sky blue?")])["input_ids"]
    with torch.no_grad():
        want = theirs(torch.tensor(ids)).logits.numpy()
    tokens = jnp.array(ids)
    hidden = lm.forward(model.params, model.config, tokens, jnp.ones(tokens.shape, bool))
    got = lm.logits(model.params, model.config, hidden)
    np.testing.assert_allclose(got, want, atol=2e-4)


@pytest.mark.slow
def test_training_lowers_the_loss_and_leaves_a_model(tmp_path):
    config = dataclasses.replace(train_offline_lm.PRESETS["smoke"], folder=tmp_path / "model")
    result = train_offline_lm.run(config)
    losses = [line["loss"] for line in result.metrics]
    guessing = np.log(config.model.vocab_size)
    assert losses[-1] < min(losses[0], guessing - 0.5)
    assert lm.load(config.folder).config.num_layers == 1
    assert {row["metric"] for row in result.rows} >= {"held_out_perplexity", "ended"}
    runs.save(tmp_path, result)
    assert train_offline_lm.plot(runs.load(tmp_path)).axes
