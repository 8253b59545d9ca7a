"""From the files of a source to what a loader reads, with checksums of both.

A stranger who prepares a set sees whether it is the one behind the published figures: the digest of
the loaded data set, not of the bytes of its files, which differ between versions of Parquet.
"""

import json
import os
import shutil
from pathlib import Path
from typing import NamedTuple

import numpy as np

from prefjax.data.dataset import Dataset
from prefjax.data.files import DATA_VARIABLE
from prefjax.data.sets import SETS, NamedSet
from prefjax.data.sets._rows import RECEIPT, SUFFIXES
from prefjax.io.atomic import atomic_folder
from prefjax.io.digest import digest_arrays, digest_file, digest_json


class Prepared(NamedTuple):
    """What was made.

    Attributes:
        folder: Where it lies.
        dataset: What its loader reads there.
        digest: Digest of that.
        is_published: Whether it is the data behind the published figures; None if that is not
            known.
    """

    folder: Path
    dataset: Dataset
    digest: str
    is_published: bool | None


def prepare(
    name: str, upstream: Path, folder: Path | None = None, *, overwrite: bool = False
) -> Prepared:
    """Make the files that a set's loader reads, all of them or none.

    Args:
        name: Name of the set.
        upstream: Folder with the files of the source, as they were downloaded.
        folder: Where to write; ``PREFJAX_DATA/name`` if None.
        overwrite: Whether a folder that was made here before may be replaced.

    Returns:
        The folder, and the data set in it; ``prepared.json`` there has the SHA-256 of all files
        that were read and written.

    Raises:
        KeyError: If there is no such set.
        FileNotFoundError: If a file is not there, or neither ``folder`` nor the variable is set.
        FileExistsError: If the folder is there.
        ValueError: If a file is of another schema.
    """
    if name not in SETS:
        raise KeyError(f"There is no data set {name!r}; the names are {', '.join(SETS)}.")
    record, upstream = SETS[name], Path(upstream)
    if not upstream.is_dir():
        raise FileNotFoundError(f"There is no folder {upstream} with {_files(record)}.")
    if folder is None:
        if DATA_VARIABLE not in os.environ:
            raise FileNotFoundError(f"Set {DATA_VARIABLE}, or say where to write.")
        folder = Path(os.environ[DATA_VARIABLE]) / name
    with atomic_folder(folder, overwrite=overwrite, is_ours=_is_ours) as target:
        if record.prepare is None:
            _copy(record, upstream, target)
        else:
            record.prepare(upstream, target)
        dataset = record.load(target)
        digest = digest_dataset(dataset)
        about = {
            "name": name,
            "source": record.source,
            "license": record.license,
            "digest": digest,
            "read": _digests(upstream),
            "written": _digests(target),
        }
        (target / RECEIPT).write_text(json.dumps(about, indent=1, ensure_ascii=False))
    known = digest == record.digest if record.digest else None
    return Prepared(folder, dataset, digest, known)


def digest_dataset(dataset: Dataset) -> str:
    """SHA-256 of everything a data set says: rows, texts and names.

    Args:
        dataset: The data set.

    Returns:
        64 hexadecimal digits.
    """
    rows = digest_arrays(*map(np.asarray, dataset.comparisons), dataset.prompt_index)
    return digest_json([rows, dataset.responses, dataset.prompts, dataset.users])


def _files(record: NamedSet) -> str:
    return record.upstream or "the files of the source"


def _copy(record: NamedSet, upstream: Path, target: Path) -> None:
    files = [path for path in sorted(upstream.glob("**/*")) if path.suffix in SUFFIXES]
    if not files:
        raise FileNotFoundError(
            f"{upstream} has no {', '.join(SUFFIXES)} file (from {record.source})."
        )
    for path in files:
        copy = target / path.relative_to(upstream)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)


def _digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): digest_file(path)
        for path in sorted(folder.glob("**/*"))
        if path.is_file()
    }


def _is_ours(folder: Path) -> bool:
    return (folder / RECEIPT).is_file()
