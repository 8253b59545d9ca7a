"""Named data sets of real people, one module each: how it is read, how it is split, what 1 means.

A module with a record ``SET`` of type `NamedSet` in this folder is a named set, or with ``SETS``
several of one schema; nothing else has to be told of it.
"""

from collections.abc import Mapping
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from prefjax.data.sets._record import NamedSet, Protocol


def _find_sets() -> dict[str, NamedSet]:
    names = (module.name for module in iter_modules(__path__) if module.name[0] != "_")
    records: list[NamedSet] = []
    for module in (import_module(f"{__name__}.{name}") for name in names):
        records += getattr(module, "SETS", None) or (module.SET,)
    return {record.name: record for record in sorted(records, key=lambda record: record.name)}


SETS: Mapping[str, NamedSet] = MappingProxyType(_find_sets())
"""The record of every named set, by the name it has in results."""

__all__ = ["SETS", "NamedSet", "Protocol"]
