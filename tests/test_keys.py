"""Keys follow from names alone: in any process, in any order, on any machine."""

import jax
import jax.numpy as jnp
from hypothesis import given
from hypothesis import strategies as st

from sublax.keys import key_of, numpy_seed, row_keys


def test_a_key_is_the_seed_and_the_first_bytes_of_a_hash_of_the_names():
    r"""`printf 'teacher\0owl' | sha256sum` begins with 33 79 65 3e: read as little-endian."""
    owl, row = 0x3E657933, 0xE883E2C2  # the latter of 'row\0' and 3
    assert numpy_seed(7, "teacher", "owl") == [7, owl]
    assert numpy_seed(0, "row", 3) == [0, row]
    assert key_of(7, "teacher", "owl") == jax.random.fold_in(jax.random.key(7), owl)


@given(st.sets(st.lists(st.text("ab/", min_size=1)).map(tuple), min_size=2, max_size=6))
def test_other_names_have_other_keys(names):
    """Where one name ends and the next begins counts too."""
    assert len({tuple(numpy_seed(0, *each)) for each in names}) == len(names)


def test_the_seed_counts():
    assert key_of(0, "owl") != key_of(1, "owl")
    assert numpy_seed(0, "owl") != numpy_seed(1, "owl")


def test_a_rows_key_does_not_depend_on_who_asks():
    """Any range of rows, on any host: each key is folded from the row's own index."""
    key = key_of(0, "corpus", "owl")
    keys = row_keys(key, 6)
    wanted = jnp.stack([jax.random.fold_in(key, row) for row in range(6)])
    assert (keys == wanted).all()
    assert (row_keys(key, 4, start=2) == keys[2:]).all()
    assert len({tuple(data) for data in jax.random.key_data(keys).tolist()}) == 6
