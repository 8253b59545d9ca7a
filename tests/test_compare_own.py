"""Comparisons on preferences and with families of one's own."""

import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from experiments import compare as command
from prefjax.data import NewPromptsConfig, SharedItemsConfig, write
from prefjax.data.attributes import WorldConfig, make_world
from prefjax.families import get_family
from prefjax.lab import check_family, compare
from prefjax.lab.compare.sources import ITEM_INPUTS, TEXT_INPUTS
from prefjax.lab.evaluation import describe, evaluate


@pytest.fixture(scope="module")
def data():
    world = WorldConfig(num_prompts=12, responses_per_prompt=4, num_users=60, pairs_per_user=40)
    return replace(make_world(world, seed=0).dataset, name="mine")


@pytest.fixture
def own_family(tmp_path, monkeypatch):
    """A module beside the data with a family, and with something that is none."""
    (tmp_path / "own_family.py").write_text(
        "from prefjax.families import get_family\n"
        "FAMILY = get_family('bradley-terry')._replace(name='mine')\n"
        "SAME = FAMILY._replace(name='pref')\n"
        "NOTHING = 3\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_family", raising=False)
    return "own_family:FAMILY"


def test_the_protocol_fits_who_judged_what(data):
    shared = compare.own_set(data, "mine").protocol
    assert isinstance(shared, SharedItemsConfig)
    assert shared.group == "prompt"
    rows = [
        {
            "prompt": f"{user} {number}",
            "chosen": f"yes {user} {number}",
            "rejected": f"no {user} {number}",
            "user": f"w{user}",
        }
        for user in range(30)
        for number in range(6)
    ]
    assert isinstance(compare.own_set(rows, "mine").protocol, NewPromptsConfig)
    votes = [
        {"user": f"w{user}", "response_a": f"s{number}", "prompt": "", "label": (user + number) % 2}
        for user in range(40)
        for number in range(20)
    ]
    protocol = compare.own_set(votes, "mine").protocol
    assert isinstance(protocol, SharedItemsConfig)
    assert (protocol.group, protocol.by_label) == ("response", True)
    dataset, split = compare.own_set(votes, "mine").split(seed=1)
    assert len(split.new_users) == protocol.num_new_users
    assert dataset.num_users == 40


def test_responses_that_are_everybodys_own_are_known_by_their_text_alone(data):
    rows = [
        {
            "prompt": f"prompt {number}",
            "chosen": f"yes {user} {number} {'word ' * (user % 7)}",
            "rejected": f"no {user} {number} {'other ' * (number % 5)}",
            "user": f"w{user}",
        }
        for user in range(30)
        for number in range(12)
    ]
    own, shared = compare.own_set(rows, "mine"), compare.own_set(data, "theirs")
    assert isinstance(own.protocol, SharedItemsConfig)
    widths = [
        compare.make_own({one.name: one}, one.name, "hashed", 0).draw.embeddings.shape[1]
        for one in (own, shared)
    ]
    assert widths == [TEXT_INPUTS, 2 * ITEM_INPUTS + 1]


def test_what_says_too_little_is_refused(data):
    with pytest.raises(ValueError, match="people are too few"):
        compare.own_set([{"prompt": "a", "chosen": "b", "rejected": "c", "user": "w"}], "mine")
    few = data.select(np.flatnonzero(data.comparisons.user < 60)[::30])
    with pytest.raises(ValueError, match="people with a median of"):
        compare.own_set(few, "mine")
    canned = [
        {"prompt": f"{n}", "chosen": f"yes {n}", "rejected": "no", "user": f"w{n % 40}"}
        for n in range(400)
    ]
    with pytest.raises(ValueError, match=r"100% of the rows .*'no'.*leave such a text out"):
        compare.own_set(canned, "mine")
    with pytest.raises(ValueError, match="set of your own"):
        compare.own_set(replace(data, name="attributes"))


def test_a_family_of_ones_own_is_imported_and_checked(own_family):
    assert get_family(own_family).name == "mine"
    for name, message in (
        ("own_family:NOTHING", "is a int"),
        ("own_family:SAME", "called 'pref'"),
        ("own_family:ABSENT", "ABSENT"),
        ("absent_module:FAMILY", "absent_module"),
        ("nobody", "package.module:FAMILY"),
    ):
        with pytest.raises(ValueError, match=message):
            get_family(name)


@pytest.mark.slow
def test_a_comparison_on_own_data_with_an_own_family(data, own_family, tmp_path, capsys):
    assert check_family(get_family(own_family)) == {}
    write(data, tmp_path / "my.jsonl", "columns")
    argv = ["--data", str(tmp_path / "my.jsonl"), "--encoder", "hashed"]
    argv += ["--families", f"bradley-terry,{own_family}", "--seeds", "0", "1"]
    argv += ["--num-answers", "0", "5", "--folder", str(tmp_path / "run")]
    folder = command.main(argv)
    said = capsys.readouterr().out
    assert "my, hashed, seed 1, mine:" in said
    manifest = json.loads((folder / "manifest.json").read_text())
    assert {entry["method"] for entry in manifest} == {"bradley-terry", "mine", "length-only"}
    assert not any("error" in entry for entry in manifest)
    command.main(argv)
    assert "seed 1, mine:" not in capsys.readouterr().out, "finished cells are not computed again"


@pytest.mark.slow
def test_an_evaluation_of_own_data_finds_what_was_planted(data, tmp_path):
    found = evaluate(data, families=("pref",), seeds=(0, 1), folder=tmp_path, say=lambda _: None)
    assert found.verdict == "pays"
    assert found.first_told in (1, 3, 5, 10)
    assert max(abs(gain.value) for gain in found.controls.values()) < found.gains[-1].value / 2
    assert describe(found).startswith("Personalization pays on these preferences.")
    assert {"summary.md", "figure.png", "results.parquet"} <= {p.name for p in tmp_path.iterdir()}
