"""The reference: one page a public package, every public name once, written before a build.

A module is public if no part of its dotted path has an underscore and it has ``__all__``, or is one
of `ALSO`, whose public names are those it defines. A name that several modules export is documented
in the one with the shortest path, among these in the one that defines it; the others refer to it.
"""

import ast
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import prefjax

ALSO = (
    "prefjax.types",
    "prefjax.numerics",
    "prefjax.settings",
    "prefjax.variational",
    "prefjax.align.heads",
    "prefjax.align.robust",
    "prefjax.data.answers",
    "prefjax.data.audit",
    "prefjax.data.group",
    "prefjax.data.hub",
    "prefjax.data.io",
    "prefjax.data.published",
    "prefjax.data.votes",
    "prefjax.lab.evaluation",
    "prefjax.lab.simulation",
    "prefjax.lab.verdict",
    "prefjax.person.laplace",
)
"""Modules without ``__all__`` that people are told to import."""


class Entry(NamedTuple):
    """A public name.

    Attributes:
        module: The public module that it is in.
        name: Its name there.
        home: The public module that documents it.
        home_name: Its name there.
        kind: ``function``, ``class``, ``module`` or ``data``.
    """

    module: str
    name: str
    home: str
    home_name: str
    kind: str


@cache
def public_modules() -> dict[str, list[str]]:
    """Public modules and their public names, sorted."""
    found = {"prefjax": list(prefjax.__all__)}
    for info in pkgutil.walk_packages(prefjax.__path__, "prefjax."):
        if any(part.startswith("_") for part in info.name.split(".")):
            continue
        if info.name in ALSO or _says_all(info.name):
            module = importlib.import_module(info.name)
            found[info.name] = sorted(getattr(module, "__all__", None) or defined(module))
    return dict(sorted(found.items()))


@cache
def tree_of(module: str) -> ast.Module:
    """The source of a module, parsed."""
    path = importlib.util.find_spec(module).origin
    return ast.parse(Path(path).read_text(encoding="utf-8"))


def _says_all(name: str) -> bool:
    return any(
        isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        for node in tree_of(name).body
    )


def defined(module: ModuleType) -> Iterator[str]:
    """Public functions, classes and documented constants that a module defines itself."""
    for name, value in vars(module).items():
        ours = getattr(value, "__module__", None) == module.__name__
        callable_here = ours and (inspect.isclass(value) or inspect.isroutine(value))
        if not name.startswith("_") and (callable_here or name in constants(module.__name__)):
            yield name


@cache
def constants(module: str) -> dict[str, str]:
    """Docstrings of the constants that a module assigns, by name; empty where there is none."""
    body = tree_of(module).body
    found = {}
    for node, after in zip(body, [*body[1:], ast.Pass()], strict=True):
        if not isinstance(node, ast.Assign | ast.AnnAssign):
            continue
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        text = after.value if isinstance(after, ast.Expr) else None
        said = text.value if isinstance(text, ast.Constant) and isinstance(text.value, str) else ""
        found |= {t.id: inspect.cleandoc(said) for t in targets if isinstance(t, ast.Name)}
    return found


@cache
def imported_from(module: str, name: str) -> tuple[str, str]:
    """The module that assigns a name, and its name there, through any number of imports."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module.startswith("prefjax"):
                    return imported_from(node.module, alias.name)
    if module == "prefjax" and name in prefjax._EXPORTS:
        return imported_from(f"prefjax.{prefjax._EXPORTS[name]}", name)
    return module, name


def kind_of(value: Any) -> str:
    """What autodoc makes of a value."""
    if inspect.ismodule(value):
        return "module"
    if inspect.isclass(value) and hasattr(value, "__qualname__"):
        return "class" if value.__module__.startswith("prefjax") else "data"
    is_function = callable(value) and hasattr(value, "__name__") and hasattr(value, "__module__")
    return "function" if is_function and not inspect.isclass(value) else "data"


def entries() -> list[Entry]:
    """Every name of every public module, with the module that documents it."""
    modules = public_modules()
    found: dict[Any, list[tuple[str, str]]] = {}
    kinds = {}
    for module, names in modules.items():
        for name in names:
            value = getattr(importlib.import_module(module), name)
            kinds[module, name] = kind = kind_of(value)
            if kind == "module":
                key: Any = value.__name__
            elif kind == "data":
                key = imported_from(module, name)
            else:
                key = (value.__module__, getattr(value, "__qualname__", name))
            found.setdefault((kind == "module", key), []).append((module, name))
    result = []
    for (_, key), places in found.items():
        defining = key if isinstance(key, str) else key[0]

        def rank(place: tuple[str, str], defining: str = defining) -> tuple:
            module, name = place
            return module.count("."), not defining.startswith(module), module, name

        home, home_name = min(places, key=rank)
        result += [Entry(m, n, home, home_name, kinds[m, n]) for m, n in places]
    return sorted(result)


def page_of(module: str) -> str:
    """Name of the page a module is on: of its top-level package."""
    return ".".join(module.split(".")[:2])


def pages() -> dict[str, str]:
    """The pages of the reference as reStructuredText, by file name without a suffix."""
    written: dict[str, str] = {}
    listed = entries()
    for module in public_modules():
        page = page_of(module)
        line = "=" if module == page else "-"
        lines = ["" if module == page else "\n", module, line * len(module), ""]
        lines += [f".. py:module:: {module}", "", f".. package-docstring:: {module}", ""]
        own = [entry for entry in listed if entry.module == module]
        for entry in own:
            if (entry.home, entry.home_name) == (module, entry.name):
                lines += _documented(entry)
        elsewhere = [e for e in own if (e.home, e.home_name) != (module, e.name)]
        if elsewhere:
            lines += ["Also here:", ""]
            lines += [f"- `{e.name} <{e.home}.{e.home_name}>`" for e in elsewhere] + [""]
        written[page] = written.get(page, "") + "\n".join(lines)
    return written


def _documented(entry: Entry) -> list[str]:
    full = f"{entry.module}.{entry.name}"
    if entry.kind == "module":
        value = getattr(importlib.import_module(entry.module), entry.name)
        first = (inspect.getdoc(value) or "").split("\n")[0]
        is_public = value.__name__ in public_modules()
        names = "" if is_public else _module_entries(value)
        return [f".. py:data:: {full}", "   :type: module", "", f"   {first}", "", names]
    if entry.kind == "data":
        module, name = imported_from(entry.module, entry.name)
        text = constants(module).get(name) or _value_docstring(entry)
        body = [f"   {line}" for line in text.split("\n")]
        return [f".. py:data:: {full}", "", *body, ""]
    members = ["   :members:", "   :show-inheritance:"] if entry.kind == "class" else []
    return [f".. auto{entry.kind}:: {full}", *members, ""]


def _value_docstring(entry: Entry) -> str:
    value = getattr(importlib.import_module(entry.module), entry.name)
    text = f"``{value!r}``" if len(repr(value)) < 200 and "\n" not in repr(value) else ""
    return text or f"A {type(value).__name__}."


def _module_entries(module: ModuleType) -> str:
    lines = []
    for name in sorted(defined(module)):
        value = getattr(module, name)
        kind = kind_of(value)
        if kind in ("function", "class"):
            members = ["   :members:"] if kind == "class" else []
            lines += [f".. auto{kind}:: {module.__name__}.{name}", *members, ""]
    return "\n".join(lines)


def write(folder: Path) -> None:
    """Writes the pages into a folder; a page that is the same is left alone."""
    folder.mkdir(parents=True, exist_ok=True)
    written = pages()
    toctree = "\n".join(f"   {name}" for name in written)
    written["index"] = INDEX.format(toctree=toctree)
    for name, text in written.items():
        path = folder / f"{name}.rst"
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


INDEX = """Reference
=========

Every public name once, from the docstrings. Shapes are those of `jaxtyping
<https://docs.kidger.site/jaxtyping>`__: ``Float[Array, "user factor"]`` is an array of people by
factors. The axes are ``user item pair response factor feature batch candidate token vocab layer``
and ``head seed``. The page on the architecture says how the packages lie.

.. toctree::
   :maxdepth: 1

{toctree}
"""
