"""The files of a folder of shards: written all or none, opened only if they are as promised.

The layout is that of `prefjax.train.shards`.
"""

import json
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jaxtyping import Bool, Float32

from prefjax.data.validate import validate_comparisons
from prefjax.io import atomic_folder, digest_file
from prefjax.io.typed import read_typed
from prefjax.settings import check_settings
from prefjax.train.layout import UserLayout
from prefjax.train.memory import find_compared
from prefjax.types import Comparisons

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


def write_shards(
    chunks: Iterable[Comparisons],
    folder: Path,
    *,
    layout: UserLayout,
    num_responses: int,
    format: Format = "arrow",
    block_rows: int = BLOCK_ROWS,
) -> None:
    """Partitions comparisons by user and writes them, all files or none.

    Args:
        chunks: The comparisons, in pieces that fit in memory; each is checked.
        folder: The folder to make.
        layout: Places of the users.
        num_responses: Number of responses.
        format: Arrow is mapped into memory, Parquet is smaller.
        block_rows: Rows of a block.

    Raises:
        FileExistsError: The folder is there.
        ValueError: A comparison is not legal, or there are none.
    """
    num_partitions = layout.num_partitions
    mass = np.zeros((num_partitions, layout.num_rows))
    counts = np.zeros(num_partitions, np.int64)
    compared = np.zeros(num_responses, bool)
    names = [f"part-{p:05d}.{format}" for p in range(num_partitions)]
    waiting: list[list[pa.Table]] = [[] for _ in names]
    with atomic_folder(folder) as target:
        with ExitStack() as stack:
            writers = [stack.enter_context(_writer(target / name, format)) for name in names]

            def write(p: int, *, last: bool) -> None:
                table = pa.concat_tables(waiting[p]) if waiting[p] else SCHEMA.empty_table()
                whole = len(table) if last else len(table) - len(table) % block_rows
                _write_blocks(writers[p], table.slice(0, whole), block_rows)
                waiting[p] = [table.slice(whole).combine_chunks()]

            for chunk in chunks:
                rows = validate_comparisons(chunk, layout.num_users, num_responses)
                partition, row = layout.locate(np.asarray(rows.user))
                np.add.at(mass, (partition, row), rows.sample_weight)
                counts += np.bincount(partition, minlength=num_partitions)
                compared |= find_compared(rows, num_responses)
                order = np.argsort(partition.astype(np.uint16), kind="stable")
                starts = np.searchsorted(partition[order], np.arange(num_partitions + 1))
                for p in range(num_partitions):
                    mine = order[starts[p] : starts[p + 1]]
                    columns = [column[mine] for column in rows]  # in the order of the schema
                    waiting[p].append(pa.table(columns, schema=SCHEMA))
                    write(p, last=False)
            if not counts.sum():
                raise ValueError("There are no comparisons: at least one row is needed.")
            for p in range(num_partitions):
                write(p, last=True)
        files = []
        for p, name in enumerate(names):
            np.save(mass_path(target, p), mass[p].astype(np.float32))
            digests = digest_file(target / name), digest_file(mass_path(target, p))
            files.append(ShardFile(name, int(counts[p]), *digests))
        np.save(target / COMPARED, compared)
        manifest = Manifest(
            version=2,
            layout=layout,
            num_responses=num_responses,
            block_rows=block_rows,
            total_weight=float(mass.sum()),
            files=tuple(files),
            compared_sha256=digest_file(target / COMPARED),
        )
        (target / MANIFEST).write_text(json.dumps(asdict(manifest), indent=1))


def _writer(path: Path, format: Format) -> Any:
    if format == "parquet":
        return pq.ParquetWriter(path, SCHEMA)
    return pa.ipc.new_file(path, SCHEMA)


def _write_blocks(writer: Any, table: pa.Table, block_rows: int) -> None:
    table = table.combine_chunks()
    for start in range(0, len(table), block_rows):
        block = table.slice(start, block_rows)
        if isinstance(writer, pq.ParquetWriter):
            writer.write_table(block, row_group_size=block_rows)
        else:
            writer.write_table(block, max_chunksize=block_rows)


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
