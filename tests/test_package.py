"""The package as it is released: what it needs, what it holds, and that it works by itself."""

import os
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from test_readme import README

import prefjax

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LARGEST_WHEEL = 12e6
NOT_NEEDED = (
    "matplotlib",
    "transformers",
    "tokenizers",
    "huggingface_hub",
    "pydantic",
    "jinja2",
    "tyro",
    "chex",
    "orbax.checkpoint",
    "starlette",
    "uvicorn",
    "sqlalchemy",
    "openai",
)
"""What a fit on embeddings and on texts does without."""

SMALL_FIT = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if any(name == root or name.startswith(root + ".") for root in {NOT_NEEDED!r}):
            raise ModuleNotFoundError(f"{{name}} is not installed", name=name)

sys.meta_path.insert(0, Blocked())
import numpy as np
import prefjax

rng = np.random.default_rng(0)
embeddings = rng.normal(size=(60, 6)).astype(np.float32)
user = np.repeat(np.arange(30), 30)
first, second = rng.integers(30, size=(2, 900))
second = second + 30
taste = np.where(user % 2, 3.0, -3.0)
label = (taste * (embeddings[first, 0] - embeddings[second, 0]) > 0).astype(np.float32)
rows = prefjax.Comparisons(user, first, second, label, np.ones(900, np.float32))
model = prefjax.fit(rows, embeddings)
assert model.report["gain_low"] > 0
person = model.new_person()
person.ask(embeddings)
person.tell(1.0)
print(person.rank(embeddings).order[0])

texts = [" ".join(["good"] * (1 + i % 5) + ["bad"] * (i // 5)) for i in range(25)]
rows = [
    {{"user": f"w{{u}}", "prompt": f"p{{p}}", "response_a": texts[a], "response_b": texts[b],
      "label": float((a > b) == bool(u % 2))}}
    for u in range(8) for p in range(5)
    for a, b in [tuple(np.random.default_rng((u, p)).choice(25, 2, replace=False))]
]
import warnings
warnings.simplefilter("ignore")  # so few rows need not have anything personal
model = prefjax.fit(rows, encoder="hashed")
print(len(model.person("w1").rank("p0", texts[:3]).order))
"""


def environment():
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {"JAX_PLATFORMS": "cpu", "PYTHONSAFEPATH": "1"}


def test_the_version_is_said_once():
    assert PROJECT["version"] == prefjax.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    assert f"## [{prefjax.__version__}]" in changes
    assert f"version: {prefjax.__version__}" in (ROOT / "CITATION.cff").read_text(encoding="utf-8")


def test_every_extra_is_described():
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+)` \|", page, re.M)) == set(PROJECT["optional-dependencies"])


def test_the_start_page_of_the_site_has_ten_lines():
    page = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len([line for line in example.splitlines() if line.strip()]) == 10


@pytest.mark.slow
def test_a_fit_needs_few_packages(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SMALL_FIT],
        cwd=tmp_path,
        env=os.environ | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[1] == "3"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built without a network, by the setuptools of this environment."""
    pytest.importorskip("build")
    setuptools = pytest.importorskip("setuptools")
    if int(setuptools.__version__.split(".")[0]) < 77:
        pytest.skip("building needs setuptools 77 or newer")
    out = tmp_path_factory.mktemp("dist")
    command = ["-m", "build", "--no-isolation", "--outdir", str(out), str(ROOT)]
    done = subprocess.run([sys.executable, *command], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = out.glob("*.whl")
    return built


@pytest.mark.slow
def test_wheel_and_source_are_in_order(wheel):
    files = [str(path) for path in wheel.parent.iterdir()]
    assert len(files) == 2
    done = subprocess.run(
        [sys.executable, "-m", "twine", "check", "--strict", *files], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert wheel.stat().st_size <= LARGEST_WHEEL
    names = zipfile.ZipFile(wheel).namelist()
    assert "prefjax/py.typed" in names
    assert not [name for name in names if not name.startswith(("prefjax/", "prefjax-"))]


@pytest.mark.slow
def test_the_wheel_works_in_an_environment_of_its_own(wheel, tmp_path):
    """The wheel alone; its dependencies are those of this environment, behind it."""
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "v")], check=True)
    python = tmp_path / "v" / "bin" / "python"
    purelib = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    zipfile.ZipFile(wheel).extractall(purelib)
    here = Path(pytest.__file__).parent.parent
    (Path(purelib) / "behind.pth").write_text(f"{here}\n")
    (tmp_path / "empty").mkdir()
    _, example = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    example += "\nimport sys; print(prefjax.__file__)"
    done = subprocess.run(
        [python, "-c", example],
        cwd=tmp_path / "empty",
        env=environment(),
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith(purelib)
    assert len(done.stdout.splitlines()) >= 2
