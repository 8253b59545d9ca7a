"""Reading config.json: both forms, and everything that is refused."""

import json

import lm_tiny
import pytest

from prefjax import lm

GOOD = {
    "model_type": "qwen2",
    "vocab_size": 100,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "rope_theta": 1e6,
    "tie_word_embeddings": True,
    "eos_token_id": 7,
    "sliding_window": 4096,  # written by Qwen2.5 although it is not used
    "use_sliding_window": False,
}


LLAMA3 = {
    "rope_type": "llama3",
    "factor": 32.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 8192,
}


def test_llama_and_mistral_are_read_where_they_are_computed():
    llama = GOOD | {"model_type": "llama", "sliding_window": None}
    assert lm.from_dict(llama).architecture == "llama"
    assert lm.from_dict(llama).rope_scaling is None
    scaled = lm.from_dict(llama | {"rope_scaling": LLAMA3}).rope_scaling
    assert scaled == lm.RopeScaling("llama3", 32.0, 1.0, 4.0, 8192)
    linear = lm.from_dict(llama | {"rope_scaling": {"type": "linear", "factor": 2.0}}).rope_scaling
    assert linear == lm.RopeScaling("linear", 2.0)
    for window, most in ((None, 32768), (4096, 4096), (4096, 512)):
        settings = {"sliding_window": window, "max_position_embeddings": most}
        mistral = lm.from_dict(GOOD | {"model_type": "mistral"} | settings)
        assert (mistral.architecture, mistral.max_length) == ("llama", most)


@pytest.mark.parametrize("scaling", [lm.RopeScaling("linear", 2.5), lm.RopeScaling("llama3", 8.0)])
def test_a_scaled_rope_is_read_back(scaling):
    config = lm.QwenConfig(90, 32, 48, 2, 4, 2, 16, architecture="llama", rope_scaling=scaling)
    assert lm.from_dict(json.loads(json.dumps(lm.to_dict(config)))) == config


def test_both_ways_to_write_theta_are_read():
    old = lm.from_dict(GOOD)
    new = {name: value for name, value in GOOD.items() if name != "rope_theta"}
    new |= {"rope_parameters": {"rope_theta": 1e6, "rope_type": "default"}}
    assert lm.from_dict(new) == old
    assert (old.rope_theta, old.head_dim, old.eos_ids) == (1e6, 8, (7,))
    assert lm.from_dict(GOOD | {"eos_token_id": [7, 9]}).eos_ids == (7, 9)
    assert lm.from_dict(GOOD | {"eos_token_id": None}).eos_ids == ()


@pytest.mark.parametrize("eos_ids", [(), (3,), (3, 5)])
@pytest.mark.parametrize("name", lm_tiny.NAMES)
def test_what_is_written_is_read_back(name, eos_ids):
    config = lm.QwenConfig(
        90, 32, 48, 2, 4, 2, 16, rope_theta=5e5, architecture=name, eos_ids=eos_ids
    )
    assert lm.from_dict(json.loads(json.dumps(lm.to_dict(config)))) == config


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"model_type": "gemma"}, "model_type 'gemma' is not supported; supported are qwen2"),
        ({"model_type": None}, "model_type None is not supported"),
        ({"model_type": "qwen3_moe"}, "'qwen3_moe'"),
        ({"rope_scaling": {"type": "yarn", "factor": 4.0}}, "rope type 'yarn'"),
        ({"rope_parameters": {"rope_type": "linear"}}, "rope type 'linear'"),
        ({"rope_scaling": {"type": "linear", "factor": "4"}}, "needs a number factor, got '4'"),
        (
            {"rope_parameters": {"rope_type": "linear", "factor": 0}},
            "'linear' needs positive numbers",
        ),
        (
            {"rope_scaling": {"type": "llama3", "factor": 8.0}},
            "needs a number low_freq_factor",
        ),
        (
            {"rope_scaling": LLAMA3 | {"low_freq_factor": 4.0}},
            "'llama3' needs low_frequency below high_frequency",
        ),
        ({"rope_scaling": {"rope_type": "longrope", "factor": 4.0}}, "rope type 'longrope'"),
        ({"rope_scaling": "yarn"}, "settings of rope must be an object, got 'yarn'"),
        (
            {"rope_parameters": {"rope_theta": 1e6}, "rope_scaling": {"type": "yarn"}},
            "rope type 'yarn'",
        ),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e6}}}, "rope by layer"),
        ({"rope_parameters": {"partial_rotary_factor": 0.5}}, "partial_rotary_factor"),
        ({"use_sliding_window": True}, "use_sliding_window is true"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "'sliding_attention'"),
        ({"hidden_act": "gelu"}, "hidden_act 'gelu'"),
        ({"model_type": "qwen3", "attention_bias": True}, "attention_bias is true"),
        ({"model_type": "llama", "attention_bias": True}, "attention_bias is true"),
        ({"model_type": "llama", "mlp_bias": True}, "mlp_bias is true"),
        ({"model_type": "mistral"}, "sliding_window 4096 is shorter than a text may be"),
        (
            {"model_type": "mistral", "sliding_window": 16, "max_position_embeddings": 32},
            "sliding_window 16 is shorter",
        ),
        ({"quantization_config": {"quant_method": "gptq"}}, r"quantization_config \(gptq\)"),
        ({"quantization_config": "gptq"}, r"quantization_config \(gptq\)"),
        ({"rms_norm_eps": None}, "no such number"),
        ({"num_attention_heads": 0, "head_dim": None}, "no such number"),
        ({"hidden_size": "64", "head_dim": None}, "no such number"),
        ({"eos_token_id": "x"}, "eos_ids"),
        ({"num_key_value_heads": 3}, "num_kv_heads 3 does not divide num_heads 4"),
        ({"head_dim": 7}, "head_dim must be even"),
        ({"num_hidden_layers": 0}, "num_layers must be a positive integer, got 0"),
        ({"vocab_size": -1}, "vocab_size must be a positive integer, got -1"),
        ({"rms_norm_eps": 0.0}, "must be positive"),
        ({"rope_theta": float("inf")}, "must be positive and finite"),
        ({"vocab_size": True}, "vocab_size must be a positive integer, got True"),
        ({"eos_token_id": 100}, "eos_token_id 100 lies outside the vocabulary of 100"),
        ({"eos_token_id": [7, -1]}, "eos_token_id -1 lies outside"),
    ],
)
def test_what_is_not_computed_is_refused_by_name(change, sentence):
    with pytest.raises(ValueError, match=sentence):
        lm.from_dict(GOOD | change)


def test_a_missing_entry_is_named():
    broken = {name: value for name, value in GOOD.items() if name != "intermediate_size"}
    with pytest.raises(ValueError, match=r"config.json lacks 'intermediate_size'"):
        lm.from_dict(broken)
    with pytest.raises(ValueError, match="architecture must be qwen2 or qwen3"):
        lm.QwenConfig(10, 8, 8, 1, 1, 1, 8, architecture="bert")
