"""Layouts of preference rows, one module for each tool: how it is known, read and written."""

import difflib
from collections.abc import Mapping
from types import MappingProxyType

from prefjax.data.layouts import (
    alpaca_eval,
    annotated_pairs,
    argilla,
    columns,
    label_studio,
    lists,
    potato,
    trl,
)
from prefjax.data.layouts._record import Builder, Judgment, Layout, Request
from prefjax.data.names import plain_name
from prefjax.data.sources import Source

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        layout.name: layout
        for layout in (
            columns.LAYOUT,
            lists.CHOICES,
            lists.RANKINGS,
            trl.EXPLICIT,
            trl.IMPLICIT,
            trl.UNPAIRED,
            alpaca_eval.ANNOTATIONS,
            alpaca_eval.OUTPUTS,
            argilla.LAYOUT,
            label_studio.EXPORT,
            label_studio.EXPORT_MIN,
            annotated_pairs.LAYOUT,
            potato.LAYOUT,
        )
    }
)
"""Every layout by its name, in the order in which they are tried."""

_SHOWN = 3


def find_layout(source: Source, name: str | None = None) -> Layout:
    """The layout of some rows.

    Args:
        source: The rows, with columns under the names that layouts know.
        name: The layout that the caller says it is; the first that fits if None.

    Returns:
        The layout.

    Raises:
        ValueError: If none fits, or the one named does not; the message shows the nearest layouts
            and the columns that they miss.
    """
    if name is not None:
        if name not in LAYOUTS:
            raise ValueError(f"There is no layout {name!r}; the names are {', '.join(LAYOUTS)}.")
        layout = LAYOUTS[name]
        if missing_columns(layout, source.names):
            raise ValueError(f"this is not in layout {_describe(layout, source.names)}.")
        return layout
    fitting = (
        layout
        for layout in LAYOUTS.values()
        if not missing_columns(layout, source.names) and layout.fits(source)
    )
    layout = next(fitting, None)
    if layout is None:
        raise ValueError(_no_layout(source.names))
    return layout


def missing_columns(layout: Layout, names: tuple[str, ...]) -> list[str]:
    """Columns of a layout that a table does not have.

    Args:
        layout: The layout.
        names: The columns of the table.

    Returns:
        The missing ones.
    """
    return [column for column in layout.columns if column not in names]


def _no_layout(names: tuple[str, ...]) -> str:
    def distance(layout: Layout) -> float:
        missing = missing_columns(layout, names)
        near = sum(_looks_like(column, names) is not None for column in missing)
        return (len(missing) - 0.5 * near) / len(layout.columns)

    nearest = sorted(LAYOUTS.values(), key=distance)[:_SHOWN]
    found = ", ".join(names) or "none"
    hint = ""
    if len(names) == 1 and any(mark in names[0] for mark in ";\t|"):
        hint = " The columns of a CSV file are separated by commas."
    shown = "".join(f"\n  {_describe(layout, names)}" for layout in nearest)
    return (
        f"no layout fits the columns {found}.{hint} The nearest layouts:{shown}\n"
        'Name columns that are called otherwise, such as columns={"prompt": "question"}.'
    )


def _describe(layout: Layout, names: tuple[str, ...]) -> str:
    missing = []
    for column in missing_columns(layout, names):
        near = _looks_like(column, names)
        missing.append(column if near is None else f"{column} ({near!r} looks like it)")
    people = ("user",) if layout.names_people else ()
    optional = f" and perhaps {', '.join(layout.optional)}" if layout.optional else ""
    return (
        f"{layout.name} ({layout.about}): {', '.join((*people, *layout.columns))}{optional}; "
        f"missing {', '.join(missing) or 'nothing, but the values are others'}"
    )


def _looks_like(column: str, names: tuple[str, ...]) -> str | None:
    plain = {plain_name(name): name for name in names if name not in (column,)}
    near = difflib.get_close_matches(plain_name(column), plain, 1, 0.8)
    return plain[near[0]] if near else None


__all__ = [
    "LAYOUTS",
    "Builder",
    "Judgment",
    "Layout",
    "Request",
    "find_layout",
    "missing_columns",
]
