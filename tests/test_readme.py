"""The README and the pages: examples run, what is listed and linked exists."""

import importlib
import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_architecture import LAYERS, MODULES

from prefjax.data import to_rows
from prefjax.data.attributes import WorldConfig, make_world

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README} | {
    str(path.relative_to(ROOT / "docs")): path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "docs").rglob("*.md"))
    if "_build" not in path.parts
}


def test_the_example_learns_what_the_person_likes(capsys):
    _, example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    assert capsys.readouterr().out.strip()
    likes, ranking = names["likes"][120:], names["ranking"]
    unseen = np.corrcoef(likes, ranking.reward)[0, 1]
    population = np.corrcoef(
        likes, names["model"].new_person().rank(names["embeddings"][120:]).reward
    )
    assert unseen > 0.7
    assert unseen > population[0, 1] + 0.2
    assert names["person"].num_answers == 10


def test_a_new_user_gets_from_rows_to_a_ranking_in_eight_lines(tmp_path, monkeypatch, capsys):
    script, _ = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(script.strip().splitlines()) <= 8
    world = WorldConfig(num_prompts=10, responses_per_prompt=6, num_users=40, pairs_per_user=150)
    dataset = make_world(world, seed=0).dataset
    dataset = replace(dataset, users=tuple(f"w{number}" for number in range(dataset.num_users)))
    rows, _ = to_rows(dataset, "trl")
    rows = [{**row, "annotator": row.pop("user")} for row in rows]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(script, "README.md", "exec"), names)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    rewards = [float(line.split()[0]) for line in lines]
    assert rewards == sorted(rewards, reverse=True)


def test_the_packages_are_those_that_exist():
    listed = {
        (int(level), package)
        for level, package in re.findall(
            r"^\| (\d+) \| `(\w+)` ", PAGES["explanation/architecture.md"], re.M
        )
    }
    present = {name.split(".")[1] for name in MODULES} - {"__init__"}
    assert listed == {
        (n, package) for n, packages in LAYERS.items() for package in packages & present
    }
    assert {package for _, package in listed} == present


def test_modules_that_are_named_exist():
    for page in PAGES.values():
        for module in re.findall(r"python -m ((?:prefjax|experiments|benchmarks)[\w.]*)", page):
            path = ROOT.joinpath(*module.split("."))
            assert path.with_suffix(".py").is_file() or (path / "__main__.py").is_file(), module


def resolved(dotted):
    package, *names = dotted.split(".")
    value = importlib.import_module(package)
    for number, name in enumerate(names, start=1):
        is_module = not hasattr(value, name)
        path = ".".join([package, *names[:number]])
        value = importlib.import_module(path) if is_module else getattr(value, name)
    return value


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of libraries that are imported
def test_names_that_are_used_exist():
    for page in PAGES.values():
        for name in re.findall(r"\bprefjax(?:\.[A-Za-z]\w*)+(?=[(`])", page):
            resolved(name)
        for module, names in re.findall(r"from (prefjax[\w.]*) import ([\w, ]+)", page):
            for name in names.split(","):
                resolved(f"{module}.{name.split(' as ')[0].strip()}")


def test_data_sets_are_listed():
    from prefjax.data import DATASETS

    for name in DATASETS:
        assert f"| `{name}` |" in PAGES["howto/public_data.md"]


def test_files_that_are_linked_exist():
    for target in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / target).is_file(), target
