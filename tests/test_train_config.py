"""The settings of a run from files: read with their types, refused by field."""

import json
import math

import numpy as np
import pytest

from prefjax.data import Dataset
from prefjax.data.io import write_folder
from prefjax.train import ModelConfig
from prefjax.train.__main__ import read_embeddings, read_validation
from prefjax.train.config import read_config
from prefjax.types import Comparisons

GOOD = {
    "data": "choices",
    "embeddings": "embeddings.npy",
    "folder": "fit",
    "train": {"step": {"model": {"hidden": [8, 4], "penalty": 2}}, "num_devices": 1},
}


def read(tmp_path, content):
    path = tmp_path / "run.json"
    path.write_text(json.dumps(content))
    return read_config(path)


def test_settings_are_read_with_their_types_and_paths_beside_the_file(tmp_path):
    config = read(tmp_path, GOOD)
    assert (config.data, config.validation) == (tmp_path / "choices", None)
    assert config.train.step.model == ModelConfig(hidden=(8, 4), penalty=2.0)
    assert isinstance(config.train.step.model.penalty, float)
    assert read(tmp_path, GOOD | {"validation": "later"}).validation == tmp_path / "later"


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("data", 3, "run.json: data: input should be a valid string, found 3"),
        ("embeddings", None, "embeddings: input should be a valid string, found None"),
        ("validation", ["a"], "validation: input should be a valid string, found"),
        ("export", "yes", "export: input should be a valid boolean, found 'yes'"),
        ("num_partitions", 0, "num_partitions must be at least 1, got 0"),
        ("train.num_devices", "two", "train.num_devices: .* valid integer, found 'two'"),
        ("train.num_devices", True, "train.num_devices: .* valid integer, found True"),
        ("train.seed", 1.5, "train.seed: input should be a valid integer, found 1.5"),
        ("train.seed", -1, "train: seed must be finite and not negative, got -1"),
        ("train.eval_every", -1, "eval_every must be finite and not negative, got -1"),
        ("train.step_timeout", -1, "step_timeout must be finite and not negative, got -1"),
        ("train.step_timeout", 0, "step_timeout must be positive, got 0"),
        ("train.backend", "tpu", "train.backend: input should be 'pmap', .*, found 'tpu'"),
        ("train.optimizer", "adam", "train.optimizer: input should be an object, found 'adam'"),
        ("train.optimizer", {"name": "magic"}, "optimizer.name: .* 'adam'.*, found 'magic'"),
        ("train.optimizer", {"learning_rate": -0.1}, "learning_rate must .*, got -0.1"),
        (
            "train.optimizer",
            {"learning_rate": math.nan},
            "learning_rate must be finite .*, got nan",
        ),
        ("train.step.user_rate", math.inf, "user_rate must be finite and not negative, got inf"),
        ("train.step.model.num_factors", 0, "num_factors must be at least 1, got 0"),
        ("train.step.model.hidden", 3, "train.step.model.hidden: .* valid array, found 3"),
        ("train.step.model.hidden", ["a"], r"hidden.0: input should be a valid integer, found 'a'"),
        ("train.step.model.hidden", [0], "hidden must be at least 1"),
        ("train.step.model.penalty", -1.0, "model: penalty must be finite and not negative"),
        ("train.step.rate", 1, r"train.step.rate is an unknown field; the fields there are \['mo"),
    ],
)
def test_a_wrong_field_is_named(tmp_path, place, value, message):
    content = json.loads(json.dumps(GOOD))
    *inner, name = place.split(".")
    where = content
    for key in inner:
        where = where[key]
    where[name] = value
    with pytest.raises(ValueError, match=message):
        read(tmp_path, content)


def test_every_wrong_field_is_named_at_once(tmp_path):
    wrong = {"data": "choices", "embeddings": "e.npy", "train": {"epochs": 3, "seed": "0"}}
    with pytest.raises(ValueError, match="folder is missing") as error:
        read(tmp_path, wrong)
    assert "train.epochs is an unknown field" in str(error.value)
    assert "train.seed: input should be a valid integer, found '0'" in str(error.value)


def test_what_is_no_json_is_refused(tmp_path):
    for content in (b"", b"{", b"\xff\xfe"):
        (tmp_path / "run.json").write_bytes(content)
        with pytest.raises(ValueError, match=r"run.json cannot be read as JSON"):
            read_config(tmp_path / "run.json")


def write_choices(folder, users, responses):
    columns = (np.zeros(1, int), np.zeros(1, int), np.ones(1, int), np.ones(1), np.ones(1))
    write_folder(
        Dataset(
            name="choices",
            comparisons=Comparisons(*columns),
            responses=responses,
            prompt_index=np.zeros(len(responses), int),
            prompts=("",),
            users=users,
            meta={},
        ),
        folder,
    )


@pytest.mark.parametrize(
    ("users", "responses", "message"),
    [
        (("ada", "bo"), ("yes", "no", "maybe"), None),
        (("ada",), ("yes", "no"), None),
        (("bo", "ada"), ("yes", "no", "maybe"), "does not number its users as"),
        (("ada", "bo"), ("no", "yes", "maybe"), "does not number its responses as"),
    ],
)
def test_validation_comparisons_of_other_people_or_responses_are_refused(
    tmp_path, users, responses, message
):
    write_choices(tmp_path / "choices", ("ada", "bo"), ("yes", "no", "maybe"))
    write_choices(tmp_path / "later", users, responses)
    config = read(tmp_path, GOOD | {"validation": "later"})
    if message is None:
        assert len(read_validation(config).user) == 1
    else:
        with pytest.raises(ValueError, match=message):
            read_validation(config)


def test_a_file_that_holds_no_array_is_named(tmp_path):
    path = tmp_path / "embeddings.npy"
    np.save(path, np.zeros((9, 9)))
    whole = path.read_bytes()
    for content in (b"", b"hello", whole[:300]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"embeddings.npy cannot be read as .npy"):
            read_embeddings(path)
    np.savez(tmp_path / "embeddings.npz", np.zeros((9, 9)))
    with pytest.raises(ValueError, match="is an archive of arrays"):
        read_embeddings(tmp_path / "embeddings.npz")
