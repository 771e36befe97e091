"""Parts of an audit: what is kept comes back, arrays too, and nothing that is no number is kept."""

import io

import numpy as np
import pytest

from sublax.audit.parts import Parts
from sublax.progress import Progress


def parts(folder):
    return Parts(folder, {"seed": 0}, Progress({"teacher": 1.0}, stream=io.StringIO()))


def test_arrays_come_back_as_they_were_and_are_made_once(tmp_path):
    made = {"rows": [1, 2], "ratios": np.arange(6.0).reshape(3, 2), "moved": np.ones(2, np.float32)}
    parts(tmp_path).keep("teacher", lambda: made)
    found = parts(tmp_path).keep("teacher", lambda: pytest.fail("made again"))
    assert found.keys() == made.keys() and found["rows"] == [1, 2]
    for key in ("ratios", "moved"):
        np.testing.assert_array_equal(found[key], made[key], strict=True)


@pytest.mark.parametrize("bad", [float("nan"), np.array([1.0, np.inf])], ids=["JSON", "an array"])
def test_what_is_not_finite_is_not_kept(tmp_path, bad):
    with pytest.raises(ValueError, match=r"not JSON compliant|not all numbers are finite"):
        parts(tmp_path).keep("teacher", lambda: {"ratios": bad})
    assert not parts(tmp_path).has("teacher")
