"""Parity with transformers and torch: checkpoints made here, every way they may be stored."""

import dataclasses

import jax
import numpy as np
import pytest
from lm_tiny import error, generate, hidden_states

from prefjax import lm

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")
pytestmark = pytest.mark.reference

EOS = 11
SIZES = {
    "vocab_size": 131,
    "hidden_size": 48,
    "intermediate_size": 88,
    "num_hidden_layers": 3,
    "num_attention_heads": 6,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "rope_theta": 1e6,
    "rms_norm_eps": 1e-6,
}


def make(name, *, tied, seed=0, **sizes):
    """A random model with biases, gains and an embedding that hide nothing."""
    config = transformers.AutoConfig.for_model(
        name, tie_word_embeddings=tied, eos_token_id=EOS, **(SIZES | sizes)
    )
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim == 2:
                parameter.copy_(noise / parameter.shape[1] ** 0.5)
            else:
                parameter.copy_((1.0 if "norm" in key else 0.0) + 0.3 * noise)
    return model


def batch(vocab, width=21, rows=4, seed=0):
    rng = np.random.default_rng(seed)
    tokens, mask = rng.integers(0, vocab, (rows, width)), np.ones((rows, width), bool)
    mask[1, :6] = False
    mask[2, 13:] = False
    mask[3, :1] = False
    tokens[~mask] = EOS
    return tokens.astype(np.int32), mask


def theirs(model, tokens, mask):
    positions = np.maximum(mask.cumsum(1) - 1, 0)
    with torch.no_grad():
        return model(
            torch.tensor(tokens, dtype=torch.long),
            attention_mask=torch.tensor(mask.astype(int)),
            position_ids=torch.tensor(positions),
            output_hidden_states=True,
        )


STORED = ["one file", "thirteen shards", "no prefix", "bfloat16"]


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama"])
@pytest.mark.parametrize("stored", STORED)
def test_every_state_and_the_logits(name, tied, stored, tmp_path):
    model = make(name, tied=tied)
    if stored == "thirteen shards":
        model.save_pretrained(tmp_path, max_shard_size="20KB")
        assert len(list(tmp_path.glob("*.safetensors"))) >= 13
    elif stored == "no prefix":
        if not tied:
            pytest.skip("without a prefix there is no head")
        model.model.save_pretrained(tmp_path)
    elif stored == "bfloat16":
        model.to(torch.bfloat16).save_pretrained(tmp_path)
        model = type(model).from_pretrained(tmp_path, dtype=torch.float32).eval()
    else:
        model.save_pretrained(tmp_path)
    ours = lm.load(tmp_path)
    assert ours.config.tied == tied
    tokens, mask = batch(SIZES["vocab_size"])
    expected = theirs(model, tokens, mask)
    states = hidden_states(ours.params, ours.config, tokens, mask)
    for mine, other in zip(states, expected.hidden_states, strict=True):
        assert error(mine, other.numpy(), mask) < 1e-5
    scores = lm.logits(ours.params, ours.config, states[-1])
    assert error(scores, expected.logits.numpy(), mask) < 1e-5


SCALED = {
    "linear": {"rope_type": "linear", "rope_theta": 1e4, "factor": 3.0},
    "llama3": {
        "rope_type": "llama3",
        "rope_theta": 5e5,
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 32,
    },
}


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("llama", {"rope_parameters": SCALED["linear"]}),
        ("llama", {"rope_parameters": SCALED["llama3"]}),
        ("qwen2", {"rope_parameters": SCALED["linear"]}),
        ("mistral", {"sliding_window": None}),
        ("mistral", {"sliding_window": 128}),
    ],
)
def test_scaled_rope_and_mistral(name, settings, tmp_path):
    model = make(name, tied=False, **settings)
    model.save_pretrained(tmp_path)
    ours = lm.load(tmp_path)
    tokens, mask = batch(SIZES["vocab_size"])
    expected = theirs(model, tokens, mask)
    states = hidden_states(ours.params, ours.config, tokens, mask)
    for mine, other in zip(states, expected.hidden_states, strict=True):
        assert error(mine, other.numpy(), mask) < 1e-5
    lm.save(tmp_path / "again", ours.params, ours.config)
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "again").eval()
    expected = theirs(again, tokens, mask)
    assert error(states[-1], expected.hidden_states[-1].numpy(), mask) < 1e-5


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama", "mistral"])
def test_a_reward_model_is_an_encoder(name, tmp_path):
    config = transformers.AutoConfig.for_model(
        name, num_labels=1, pad_token_id=0, **(SIZES | {"sliding_window": None})
    )
    model = transformers.AutoModelForSequenceClassification.from_config(config).eval()
    model.save_pretrained(tmp_path)
    ours = lm.load(tmp_path)
    assert "head" not in ours.params
    tokens, mask = batch(SIZES["vocab_size"])
    expected = theirs(model, tokens, mask)
    states = hidden_states(ours.params, ours.config, tokens, mask)
    assert error(states[-1], expected.hidden_states[-1].numpy(), mask) < 1e-5


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama"])
def test_what_is_saved_here_transformers_loads(name, tmp_path):
    config = lm.QwenConfig(131, 48, 88, 3, 6, 2, 16, architecture=name, eos_ids=(EOS,))
    params = lm.init_params(jax.random.key(0), config, scale=0.2)
    lm.save(tmp_path, params, config)
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    assert model.config.eos_token_id == EOS
    tokens, mask = batch(131)
    expected = theirs(model, tokens, mask)
    states = hidden_states(params, config, tokens, mask)
    assert error(states[-1], expected.hidden_states[-1].numpy(), mask) < 1e-5


@pytest.mark.parametrize("name", ["qwen2", "qwen3", "llama"])
def test_greedy_continuations_and_their_ends(name, tmp_path):
    model = make(name, tied=False, seed=1)
    model.save_pretrained(tmp_path)
    ours = lm.load(tmp_path)
    tokens, mask = (array[[0, 1, 3]] for array in batch(131))
    free = generate(ours, tokens, mask, max_new_tokens=24, config=ours.config)
    eos = [int(free.tokens[0, 5]), int(free.tokens[1, 9])]
    for ends in ([EOS], eos):
        model.generation_config.eos_token_id = ends
        with torch.no_grad():
            expected = model.generate(
                torch.tensor(tokens, dtype=torch.long),
                attention_mask=torch.tensor(mask.astype(int)),
                max_new_tokens=24,
                do_sample=False,
                pad_token_id=0,
            )[:, tokens.shape[1] :].numpy()
        config = dataclasses.replace(ours.config, eos_ids=tuple(ends))
        drawn = generate(ours, tokens, mask, max_new_tokens=24, config=config)
        width = expected.shape[1]
        assert np.array_equal(drawn.tokens[:, :width], expected)
        assert not np.asarray(drawn.mask)[:, width:].any()
        assert np.asarray(drawn.ended).tolist() == np.isin(expected, ends).any(1).tolist()
    assert np.asarray(drawn.ended)[:2].all()


@pytest.mark.slow
def test_the_shape_of_the_half_billion_model(tmp_path):
    """24 layers of 896 with random weights; about 6 GiB and a minute."""
    model = make(
        "qwen2",
        tied=True,
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        head_dim=64,
    )
    model.save_pretrained(tmp_path)
    tokens, mask = batch(151936, width=40, rows=4)
    expected = theirs(model, tokens, mask)
    hidden = [state.numpy() for state in expected.hidden_states]
    scores = expected.logits[:, 3].numpy()
    del model, expected
    ours = lm.load(tmp_path)
    states = hidden_states(ours.params, ours.config, tokens, mask)
    errors = [error(a, b, mask) for a, b in zip(states, hidden, strict=True)]
    size = max(float(np.abs(state[mask]).max()) for state in hidden)
    gap = error(lm.logits(ours.params, ours.config, states[-1][:, 3]), scores, mask[:, 3])
    print(f"states {max(errors):.1e} of {size:.0f}, last {errors[-1]:.1e}, logits {gap:.1e}")
    assert max(errors) < 5e-5
    assert gap < 5e-5
