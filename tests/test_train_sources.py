"""Every comparison of an epoch comes once, at a place that only (epoch, t) decides."""

import json
import os

import jax
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from train_world import LAYOUT, NUM_PARTITIONS, NUM_RESPONSES, NUM_USERS, make_world

from prefjax.parallel import make_mesh
from prefjax.train import MemorySource, ShardSource, write_shards
from prefjax.train.batch import get_batch
from prefjax.types import Comparisons

NUM_SLOTS, NUM_STEPS, BLOCK_ROWS = 16, 4, 32


def batches(source, epoch, t=0, num_devices=1):
    """Batches of an epoch from step t on, every partition's rows side by side."""
    mesh = make_mesh(num_devices)
    step = jax.jit(get_batch, static_argnums=3)
    found = []
    for packed in source.batches(0, epoch, t, NUM_SLOTS, NUM_STEPS, mesh):
        for index in range(NUM_STEPS):
            batch = step(packed, np.int32(index), np.int32(t + len(found)), NUM_SLOTS)
            found.append(jax.tree.map(np.asarray, batch))
    return found[: source.num_steps(NUM_SLOTS) - t]


def comparisons(found):
    """The comparisons of batches as tuples, users by name."""
    partition, row = LAYOUT.locate(np.arange(NUM_USERS))
    user = np.full((NUM_PARTITIONS, LAYOUT.num_rows), -1)
    user[partition, row] = np.arange(NUM_USERS)
    out = []
    for batch in found:
        p, slot = np.nonzero(batch.sample_weight > 0)
        names = user[p, batch.row[p, slot]]
        out += zip(names.tolist(), *(column[p, slot].tolist() for column in batch[1:]), strict=True)
    return out


@pytest.fixture(scope="module")
def data():
    return make_world(1000)[0]


@pytest.fixture(scope="module")
def folder(data, tmp_path_factory):
    home = tmp_path_factory.mktemp("shards")
    chunks = [Comparisons(*(column[i : i + 300] for column in data)) for i in range(0, 1000, 300)]
    for format in ("arrow", "parquet"):
        write_shards(
            iter(chunks),
            home / format,
            layout=LAYOUT,
            num_responses=NUM_RESPONSES,
            format=format,
            block_rows=BLOCK_ROWS,
        )
    return home


def make(kind, data, folder):
    return (
        MemorySource(data, NUM_RESPONSES, LAYOUT)
        if kind == "memory"
        else ShardSource(folder / kind)
    )


@pytest.mark.parametrize("kind", ["memory", "arrow", "parquet"])
def test_an_epoch_is_a_permutation_that_any_position_finds_again(kind, data, folder):
    source = make(kind, data, folder)
    rows = list(zip(*(c.tolist() for c in data[:4]), strict=True))
    weights = data.sample_weight.astype(np.float32).tolist()
    if kind == "memory":  # equal rows are one with the sum of their weights
        total = dict.fromkeys(rows, 0.0)
        for row, weight in zip(rows, weights, strict=True):
            total[row] += weight
        assert len(total) < len(rows)
        rows, weights = list(total), np.float32(list(total.values())).tolist()
    expected = sorted((*row, weight) for row, weight in zip(rows, weights, strict=True))
    first, second = batches(source, 0), batches(source, 1)
    assert sorted(comparisons(first)) == sorted(comparisons(second)) == expected
    assert comparisons(first) != comparisons(second)
    again = batches(make(kind, data, folder), 0, t=3)
    for ours, whole in zip(again, first[3:], strict=True):
        jax.tree.map(np.testing.assert_array_equal, ours, whole)
    spread = batches(make(kind, data, folder), 0, num_devices=3)
    for ours, whole in zip(spread, first, strict=True):
        assert not ours.sample_weight[NUM_PARTITIONS:].any()
        jax.tree.map(lambda a, b: np.testing.assert_array_equal(a[:NUM_PARTITIONS], b), ours, whole)
    assert source.num_comparisons == len(expected)
    assert source.total_weight == pytest.approx(data.sample_weight.sum(), rel=1e-5)
    mass = source.mass()[LAYOUT.locate(np.arange(NUM_USERS))]
    np.testing.assert_allclose(
        mass, np.bincount(data.user, data.sample_weight, NUM_USERS), rtol=1e-5
    )
    assert str(16) in source.describe(0, 0, 1, NUM_SLOTS) or "rows" in source.describe(0, 0, 1, 16)


def test_both_formats_hold_the_same(folder):
    one, other = ShardSource(folder / "arrow"), ShardSource(folder / "parquet")
    for p in range(NUM_PARTITIONS):
        rows = (source.rows(p, 3, 1, np.arange(200)) for source in (one, other))
        jax.tree.map(np.testing.assert_array_equal, *rows)
    data, _ = make_world(1000, seed=1)
    assert MemorySource(data, NUM_RESPONSES, LAYOUT).fingerprint != one.fingerprint
    assert one.fingerprint != other.fingerprint


def read_all(folder):
    source = ShardSource(folder)
    for p in range(NUM_PARTITIONS):
        source.rows(p, 0, 0, np.arange(500))


def rewrite(path, table, **settings):
    pq.write_table(table, path, row_group_size=BLOCK_ROWS, **settings)


def damage_bit(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 8
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda path: path.unlink(), "There is no file"),
        (lambda path: os.truncate(path, path.stat().st_size // 2), "cannot be read"),
        (damage_bit, "is damaged|cannot be read"),
        (lambda path: rewrite(path, pq.read_table(path).slice(3)), r"rows, but shards.json says"),
        (
            lambda path: rewrite(path, pq.read_table(path).drop_columns("label")),
            r"expected columns user \(int32\).*found user \(int32\), first",
        ),
    ],
    ids=["missing", "truncated", "flipped", "short", "columns"],
)
def test_a_shard_that_is_not_as_promised_is_named(data, tmp_path, change, message):
    write_shards(
        [data],
        tmp_path / "new",
        layout=LAYOUT,
        num_responses=NUM_RESPONSES,
        format="parquet",
        block_rows=BLOCK_ROWS,
    )
    path = tmp_path / "new" / "part-00003.parquet"
    change(path)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        read_all(tmp_path / "new")
    assert "part-00003.parquet" in str(error.value)


def test_weights_of_users_that_are_not_as_promised_are_named(data, tmp_path):
    path = tmp_path / "shards"
    write_shards([data], path, layout=LAYOUT, num_responses=NUM_RESPONSES, block_rows=BLOCK_ROWS)
    memory = MemorySource(data, NUM_RESPONSES, LAYOUT)
    np.testing.assert_array_equal(ShardSource(path).mass(), memory.mass())
    file = path / "mass-00003.npy"
    damage_bit(file)
    with pytest.raises(ValueError, match=r"mass-00003.npy is damaged"):
        ShardSource(path).mass()
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"mass-00003.npy"):
        ShardSource(path).mass()


def test_rows_that_are_not_legal_are_named_by_file(data, folder, tmp_path):
    path = tmp_path / "shards"
    write_shards([data], path, layout=LAYOUT, num_responses=NUM_RESPONSES, block_rows=BLOCK_ROWS)
    file = path / "part-00002.arrow"
    table = pa.ipc.open_file(file).read_all()
    elsewhere = (int(table["user"][0].as_py()) + 1) % NUM_USERS
    for column, value, message in (
        ("label", 1.5, r"must lie in \[0, 1\]"),
        ("first", NUM_RESPONSES, "must lie in"),
        ("user", elsewhere, "users of other partitions"),
    ):
        values = table[column].to_numpy().copy()
        values[5] = value
        index = table.schema.get_field_index(column)
        changed = table.set_column(index, table.schema.field(index), pa.array(values))
        with pa.ipc.new_file(file, table.schema) as writer:
            writer.write_table(changed, max_chunksize=BLOCK_ROWS)
        source = ShardSource(path, verify=False)
        with pytest.raises(ValueError, match=rf"part-00002.arrow.*{message}"):
            source.rows(2, 0, 0, np.arange(500))
    with pytest.raises(FileExistsError):
        write_shards([data], path, layout=LAYOUT, num_responses=NUM_RESPONSES)
    with pytest.raises(ValueError, match="no comparisons"):
        write_shards([], tmp_path / "none", layout=LAYOUT, num_responses=NUM_RESPONSES)
    assert not (tmp_path / "none").exists()
    with pytest.raises(FileNotFoundError, match="no folder of shards"):
        ShardSource(tmp_path)
    about = json.loads((path / "shards.json").read_text())
    (path / "shards.json").write_text(json.dumps({**about, "version": 9}))
    with pytest.raises(ValueError, match=r"shards.json: version: input should be 1 or 2, found 9"):
        ShardSource(path)
    for field, value in (("files", 3), ("layout", {"segments": []}), ("block_rows", 0)):
        (path / "shards.json").write_text(json.dumps({**about, field: value}))
        with pytest.raises(ValueError, match=rf"shards.json: .*{field}"):
            ShardSource(path)
