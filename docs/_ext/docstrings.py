"""Docstrings of the package as Sphinx reads them.

They are Google style with two habits of plain text that reStructuredText would misread: an indented
block after an empty line is code, and a module's table of names is set as it stands.
"""

import importlib
import inspect
import re
from collections.abc import Iterator
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.ext.napoleon import GoogleDocstring
from sphinx.util.docutils import SphinxDirective

SECTION = re.compile(
    r"^(Args|Arguments|Attributes|Returns|Raises|Yields|Warns|Examples?|References|Note|Notes):\s*$"
)
BULLET = re.compile(r"^([-*•]|\d+\.)\s")


def plain_math(lines: list[str]) -> Iterator[str]:
    """Takes the directive off equations in Unicode, which stay as they are.

    >>> list(plain_math([".. math:: m = λ̂·f"]))
    ['', '    m = λ̂·f']
    """
    for line in lines:
        if line.startswith(".. math::"):
            rest = line.removeprefix(".. math::").strip()
            yield from ("", f"    {rest}") if rest else ("",)
        else:
            yield line


def as_literal(lines: list[str]) -> list[str]:
    """Marks indented blocks of the text before the first section as code.

    >>> as_literal(["Says.", "", "    x = 1", "", "Args:", "    x: A number."])
    ['Says.', '', '::', '', '    x = 1', '', 'Args:', '    x: A number.']
    """
    result: list[str] = []
    in_block = in_sections = False
    after_bullet = False
    for line in plain_math(lines):
        if SECTION.match(line):
            in_sections = True
        if in_sections:
            result.append(line)
            continue
        indented = line.startswith((" ", "\t"))
        if line.strip() and not indented:
            in_block, after_bullet = False, bool(BULLET.match(line))
        elif line.strip() and indented and not in_block and not after_bullet:
            if not result or not result[-1].strip():
                result += ["::", ""]
                in_block = True
            elif result[-1].strip() and not result[-1].startswith(" "):
                result += ["", "::", ""]
                in_block = True
        result.append(line)
    return result


def process(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Runs before napoleon."""
    lines[:] = as_literal(lines)


BOTH = re.compile(r"(\w+)\[Array, ('[^']*')\] \| \1\[ndarray, \2\]")


def shorten(annotation: str) -> str:
    """Types as they are written: an array of either library is an ``Array``.

    >>> shorten("jaxtyping.Int[jaxlib._jax.Array, 'pair'] | jaxtyping.Int[ndarray, 'pair']")
    "Int[Array, 'pair']"
    """
    for long, short in (("jaxtyping.", ""), ("jaxlib._jax.", ""), ("numpy.", "")):
        annotation = annotation.replace(long, short)
    return BOTH.sub(r"\1[Array, \2]", annotation)


def process_signature(
    app: Sphinx, what: str, name: str, value: Any, options: Any, signature: str, returned: str
) -> tuple[str, str] | None:
    """Shortens the types of a signature."""
    return (signature and shorten(signature), returned and shorten(returned))


def escape(lines: list[str]) -> list[str]:
    r"""Keeps stars and bars of running text, and sets types with their shapes as code.

    >>> escape(["|x| of `a|b`", ":vartype x: Float[Array, '*user']"])
    ['\\|x\\| of `a|b`', ":vartype x: ``Float[Array, '*user']``"]
    """
    result, literal = [], False
    for line in lines:
        if line.strip() and not line.startswith(" "):
            literal = False
        typed = re.match(r"^(:(?:vartype|type) [^:]+:) (.*)$", line)
        if typed:
            line = f"{typed[1]} ``{shorten(typed[2])}``"
        elif not literal and not line.lstrip().startswith((">>>", "...", "..")):
            parts = re.split(r"(``.*?``|`[^`]*`|^:\w+ [^:]*:)", line)
            parts[::2] = [re.sub(r"(\*(?=\S)|\|)", r"\\\1", part) for part in parts[::2]]
            line = "".join(parts)
        literal = literal or line.rstrip().endswith("::")
        result.append(line)
    return result


def process_late(
    app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]
) -> None:
    """Runs after napoleon."""
    lines[:] = escape(lines)


def skip(app: Sphinx, what: str, name: str, value: Any, skipped: bool, options: Any) -> bool | None:
    """Leaves out fields of named tuples, which the class describes, and what others define."""
    text = getattr(value, "__doc__", None) or ""
    return True if text.startswith("Alias for field number") else None


class PackageDocstring(SphinxDirective):
    """The docstring of a module, without making it a target of its own."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Parses it in place."""
        module = importlib.import_module(self.arguments[0])
        lines = as_literal((inspect.getdoc(module) or "").split("\n"))
        lines = escape(GoogleDocstring(lines, self.config).lines())
        return self.parse_text_to_nodes(StringList(lines, source=module.__file__))


def setup(app: Sphinx) -> dict[str, bool]:
    """Connects the hooks and writes the reference."""
    from pathlib import Path

    import public_api

    app.setup_extension("sphinx.ext.autodoc")
    app.connect("autodoc-process-docstring", process, priority=100)
    app.connect("autodoc-process-docstring", process_late, priority=900)
    app.connect("autodoc-process-signature", process_signature)
    app.connect("autodoc-skip-member", skip)
    app.add_directive("package-docstring", PackageDocstring)
    app.connect(
        "builder-inited", lambda app: public_api.write(Path(app.srcdir) / "reference"), priority=1
    )
    return {"parallel_read_safe": True, "parallel_write_safe": True}
