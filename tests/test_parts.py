"""A corpus in parts: rows of any number of processes come out in their order, or not at all."""

import os

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from two_processes import in_two

from sublax.errors import UserError
from sublax.parallel.arrays import fetch_own, place
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh
from sublax.sampling.sampler import Samples
from sublax.stages.parts import join_parts, part_path, write_part

COUNT = 12


def samples(rows):
    """Rows that can be told apart, as a process has them."""
    rows = np.asarray(rows, np.int64)
    tokens = (10 * rows[:, None] + np.arange(3)).astype(np.int32)
    numbers = tokens.astype(np.float32)
    hidden = numbers[:, :, None] + np.arange(2, dtype=np.float32) / 4
    return Samples(tokens, tokens[:, 0], -numbers, -numbers / 2, hidden, rows)


def write(folder, *rows_of):
    """(paths of the parts, what their writers say) of processes with these rows."""
    paths = [part_path(folder, index, len(rows_of)) for index in range(len(rows_of))]
    said = [write_part(path, samples(r)) for path, r in zip(paths, rows_of, strict=True)]
    return paths, said


@pytest.fixture
def parts(tmp_path):
    return write(tmp_path, range(0, COUNT, 2), range(1, COUNT, 2))


@given(whose=st.lists(st.integers(0, 3), min_size=COUNT, max_size=COUNT))
def test_rows_come_out_in_their_order_whoever_drew_them(tmp_path_factory, whose):
    """Also where a process has none."""
    rows_of = [[row for row in range(COUNT) if whose[row] == process] for process in range(4)]
    joined = join_parts(*write(tmp_path_factory.mktemp("parts"), *rows_of), COUNT)
    assert joined.rows is None
    for name in ("tokens", "lengths", "logprobs", "allowed", "hidden"):
        wanted = getattr(samples(range(COUNT)), name)
        got = getattr(joined, name)
        np.testing.assert_array_equal(got, wanted)
        assert got.dtype == wanted.dtype


def cut(path):
    path.write_bytes(path.read_bytes()[:-5])


def flip(path):
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)


def leave_an_older_one(path):
    write_part(path, samples(range(3)))


@pytest.mark.parametrize(
    "damage, told",
    [
        (os.remove, "missing, where a process wrote 6 rows"),
        (cut, "not the 6 rows in"),
        (flip, "not the 6 rows in"),
        (leave_an_older_one, "not the 6 rows in"),
    ],
)
def test_a_part_that_is_not_what_its_writer_says_is_named(damage, told, parts):
    paths, said = parts
    damage(paths[1])
    with pytest.raises(UserError, match=told) as error:
        join_parts(paths, said, COUNT)
    assert str(error.value).startswith(f"{paths[1]}: ")
    assert "run the same command" in str(error.value)


@pytest.mark.parametrize(
    "second, told",
    [
        (range(1, 9, 2), "parts with 10 of 12 rows, row 9 is in none"),
        ([*range(1, COUNT, 2), 4], "parts with 13 of 12 rows, one is in two of them"),
    ],
)
def test_parts_that_do_not_hold_every_row_once_are_refused(second, told, tmp_path):
    with pytest.raises(UserError, match=told):
        join_parts(*write(tmp_path, range(0, COUNT, 2), second), COUNT)


@pytest.mark.parametrize("sizes", [{"data": 8}, {"data": 2, "fsdp": 2, "tensor": 2}])
def test_a_row_that_several_devices_hold_is_given_once(sizes):
    """Of one process, which holds all, each row once, wherever a program has left them."""
    layout = Layout(make_mesh(sizes))
    numbers = np.arange(24.0, dtype=np.float32).reshape(8, 3)
    for lie in (layout.sharding(), layout.rows(), layout.sharding(None)):
        rows, own = fetch_own({"numbers": place(numbers, lie)}, layout.rows())
        np.testing.assert_array_equal(rows, np.arange(8))
        np.testing.assert_array_equal(own["numbers"], numbers)


GATHER = """
import pathlib
import numpy as np
from sublax.errors import UserError
from sublax.parallel.arrays import fetch_own
from sublax.stages import parts
from sublax.store import Store
from test_parts import COUNT, samples

workdir, damage = pathlib.Path(sys.argv[3]), sys.argv[4]
folder, exchange = workdir / "parts", parts.exchange
def after_writing(said):
    if damage == "lost" and index == 1:
        parts.part_path(folder, 1, 2).unlink()
    return exchange(said)
parts.exchange = after_writing
try:
    joined = parts.gather(Store(workdir), folder, samples(range(index, COUNT, 2)), COUNT)
except UserError as error:
    sys.exit(str(error))
rows, own = fetch_own(np.arange(3), None)  # of rows that are not spread
assert len(rows) == len(own) == (3 if index == 0 else 0)
if joined is not None:
    np.testing.assert_array_equal(joined.hidden, samples(range(COUNT)).hidden)
print("all" if joined is not None else "none", folder.exists())
"""


@pytest.mark.slow
def test_of_two_processes_the_first_gets_all_rows_and_no_part_is_left(tmp_path):
    (status, first, errors), (_, second, _) = in_two(GATHER, str(tmp_path), "nothing")
    assert status == 0, errors
    assert (first, second) == (["all False"], ["none False"])


@pytest.mark.slow
def test_a_lost_part_ends_all_processes_with_one_line(tmp_path):
    for status, _, errors in in_two(GATHER, str(tmp_path), "lost"):
        assert status == 1
        assert errors.startswith(f"{tmp_path}/parts/part-1-of-2.safetensors: missing")
        assert errors.count("\n") == 1
