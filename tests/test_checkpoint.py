"""What is on disk is what was saved, or it is noticed."""

import gc
import json
import os
import resource
import shutil
import subprocess
import sys
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from prefjax.io import FolderLock, Store, check_manifest, checksums, differences, saved_identity
from prefjax.parallel import make_mesh, sharding

pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")

IDENTITY = {"model": {"num_factors": 3}, "data": "abc"}


def make_state(step):
    table = jax.random.normal(jax.random.key(step), (8, 50, 3))
    return {
        "users": {"mean": table, "on": table[0, :, 0] > 0},
        "head": (jnp.float32(step), jnp.arange(5, dtype=jnp.bfloat16)),
        "step": jnp.int32(step),
        "key": jax.random.key_data(jax.random.key(step)),
    }


def template(where=None):
    return jax.tree.map(
        lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=where or x.sharding),
        make_state(0),
    )


def assert_is(state, step):
    jax.tree.map(
        lambda a, b: np.testing.assert_array_equal(np.asarray(a), np.asarray(b)),
        state,
        make_state(step),
    )


def write(folder, steps=(10, 20), **settings):
    with Store(folder, IDENTITY, **settings) as store:
        for step in steps:
            store.save(step, make_state(step), {"epoch": step})
            store.check()


def files_of(folder):
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("steps") / "run"
    write(folder)
    return folder


@pytest.fixture
def copy(written, tmp_path):
    return shutil.copytree(written, tmp_path / "run")


def test_what_was_saved_comes_back_with_its_placement(copy):
    mesh = make_mesh(4)
    with Store(copy, IDENTITY) as store:
        assert store.steps() == [10, 20]
        saved = store.restore_latest_good(template())
        assert (saved.step, saved.about) == (20, {"epoch": 20})
        assert_is(saved.state, 20)
        sharded = template()
        sharded["users"]["mean"] = jax.ShapeDtypeStruct(
            (8, 50, 3), jnp.float32, sharding=sharding(mesh, "sharded")
        )
        state = store.restore(10, sharded).state
        assert len(state["users"]["mean"].sharding.device_set) == 4
        assert_is(state, 10)
    assert saved_identity(copy) == IDENTITY
    with Store(copy / "new", IDENTITY) as store:
        assert store.restore_latest_good(template()) is None


def restored_after(folder):
    """The step that is used after damage, and the warnings."""
    with warnings.catch_warnings(record=True) as caught, Store(folder, IDENTITY) as store:
        warnings.simplefilter("always")
        saved = store.restore_latest_good(template())
    assert_is(saved.state, saved.step)
    gc.collect()  # what Orbax leaves behind after a read that failed
    return saved.step, [str(w.message) for w in caught if w.category is RuntimeWarning]


def test_one_flipped_bit_in_any_file_is_noticed(written, tmp_path):
    rng = np.random.default_rng(0)
    files = files_of(written / "20")
    assert len(files) > 8
    for number, name in enumerate(files):
        folder = shutil.copytree(written, tmp_path / str(number))
        content = bytearray((folder / "20" / name).read_bytes())
        content[rng.integers(len(content))] ^= 1 << int(rng.integers(8))
        (folder / "20" / name).write_bytes(content)
        step, messages = restored_after(folder)
        assert step == 10, name
        assert len(messages) == 1
        assert "damaged" in messages[0]
        assert (folder / "quarantine" / "20" / name).is_file()


@pytest.mark.parametrize("how", ["missing", "truncated"])
def test_a_missing_or_truncated_file_is_noticed(copy, how):
    data = max((copy / "20").rglob("d/*"), key=lambda path: path.stat().st_size)
    if how == "missing":
        data.unlink()
    else:
        os.truncate(data, data.stat().st_size // 2)
    step, (message,) = restored_after(copy)
    assert step == 10
    assert data.name in message
    assert how in message or "differs" in message


def test_a_step_without_a_manifest_is_held_against_its_checksums(copy, tmp_path):
    """As after a kill between the end of a write and its manifest."""
    (copy / "20" / "manifest.json").unlink()
    pristine = shutil.copytree(copy, tmp_path / "pristine")
    assert restored_after(copy) == (20, [])
    assert (copy / "20" / "manifest.json").is_file()
    for number, name in enumerate(files_of(pristine / "20" / "state")):
        folder = shutil.copytree(pristine, tmp_path / str(number))
        path = folder / "20" / "state" / name
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 16
        path.write_bytes(content)
        # Either noticed, or without effect on any value: `restored_after` compares all of them.
        assert restored_after(folder)[0] in (10, 20)


def test_when_no_step_is_good_all_are_named(copy):
    for step in ("10", "20"):
        path = copy / step / "meta" / "metadata"
        path.write_text(path.read_text().replace('"epoch": ', '"epoch": 1'))
    with Store(copy, IDENTITY) as store, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with pytest.raises(ValueError, match=r"No step .* is good.*step 20.*step 10"):
            store.restore_latest_good(template())
    assert {path.name for path in (copy / "quarantine").iterdir()} == {"10", "20"}
    with Store(copy, IDENTITY) as store:
        with pytest.raises(ValueError, match=r"damaged steps only \(quarantine/10, quarantine/20"):
            store.restore_latest_good(template())  # a restart does not begin anew in silence
        store.save(15, make_state(15), {})  # not a silent no-op behind a damaged 20
    assert restored_after(copy) == (15, [])


def test_another_run_is_refused_field_by_field(copy):
    other = {"model": {"num_factors": 4}, "data": "xyz"}
    with Store(copy, other) as store, pytest.raises(ValueError, match="cannot be resumed") as error:
        store.restore_latest_good(template())
    assert "data: saved 'abc', now 'xyz'" in str(error.value)
    assert "model.num_factors: saved 3, now 4" in str(error.value)
    wrong = template()
    wrong["users"]["mean"] = jax.ShapeDtypeStruct((8, 50, 4), jnp.float16)
    with Store(copy, IDENTITY) as store, pytest.raises(ValueError, match="cannot be") as error:
        store.restore_latest_good(wrong)
    assert "users.mean.dtype: saved 'float32', now 'float16'" in str(error.value)
    assert "users.mean.shape" in str(error.value)
    assert sorted(path.name for path in copy.iterdir()) == ["10", "20", "lock"]
    assert differences({"a": 1}, {"b": 1}) == ["a: only saved, 1", "b: only now, 1"]


def test_a_state_that_is_not_finite_is_refused(copy):
    state = make_state(30)
    state["users"]["mean"] = state["users"]["mean"].at[3, 4, 1].set(jnp.nan)
    with Store(copy, IDENTITY) as store:
        with pytest.raises(ValueError, match="step 30 is not finite"):
            store.save(30, state, {})
        with pytest.raises(OSError, match="Step 15 was not saved"):
            store.save(15, make_state(15), {})  # Orbax does not write below its latest step
        assert store.steps() == [10, 20]


def test_the_newest_steps_and_the_best_are_kept(tmp_path):
    with Store(tmp_path, IDENTITY, keep=2) as store:
        for step in (1, 2, 3, 4, 5):
            store.best_step = 2 if step >= 2 else None
            store.save(step, make_state(step), {})
        store.finish()
        assert store.steps() == [2, 4, 5]
    assert not check_manifest(tmp_path / "5")


def test_a_folder_has_one_run_at_a_time(tmp_path):
    with FolderLock(tmp_path):
        with pytest.raises(RuntimeError, match=f"in use by another run.*{os.getpid()}"):
            Store(tmp_path, IDENTITY)
        held = json.loads((tmp_path / "lock").read_text())
        assert held["process"] == os.getpid()
    FolderLock(tmp_path).release()


def test_a_full_disk_leaves_the_earlier_steps_intact(tmp_path):
    write(tmp_path, steps=(1,))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    big = {**make_state(2), "more": jax.random.normal(jax.random.key(0), (1 << 20,))}
    store = Store(tmp_path, IDENTITY)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, hard))
        store.save(2, big, {})
        with pytest.raises(OSError, match=r"could not be written.*MiB are free.*\[1\] are intact"):
            store.finish()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        store.close()
    with Store(tmp_path, IDENTITY) as store:
        assert store.restore_latest_good(template()).step == 1
        store.save(2, make_state(2), {})
    assert restored_after(tmp_path) == (2, [])


def test_a_folder_that_cannot_be_written_is_refused_at_the_start(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="Cannot write checkpoints"):
        Store(tmp_path / "file" / "run", IDENTITY)


@pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("setpriv"), reason="needs root, setpriv")
@pytest.mark.slow
def test_a_read_only_folder_is_refused_at_the_start(tmp_path):
    tmp_path.chmod(0o555)
    code = f"from prefjax.io import Store; Store({str(tmp_path)!r}, {{}})"
    drop = ["setpriv", "--reuid=65534", "--clear-groups", "--bounding-set=-all"]
    done = subprocess.run(
        [*drop, sys.executable, "-c", code], capture_output=True, text=True, timeout=120
    )
    assert done.returncode
    assert "Cannot write checkpoints" in done.stderr or "Permission denied" in done.stderr


def test_checksums_see_every_bit_and_no_placement():
    rng = np.random.default_rng(0)
    table = rng.normal(size=(8, 6)).astype(np.float32)
    placed = jax.device_put(table, sharding(make_mesh(8), "sharded"))
    expected = checksums({"a": table})
    assert checksums({"a": placed}) == expected
    seen = {expected["a"]}
    for bit in range(0, 8 * table.nbytes, 7):
        raw = bytearray(table.tobytes())
        raw[bit // 8] ^= 1 << bit % 8
        seen.add(checksums({"a": np.frombuffer(raw, np.float32).reshape(8, 6)})["a"])
    assert len(seen) == 1 + len(range(0, 8 * table.nbytes, 7))
    assert checksums({"a": table[::-1]}) != expected


def test_folders_of_the_version_before_are_read(copy):
    """Their manifest was seal.json, their damaged steps were corrupt-N."""
    for step in ("10", "20"):
        (copy / step / "manifest.json").rename(copy / step / "seal.json")
    os.truncate(copy / "20" / "meta" / "metadata", 20)
    (copy / "20").rename(copy / "corrupt-20")
    assert restored_after(copy) == (10, [])
    with (copy / "10" / "meta" / "metadata").open("ab") as file:
        file.write(b" ")
    assert check_manifest(copy / "10") == ["meta/metadata differs"]
    (copy / "10").rename(copy / "corrupt-10")
    message = r"damaged steps only \(corrupt-10, corrupt-20"
    with Store(copy, IDENTITY) as store, pytest.raises(ValueError, match=message):
        store.restore_latest_good(template())
