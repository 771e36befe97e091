"""Signs against a coin: shares, exact intervals and p-values."""

import math

import numpy as np
import pytest

from sublax.errors import UserError
from sublax.evaluation.sign_test import sign_test


def signs(positive, negative, zero=0):
    return np.array([0.5] * positive + [-2.0] * negative + [0.0] * zero)


def test_counts_signs_and_leaves_out_zeros():
    found = sign_test(signs(8, 2, zero=3))
    assert (found["positive"], found["of"], found["share"]) == (8, 10, 0.8)


def test_p_is_the_binomials():
    # Eight or more, or two or fewer, of ten.
    tail = sum(math.comb(10, k) for k in (8, 9, 10)) / 2**10
    assert sign_test(signs(8, 2))["p"] == pytest.approx(2 * tail)
    assert sign_test(signs(5, 5))["p"] == 1


def test_the_interval_is_clopper_and_pearsons():
    # At its limits the binomial has exactly 2.5 % on the far side of what was counted.
    found = sign_test(signs(8, 2))

    def at_least(k, share):
        return sum(math.comb(10, j) * share**j * (1 - share) ** (10 - j) for j in range(k, 11))

    assert at_least(8, found["low"]) == pytest.approx(0.025, rel=1e-4)
    assert 1 - at_least(9, found["high"]) == pytest.approx(0.025, rel=1e-4)
    assert sign_test(signs(8, 0))["high"] == 1


@pytest.mark.parametrize("values", [[0.0, 0.0], [1.0, math.nan]])
def test_no_signs_are_an_error(values):
    with pytest.raises(UserError, match="sign test: of 2 values"):
        sign_test(np.array(values))
