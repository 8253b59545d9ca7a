"""Reading and writing Hugging Face folders: every form of a good one, every kind of a bad one."""

import dataclasses
import json
import shutil

import jax
import jax.numpy as jnp
import lm_tiny
import numpy as np
import pytest
from damage import damaged, error_of
from safetensors.numpy import load_file, save_file

from prefjax import lm


def same(ours, theirs):
    return jax.tree.all(
        jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), ours, theirs)
    )


@pytest.fixture
def folder(tmp_path):
    """A copy of the tied checkpoint, to be damaged."""
    return shutil.copytree(lm_tiny.FOLDER / "qwen2", tmp_path / "model")


@pytest.fixture(scope="module")
def whole():
    return lm.load(lm_tiny.FOLDER / "qwen2").params


def tensors(folder):
    return load_file(folder / "model.safetensors")


def put(folder, content, name="model.safetensors"):
    save_file({key: np.ascontiguousarray(value) for key, value in content.items()}, folder / name)


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def shard(folder, num_shards):
    """Cut the checkpoint into shards with an index, without the prefix ``model.``."""
    content = {name.removeprefix("model."): value for name, value in tensors(folder).items()}
    names = sorted(content)
    index = {}
    for part in range(num_shards):
        file = f"model-{part + 1:05}-of-{num_shards:05}.safetensors"
        put(folder, {name: content[name] for name in names[part::num_shards]}, file)
        index |= dict.fromkeys(names[part::num_shards], file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(("name", "dtype"), [("qwen2", jnp.float32), ("qwen3", jnp.bfloat16)])
def test_what_is_saved_is_loaded_bit_for_bit(name, dtype, tmp_path):
    model = lm.load(lm_tiny.FOLDER / name, dtype=dtype)
    lm.save(tmp_path / "a", model.params, model.config, tokenizer=model.tokenizer)
    lm.save(tmp_path / "b", lm.stack_layers(model.params), model.config)
    for other in (lm.load(tmp_path / "a", dtype=dtype), lm.load(tmp_path / "b", dtype=dtype)):
        assert other.config == model.config
        assert same(other.params, model.params)
    text = "Grüße, 10 %\n"
    if model.tokenizer is not None:
        again = lm.load(tmp_path / "a").tokenizer
        assert again.encode(text) == model.tokenizer.encode(text)
        assert again.decode(again.encode(text)) == text
    assert lm.load(tmp_path / "b").tokenizer is None


@pytest.mark.parametrize("num_shards", [1, 13])
def test_shards_without_a_prefix_are_the_same_model(folder, whole, num_shards):
    shard(folder, num_shards)
    assert same(lm.load(folder).params, whole)


def test_half_precision_is_widened_exactly(folder, whole):
    for kind in (np.float16, jnp.bfloat16):
        half = {name: value.astype(kind) for name, value in tensors(folder).items()}
        put(folder, half)
        expected = jax.tree.map(
            lambda a, kind=kind: np.asarray(a).astype(kind).astype(np.float32), whole
        )
        assert same(lm.load(folder).params, expected)
        shutil.copy(lm_tiny.FOLDER / "qwen2" / "model.safetensors", folder)


def test_a_tied_head_may_be_stored_if_it_is_the_embedding(folder, whole):
    content = tensors(folder)
    embedding = content["model.embed_tokens.weight"]
    put(folder, content | {"lm_head.weight": embedding})
    assert same(lm.load(folder).params, whole)
    put(folder, content | {"lm_head.weight": embedding + 1})
    with pytest.raises(ValueError, match=r"lm_head.weight that differs from the embedding"):
        lm.load(folder)


def test_tensors_that_do_not_fit_are_named(folder):
    content = tensors(folder)
    gone = content.pop("model.layers.1.mlp.up_proj.weight")
    content["model.layers.1.mlp.up_proj.scale"] = gone
    content["model.norm.weight"] = content["model.norm.weight"][:-1]
    put(folder, content)
    with pytest.raises(ValueError, match="not those of its config") as caught:
        lm.load(folder)
    for sentence in (
        "missing: layers.1.mlp.up_proj.weight",
        "unused: model.layers.1.mlp.up_proj.scale",
        "mis-shaped: model.norm.weight is [15], not [16]",
    ):
        assert sentence in str(caught.value)
    put(folder, {"a": np.zeros(3)})
    with pytest.raises(ValueError, match=r"missing: .*, \.\.\. \(26 in all\); unused: a"):
        lm.load(folder)


def test_a_dtype_that_is_not_read_is_named(folder):
    content = tensors(folder)
    put(folder, content | {"model.norm.weight": content["model.norm.weight"].astype(np.float64)})
    with pytest.raises(ValueError, match=r"model.norm.weight is stored as F64, not as one of BF16"):
        lm.load(folder)


def test_an_untied_model_needs_its_head_to_draw_tokens_and_not_to_embed(folder, whole, tmp_path):
    change_config(folder, tie_word_embeddings=False)
    backbone = lm.load(folder)
    assert same(backbone.params, whole)
    with pytest.raises(ValueError, match=r"has no lm_head.weight: it is a backbone"):
        lm.complete(jax.random.key(0), backbone, ["a"], max_new_tokens=1)
    lm.save(tmp_path / "again", backbone.params, backbone.config)
    assert same(lm.load(tmp_path / "again").params, whole)


@pytest.mark.parametrize(
    ("name", "shape"),
    [("score.weight", (1, 16)), ("v_head.summary.weight", (1, 16)), ("classifier.bias", (3,))],
)
@pytest.mark.parametrize("tied", [True, False])
def test_the_head_of_a_reward_model_is_left_out(folder, whole, name, shape, tied):
    change_config(folder, tie_word_embeddings=tied)
    put(folder, tensors(folder) | {name: np.ones(shape, np.float32)})
    assert same(lm.load(folder).params, whole)


@pytest.mark.parametrize(
    ("value", "kind"), [(np.nan, np.float32), (-np.inf, np.float16), (np.nan, jnp.bfloat16)]
)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_weights_that_are_not_finite_are_refused_by_name(folder, value, kind, dtype):
    content = {name: array.astype(kind) for name, array in tensors(folder).items()}
    content["model.layers.1.mlp.up_proj.weight"][3, 2] = value
    put(folder, content)
    sentence = r"layers.1.mlp.up_proj.weight in .*safetensors, .* has 1 of 384 .* first at \[3, 2\]"
    with pytest.raises(ValueError, match=sentence):
        lm.load(folder, dtype=dtype)


def test_weights_that_leave_the_range_of_a_type_are_refused(folder, tmp_path):
    content = tensors(folder)
    content["model.norm.weight"][0] = 1e6
    put(folder, content)
    model = lm.load(folder)
    with pytest.raises(ValueError, match=r"norm.weight in .*, read as float16, has 1 of 16"):
        lm.load(folder, dtype=jnp.float16)
    wrong = {**model.params, "norm": model.params["norm"].at[2].set(jnp.inf)}
    with pytest.raises(ValueError, match=r"model.norm.weight has 1 of 16"):
        lm.save(tmp_path / "new", wrong, model.config)
    assert not (tmp_path / "new").exists()


def test_saving_replaces_the_model_and_nothing_else(folder, whole):
    """What an older model left, another end or shards, would speak for the new one."""
    config = lm.load(folder).config
    shard(folder, 3)
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": 5}))
    (folder / "notes").mkdir()
    (folder / "notes" / "config.json").write_text("kept")
    lm.save(folder, whole, config)
    assert sorted(path.name for path in folder.iterdir()) == [
        "config.json",
        "model.safetensors",
        "notes",
        "outputs.npz",
    ]
    assert (folder / "notes" / "config.json").read_text() == "kept"
    assert lm.load(folder).config == config
    assert not list(folder.parent.glob(".model*"))


def test_a_tokenizer_is_what_its_file_says_and_not_what_its_model_type_would_have(folder):
    """As SmolLM2 does: one digit a token, under the class of another tokenizer."""
    from tokenizers import Tokenizer, pre_tokenizers

    path = folder / "tokenizer.json"
    inner = Tokenizer.from_file(str(path))
    level = pre_tokenizers.ByteLevel(add_prefix_space=True, use_regex=False)
    inner.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), level])
    inner.save(str(path))
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(
        json.dumps(settings | {"tokenizer_class": "Qwen2Tokenizer"})
    )
    text = "In 1234, it's 56!"
    tokenizer = lm.load(folder).tokenizer
    assert tokenizer.encode(text) == inner.encode(text).ids
    assert tokenizer.eos_token == "<|im_end|>"


@pytest.mark.parametrize("named", [0, [0], None])
def test_the_end_of_a_turn_ends_a_text_of_a_base_model(folder, named):
    """Its configuration names the end of a document, or nothing."""
    change_config(folder, eos_token_id=named)
    (folder / "generation_config.json").unlink(missing_ok=True)
    model = lm.load(folder)
    assert model.config.eos_ids == ((257,) if named is None else (0, 257))
    late = model._replace(config=dataclasses.replace(model.config, eos_ids=(0,)))
    last = model.params["layers"][-1]
    silent = {
        name: 0 * array if name in ("output", "down") else array for name, array in last.items()
    }
    first = model.params["layers"][0]
    mute = {
        name: 0 * array if name in ("output", "down") else array for name, array in first.items()
    }
    # Blocks that add nothing, and an embedding in which the end is the likeliest after "a".
    embedding = model.params["embedding"].at[257].set(100 * model.params["embedding"][64])
    params = {**model.params, "layers": [mute, silent], "embedding": embedding}
    params["norm"] = jnp.ones_like(params["norm"])
    prompt = model.tokenizer.decode([64])
    greedy = lm.SamplingConfig(temperature=0.0)
    done = lm.complete(
        jax.random.key(0), late._replace(params=params), [prompt], max_new_tokens=3, sampling=greedy
    )
    assert done.ended.tolist() == [True]
    assert done.num_tokens.tolist() == [1]


def test_damaged_and_missing_files_are_named(folder):
    path = folder / "model.safetensors"
    content = path.read_bytes()
    for size in (4, 1000, len(content) - 1):
        path.write_bytes(content[:size])
        with pytest.raises(ValueError, match=rf"safetensors is damaged or .* {size} bytes"):
            lm.load(folder)
    path.write_bytes(content)
    shard(folder, 3)
    (folder / "model-00002-of-00003.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match="lacks 1 of 3 shards: model-00002-of-00003"):
        lm.load(folder)
    index = folder / "model.safetensors.index.json"
    outside = '{"weight_map": {"a": "../other/model.safetensors"}}'
    for text in ("{", "[]", '{"weight_map": 3}', '{"weight_map": {"a": 3}}', outside):
        index.write_text(text)
        with pytest.raises(ValueError, match="is not an index of shards"):
            lm.load(folder)
    put(folder, {"norm.weight": np.zeros(16)}, "a.safetensors")
    put(folder, {"model.norm.weight": np.zeros(16)}, "b.safetensors")
    index.write_text(json.dumps({"weight_map": {"x": "a.safetensors", "y": "b.safetensors"}}))
    with pytest.raises(ValueError, match=r"both in a.safetensors and in b.safetensors"):
        lm.load(folder)
    index.unlink()
    (folder / "pytorch_model.bin").write_bytes(b"")
    with pytest.raises(FileNotFoundError, match=r"\(pytorch_model.bin is a pickle and is not read"):
        lm.load(folder)


def test_any_damage_to_a_folder_is_an_error_that_names_it(folder):
    """150 damaged files; what still loads is a legal model."""
    rng = np.random.default_rng(0)
    outcomes = []
    for name in ("config.json", "model.safetensors", "tokenizer.json"):
        path = folder / name
        whole = path.read_bytes()
        for _ in range(50):
            path.write_bytes(damaged(rng, whole))
            outcomes.append(error_of(lm.load, folder))
        path.write_bytes(whole)
    assert all(str(folder) in said for said in outcomes if said)
    assert 75 < sum(map(bool, outcomes)) < 150


def test_what_is_not_a_model_is_refused(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"is not a model: it has no config.json"):
        lm.load(empty)
    for wrong in (tmp_path / "nowhere", "nowhere", str(tmp_path / "no" / "where")):
        with pytest.raises(FileNotFoundError, match="neither a folder, nor a GGUF file, nor"):
            lm.load(wrong)
    with pytest.raises(ValueError, match="revision is for ids of the hub"):
        lm.load(folder, revision="abc")
    change_config(folder, rope_scaling={"type": "yarn"}, rope_parameters=None)
    with pytest.raises(ValueError, match=r"config.json: rope type 'yarn' is not supported"):
        lm.load(folder)
    for text in ("{", "[1]"):
        (folder / "config.json").write_text(text)
        with pytest.raises(ValueError, match=r"config.json (is not JSON|holds list)"):
            lm.load(folder)


@pytest.mark.parametrize("text", ['{"model":', '{"model": 3}', ""])
def test_a_damaged_tokenizer_is_named(folder, text):
    (folder / "tokenizer.json").write_text(text)
    with pytest.raises(ValueError, match=r"tokenizer in .*model cannot be read"):
        lm.load(folder)


def test_a_hub_id_needs_a_revision_and_says_when_the_hub_is_out_of_reach(monkeypatch, tmp_path):
    with pytest.raises(ValueError, match="name the commit with revision="):
        lm.load("Qwen/Qwen2.5-0.5B")
    import huggingface_hub
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(OSError, match=r"Cannot get Qwen/Qwen2.5-0.5B at revision abc: the hub"):
        lm.load("Qwen/Qwen2.5-0.5B", revision="abc")
    asked = {}

    def snapshot(name, *, repo_type, revision, allow_patterns):
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(lm_tiny.FOLDER / "qwen3")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    assert lm.load("Qwen/Tiny", revision="abc").config.architecture == "qwen3"
    assert (asked["name"], asked["revision"]) == ("Qwen/Tiny", "abc")
    assert not any("bin" in pattern or "py" in pattern for pattern in asked["patterns"])


def test_generation_config_may_add_ends(folder):
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": [257, 256]}))
    assert lm.load(folder).config.eos_ids == (257, 256)


def test_parameters_of_another_configuration_are_not_written(tmp_path, whole):
    config = lm.load(lm_tiny.FOLDER / "qwen3").config
    with pytest.raises(ValueError, match=r"do not fit the configuration: layers.0.self_attn.k_"):
        lm.save(tmp_path / "wrong", whole, config)
    assert not list(tmp_path.glob("wrong/*"))


def test_the_fingerprint_is_that_of_everything_an_embedding_depends_on(folder):
    first = lm.fingerprint(folder)
    assert first == lm.fingerprint(lm_tiny.FOLDER / "qwen2")
    seen = {first}
    content = tensors(folder)
    content["model.norm.weight"][0] += 1e-6
    put(folder, content)
    seen.add(lm.fingerprint(folder))
    change_config(folder, rms_norm_eps=1e-5)
    seen.add(lm.fingerprint(folder))
    path = folder / "tokenizer.json"
    path.write_text(path.read_text() + " ")
    seen.add(lm.fingerprint(folder))
    assert len(seen) == 4
