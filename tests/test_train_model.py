"""What a run leaves behind: a model that predicts as the run did, and asks and ranks for others."""

import json
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from train_world import LAYOUT, NUM_RESPONSES, NUM_USERS, make_world

import prefjax
from prefjax import basis as bases
from prefjax.data import Dataset
from prefjax.data.io import write_folder
from prefjax.train import (
    MemorySource,
    ModelConfig,
    OptimizerConfig,
    StepConfig,
    TrainConfig,
    predict,
    to_basis,
    train,
)
from prefjax.train import __main__ as command
from prefjax.train.config import read_config
from prefjax.types import BASELINE, Comparisons

pytestmark = pytest.mark.filterwarnings("ignore:The (training|validation) loss was still falling")

CONFIG = TrainConfig(
    step=StepConfig(ModelConfig(num_factors=3, penalty=1.0), batch_size=256),
    optimizer=OptimizerConfig(learning_rate=0.05),
    num_epochs=30,
    backend="single",
    progress=False,
)
MODELS = {
    "linear": ModelConfig(num_factors=3, penalty=1.0),
    "mlp": ModelConfig(num_factors=3, penalty=1.0, hidden=(5,)),
    "map": ModelConfig(num_factors=3, penalty=1.0, objective="map"),
}


@pytest.mark.parametrize("name", MODELS)
def test_the_basis_predicts_for_training_users_what_the_run_predicts(name):
    model = MODELS[name]
    data, embeddings = make_world(1500)
    data = Comparisons(*(column[data.user != 5] for column in data))  # one user without any
    config = replace(CONFIG, step=replace(CONFIG.step, model=model), num_epochs=3)
    result = train(MemorySource(data, NUM_RESPONSES, LAYOUT), embeddings, config)
    expected = predict(result.state, LAYOUT, embeddings, *data[:3], config=model)
    fitted, people, info = to_basis(result, model)
    items = bases.apply(fitted.params, jnp.asarray(embeddings))
    second = (data.second != BASELINE)[:, None]
    gap = items.features[data.first] - jnp.where(second, items.features[data.second], 0)
    offset = items.utility[data.first] - jnp.where(second[:, 0], items.utility[data.second], 0)
    location = np.sum(gap * people.mean[data.user], axis=1) + offset
    spread = np.einsum("rj,rjk,rk->r", gap, people.covariance[data.user], gap)
    scale = float(fitted.posterior_scale)
    assert scale == (0.0 if name == "map" else 1.0)
    node, weight = np.polynomial.hermite_e.hermegauss(64)
    z = location[:, None] + np.sqrt(scale * spread)[:, None] * node
    probability = (1 / (1 + np.exp(-z))) @ weight / weight.sum()
    np.testing.assert_allclose(probability, expected, atol=2e-4)

    assert np.abs(people.mean[np.arange(NUM_USERS) != 5].mean(0)).max() < 1e-5
    np.testing.assert_array_equal(people.mean[5], 0)
    np.testing.assert_array_equal(people.covariance[5], fitted.population.covariance)
    assert np.linalg.eigvalsh(fitted.population.covariance).min() > 0
    assert (int(info.num_steps), bool(info.converged)) == (int(result.state.num_steps), False)
    empty = to_basis(result, model, dense=False)[1]
    assert (empty.mean.shape, empty.covariance.shape) == ((0, 3), (0, 3, 3))


def write_run(folder, data, embeddings, model, **settings):
    """A data set folder, embeddings and settings; the path of the settings."""
    data = Comparisons(*(column[data.first != data.second] for column in data))
    dataset = Dataset(
        name="choices",
        comparisons=data,
        responses=tuple(f"response {i}" for i in range(NUM_RESPONSES)),
        prompt_index=np.zeros(NUM_RESPONSES, int),
        prompts=("",),
        users=tuple(f"person {i}" for i in range(NUM_USERS)),
        meta={},
    )
    write_folder(dataset, folder / "choices")
    np.save(folder / "embeddings.npy", embeddings)
    config = {
        "data": "choices",
        "embeddings": "embeddings.npy",
        "folder": "fit",
        "num_partitions": 8,
        "train": {
            "step": {"model": model, "batch_size": 256},
            "optimizer": {"learning_rate": 0.05},
            "num_epochs": 30,
            "backend": "single",
            **settings,
        },
    }
    (folder / "run.json").write_text(json.dumps(config))
    return folder / "run.json"


@pytest.mark.parametrize("hidden", [[], [5]], ids=["linear", "mlp"])
def test_a_run_is_loaded_and_asks_and_ranks_for_a_new_person(tmp_path, hidden):
    data, embeddings = make_world(6000)
    model = {"num_factors": 3, "penalty": 1.0, "hidden": hidden}
    config = read_config(write_run(tmp_path, data, embeddings, model))
    result = command.run(config)
    assert "training loss 0." in command.describe(result)

    loaded = prefjax.load(tmp_path / "fit")
    assert loaded.users[:2] == ("person 0", "person 1")
    assert loaded.report["num_steps"] == int(result.state.num_steps)
    assert loaded.report["training_loss"] < 0.69

    # Answers of a person whose rewards are those of the world that made the data.
    rng = np.random.default_rng(0)
    theta = rng.normal(size=embeddings.shape)  # the draw of make_world before its θ
    theta = rng.normal(size=(embeddings.shape[1], 3)) / np.sqrt(embeddings.shape[1])
    reward = embeddings @ theta @ np.array([1.5, -1.0, 1.0])
    person = loaded.new_person()
    before = np.corrcoef(person.rank(embeddings).reward, reward)[0, 1]
    for _ in range(12):
        question = person.ask(embeddings)
        person.tell(float(reward[question.first] > reward[question.second]))
    ranking = person.rank(embeddings)
    after = np.corrcoef(ranking.reward, reward)[0, 1]
    assert after > max(0.7, before + 0.1)
    assert reward[ranking.order[:10]].mean() > reward[ranking.order[-10:]].mean()

    known = loaded.person("person 3").rank(embeddings)
    assert np.isfinite(known.win_probability).all()


def test_a_run_that_has_ended_writes_its_model_when_it_is_resumed(tmp_path):
    data, embeddings = make_world(900)
    path = write_run(tmp_path, data, embeddings, {"num_factors": 3}, num_epochs=2)
    command.run(read_config(path))
    first = (tmp_path / "fit" / "model.safetensors").read_bytes()
    basis = prefjax.load(tmp_path / "fit").basis
    (tmp_path / "fit" / "model.safetensors").unlink()
    command.run(read_config(path), resuming=True)
    again = prefjax.load(tmp_path / "fit").basis
    np.testing.assert_array_equal(again.params["out"]["kernel"], basis.params["out"]["kernel"])
    assert len(first) > 0


def test_more_people_than_a_model_holds_are_left_to_the_table(tmp_path, monkeypatch):
    data, embeddings = make_world(900)
    path = write_run(tmp_path, data, embeddings, {"num_factors": 3}, num_epochs=1)
    monkeypatch.setattr(command, "LARGEST_PEOPLE", 9 * NUM_USERS - 1)
    command.run(read_config(path))
    loaded = prefjax.load(tmp_path / "fit")
    assert loaded.users == ()
    loaded.new_person().ask(embeddings)
    with np.load(tmp_path / "fit" / "result.npz") as arrays:
        assert arrays["weight"].shape == arrays["variance"].shape == (NUM_USERS, 3)


@pytest.mark.parametrize("field", ["params", "users"])
def test_a_run_that_is_no_number_is_never_written(tmp_path, field):
    data, embeddings = make_world(900)
    path = write_run(tmp_path, data, embeddings, {"num_factors": 3}, num_epochs=1)
    config = read_config(path)
    source = command.read_source(config)
    result = train(source, embeddings, config.train)
    state = result.state
    if field == "params":
        kernel = state.params["out"]["kernel"].at[0, 0].set(jnp.nan)
        state = state._replace(params={"out": {**state.params["out"], "kernel": kernel}})
    else:
        users = state.users._replace(mean=state.users.mean.at[2, 3].set(jnp.inf))
        state = state._replace(users=users)
    with pytest.raises(FloatingPointError, match="not finite: no model is made"):
        command.write_model(config, source, result._replace(state=state))
    assert not (tmp_path / "fit").exists()
