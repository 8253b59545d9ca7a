"""A manifest: the SHA-256 digest of every file of a folder, written into it when it is complete.

It guards what no checksum of an array shows: descriptions, names, files that are gone.
"""

import json
from pathlib import Path

from prefjax.io.atomic import write_json
from prefjax.io.digest import digest_file, digest_json

MANIFEST = "manifest.json"
_EARLIER = "seal.json"  # its name in folders of version 0.1
_NAMES = (MANIFEST, _EARLIER)


def write_manifest(folder: Path) -> None:
    """Writes the digest of every file of a folder into the folder.

    Args:
        folder: A folder whose other files are complete.
    """
    files = _digests(folder)
    write_json(folder / MANIFEST, {"files": files, "digest": digest_json(files)})


def has_manifest(folder: Path) -> bool:
    """Whether a manifest was written into a folder."""
    return any((folder / name).is_file() for name in _NAMES)


def check_manifest(folder: Path) -> list[str]:
    """What is wrong with a folder according to its manifest; nothing if it has none.

    Args:
        folder: The folder.

    Returns:
        A sentence for every file that is missing or differs.
    """
    path = next((folder / name for name in _NAMES if (folder / name).is_file()), None)
    if path is None:
        return []
    try:
        manifest = json.loads(path.read_bytes())
        expected = manifest["files"]
        intact = manifest["digest"] == digest_json(expected)
    except (ValueError, KeyError, TypeError) as error:
        return [f"{path.name} cannot be read ({error})"]
    if not intact:
        return [f"{path.name} differs from its own digest"]
    found = _digests(folder)
    return [
        f"{name} {'differs' if name in found else 'is missing'}"
        for name in sorted(expected)
        if found.get(name) != expected[name]
    ]


def _digests(folder: Path) -> dict[str, str]:
    files = {path for path in folder.rglob("*") if path.is_file()}
    others = sorted(files - {folder / name for name in _NAMES})
    return {path.relative_to(folder).as_posix(): digest_file(path) for path in others}
