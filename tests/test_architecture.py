"""Packages: a module imports only from packages of a lower layer, or from its own package."""

import ast
from pathlib import Path

import prefjax

LAYERS = {
    0: {"types"},
    1: {"numerics", "settings", "parallel", "io"},
    2: {"data", "metrics", "lm", "variational"},
    3: {"encoders", "logistic"},
    4: {"basis"},
    5: {"person"},
    6: {"families", "align"},
    7: {"model"},
    8: {"train", "serve", "study", "interpret"},
    9: {"lab"},
    10: {"cli"},
}
LAYER = {package: layer for layer, packages in LAYERS.items() for package in packages}
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
        package = name.split(".")[1]
        if package == "__init__":
            continue
        if package not in LAYER:
            yield f"{name} lies in no package"
            continue
        for _, *target in imported(name, source):
            other = target[0] if target else "the package itself"
            if other != package and LAYER.get(other, 99) >= LAYER[package]:
                yield f"{name} (layer {LAYER[package]}) imports {other}"


def test_every_import_goes_down():
    assert len(MODULES) > 5
    assert list(violations(MODULES)) == []


def test_the_rule_sees_every_form_of_import():
    wrong = {
        "prefjax.types": "from prefjax.basis import fit",
        "prefjax.data.io": "from prefjax import metrics",
        "prefjax.basis": "def f():\n    import prefjax.person",
        "prefjax.io.lock": "from ..lab import plots",
        "prefjax.metrics": "import prefjax",
        "prefjax.drawer": "",
    }
    assert len(list(violations(wrong))) == len(wrong)
    right = {
        "prefjax.basis": "from prefjax.logistic import fit\nimport prefjax.types as t",
        "prefjax.data.io": "from . import split\nfrom .group import pad\nimport numpy",
    }
    assert list(violations(right)) == []
