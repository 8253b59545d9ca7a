"""Reading and writing Hugging Face folders: every form of a good one, every kind of a bad one."""

import json
import shutil

import jax
import jax.numpy as jnp
import lm_tiny
import numpy as np
import pytest
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


def test_an_untied_model_needs_its_head(folder):
    change_config(folder, tie_word_embeddings=False)
    with pytest.raises(ValueError, match=r"missing: lm_head.weight"):
        lm.load(folder)


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


def test_what_is_not_a_model_is_refused(folder, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"is not a model: it has no config.json"):
        lm.load(empty)
    for wrong in (tmp_path / "nowhere", "nowhere", str(tmp_path / "no" / "where")):
        with pytest.raises(FileNotFoundError, match="neither a folder nor an id of the hub"):
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

    def snapshot(name, *, revision, allow_patterns):
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
