"""The command line of a study, and simulated people who take part while the server is killed."""

import dataclasses
import os

import pytest
from study_world import CONFIG, write_study

from prefjax.data.io import read_folder
from prefjax.io import FolderLock
from prefjax.study import Store, StudyEngine, read_config, read_materials
from prefjax.study.__main__ import main
from prefjax.study.config import LimitsConfig
from prefjax.study.config_file import write_config
from prefjax.study.example import make_example
from prefjax.study.simulation import SimulateConfig, simulate
from prefjax.study.web import serve


@pytest.fixture
def folder(tmp_path):
    write_study(tmp_path / "study")
    return tmp_path / "study"


@pytest.fixture
def begun(folder):
    """Somebody has answered the practice trial and two questions."""
    engine = StudyEngine(read_materials(folder), folder / "data")
    number = engine.start({"PROLIFIC_PID": "raw"}).participant
    engine.consent(number, CONFIG.consent_version)
    engine.survey(number, {"length": "Short", "age": "Yes"})
    for choice in "ABN":
        engine.answer(number, engine.next(number).index, choice)
    engine.close()
    return folder


def test_status_export_withdraw_anonymize(begun, tmp_path, capsys):
    main(["status", str(begun)])
    assert "people: in the trials 1; 28 are wanted" in capsys.readouterr().out
    main(["export", str(begun), str(tmp_path / "out")])
    assert len(read_folder(tmp_path / "out" / "choices").comparisons.user) == 2
    with pytest.raises(SystemExit, match="nobody has finished"):
        main(["report", str(begun), str(tmp_path / "report")])
    with pytest.raises(SystemExit, match="pass --yes"):
        main(["anonymize", str(begun)])
    with FolderLock(begun / "data"), pytest.raises(SystemExit, match="in use by another run"):
        main(["anonymize", str(begun), "--yes"])
    main(["anonymize", str(begun), "--yes"])
    assert "of 1 people" in capsys.readouterr().out
    assert not any(b"raw" in p.read_bytes() for p in (begun / "data").glob("study*"))
    with pytest.raises(SystemExit, match="no participant 7"):
        main(["withdraw", str(begun), "7"])
    main(["withdraw", str(begun), "1"])
    store = Store(begun / "data" / "study.sqlite")
    assert store.all("SELECT * FROM answer") == []
    store.close()


def test_what_cannot_be_done_is_said(folder, tmp_path):
    with pytest.raises(SystemExit, match="nobody has begun"):
        main(["status", str(folder)])
    with pytest.raises(SystemExit, match="plain HTTP"):
        main(["serve", str(folder), "--host", "0.0.0.0"])
    with pytest.raises(SystemExit, match=r"study\.toml"):
        main(["serve", str(tmp_path / "nothing")])
    with pytest.raises(ValueError, match="Put a proxy with TLS"):
        serve(folder, host="192.168.1.2")


def test_settings_are_written_as_they_are_read(tmp_path):
    config = dataclasses.replace(
        CONFIG, title='"Quotes" \\ and\nlines ☃', limits=LimitsConfig(response_time=0.25)
    )
    write_config(tmp_path, config)
    assert read_config(tmp_path) == config


def test_an_example_replaces_nothing(folder):
    with pytest.raises(FileExistsError, match="exists"):
        make_example(folder)


@pytest.mark.multiprocess
def test_simulated_people_survive_kills(folder):
    out = folder.parent / "simulated"
    num_people = int(os.environ.get("PREFJAX_STUDY_PEOPLE", "6"))
    num_kills = int(os.environ.get("PREFJAX_STUDY_KILLS", "2"))
    config = SimulateConfig(num_people=num_people, num_at_once=5, num_kills=num_kills, seed=1)
    result = simulate(folder, out, config=config)
    assert result.problems == []
    assert result.num_kills == num_kills
    assert result.num_answers == num_people * 15
    assert sum(result.faults.values()) > 10
    assert "simulated = true" in (out / "study.toml").read_text()
    log = (out / "server.log").read_text()
    assert "/s/" not in log  # no link of a participant
    assert "Traceback" not in log
    with pytest.raises(FileExistsError, match="folder of their own"):
        simulate(folder, out)
