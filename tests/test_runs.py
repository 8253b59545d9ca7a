"""Run folders: round trip, provenance, the command line, drawing again, and what can go wrong."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from prefjax.io.atomic import write_atomically
from prefjax.lab import interval_of, row, runs

EXPERIMENT = '''
"""A tiny experiment."""
import dataclasses
import numpy as np
from matplotlib.figure import Figure
from prefjax.io.atomic import write_atomically
from prefjax.lab import runs

@dataclasses.dataclass(frozen=True)
class Config:
    """Settings."""
    num_seeds: int = 2
    """Seeds."""

PRESETS = {"smoke": Config(), "paper": Config(num_seeds=10)}

def run(config):
    row = dict(method="pref", dataset="toy", num_answers=5, metric="auc_user", value=0.5)
    rows = [row | {"seed": seed} for seed in range(config.num_seeds)]
    return runs.Result(rows, {"spectrum": np.arange(3.0)}, summary="| a table |")

def plot(result):
    figure = Figure(figsize=(1, 1))
    figure.subplots().plot(result.table["seed"].to_numpy(), result.arrays["spectrum"][:2])
    return figure

if __name__ == "__main__":
    runs.main(PRESETS, run, plot)
'''


@pytest.fixture
def project(tmp_path):
    package = tmp_path / "toyexperiments"
    package.mkdir()
    (package / "__init__.py").touch()
    (package / "tiny.py").write_text(EXPERIMENT)
    return tmp_path


def python(project, *arguments, **environ):
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=project,
        env=os.environ | {"JAX_PLATFORMS": "cpu"} | environ,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.multiprocess
def test_command_line_writes_a_run_and_draws_it_again(project):
    done = python(project, "toyexperiments.tiny", "smoke", "--num-seeds", "2", PATH="")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[-2] == "| a table |"
    folder = project / lines[-1]
    assert folder.parent == project / "runs" / "tiny"
    assert folder.name.endswith("Z-smoke-nogit")
    assert {path.name for path in folder.iterdir()} == {
        "config.json",
        "env.json",
        "metrics.jsonl",
        "results.parquet",
        "arrays.npz",
        "summary.md",
        "figure.png",
    }
    config = json.loads((folder / "config.json").read_text())
    assert config["experiment"] == "toyexperiments.tiny"
    assert config["config"] == {"num_seeds": 2}
    environ = json.loads((folder / "env.json").read_text())
    assert environ["commit"] is None
    assert environ["dirty"] is None
    assert environ["device"]["backend"] == "cpu"
    finished = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    assert finished["event"] == "finished"
    assert finished["peak_memory_mib"] > 10

    (folder / "figure.png").unlink()
    again = python(project, "prefjax.lab.runs", "plot", lines[-1])
    assert again.returncode == 0, again.stderr
    assert (folder / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.multiprocess
def test_unwritable_place_is_said_before_anything_is_computed(project):
    (project / "taken").touch()
    done = python(project, "toyexperiments.tiny", "smoke", PREFJAX_RUNS="taken")
    assert done.returncode != 0
    assert "Cannot write the run folder in taken/tiny" in done.stderr
    assert "PREFJAX_RUNS" in done.stderr


def test_environment_reads_commit_and_dirty_flag(tmp_path):
    def git(*arguments):
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        subprocess.run(
            ["git", *identity, *arguments], cwd=tmp_path, check=True, capture_output=True
        )

    assert runs.environment(tmp_path)["commit"] is None
    git("init")
    (tmp_path / "file").write_text("one")
    git("add", "file")
    git("commit", "-m", "first")
    clean = runs.environment(tmp_path)
    assert len(clean["commit"]) == 40
    assert clean["dirty"] is False
    (tmp_path / "file").write_text("two")
    assert runs.environment(tmp_path)["dirty"] is True


def test_folders_of_one_second_do_not_collide(tmp_path, monkeypatch):
    monkeypatch.setenv("PREFJAX_RUNS", str(tmp_path))
    folders = {runs.create("toy", "smoke", commit="0123456789abcdef") for _ in range(3)}
    assert len(folders) == 3
    assert all("-smoke-0123456" in folder.name for folder in folders)


def test_result_comes_back_as_saved(tmp_path):
    row = {"method": "pref", "dataset": "toy", "metric": "nll"}
    rows = [
        row | {"value": np.float32(0.25), "seed": np.int32(3)},
        row | {"value": jnp.float32(0.5), "folds": 4},
    ]
    arrays = {"weight": jnp.arange(6.0).reshape(2, 3), "name": np.array(["a", "b"])}
    saved = runs.Result(rows, arrays, "text", metrics=[{"step": 1, "loss": np.float32(np.nan)}])
    runs.save(tmp_path, saved)
    back = runs.load(tmp_path)
    assert tuple(back.table.column_names) == (*runs.COLUMNS, "folds")
    assert back.table.equals(saved.table)
    assert back.table["value"].to_pylist() == [0.25, 0.5]
    assert back.table["seed"].to_pylist() == [3, None]
    np.testing.assert_array_equal(back.arrays["weight"], np.arange(6.0).reshape(2, 3))
    assert back.arrays["name"].tolist() == ["a", "b"]
    assert back.summary == "text"
    assert back.metrics == [{"step": 1, "loss": None}]


def test_bad_results_are_refused_in_words(tmp_path):
    with pytest.raises(ValueError, match="Result row 0 lacks dataset, value"):
        runs.tidy([{"method": "pref", "metric": "nll"}])
    objects = runs.Result([], {"bad": np.array([{}])})
    with pytest.raises(ValueError, match="Array 'bad' holds Python objects"):
        runs.save(tmp_path, objects)
    with pytest.raises(FileNotFoundError, match="not a finished run"):
        runs.load(tmp_path)


def test_failed_write_leaves_the_earlier_file(tmp_path):
    target = tmp_path / "file"
    target.write_text("earlier")

    def fail(path: Path):
        path.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(target, fail)
    assert target.read_text() == "earlier"


def test_configs_of_any_kind_become_json(tmp_path):
    @dataclasses.dataclass(frozen=True)
    class Config:
        path: Path = Path("data")
        rates: tuple[float, ...] = (0.1, float("inf"))
        count: np.ndarray = dataclasses.field(default_factory=lambda: np.arange(2))

    runs.write_json(tmp_path / "config.json", {"config": Config(), 3: None})
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "config": {"path": "data", "rates": [0.1, None], "count": [0, 1]},
        "3": None,
    }


def test_a_row_has_the_columns_of_results_and_its_interval_stays_in_range():
    interval = interval_of("auc_user", np.array([0.1, 0.95]))
    one = row("pref", "toy", "auc_user", interval, num_answers=5, num_users=2)
    assert set(runs.COLUMNS) < set(one)
    assert (one["low"], one["high"], one["value"]) == (0.0, 1.0, pytest.approx(0.525))
    assert one["seed"] is one["control"] is None
    assert interval_of("nll", np.array([0.01, 2.0])).low == 0
    assert interval_of("gap", np.array([-5.0, 5.0])).low < -5
    assert row("pref", "toy", "nll", np.float32(0.5))["low"] is None


@pytest.mark.multiprocess
def test_programs_are_kept_on_disk_unless_turned_off(tmp_path):
    code = (
        "import jax; from prefjax.parallel import use_compilation_cache as use\n"
        "folder = use(); jax.config.update('jax_persistent_cache_min_compile_time_secs', 0)\n"
        "jax.jit(lambda x: x @ x + 1)(jax.numpy.ones((8, 8))); print(folder)"
    )

    def folder_of(**environ):
        plain = {k: v for k, v in os.environ.items() if not k.startswith("JAX_COMPILATION")}
        plain |= {"XDG_CACHE_HOME": str(tmp_path), "JAX_PLATFORMS": "cpu"} | environ
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, env=plain, capture_output=True, text=True, check=True)
        return done.stdout.strip()

    assert folder_of(PREFJAX_COMPILATION_CACHE="off") == "None"
    assert not list(tmp_path.iterdir())
    default = folder_of()
    assert default == str(tmp_path / "prefjax" / "compiled")
    assert list(Path(default).iterdir())
    named = str(tmp_path / "named")
    assert folder_of(PREFJAX_COMPILATION_CACHE=named) == named
    assert list(Path(named).iterdir())
