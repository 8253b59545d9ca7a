"""A model on a hub of this machine: what is sent, what comes back, what is refused."""

import shutil

import huggingface_hub
import numpy as np
import pytest
from serve_world import PROMPTS, RESPONSES, make_model

import prefjax
from prefjax.model.card import model_card

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A folder that plays the hub, and what was asked of it."""
    asked = {}

    class Api:
        def create_repo(self, name, *, private, exist_ok):
            asked.update(name=name, private=private)

        def upload_folder(self, *, repo_id, folder_path, commit_message):
            shutil.copytree(folder_path, tmp_path / "hub")
            return type("Commit", (), {"oid": COMMIT})()

    def snapshot(name, *, repo_type, revision, allow_patterns):
        if (name, repo_type, revision) != (asked["name"], "model", COMMIT):
            raise ConnectionError("not there")
        return str(tmp_path / "hub")

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot)
    return asked


def test_a_model_comes_back_without_its_people(hub, tmp_path):
    model = make_model()
    assert model.push_to_hub("ann/tastes") == COMMIT
    assert hub["private"]
    loaded = prefjax.load(f"ann/tastes@{COMMIT}")
    assert loaded.users == ()
    mine, theirs = (one.new_person().rank(PROMPTS[0], RESPONSES) for one in (model, loaded))
    np.testing.assert_array_equal(mine.reward, theirs.reward)
    assert "# ann/tastes" in (tmp_path / "hub" / "README.md").read_text()
    with pytest.raises(OSError, match=r"Cannot get ann/tastes at revision abc.* pass the folder"):
        prefjax.load("ann/tastes@abc")


def test_people_go_along_where_that_is_said(hub):
    model = make_model()
    model.push_to_hub("ann/tastes", with_people=True, is_private=False, card="# Mine\n")
    assert not hub["private"]
    assert prefjax.load(f"ann/tastes@{COMMIT}").users == model.users


def test_names_that_are_none_of_the_hub_are_refused(hub):
    with pytest.raises(ValueError, match="'tastes' is no owner/name"):
        make_model().push_to_hub("tastes")


def test_the_card_says_what_was_found():
    model = make_model()
    report = {
        "num_rows": 900,
        "num_users": 40,
        "population_nll": 0.6,
        "held_out_nll": 0.5,
        "gain": 0.1,
        "gain_low": -0.01,
        "gain_high": 0.2,
    }
    told = model.__class__(model.basis, model.people, model.users, report, model.encoder)
    card = model_card(told, "Tastes", data="Votes.", data_license="CC BY 4.0", base_model="a/b")
    assert card.startswith("---\nlibrary_name: prefjax")
    for part in (
        "900 of 40 people",
        "0.1000 nats [-0.0100, 0.2000]",
        "CC BY 4.0",
        "base_model: a/b",
    ):
        assert part in card
    assert "nothing personal could be told" in card
    assert "not stated" in model_card(model, "Tastes")
