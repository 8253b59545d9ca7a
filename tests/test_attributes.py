"""The simulated Attributes world: texts, judge, people, calibration."""

import re
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from prefjax.data import attributes
from prefjax.data.attributes import ATTRIBUTES, ChoiceConfig, WorldConfig
from prefjax.data.attributes.register import lower_first, rephrase
from prefjax.data.io import read_folder, write_folder

REGISTERS = ("formal", "plain", "contracted", "informal")


@pytest.fixture(scope="module")
def world():
    return attributes.make_world(WorldConfig(responses_per_prompt=10), seed=3)


@pytest.fixture(scope="module")
def recipes():
    """Responses to every prompt, their prompts and their recipes."""
    rng = np.random.default_rng(11)
    texts, styles = [], []
    for prompt in attributes.load_prompts():
        written, style = attributes.write_responses(prompt, 10, rng)
        texts += written
        styles.append(style)
    return texts, np.concatenate(styles)


def symmetric_auc(score, label):
    """AUC over decided rows in both orientations."""
    decided = label != 0.5
    score, label = score[decided], label[decided]
    return roc_auc_score(np.r_[label, 1 - label], np.r_[score, -score])


def test_material_is_rich_and_neutral():
    prompts = attributes.load_prompts()
    assert len(prompts) >= 100
    assert len({prompt.question for prompt in prompts}) == len(prompts)
    assert len({prompt.subject for prompt in prompts}) == len(prompts)
    for prompt in prompts:
        sentences = (prompt.core, *prompt.facts)
        assert len({sentence.text for sentence in sentences}) == len(sentences) >= 7
        for sentence in sentences:
            assert re.fullmatch(r"[A-Z0-9\"].*[^.!?]\.", sentence.text), sentence
            assert "'t " not in sentence.text, sentence
            first = sentence.text.split()[0]
            assert not (sentence.imperative and first in {"The", "A", "It", "You", "Do"}), sentence
        assert all(ask.endswith("?") for ask in prompt.asks)


def test_each_pole_has_many_phrases_and_the_reserved_ones_are_other_ones():
    train, test = attributes.load_phrases("train"), attributes.load_phrases("test")
    assert train.keys() == test.keys()
    assert not {p for part in train.values() for p in part} & {
        p for part in test.values() for p in part
    }
    for attribute in ATTRIBUTES[1:]:
        for pole in ("plus", "minus"):
            keys = [key for key in train if key[:2] == (attribute, pole)]
            assert sum(len(train[key]) for key in keys) >= 12, (attribute, pole)
            assert sum(len(test[key]) for key in keys) >= 7, (attribute, pole)
    with pytest.raises(ValueError, match="phrase split"):
        attributes.load_phrases("validation")


def test_reserved_phrases_never_appear_under_training_prompts(world):
    data = world.dataset
    is_test = world.test_prompt[data.prompt_index]
    spaced = [f" {text} ".replace("\n", " ") for text in data.responses]
    own = {"train": "", "test": ""}
    for text, reserved in zip(spaced, is_test.tolist(), strict=True):
        own["test" if reserved else "train"] += text
    for split, other in (("train", "test"), ("test", "train")):
        phrases = [
            rephrase(piece.strip(), register, 0)
            for part in attributes.load_phrases(split).values()
            for phrase in part
            for piece in [max(phrase.removeprefix("* ").split("{subject}"), key=len)]
            for register in REGISTERS
        ]
        assert not [phrase for phrase in phrases if f" {phrase} " in own[other]]
        assert sum(f" {phrase} " in own[split] for phrase in set(phrases)) > 100


def test_texts_are_clean(recipes):
    texts, _ = recipes
    assert len(set(texts)) == len(texts)
    for text in texts:
        assert not re.search(r"[{}]|  |\.\.|\?\.|!\.|,,| ,| \.|\b(\w+) \1\b", text), text
        assert text[0].isupper() or not text[0].isalpha()
        assert text[-1] in ".!?)", text
        sentences = re.split(r"(?<=[.!?]) ", text.replace("\n", " "))
        assert len(set(sentences)) == len(sentences), text


def test_length_changes_content_and_not_padding():
    rng = np.random.default_rng(0)
    prompt = next(p for p in attributes.load_prompts() if p.subject == "soft-boiled eggs")
    style = np.zeros(7)
    style[0] = -1.0
    short = attributes.realize(prompt, style, rng)
    style[0] = 1.0
    full = attributes.realize(prompt, style, rng)
    numbers = r"cool|crack|membrane|wide end|running water|two days|thirty"
    assert len(re.findall(numbers, full)) >= 6 > 2 > len(re.findall(numbers, short))
    assert len(full.split()) > 4 * len(short.split())


def test_register_keeps_case_and_grammar():
    assert rephrase("It is cold. Do not wait.", "contracted", 0) == "It's cold. Don't wait."
    assert rephrase("Tell me what it is.", "contracted", 0) == "Tell me what it is."
    assert rephrase("You cannot buy it.", "formal", 0) == "You cannot purchase it."
    assert rephrase("Buy milk at once.", "informal", 0) == "Grab milk right away."
    assert lower_first("Pluto is far.") == "Pluto is far."
    assert lower_first("The sea is salty.") == "the sea is salty."
    assert lower_first("I am here.") == "I am here."


def test_judge_hears_each_recipe_and_little_else(recipes):
    texts, styles = recipes
    measured = attributes.measure(texts)
    across = np.corrcoef(styles.T, measured.T)[:7, 7:]
    assert np.diag(across).min() > 0.8
    assert np.abs(across - np.diag(np.diag(across))).max() < 0.12
    among = np.corrcoef(measured.T)
    assert np.abs(among - np.eye(7)).max() < 0.15
    assert np.abs(measured.mean(axis=0)).max() < 0.15
    assert measured.std(axis=0).min() > 0.7
    assert np.abs(measured).max() < 2.0


# Written for this test and not from the phrases of the world.
OPPOSITES = {
    "length": (
        "Boil it for ten minutes, drain it well, and leave it under a lid while the sauce cooks. "
        "Then stir in the butter and the cheese, taste it, and serve it with a green salad, bread "
        "and a bowl of olives, so that nobody has to wait until the roast has rested.",
        "Boil it for ten minutes and drain it well.",
    ),
    "formality": (
        "It is therefore necessary to obtain written permission prior to commencement.",
        "Yeah, you're gonna need a note first, okay.",
    ),
    "humor": (
        "My cat read it too and filed a complaint; I'm joking, the punchline is the goat.",
        "Such errors have grave consequences, and great caution is essential.",
    ),
    "elicitation": (
        "Soup needs salt. How many guests do you expect? What do they like to eat?",
        "Soup needs salt. That is all, and no further detail follows. End of story.",
    ),
    "politeness": (
        "Thanks for asking, and I'm sorry for the delay. Please feel free to write.",
        "What a stupid question. Google it yourself and stop wasting my time.",
    ),
    "enthusiasm": (
        "Wow, that is amazing! You will love this fantastic place!",
        "It is a rather dull and ordinary place, nothing special.",
    ),
    "confidence": (
        "It is definitely true, and I guarantee it without a doubt.",
        "Maybe it is true, but I am not sure; it might possibly depend.",
    ),
}


def test_judge_reads_texts_that_are_not_from_the_world():
    high = attributes.measure([OPPOSITES[name][0] for name in ATTRIBUTES])
    low = attributes.measure([OPPOSITES[name][1] for name in ATTRIBUTES])
    assert np.diag(high - low).min() > 0.8
    repeated = attributes.measure(["Thank you! " * 3, "Thank you! " * 300])
    assert np.isfinite(attributes.measure(["", "…"])).all()
    assert np.abs(repeated).max() < 2.0


def test_people_of_two_traits():
    weight, names = attributes.trait_users()
    assert weight.shape == (84, 7)
    assert len(set(names)) == 84 == len({tuple(row) for row in weight.tolist()})
    assert (np.abs(weight).sum(axis=1) == 2).all()
    np.testing.assert_array_equal(weight.sum(axis=0), 0)
    assert "polite+concise" in names or "concise+polite" in names
    gaussian, _ = attributes.gaussian_users(5000, np.random.default_rng(0))
    np.testing.assert_allclose((gaussian**2).sum(axis=1).mean(), 2.0, atol=0.1)


def test_answers_follow_their_probabilities():
    config = ChoiceConfig(sharpness=1.3, order_bias=0.4)
    gap = jnp.array([-2.0, -0.1, 0.0, 0.7])
    draws = jax.vmap(lambda key: attributes.choose(key, gap, config))(
        jax.random.split(jax.random.key(0), 20_000)
    )
    wanted = attributes.label_probabilities(gap, config)
    seen = jnp.stack([(draws == label).mean(axis=0) for label in (0.0, 0.5, 1.0)])
    np.testing.assert_allclose(seen, wanted, atol=0.015)
    np.testing.assert_allclose(wanted.sum(axis=0), 1.0, rtol=1e-6)
    np.testing.assert_allclose(
        wanted, attributes.label_probabilities(-gap, config)[::-1], rtol=1e-5
    )
    np.testing.assert_allclose(
        attributes.expected_label(gap, config), wanted.T @ jnp.array([0.0, 0.5, 1.0]), rtol=1e-5
    )


def test_world_is_calibrated_as_the_paper(world):
    rows = world.dataset.comparisons
    gap = world.utility_gap()
    is_test = world.test_prompt[world.dataset.prompt_index[rows.first]]
    features = world.attributes[rows.first] - world.attributes[rows.second]
    train = ~is_test & (rows.label != 0.5)
    population = LogisticRegression(fit_intercept=False).fit(features[train], rows.label[train])
    per_user = [
        symmetric_auc(gap[mine], rows.label[mine])
        for mine in (is_test & (rows.user == user) for user in range(84))
    ]
    assert 0.88 <= np.mean(per_user) <= 0.95
    assert 0.88 <= symmetric_auc(gap[is_test], rows.label[is_test]) <= 0.95
    score = features @ population.coef_[0]
    assert 0.5 <= symmetric_auc(score[is_test], rows.label[is_test]) <= 0.60
    assert 0.05 < (rows.label == 0.5).mean() < 0.3
    assert set(np.unique(rows.label)) == {0.0, 0.5, 1.0}
    assert abs(rows.label.mean() - 0.5) < 0.02


def test_world_is_a_function_of_its_seed():
    config = WorldConfig(num_prompts=8, responses_per_prompt=6, pairs_per_user=20, num_users=30)
    one, same = attributes.make_world(config, 5), attributes.make_world(config, 5)
    other = attributes.make_world(config, 6)
    assert one.dataset.responses == same.dataset.responses != other.dataset.responses
    for column, again in zip(one.dataset.comparisons, same.dataset.comparisons, strict=True):
        np.testing.assert_array_equal(column, again)
    rows, prompt_index = one.dataset.comparisons, one.dataset.prompt_index
    np.testing.assert_array_equal(prompt_index[rows.first], prompt_index[rows.second])
    np.testing.assert_array_equal(np.bincount(rows.user), 20)
    assert (rows.first != rows.second).all()
    assert len(set(zip(rows.user, rows.first, rows.second, strict=True))) == len(rows.user)
    with pytest.raises(ValueError, match="num_prompts"):
        attributes.make_world(WorldConfig(num_prompts=10_000))
    with pytest.raises(ValueError, match="common_taste"):
        WorldConfig(common_taste=(0.1,))
    with pytest.raises(ValueError, match="responses_per_prompt"):
        WorldConfig(responses_per_prompt=1)


def test_the_same_judge_on_answers_of_language_models():
    try:
        pool = attributes.load_pool()
    except FileNotFoundError as error:
        pytest.skip(f"needs alpaca_eval_pool: {error}")
    assert len(pool.prompts) == 805
    chosen = np.flatnonzero(pool.prompt_index < 120)
    pool = attributes.TextPool(
        prompts=pool.prompts[:120],
        responses=tuple(pool.responses[row] for row in chosen),
        prompt_index=pool.prompt_index[chosen],
        model=tuple(pool.model[row] for row in chosen),
    )
    world = attributes.make_pool_world(pool, replace(attributes.POOL_WORLD, pairs_per_user=100))
    assert world.attributes.std(axis=0).min() > 0.4
    place = {key: row for row, key in enumerate(zip(pool.prompt_index, pool.model, strict=True))}
    for model in ("gpt-3.5-turbo-1106", "gpt4_1106_preview"):
        words = [
            [
                world.attributes[place[prompt, f"{model}_{twin}"], 0]
                for twin in ("verbose", "concise")
            ]
            for prompt in range(120)
        ]
        verbose, concise = np.transpose(words)
        assert (verbose > concise).mean() > 0.9
    assert 0.85 < symmetric_auc(world.utility_gap(), world.dataset.comparisons.label) < 0.95


def test_a_missing_pool_says_where_to_get_it(tmp_path):
    with pytest.raises(FileNotFoundError, match="tatsu-lab/alpaca_eval"):
        attributes.load_pool(tmp_path)


def test_worlds_are_written_and_read_as_they_are(tmp_path):
    config = WorldConfig(num_prompts=4, responses_per_prompt=3, pairs_per_user=5, num_users=6)
    pool = attributes.TextPool(
        prompts=("Why?", "How?"),
        responses=("Because.", "Perhaps, I am not sure.", "Slowly!", "Please ask a friend."),
        prompt_index=np.array([0, 0, 1, 1], np.int32),
        model=("a", "b", "a", "b"),
    )
    few = replace(attributes.POOL_WORLD, pairs_per_user=2, num_users=3)
    for name, world in (
        ("written", attributes.make_world(config, 3)),
        ("pool", attributes.make_pool_world(pool, few, 1)),
    ):
        write_folder(world.dataset, tmp_path / name)
        back = read_folder(tmp_path / name)
        assert back.meta == world.dataset.meta
        assert back.responses == world.dataset.responses
        for column, expected in zip(back.comparisons, world.dataset.comparisons, strict=True):
            np.testing.assert_array_equal(column, expected)


def write_pool(folder, ids=(7, 9), rows=((7, "a", "one"), (7, "b", "two"), (9, "a", " "))):
    instructions = {"instruction_id": list(ids), "instruction": [f"ask {name}" for name in ids]}
    names = ("instruction_id", "model", "output")
    outputs = dict(zip(names, map(list, zip(*rows, strict=True)), strict=True))
    for name, columns in (("instructions", instructions), ("outputs", outputs)):
        pq.write_table(pa.table(columns), folder / f"{name}.parquet")
    return folder


def test_a_pool_is_read_by_its_ids_and_damage_is_named(tmp_path):
    pool = attributes.load_pool(write_pool(tmp_path))
    assert pool.responses == ("one", "two")
    np.testing.assert_array_equal(pool.prompt_index, [0, 0])
    for change, words in (
        ({"ids": (7, 7)}, "lists an instruction_id twice"),
        ({"rows": ((8, "a", "one"),)}, r"without a text: \[8\]"),
        ({"rows": ((7, "a", "one"), (7, "a", "two"))}, "two outputs of one model"),
        ({"rows": ((7, "a", " "),)}, "no output with a word"),
        ({"rows": ((7, "a", None),)}, r"outputs\.parquet: column output has no value in row 0"),
    ):
        with pytest.raises(ValueError, match=words):
            attributes.load_pool(write_pool(tmp_path, **change))
    (tmp_path / "outputs.parquet").write_bytes(b"PAR1")
    with pytest.raises(ValueError, match=r"outputs\.parquet cannot be read as Parquet"):
        attributes.load_pool(tmp_path)
