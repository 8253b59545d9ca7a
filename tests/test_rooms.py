"""Rooms: a module imports only from rooms of a lower level, or from its own room."""

import ast
from pathlib import Path

import prefjax

LEVELS = {
    0: {"types"},
    1: {"numerics", "settings", "parallel", "checkpoint", "runs"},
    2: {"data", "metrics", "lm"},
    3: {"encoders", "logistic", "variational"},
    4: {"factorization"},
    5: {"head"},
    6: {"adapt", "laplace"},
    7: {"elicit", "families"},
    8: {"align", "compare", "launch", "model", "train"},
    9: {"interpret", "plots", "study"},
}
LEVEL = {room: level for level, rooms in LEVELS.items() for room in rooms}
ROOT = Path(prefjax.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path.read_text()
    for path in sorted(ROOT.rglob("*.py"))
}


def imported(name, source):
    """Dotted names that a module imports from prefjax; ``from a import b`` counts as ``a.b``."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            targets = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = name.split(".")[: -node.level] if node.level else []
            prefix = ".".join([*base, *filter(None, [node.module])])
            targets = [f"{prefix}.{alias.name}" for alias in node.names]
        else:
            continue
        yield from (target.split(".") for target in targets if target.split(".")[0] == "prefjax")


def violations(modules):
    for name, source in modules.items():
        room = name.split(".")[1]
        if room == "__init__":
            continue
        if room not in LEVEL:
            yield f"{name} lies in no room"
            continue
        for _, *target in imported(name, source):
            other = target[0] if target else "the package itself"
            if other != room and LEVEL.get(other, 99) >= LEVEL[room]:
                yield f"{name} (level {LEVEL[room]}) imports {other}"


def test_every_import_goes_down():
    assert len(MODULES) > 5
    assert list(violations(MODULES)) == []


def test_the_rule_sees_every_form_of_import():
    wrong = {
        "prefjax.types": "from prefjax.head import fit",
        "prefjax.data.io": "from prefjax import metrics",
        "prefjax.head": "def f():\n    import prefjax.adapt",
        "prefjax.runs.folder": "from ..plots import scree",
        "prefjax.metrics": "import prefjax",
        "prefjax.drawer": "",
    }
    assert len(list(violations(wrong))) == len(wrong)
    right = {
        "prefjax.head": "from prefjax.logistic import fit\nimport prefjax.types as t",
        "prefjax.data.io": "from . import split\nfrom .group import pad\nimport numpy",
    }
    assert list(violations(right)) == []
