"""What is shown of axes and people: figures, cards, the folder, and the command."""

import json
import re

import numpy as np
import pytest
from interpret_world import NUM_FACTORS, NUM_KNOWN, make_world

from prefjax import cli, interpret
from prefjax.data.io import write_folder
from prefjax.interpret import card, figures
from prefjax.interpret._explain import file_name
from prefjax.model import PreferenceModel

CONFIG = interpret.NamingConfig(num_pairs=120, num_directions=500, num_intruders=10)
EVIL = "<script>alert('x')</script> & \"quotes\" $x_1$ 漢 |"


@pytest.fixture(scope="module")
def world():
    return make_world()


@pytest.fixture(scope="module")
def naming(world):
    reader = interpret.PropertyReader(world.properties)
    return interpret.name_axes(world.axes, world.dataset, reader, split=world.split, config=CONFIG)


def answers_of(world, user, num):
    rows = world.split.calibration
    own = np.flatnonzero(rows.user == user)[:num]
    first, second = rows.first[own], rows.second[own]
    return world.axes.pair_gap(first, second), np.asarray(rows.label)[own]


def test_a_person_moves_from_the_population_with_every_answer(world):
    standing = interpret.follow_answers(world.axes, *answers_of(world, 0, 12))
    assert standing.mean.shape == (13, NUM_FACTORS)
    np.testing.assert_allclose(standing.mean[0], 0, atol=1e-6)
    np.testing.assert_allclose(standing.high[0] - standing.low[0], 2 * card.LIMIT, rtol=1e-3)
    width = standing.high - standing.low
    assert (width[-1] < width[0]).all()
    again = interpret.follow_answers(world.axes, *answers_of(world, 0, 5))
    np.testing.assert_allclose(again.mean, standing.mean[:6], atol=1e-4)


def test_every_text_on_a_card_is_escaped(world, naming):
    standing = interpret.follow_answers(world.axes, *answers_of(world, 1, 4))
    evil = naming._replace(
        axes=tuple(axis._replace(name=f"{EVIL} vs. {EVIL}") for axis in naming.axes)
    )
    page = interpret.card_html(EVIL, standing, evil, answers=[EVIL] * 4)
    assert "<script" not in page
    assert page.count("&lt;script&gt;") > 5
    assert not re.search(r"(?:src|href)=[\"'](?!data:)", page)
    assert page.count("<li>") == 4
    interpret.person_card(EVIL, standing, evil).savefig("/dev/null", format="png")


def test_a_card_says_which_way_somebody_leans(world, naming):
    mean = np.array([[0.0] * NUM_FACTORS, [-1.0, 0.5, 0.0]])
    standing = card.Standing(mean, mean - 0.2, mean + 0.2, np.array([0.16, 0.69, 0.5]))
    page = interpret.card_html("w1", standing, naming)
    more, less = naming.axes[0].name.split(" vs. ")
    assert f"<td>{less}</td><td>{more}</td>" in page
    assert "+1.00 [+0.80, +1.20]" in page
    assert "84 % of people" in page


def test_file_names_are_safe_and_different():
    names = [file_name(name) for name in ("w12", "../x", "--/x", "é", "", 3, "a b", "a_b")]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"person_[A-Za-z0-9_-]*", name) for name in names)


def test_texts_that_no_font_draws_become_boxes():
    assert figures.drawable("a\x00b\n漢") == "a b □"
    assert len(figures.plain("word " * 100, 50)) <= 50


def model_of(world):
    return PreferenceModel(world.basis, world.people, world.dataset.users[:NUM_KNOWN])


def test_the_folder_holds_what_the_report_says(world, tmp_path):
    axes, naming = interpret.explain(
        model_of(world),
        world.dataset,
        world.embeddings,
        tmp_path,
        split=world.split,
        persons=["w3"],
        properties=world.properties,
        config=CONFIG,
    )
    assert naming.num_named == NUM_FACTORS
    found = json.loads((tmp_path / "axes.json").read_text())
    assert [one["name"] for one in found["axes"]] == list(naming.names)
    report = (tmp_path / "report.md").read_text()
    assert f"3 of {axes.num_axes} axes have a name" in report
    names = {path.name for path in tmp_path.iterdir()}
    assert {"axis_bars.png", "label_matrix.png", "axis_01.png", "person_w3.html"} <= names
    with pytest.raises(KeyError, match="nobody"):
        interpret.explain(
            model_of(world), world.dataset, world.embeddings, tmp_path, persons=["nobody"]
        )
    with pytest.raises(ValueError, match="embeddings for"):
        interpret.explain(model_of(world), world.dataset, world.embeddings[:5], tmp_path)


def test_the_command_reads_a_model_and_data_and_names_what_is_wrong(
    world, tmp_path, capsys, monkeypatch
):
    given = {}

    def explained(model, dataset, embeddings, folder, **settings):
        given.update(settings, users=model.users, embeddings=embeddings, texts=dataset.responses)
        return None, interpret.Naming(*(None for _ in interpret.Naming._fields))._replace(axes=())

    monkeypatch.setattr(interpret, "explain", explained)
    model_of(world).save(tmp_path / "model")
    write_folder(world.dataset, tmp_path / "data")
    np.save(tmp_path / "embeddings.npy", world.embeddings)
    folders = [str(tmp_path / name) for name in ("model", "data", "report")]
    arguments = ["explain", *folders, "--embeddings", str(tmp_path / "embeddings.npy")]
    assert cli.main([*arguments, "--card", "w3", "--seed", "4"]) == 0
    assert capsys.readouterr().out == folders[2] + "\n"
    assert given["persons"] == ["w3"]
    assert given["config"].seed == 4
    assert given["texts"] == world.dataset.responses
    np.testing.assert_array_equal(given["embeddings"], world.embeddings)
    for wrong, message in (
        ([*arguments, "--card", "w99"], "the model has no person 'w99'"),
        (arguments[:4], "knows no encoder: name the file with --embeddings"),
        (["explain", folders[1], *arguments[2:]], "holds no model"),
    ):
        assert cli.main(wrong) == 1
        assert message in capsys.readouterr().err
