"""Checkpoints: a damaged one is never gone on from, and all processes go on from the same one."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_processes import in_two

from sublax.errors import UserError
from sublax.parallel.arrays import place
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh
from sublax.training.checkpoints import _checksums, open_checkpoints, restore_latest, save


def state_after(step):
    """Numbers that do not compress, and so stand in files as they are, and the step."""
    numbers = np.random.default_rng(step).normal(size=(2, 50_000))
    return {"numbers": numbers.astype(np.float32), "step": np.full(2, step, np.int32)}


def abstract_on(layout):
    like = layout.sharding("data")
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=like), state_after(0)
    )


def save_two(directory, layout):
    """Checkpoints after updates 1 and 2."""
    with open_checkpoints(directory) as manager:
        for step in (1, 2):
            save(manager, step, place(state_after(step), layout.sharding("data")))


def flip(file):
    """Flips one bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def numbers_of(directory, process=0):
    """The file that holds the numbers that a process wrote."""
    files = directory.rglob(f"ocdbt.process_{process}/d/*")
    return max(files, key=lambda file: file.stat().st_size)


@pytest.fixture
def layout():
    return Layout(make_mesh({"data": 2}))


def test_one_flipped_bit_of_the_numbers_is_seen_and_the_checkpoint_before_taken(
    tmp_path, layout, capfd
):
    """Orbax restores such numbers without a word."""
    save_two(tmp_path, layout)
    flip(numbers_of(tmp_path / "2"))
    with open_checkpoints(tmp_path) as manager:
        state = restore_latest(manager, abstract_on(layout))
    jax.tree.map(np.testing.assert_array_equal, state, state_after(1))
    assert f"{tmp_path}/2: damaged (" in capfd.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


def test_where_all_are_damaged_nothing_is_removed_and_the_error_says_what_to_do(tmp_path, layout):
    save_two(tmp_path, layout)
    for step in "12":
        flip(numbers_of(tmp_path / step))
    with (
        pytest.raises(UserError, match=r"/2: not a checkpoint of this run .*; remove "),
        open_checkpoints(tmp_path) as manager,
    ):
        restore_latest(manager, abstract_on(layout))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


@pytest.mark.parametrize("mesh", [{"data": 1}, {"data": 2, "fsdp": 2}])
def test_a_checkpoint_is_whole_on_another_mesh(mesh, tmp_path, layout, capfd):
    save_two(tmp_path, layout)
    with open_checkpoints(tmp_path) as manager:
        state = restore_latest(manager, abstract_on(Layout(make_mesh(mesh))))
    jax.tree.map(np.testing.assert_array_equal, state, state_after(2))
    assert "damaged" not in capfd.readouterr().err


@given(
    kind=st.sampled_from(["float32", "bfloat16", "int32", "int8"]),
    element=st.integers(0, 23),
    bit=st.integers(0, 31),
)
def test_any_flipped_bit_changes_the_checksum_of_its_array_alone(kind, element, bit):
    rng = np.random.default_rng(0)
    intact = np.asarray(jnp.asarray(rng.normal(size=(2, 3, 4)) * 100, kind))
    other = rng.normal(size=5).astype(np.float32)
    damaged = intact.copy()
    unsigned = damaged.view(f"uint{8 * intact.dtype.itemsize}").reshape(-1)
    unsigned[element] ^= 1 << bit % (8 * intact.dtype.itemsize)
    differs = _checksums([intact, other]) != _checksums([damaged, other])
    assert differs.tolist() == [True, False]


RESUME = """
import pathlib
import numpy as np
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh
from sublax.training.checkpoints import open_checkpoints, restore_latest
from test_checkpoints import abstract_on, flip, numbers_of, save_two, state_after

directory, layout = pathlib.Path(sys.argv[3]), Layout(make_mesh({"data": 2}))
save_two(directory, layout)
if index == 0:
    file = numbers_of(directory / "2", process=1)
    flip(file) if sys.argv[4] == "flipped" else file.unlink()
hosts.wait_for_all("damaged")
with open_checkpoints(directory) as manager:
    state = restore_latest(manager, abstract_on(layout))
np.testing.assert_array_equal(
    state["numbers"].addressable_data(0), state_after(1)["numbers"][index : index + 1]
)
print(int(state["step"].addressable_data(0)[0]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["flipped", "gone"])
def test_what_only_one_process_reads_damaged_makes_all_take_the_one_before(damage, tmp_path):
    """And the first one tells of it, once."""
    results = in_two(RESUME, str(tmp_path), damage)
    for status, told, errors in results:
        assert status == 0, errors
        assert told == ["1"]
    assert f"{tmp_path}/2: damaged (" in results[0][2]
    assert "damaged" not in results[1][2]
