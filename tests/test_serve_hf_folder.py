"""A head over a language model as a reward model of Hugging Face: the same scores, refusals."""

import dataclasses
import json
import os

import jax
import numpy as np
import pytest
from lm_tiny import chat_model
from safetensors.numpy import load_file

from prefjax import basis, encoders, lm
from prefjax.basis.heads import linear_params
from prefjax.serve import export_folder, score_kernel
from prefjax.types import Gaussian, RewardBasis

CONVERSATIONS = [
    ("Why is the sky blue?", "Because air scatters blue light."),
    ("Why is the sky blue?", "No idea, but I like it."),
    ("How do planes fly?", "Wings push air down."),
    ("How do planes fly?", "A naïve 漢字 🙂 answer\n\n- with a list"),
]
SETTINGS = encoders.LanguageConfig(layer=-1, pooling="last", bucket=16, batch_tokens=64)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    model = chat_model(tmp_path_factory.mktemp("tiny"), ["".join(text) for text in CONVERSATIONS])
    return encoders.make_language_encoder(model, SETTINGS)


@pytest.fixture(scope="module")
def fitted(encoder):
    width, rng = encoder.model.config.hidden_size, np.random.default_rng(0)
    params = linear_params(rng.normal(size=(width, 4)).astype(np.float32))
    params["out"]["bias"] = rng.normal(size=4).astype(np.float32)
    return RewardBasis(params, Gaussian(np.zeros(3), np.eye(3)), np.ones((), np.float32))


def rewards(fitted, encoder, weights):
    items = basis.apply(fitted.params, encoder.encode(CONVERSATIONS))
    return np.asarray(items.features @ weights + items.utility)


def scores_of(folder):
    """Of the folder alone: this package's decoder, the stored head and the stored template."""
    model = lm.load(folder)
    kernel = load_file(folder / "model.safetensors")["score.weight"]
    texts = [as_text(model.tokenizer, pair) for pair in CONVERSATIONS]
    ids = [model.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    width = max(map(len, ids))
    tokens = np.array([row + [model.tokenizer.pad_token_id] * (width - len(row)) for row in ids])
    last = width - 1 - np.argmax(tokens[:, ::-1] != model.tokenizer.pad_token_id, axis=1)
    mask = np.arange(width)[None] <= last[:, None]
    state = np.asarray(lm.forward(model.params, model.config, tokens, mask))
    return state[np.arange(len(ids)), last] @ kernel.T


def as_text(tokenizer, pair):
    turns = [{"role": "user", "content": pair[0]}, {"role": "assistant", "content": pair[1]}]
    return tokenizer.apply_chat_template(turns, tokenize=False)


def gaps(values):
    return values[::2] - values[1::2]


def test_the_scores_of_a_person_differ_as_the_rewards_do(fitted, encoder, tmp_path):
    weights = np.float32([0.5, -1.0, 2.0])
    export_folder(tmp_path / "w12", fitted, encoder, weights=weights, card="# w12\n")
    config = json.loads((tmp_path / "w12" / "config.json").read_text())
    assert config["architectures"] == ["Qwen2ForSequenceClassification"]
    assert (config["num_labels"], config["id2label"]) == (1, {"0": "reward"})
    assert (tmp_path / "w12" / "README.md").read_text() == "# w12\n"
    found = scores_of(tmp_path / "w12")[:, 0]
    np.testing.assert_allclose(
        gaps(found), gaps(rewards(fitted, encoder, weights)), rtol=0, atol=1e-4
    )


def test_labels_of_the_basis_times_the_weights_are_the_person(fitted, encoder, tmp_path):
    weights = np.float32([0.5, -1.0, 2.0])
    export_folder(tmp_path / "all", fitted, encoder)
    export_folder(tmp_path / "one", fitted, encoder, weights=weights)
    every = load_file(tmp_path / "all" / "model.safetensors")["score.weight"]
    one = load_file(tmp_path / "one" / "model.safetensors")["score.weight"]
    np.testing.assert_allclose(np.append(weights, 1) @ every, one[0], rtol=1e-5)
    assert json.loads((tmp_path / "all" / "config.json").read_text())["id2label"] == {
        "0": "phi_0",
        "1": "phi_1",
        "2": "phi_2",
        "3": "utility",
    }


def pairs_of_two(count):
    """Two responses to each of many prompts."""
    rng, words = np.random.default_rng(0), " ".join(map("".join, CONVERSATIONS)).split()
    for number in range(count):
        prompt = f"{' '.join(rng.choice(words, 6))} {number}?"
        yield from ((prompt, " ".join(rng.choice(words, size))) for size in rng.integers(2, 20, 2))


def scores_of_transformers(folder, conversations, at_once=16):
    torch = pytest.importorskip("torch")
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    found = []
    for start in range(0, len(conversations), at_once):
        texts = [as_text(tokenizer, pair) for pair in conversations[start : start + at_once]]
        batch = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=False)
        with torch.no_grad():
            found.append(model(**batch).logits.numpy())
    return np.concatenate(found)


@pytest.mark.reference
def test_transformers_ranks_200_pairs_as_the_rewards_do(fitted, encoder, tmp_path):
    weights, conversations = np.float32([0.5, -1.0, 2.0]), list(pairs_of_two(200))
    export_folder(tmp_path / "w12", fitted, encoder, weights=weights)
    export_folder(tmp_path / "all", fitted, encoder)
    items = basis.apply(fitted.params, encoder.encode(conversations))
    expected = np.asarray(items.features @ weights + items.utility)
    found = scores_of_transformers(tmp_path / "w12", conversations)[:, 0]
    np.testing.assert_allclose(gaps(found), gaps(expected), rtol=0, atol=1e-4)
    np.testing.assert_array_equal(gaps(found) > 0, gaps(expected) > 0)
    every = scores_of_transformers(tmp_path / "all", conversations)
    np.testing.assert_allclose(every @ np.append(weights, 1), found, rtol=0, atol=1e-4)


@pytest.mark.reference
@pytest.mark.slow
def test_transformers_ranks_pairs_by_a_real_model_as_the_rewards_do(tmp_path):
    pytest.importorskip("torch")
    try:
        model = lm.load("smollm2")
    except (FileNotFoundError, ValueError, ModuleNotFoundError) as missing:
        pytest.skip(str(missing))
    real = encoders.make_language_encoder(model, encoders.LanguageConfig(layer=-1, pooling="last"))
    rng = np.random.default_rng(0)
    kernel = rng.normal(size=(model.config.hidden_size, 4)).astype(np.float32) / 24
    shape = Gaussian(np.zeros(3), np.eye(3)), np.ones((), np.float32)
    fitted, weights = RewardBasis(linear_params(kernel), *shape), np.float32([0.5, -1.0, 2.0])
    conversations = list(pairs_of_two(int(os.environ.get("PREFJAX_FOLDER_PAIRS", "10"))))
    export_folder(tmp_path / "w12", fitted, real, weights=weights)
    items = basis.apply(fitted.params, np.asarray(real.encode(conversations), np.float32))
    expected = gaps(np.asarray(items.features @ weights + items.utility))
    found = gaps(scores_of_transformers(tmp_path / "w12", conversations)[:, 0])
    error = np.abs(found - expected)
    print(f"largest difference {error.max():.2g} of rewards gaps of {expected.std():.2g}")
    assert error.max() < 0.02 * expected.std()
    clear = np.abs(expected) > 0.02 * expected.std()
    np.testing.assert_array_equal(found[clear] > 0, expected[clear] > 0)


def test_the_system_turn_of_the_encoder_is_in_the_template(fitted, encoder, tmp_path):
    settings = dataclasses.replace(SETTINGS, system='Say "it" briefly.')
    strict = encoders.make_language_encoder(encoder.model, settings)
    export_folder(tmp_path / "m", fitted, strict)
    text = as_text(lm.load(tmp_path / "m").tokenizer, CONVERSATIONS[0])
    assert text == encoders.chat_prompt(CONVERSATIONS[0][0], settings.system) + (
        f"{CONVERSATIONS[0][1]}<|im_end|>"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pooling": "mean"}, "pooling 'mean'; a score head sees the last token"),
        ({"layer": 1}, "reads layer 1"),
        ({"template": "raw"}, "template is 'raw'"),
    ],
)
def test_what_cannot_be_folded_is_refused(fitted, encoder, tmp_path, change, message):
    other = encoders.make_language_encoder(encoder.model, dataclasses.replace(SETTINGS, **change))
    with pytest.raises(ValueError, match=message):
        export_folder(tmp_path / "m", fitted, other)
    assert not (tmp_path / "m").exists()


def test_heads_that_are_not_linear_and_strange_widths_are_refused(fitted, encoder, tmp_path):
    config = basis.HeadConfig(num_factors=3, hidden=(4,))
    deep = fitted._replace(params=basis.heads.init(jax.random.key(0), 16, config))
    with pytest.raises(ValueError, match="hidden layers cannot be folded"):
        score_kernel(deep)
    with pytest.raises(ValueError, match=r"weights of shape \(2,\), the basis 3 factors"):
        score_kernel(fitted, np.zeros(2))
    narrow = fitted._replace(params=linear_params(np.zeros((5, 4), np.float32)))
    with pytest.raises(ValueError, match="5 inputs, the states of the language model 16"):
        export_folder(tmp_path / "m", narrow, encoder)
