"""The files of a folder of shards, opened only if they are as promised.

The layout is that of `prefjax.train.shards`; `prefjax.train.shard_writing` writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32

from prefjax.io import digest_file
from prefjax.io.typed import read_typed
from prefjax.settings import check_settings
from prefjax.train.layout import UserLayout

BLOCK_ROWS = 4096
MANIFEST = "shards.json"
COMPARED = "compared.npy"

SCHEMA = pa.schema(
    [
        ("user", pa.int32()),
        ("first", pa.int32()),
        ("second", pa.int32()),
        ("label", pa.float32()),
        ("weight", pa.float32()),
    ]
)

Format = Literal["arrow", "parquet"]


@dataclass(frozen=True)
class ShardFile:
    """What a manifest promises of one partition.

    Attributes:
        name: File with the comparisons.
        rows: Their number.
        sha256: Digest of the file.
        mass_sha256: Digest of the file with the weights of the users.
    """

    name: str
    rows: int
    sha256: str
    mass_sha256: str

    def __post_init__(self):
        if Path(self.name).name != self.name or self.rows < 0:
            raise ValueError(f"{self.name!r} with {self.rows} rows is no file of this folder")


@dataclass(frozen=True)
class Manifest:
    """What ``shards.json`` promises of a folder.

    Attributes:
        version: Version of the format; 1 lacks ``compared_sha256``.
        layout: Places of the users.
        num_responses: Number of responses.
        block_rows: Rows of a block.
        total_weight: Sum of all sample weights.
        files: One for each partition.
        compared_sha256: Digest of the file that tells which responses were compared.
    """

    version: Literal[1, 2]
    layout: UserLayout
    num_responses: int
    block_rows: int
    total_weight: float
    files: tuple[ShardFile, ...]
    compared_sha256: str | None = None

    def __post_init__(self):
        check_settings(self, "num_responses", "block_rows")
        if len(self.files) != self.layout.num_partitions:
            raise ValueError(
                f"{len(self.files)} files are listed for {self.layout.num_partitions} partitions"
            )


def open_blocks(path: Path, about: ShardFile, verify: bool) -> Any:
    """Gives a function from the number of a block to its table, for a file that is as promised."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; expected columns {_show(SCHEMA)}.")
    try:
        if path.suffix == ".parquet":
            file = pq.ParquetFile(path, memory_map=True)
            schema, rows, read = file.schema_arrow, file.metadata.num_rows, file.read_row_group
        else:
            file = pa.ipc.open_file(pa.memory_map(str(path)))
            schema, read = file.schema, file.get_batch
            rows = sum(file.get_batch(i).num_rows for i in range(file.num_record_batches))
    except (pa.ArrowException, OSError) as error:
        raise ValueError(
            f"{path} cannot be read ({error}); expected columns {_show(SCHEMA)}, found none."
        ) from error
    if not schema.equals(SCHEMA):
        raise ValueError(f"{path}: expected columns {_show(SCHEMA)}, found {_show(schema)}.")
    if rows != about.rows:
        raise ValueError(f"{path} has {rows} rows, but {MANIFEST} says {about.rows}.")
    if verify and digest_file(path) != about.sha256:
        raise ValueError(f"{path} is damaged: its digest is not that in {MANIFEST}.")
    return read


def mass_path(folder: Path, partition: int) -> Path:
    """Names the file with the sum of the sample weights of every user of a partition."""
    return folder / f"mass-{partition:05d}.npy"


def read_mass(folder: Path, files: Sequence[ShardFile]) -> Float32[np.ndarray, "part row"]:
    """Reads the sum of the sample weights of every user of all partitions.

    Raises:
        FileNotFoundError: A file is missing.
        ValueError: A file is damaged; the message names it.
    """
    paths = [mass_path(folder, p) for p in range(len(files))]
    return np.stack(
        [_load(path, file.mass_sha256) for path, file in zip(paths, files, strict=True)]
    )


def read_compared(folder: Path, manifest: Manifest) -> Bool[np.ndarray, " response"]:
    """Reads which responses stand in a comparison with weight.

    Raises:
        FileNotFoundError: The file is missing.
        ValueError: It is damaged; the message names it.
    """
    return _load(folder / COMPARED, manifest.compared_sha256)


def _load(path: Path, sha256: str | None) -> np.ndarray:
    """An array of a ``.npy`` file, if the digest is the one that was promised."""
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}, which {MANIFEST} promises.")
    if digest_file(path) != sha256:
        raise ValueError(f"{path} is damaged: its digest is not that in {MANIFEST}.")
    return np.load(path)


def read_manifest(path: Path) -> Manifest:
    """Reads ``shards.json``.

    Raises:
        FileNotFoundError: There is none.
        ValueError: It is not JSON, or a field is unknown, missing or of another type; the message
            names it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}: it is no folder of shards.")
    return read_typed(path, Manifest)


def _show(schema: pa.Schema) -> str:
    return ", ".join(f"{field.name} ({field.type})" for field in schema)
