"""Language models as encoders: the state they return, buckets, shared prompts, cuts, refusals."""

import copy
import dataclasses
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from lm_tiny import chat_model
from safetensors.numpy import load_file, save_file
from transformers import Qwen2Tokenizer

import prefjax
from prefjax import encoders, lm
from prefjax.data.attributes import WorldConfig, make_world
from prefjax.encoders.batches import bucketed
from prefjax.encoders.template import make_rows, render
from prefjax.parallel import make_mesh

TEXTS = [
    ("Why is the sky blue?", "Because air scatters blue light."),
    ("Why is the sky blue?", "No idea, but I like it, and so do many others I know of."),
    ("Why is the sky blue?", ""),
    ("How do planes fly?", "Wings push air down."),
    ("", "An answer to nothing."),
    "A statement without a prompt.",
    "Naïve 漢字 🙂\n\n- and a list",
]
SMALL = dataclasses.replace(encoders.PAPER, bucket=64, batch_tokens=128)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return chat_model(tmp_path_factory.mktemp("tiny"), ["".join(text) for text in TEXTS])


def make(model, **changes):
    return encoders.make_language_encoder(model, dataclasses.replace(SMALL, **changes))


def states(model, strings, layer):
    """States of whole strings, padded on the left in one batch."""
    rows = model.tokenizer(strings)["input_ids"]
    tokens, mask = lm.pad_left(rows, 96)
    hidden = lm.forward(model.params, model.config, tokens, mask, layer=layer)
    return [np.asarray(h)[-len(row) :] for h, row in zip(hidden, rows, strict=True)]


CHAT = (
    "<|im_start|>user\nWhy is the sky blue?<|im_end|>\n"
    "<|im_start|>assistant\nBecause air scatters blue light.<|im_end|>"
)


@pytest.mark.parametrize("shared", [True, False])
def test_embedding_is_the_state_of_the_last_token_in_its_template(model, shared):
    chat = make(model, share_prompts=shared).encode(TEXTS)
    want = [CHAT, "<|im_start|>assistant\nA statement without a prompt.<|im_end|>"]
    oracle = states(model, want, -1)
    np.testing.assert_allclose(chat[0], oracle[0][-1], atol=2e-5)
    np.testing.assert_allclose(chat[5], oracle[1][-1], atol=2e-5)
    raw = make(model, template="raw", share_prompts=shared).encode(TEXTS)
    oracle = states(model, ["".join(text) for text in TEXTS], -1)
    np.testing.assert_allclose(raw, [rows[-1] for rows in oracle], atol=2e-5)


@pytest.mark.parametrize("shared", [True, False])
def test_mean_pooling_counts_the_tokens_of_the_response(model, shared):
    got = make(model, pooling="mean", share_prompts=shared).encode(TEXTS[:1])
    num = len(model.tokenizer("Because air scatters blue light.<|im_end|>")["input_ids"])
    np.testing.assert_allclose(got[0], states(model, [CHAT], -1)[0][-num:].mean(0), atol=2e-5)


def test_inner_layer_and_system_turn(model):
    system = "<|im_start|>system\nBe kind.<|im_end|>\n" + CHAT
    got = make(model, system="Be kind.", layer=1).encode(TEXTS[:1])
    np.testing.assert_allclose(got[0], states(model, [system], 1)[0][-1], atol=2e-5)


def test_embedding_depends_on_its_own_text_only(model):
    encoder = make(model)
    together = encoder.encode(TEXTS + TEXTS[::-1])
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(together, np.concatenate([alone, alone[::-1]]))
    assert together.dtype == np.float32


@pytest.mark.parametrize("shared", [True, False])
def test_any_number_of_devices_gives_the_same_bits(model, shared):
    asked = [
        ("Why is the sky " + "blue, " * (i % 4) + "?", "No idea. " * (i % 5)) for i in range(20)
    ]
    texts = [*asked, *(("Why is the sky blue?", f"Since {i}.") for i in range(20)), *TEXTS]
    config = dataclasses.replace(SMALL, share_prompts=shared)
    one, *others = (
        encoders.make_language_encoder(model, config, mesh=make_mesh(n)) for n in (1, 2, 8)
    )
    want = one.encode(texts)
    for other in others:
        assert other.fingerprint == one.fingerprint
        np.testing.assert_array_equal(other.encode(texts), want)
        np.testing.assert_array_equal(other.encode(texts[:1]), want[:1])


def test_each_bucket_has_one_shape_and_each_text_one_row():
    lengths = np.random.default_rng(0).integers(1, 100, 200)
    batches = list(
        bucketed({i: [1] * n for i, n in enumerate(lengths)}, bucket=32, batch_tokens=128)
    )
    assert {batch.tokens.shape for batch in batches} == {(4, 32), (2, 64), (1, 96), (1, 128)}
    assert sorted(i for batch in batches for i in batch.members) == list(range(200))
    for batch in batches:
        used = batch.mask.sum(axis=1)
        assert used[: len(batch.members)].tolist() == lengths[batch.members].tolist()
        assert not used[len(batch.members) :].any()


def test_long_texts_lose_the_prompt_from_the_left_and_keep_their_end(model, tmp_path):
    def decoded(text, template):
        (row,) = make_rows(model.tokenizer, [render(text, template)], 40)
        assert row.cut
        assert len(row.before) + len(row.after) == 40
        return model.tokenizer.decode(row.before), model.tokenizer.decode(row.after)

    before, after = decoded(("old news, " * 20 + "why?", "Because."), "chat")
    assert before.startswith("<|im_start|>user\n")
    assert before.endswith("news, why?<|im_end|>\n<|im_start|>assistant\n")
    assert after == "Because.<|im_end|>"
    before, after = decoded(("why?", "First. " * 40 + "The end."), "chat")
    assert before == "<|im_start|>user\n<|im_end|>\n<|im_start|>assistant\n"
    assert after.endswith("The end.<|im_end|>")
    assert not decoded("First. " * 40 + "The end.", "raw")[0]

    encoder = make(model, window=64)
    texts = [*TEXTS[3:5], ("why?" * 50, "Because.")]
    lengths = encoder.lengths(texts)
    assert lengths.cut.tolist() == [False, False, True]
    assert lengths.num_tokens[2] == 64
    with pytest.warns(RuntimeWarning, match="1 of 3 texts are longer than the window"):
        got = encoders.encode_cached(encoder, texts, folder=tmp_path, progress=True)
    np.testing.assert_array_equal(got, encoder.encode(texts))


def test_a_pair_and_the_joined_text_are_different_texts_for_the_cache(model, tmp_path):
    encoder = make(model)
    texts = [("a", "bc"), ("ab", "c"), "abc", "a\n\nbc"]
    got = encoders.encode_cached(encoder, texts, folder=tmp_path)
    assert len(np.unique(got, axis=0)) == 4
    np.testing.assert_array_equal(got, encoder.encode(texts))


def test_fingerprint_names_the_weights_and_every_setting(model, tmp_path):
    changes = [
        {},
        {"template": "raw"},
        {"system": "Be kind."},
        {"instruction": "Judge."},
        {"template": "raw", "end_token": "<|im_end|>"},
        {"width": 8},
        {"layer": 1},
        {"pooling": "mean"},
        {"window": 100},
        {"share_prompts": False},
        {"bucket": 32},
        {"batch_tokens": 256},
        {"dtype": "bfloat16"},
    ]
    assert len({field for change in changes for field in change}) == len(
        dataclasses.fields(encoders.LanguageConfig)
    )
    made = [make(model, **change) for change in changes]
    assert len({encoder.fingerprint for encoder in made}) == len(made)
    assert make(model, dtype="float32").fingerprint == made[0].fingerprint
    other = model.params | {"norm": model.params["norm"] + 1}
    lm.save(tmp_path, other, model.config, tokenizer=model.tokenizer)
    assert make(lm.load(tmp_path)).fingerprint != made[0].fingerprint


def test_empty_texts_are_read_as_documented(model):
    assert not make(model, template="raw").encode(["", ("", "")]).any()
    assert make(model).encode([""]).any()
    assert make(model).encode([]).shape == (0, 16)


def test_what_cannot_be_read_is_refused_in_words(model, tmp_path):
    encoder = make(model)
    with pytest.raises(ValueError, match="response of text 1 has a lone surrogate at character 1"):
        encoder.encode(["a", ("b", "c\udc00")])
    with pytest.raises(TypeError, match="prompt of text 0 is NoneType"):
        encoders.check_texts([(None, "a")])
    with pytest.raises(ValueError, match="layer 3 does not exist"):
        make(model, layer=3)
    with pytest.raises(ValueError, match="no fast tokenizer"):
        encoders.make_language_encoder(model._replace(tokenizer=None))
    plain = Qwen2Tokenizer().train_new_from_iterator(["a b"], 260, show_progress=False)
    with pytest.raises(ValueError, match=r"reads <\|im_end\|> as 10 tokens"):
        make(model._replace(tokenizer=plain))
    assert make(model._replace(tokenizer=plain), template="raw").encode(["a"]).any()
    small = dataclasses.replace(model.config, vocab_size=100)
    with pytest.raises(ValueError, match="do not belong together"):
        encoders.make_language_encoder(model._replace(config=small))
    for change in ({"template": "x"}, {"pooling": "x"}, {"bucket": 0}, {"dtype": "float16"}):
        with pytest.raises(ValueError, match=next(iter(change))):
            dataclasses.replace(SMALL, **change)
    with pytest.raises(ValueError, match="no encoder 'bert'; there are hashed, minilm"):
        encoders.get_encoder("bert")
    with pytest.raises(FileNotFoundError, match="it has no config"):
        encoders.get_encoder(f"qwen:{tmp_path}")
    with pytest.raises(ValueError, match="name the commit"):
        encoders.get_encoder("qwen:owner/name")


def test_folder_by_name(model):
    named = encoders.get_encoder(f"qwen:{model.directory}", SMALL)
    assert named.fingerprint == make(model).fingerprint


def test_language_models_read_responses_after_their_prompts(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_CACHE", str(tmp_path))
    dataset = make_world(WorldConfig(num_prompts=2, responses_per_prompt=2, num_users=3)).dataset
    pairs = [
        (dataset.prompts[i], r)
        for i, r in zip(dataset.prompt_index, dataset.responses, strict=True)
    ]
    encoder = make(model, window=64)
    with pytest.warns(RuntimeWarning, match="4 of 4 texts"):
        got = encoders.encode_responses(encoder, dataset)
    np.testing.assert_array_equal(got, encoder.encode(pairs))
    hashed = encoders.make_hashed()
    got = encoders.encode_responses(hashed, dataset)
    np.testing.assert_array_equal(got, hashed.encode(dataset.responses))


KILLED = """
import sys
from prefjax import encoders
encoder = encoders.get_encoder("qwen:" + sys.argv[1])
texts = [(f"Question {i // 4}?", f"Answer number {i}.") for i in range(64)]
got = encoders.encode_cached(encoder, texts, folder=__import__("pathlib").Path(sys.argv[2]),
                             batch_size=4, progress=True)
print(len(got), float(got.sum()))
"""


@pytest.mark.slow
def test_a_killed_process_is_taken_up_where_it_stopped(model, tmp_path):
    command = [sys.executable, "-c", KILLED, str(model.directory)]
    whole = subprocess.run(
        [*command, str(tmp_path / "whole")], capture_output=True, text=True, check=True
    )
    folder = tmp_path / "killed"
    process = subprocess.Popen(
        [*command, str(folder)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    deadline = time.monotonic() + 120
    while len(list(folder.glob("*/*.npz"))) < 3 and time.monotonic() < deadline:
        os.sched_yield()
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = {path.name: path.stat().st_mtime_ns for path in folder.glob("*/*.npz")}
    assert 3 <= len(kept) < 16
    resumed = subprocess.run([*command, str(folder)], capture_output=True, text=True, check=True)
    assert resumed.stdout == whole.stdout
    assert "tokens/s" in resumed.stderr
    after = {path.name: path.stat().st_mtime_ns for path in folder.glob("*/*.npz")}
    assert kept.items() <= after.items()
    assert len(after) == 16


@pytest.mark.parametrize("shared", [True, False])
def test_variants_in_one_pass_are_those_of_each_alone(model, shared, tmp_path):
    base = make(model, share_prompts=shared)
    chosen = ((0.5, "mean"), (0.5, "mean-all"), (0, "last"), (-1, "mean-all"))
    variants = [base.variant(layer=layer, pooling=pooling) for layer, pooling in chosen]
    together = encoders.encode_variants(variants, TEXTS)
    for variant, vectors in zip(variants, together, strict=True):
        np.testing.assert_allclose(vectors, variant.encode(TEXTS), atol=2e-5)
    whole = states(model, [CHAT], 1)[0]
    np.testing.assert_allclose(together[1][0], whole[1:].mean(0), atol=2e-5)
    with pytest.raises(ValueError, match="is no variant of"):
        encoders.encode_variants([base, make(model, window=9)], TEXTS)

    alone = encoders.encode_cached(variants[0], TEXTS[:3], folder=tmp_path)
    cached = encoders.encode_variants_cached(variants, TEXTS, folder=tmp_path)
    np.testing.assert_array_equal(cached[0][:3], alone)
    again = encoders.encode_cached(variants[3], TEXTS, folder=tmp_path)
    np.testing.assert_array_equal(again, cached[3])


def test_a_share_of_the_depth_is_the_layer_nearest_to_it(model):
    half, first = make(model, layer=0.5, pooling="mean"), make(model, layer=1, pooling="mean")
    assert half.fingerprint == first.fingerprint
    assert make(model, layer=1.0).fingerprint == make(model, layer=-1).fingerprint
    assert encoders.LanguageConfig().layer_of(30) == 18
    with pytest.raises(ValueError, match="share in"):
        encoders.LanguageConfig(layer=1.5)
    with pytest.raises(ValueError, match="layer 7 does not exist"):
        half.variant(layer=7)
    with pytest.raises(ValueError, match="width must be at most the 16"):
        make(model, width=17)
    np.testing.assert_array_equal(
        make(model, width=5).encode(TEXTS), make(model).encode(TEXTS)[:, :5]
    )


def test_the_first_token_of_a_text_is_in_no_mean(model):
    encoder = make(model, template="raw", pooling="mean", layer=1)
    whole = states(model, ["A statement without a prompt."], 1)[0]
    got = encoder.encode(["A statement without a prompt.", "A"])
    np.testing.assert_allclose(got[0], whole[1:].mean(0), atol=2e-5)
    assert got[1].any()


def test_instruction_and_end_token_as_embedding_models_want_them(model):
    encoder = make(model, template="raw", instruction="Judge.", end_token="<|im_end|>")
    want = [
        "Instruct: Judge.\nQuery:Why is the sky blue?Because air scatters blue light.<|im_end|>",
        "Instruct: Judge.\nQuery:A statement without a prompt.<|im_end|>",
    ]
    oracle = states(model, want, -1)
    got = encoder.encode([TEXTS[0], TEXTS[5]])
    np.testing.assert_allclose(got, [rows[-1] for rows in oracle], atol=2e-5)
    with pytest.raises(ValueError, match="the end token 'xy' as"):
        make(model, template="raw", end_token="xy")
    with pytest.raises(ValueError, match="end_token is for the raw template"):
        make(model, end_token="<|im_end|>")


def test_the_chat_template_of_a_tokenizer_is_used_if_it_is_asked_for(model):
    with pytest.raises(ValueError, match="has no chat template"):
        make(model, template="own")
    tokenizer = copy.deepcopy(model.tokenizer)
    tokenizer.chat_template = (
        "{% if messages[0]['role'] == 'assistant' %}{{ raise_exception('no question') }}{% endif %}"
        "{% for m in messages %}[{{ m['role'] }}] {{ m['content'] }}<|im_end|>\n{% endfor %}"
    )
    encoder = make(model._replace(tokenizer=tokenizer), template="own", system="Hi.")
    want = "[system] Hi.<|im_end|>\n[user] Why is the sky blue?<|im_end|>\n"
    want += "[assistant] Because air scatters blue light.<|im_end|>\n"
    got = encoder.encode(TEXTS[:1])
    np.testing.assert_allclose(got[0], states(model, [want], -1)[0][-1], atol=2e-5)
    mean = dataclasses.replace(encoder, config=dataclasses.replace(encoder.config, pooling="mean"))
    num = len(tokenizer("Because air scatters blue light.<|im_end|>\n")["input_ids"])
    oracle = states(model, [want], -1)[0][-num:].mean(0)
    np.testing.assert_allclose(mean.encode(TEXTS[:1])[0], oracle, atol=2e-5)
    alone = make(model._replace(tokenizer=tokenizer), template="own")
    with pytest.raises(ValueError, match="does not take 1 messages"):
        alone.encode(["no prompt"])


def test_an_encoder_is_made_again_from_its_specification(model):
    folder = model.directory
    for settings in (
        {},
        {"layer": 0.5, "pooling": "mean-all", "window": 99, "share_prompts": False},
        {"template": "raw", "instruction": "Judge, please: 100 % = #1 + more"},
        {"template": "raw", "end_token": "<|im_end|>", "width": 3},
    ):
        encoder = make(model, **settings)
        again = encoders.get_encoder(encoder.specification)
        assert again.fingerprint == encoder.fingerprint
        assert again.specification == encoder.specification
    paper = encoders.get_encoder(f"lm:{folder}#paper,bucket=64,batch_tokens=128")
    assert paper.fingerprint == make(model).fingerprint
    hashed = encoders.get_encoder("hashed#dimension=128,seed=3")
    assert hashed.specification == "hashed#dimension=128,seed=3"
    for wrong, message in (
        (f"lm:{folder}#pape", "no reading 'pape'"),
        (f"lm:{folder}#depth=2", "no setting 'depth'; there are template"),
        (f"lm:{folder}#layer=deep", "layer must be a number"),
        (f"lm:{folder}#share_prompts=1", "true or false"),
        (f"lm:{folder}#layer=1,layer=2", "is there twice"),
        ("minilm#layer=3", "no encoder 'minilm' with settings layer"),
        ("hashed#paper", "no encoder 'hashed' with settings paper"),
    ):
        with pytest.raises(ValueError, match=message):
            encoders.get_encoder(wrong)


def test_encoders_add_up_to_blocks_of_unit_size(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_CACHE", str(tmp_path))
    name = f"hashed#dimension=128+lm:{model.directory}#layer=1,window=64"
    both = encoders.get_encoder(name)
    assert encoders.get_encoder(both.specification).fingerprint == both.fingerprint
    hashed, read = both.parts
    vectors = both.encode(TEXTS)
    assert vectors.shape == (len(TEXTS), 128 + 16)
    responses = [text if isinstance(text, str) else text[1] for text in TEXTS]
    for block, own in (
        (vectors[:, :128], hashed.encode(responses)),
        (vectors[:, 128:], read.encode(TEXTS)),
    ):
        ratio = np.linalg.norm(block[0] - block[1]) / np.linalg.norm(own[0] - own[1])
        np.testing.assert_allclose(block - block[:1], ratio * (own - own[:1]), atol=1e-5)
        assert 0.1 < np.sqrt(np.mean(np.sum(np.square(block), axis=1))) < 2
    dataset = make_world(WorldConfig(num_prompts=2, responses_per_prompt=2, num_users=3)).dataset
    with pytest.warns(RuntimeWarning, match="4 of 4 texts"):
        got = encoders.encode_responses(both, dataset)
    pairs = [
        (dataset.prompts[i], r)
        for i, r in zip(dataset.prompt_index, dataset.responses, strict=True)
    ]
    np.testing.assert_array_equal(got, both.encode(pairs))
    fitted = encoders.fit_encoder(both, dataset.responses)
    assert fitted.specification is None
    assert fitted.parts[1] is read
    assert (
        fitted.parts[0].fingerprint
        == encoders.fit_hashed(dataset.responses, hashed.config).fingerprint
    )


@pytest.mark.parametrize("num_labels", [1, 3])
def test_a_reward_model_gives_its_scores(model, num_labels, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_CACHE", str(tmp_path / "cache"))
    folder = shutil.copytree(model.directory, tmp_path / "reward")
    score = np.random.default_rng(0).standard_normal((num_labels, 16)).astype(np.float32)
    stored = load_file(folder / "model.safetensors")
    save_file(stored | {"score.weight": score}, folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    config |= {"architectures": ["Qwen2ForSequenceClassification"], "num_labels": num_labels}
    (folder / "config.json").write_text(json.dumps(config))
    settings = "template=raw,bucket=64,batch_tokens=128"
    encoder = encoders.get_encoder(f"reward:{folder}#{settings}")
    got = encoder.encode(TEXTS)
    oracle = states(model, ["".join(text) for text in TEXTS], -1)
    np.testing.assert_allclose(got, [rows[-1] @ score.T for rows in oracle], atol=2e-5)
    assert encoders.get_encoder(encoder.specification).fingerprint == encoder.fingerprint
    state = encoders.get_encoder(f"lm:{folder}#paper,{settings}")
    assert state.fingerprint != encoder.fingerprint
    dataset = make_world(WorldConfig(num_prompts=2, responses_per_prompt=2, num_users=3)).dataset
    prompts = [dataset.prompts[i] for i in dataset.prompt_index]
    small = encoders.get_encoder(f"reward:{folder}#template=raw,window=64")
    with pytest.warns(RuntimeWarning, match="4 of 4 texts"):
        scores = encoders.encode_responses(small, dataset)
    pairs = list(zip(prompts, dataset.responses, strict=True))
    np.testing.assert_array_equal(scores, small.encode(pairs))

    with pytest.raises(ValueError, match="has no chat template"):
        encoders.get_encoder(f"reward:{folder}")
    with pytest.raises(ValueError, match="layer and pooling of a reward model"):
        encoders.get_encoder(f"reward:{folder}#template=raw,pooling=mean")
    with pytest.raises(ValueError, match=r"has no tensor score.weight"):
        encoders.get_encoder(f"reward:{model.directory}#template=raw")
    save_file(stored | {"score.weight": score[:, :5]}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"score.weight in .* is \[., 5\], not \[num_labels, 16"):
        encoders.get_encoder(f"reward:{folder}#template=raw")


def test_candidates_of_one_model_are_read_in_one_pass(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_CACHE", str(tmp_path))
    world = WorldConfig(num_prompts=2, responses_per_prompt=2, num_users=3)
    dataset = make_world(world).dataset
    folder = f"lm:{model.directory}"
    names = [f"{folder}#layer=1", "hashed#dimension=128", f"{folder}#paper",
             f"hashed#dimension=128+{folder}#layer=1,pooling=mean-all"]  # fmt: skip
    passes = []
    monkeypatch.setattr(
        "prefjax.encoders.cache.encode_variants",
        lambda variants, texts: (
            passes.append(len(variants)) or encoders.encode_variants(variants, texts)
        ),
    )
    with pytest.warns(RuntimeWarning, match="longer than the window"):
        found = encoders.encode_candidates(names, dataset)
    assert passes == [3]
    assert list(found) == names
    for name, (encoder, vectors) in found.items():
        assert encoder.fingerprint == encoders.get_encoder(name).fingerprint
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            own = encoders.encode_responses(encoder, dataset)
        np.testing.assert_allclose(vectors, own, atol=2e-5)


@pytest.mark.slow
def test_the_chooser_ranks_what_tells_people_apart_first(model, tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_CACHE", str(tmp_path))
    world = WorldConfig(num_prompts=24, responses_per_prompt=6, pairs_per_prompt=15,
                        pairs_per_user=150, num_users=60)  # fmt: skip
    dataset = make_world(world).dataset
    poor = f"lm:{model.directory}#layer=0,template=raw,window=2"  # the last two tokens alone
    with pytest.warns(RuntimeWarning, match="longer than the window"):
        scores = prefjax.compare_encoders(dataset, (poor, "hashed"), num_components=32)
    assert [one.specification for one in scores] == ["hashed", poor]
    best, worst = scores
    assert float(best.above_best.value) == 0
    assert float(worst.above_best.low) > 0
    assert float(best.gain.low) > 0
    assert float(best.auc.low) > 0.55
    assert float(worst.auc.value) < float(best.auc.low)
    with pytest.raises(ValueError, match="is there twice"):
        prefjax.compare_encoders(dataset, ("hashed", "hashed"))
