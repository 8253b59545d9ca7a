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
        ("data", 3, "run.json: data must be Path, found 3"),
        ("embeddings", None, "embeddings must be Path, found None"),
        ("validation", ["a"], "validation must be .*Path.*, found"),
        ("export", "yes", "export must be bool, found 'yes'"),
        ("train.num_devices", "two", "num_devices must be .*int.*, found 'two'"),
        ("train.num_devices", True, "num_devices must be .*int.*, found True"),
        ("train.seed", 1.5, "seed must be int, found 1.5"),
        ("train.seed", -1, "seed must not be negative"),
        ("train.eval_every", -1, "eval_every must not be negative"),
        ("train.step_timeout", -1, "timeouts must be positive"),
        ("train.backend", "tpu", "backend must be one of pmap"),
        ("train.optimizer", "adam", "optimizer: expected an object"),
        ("train.optimizer", {"learning_rate": -0.1}, "learning_rate -0.1"),
        ("train.optimizer", {"learning_rate": math.nan}, "learning_rate nan"),
        ("train.step.user_rate", math.inf, "user_rate inf must be finite"),
        ("train.step.model.num_factors", 0, "num_factors 0 .* must be at least 1"),
        ("train.step.model.hidden", 3, "hidden must be tuple.*, found 3"),
        ("train.step.model.hidden", ["a"], "hidden must be tuple.*, found"),
        ("train.step.model.hidden", [0], "must be at least 1"),
        ("train.step.model.penalty", -1.0, "model: penalty must be finite and not negative"),
        ("train.step.rate", 1, r"step: unknown fields \['rate'\]"),
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
def test_validation_judgments_of_other_people_or_responses_are_refused(
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
