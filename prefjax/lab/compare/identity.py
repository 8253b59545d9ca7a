"""What a cell was computed from, as digests: results of other data or other code are never reused.

The digest of a source covers its rows, who is new, and what the embeddings are made of: texts and
the fingerprint of the encoder, which name an embedding for good, or else the numbers themselves.
The digest of a family covers the syntax of its module and of everything that it is fitted and
measured by; comments and docstrings do not count.
"""

import ast
import inspect
from functools import lru_cache
from pathlib import Path

import jax
import numpy as np

from prefjax.families import Family
from prefjax.io import digest_arrays, digest_json
from prefjax.lab.compare.draws import Source

ROOT = Path(__file__).parents[2]
COUNTED = ("basis", "families", "lab.compare", "logistic", "metrics", "numerics", "person")
COUNTED += ("variational",)
"""Packages whose code decides a score; that of loaders and encoders acts through the data."""
ALWAYS = ("_measure", "cases", "draws", "questions", "represent", "scoring", "sources")


def source_digest(source: Source) -> str:
    """Digest of the data of a source.

    Args:
        source: One data set, encoder and seed.
    """
    draws = source.draw, source.inner
    parts: list = [(draw.split, draw.context.shape) for draw in draws]
    if not source.described:
        parts.append([(draw.embeddings, draw.context) for draw in draws])
    if source.people is not None:
        parts.append(source.people._replace(dataset=None, choice=None))
    arrays = digest_arrays(*map(np.asarray, jax.tree.leaves([parts, source.length, source.votes])))
    choice = repr(source.people and source.people.choice)
    return digest_json([arrays, choice, source.described])


def family_digest(family: Family) -> str:
    """Digest of the code that a family is fitted and measured by.

    Args:
        family: Which; one that is not of the package counts by the file of its ``fit``.
    """
    fit = inspect.unwrap(getattr(family.fit, "func", family.fit))
    name = getattr(fit, "__module__", "")
    if name.startswith("prefjax."):
        return _code_digest(name)
    file = inspect.getsourcefile(fit)
    return digest_json([_code_digest("prefjax.families.contract"), Path(file or name).read_text()])


@lru_cache
def _code_digest(module: str) -> str:
    """Digest of a module, of the comparison, and of what either imports among ``COUNTED``."""
    wanted = [module, *(f"prefjax.lab.compare.{name}" for name in ALWAYS)]
    found: dict[str, str] = {}
    while wanted:
        name = wanted.pop()
        if name not in found:
            tree = _tree(name)
            found[name] = ast.dump(tree)
            wanted += _imports(tree)
    return digest_json(found)


def _path(name: str) -> Path | None:
    """File of a module of the package, None where the name is none."""
    stem = ROOT.joinpath(*name.split(".")[1:])
    for path in (stem.with_suffix(".py"), stem / "__init__.py"):
        if path.is_file():
            return path
    return None


@lru_cache
def _tree(name: str) -> ast.Module:
    """Syntax of a module without docstrings."""
    path = _path(name)
    assert path is not None
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
            first = node.body[0] if node.body else None
            if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant):
                node.body = node.body[1:]
    return tree


def _imports(tree: ast.Module) -> list[str]:
    """Modules among ``COUNTED`` that a module imports; the list of all families is none."""
    names = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prefjax"):
            for alias in node.names:
                inner = f"{node.module}.{alias.name}"
                names.append(inner if _path(inner) else str(node.module))
    counted = tuple(f"prefjax.{name}" for name in COUNTED)
    return [name for name in names if name.startswith(counted) and name != "prefjax.families"]
