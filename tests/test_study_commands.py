"""The command line of a study, and simulated people who take part while the server is killed."""

import dataclasses

import pytest
from study_world import CONFIG, write_study

from prefjax.data.attributes import WorldConfig
from prefjax.data.io import read_folder
from prefjax.io import FolderLock
from prefjax.study import Store, StudyEngine, read_config, read_materials
from prefjax.study.__main__ import main
from prefjax.study.config import LimitsConfig, write_config
from prefjax.study.example import ExampleConfig, make_example
from prefjax.study.simulate import SimulateConfig, simulate
from prefjax.study.web.serve import serve


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


@pytest.mark.slow
def test_the_example_is_complete(tmp_path):
    small = ExampleConfig(world=WorldConfig(pairs_per_user=80), num_inputs=32, num_factors=3)
    make_example(tmp_path / "example", config=small)
    materials = read_materials(tmp_path / "example")
    config = materials.config
    assert (config.phases.num_adaptive, config.arms.num_trials) == (15, 15)
    pool = materials.adaptive.pool.mask
    assert pool.shape[0] * pool.shape[1] * (pool.shape[1] - 1) / 2 >= 2000
    assert ExampleConfig().num_candidates == 16
    with pytest.raises(FileExistsError):
        make_example(tmp_path / "example", config=small)


@pytest.mark.multiprocess
def test_simulated_people_survive_kills(folder):
    out = folder.parent / "simulated"
    result = simulate(
        folder, out, config=SimulateConfig(num_people=6, num_at_once=3, num_kills=2, seed=1)
    )
    assert result.problems == []
    assert result.num_kills == 2
    assert result.num_answers == 6 * 15
    assert sum(result.faults.values()) > 10
    assert "simulated = true" in (out / "study.toml").read_text()
    log = (out / "server.log").read_text()
    assert "/s/" not in log  # no link of a participant
    assert "Traceback" not in log
    with pytest.raises(FileExistsError, match="folder of their own"):
        simulate(folder, out)
