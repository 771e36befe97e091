"""Positions are gone over in parts, and nothing of that is seen in what comes out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_audit_likelihood import FORM
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit import positions
from sublax.audit.positions import over_positions, under_grammar
from sublax.models.completions import make_rows

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("at_a_time, size", [(1, 1), (40, 4), (70, 7), (10_000, 15)])
@pytest.mark.parametrize("count", [0, 4, 11, 15])
def test_in_however_many_parts_every_position_has_its_own(at_a_time, size, count, monkeypatch):
    monkeypatch.setattr(positions, "LOGITS_AT_A_TIME", at_a_time)
    hidden_BxCxD, scale_BxC = RNG.normal(size=(3, 5, 4)), RNG.normal(size=(3, 5))
    counts_BxC = RNG.permutation(np.arange(15) < count).reshape(3, 5)
    seen = []

    def of_positions(arrays, allowed_NxA):
        hidden_NxD, scale_N = arrays
        assert allowed_NxA.shape == (1, 1) and len(scale_N) == size
        jax.debug.callback(seen.append, jnp.zeros(()))
        return {"scaled": hidden_NxD * scale_N[:, None], "sum": hidden_NxD.sum(axis=1)}

    arrays = jnp.array(hidden_BxCxD), jnp.array(scale_BxC)
    found = over_positions(of_positions, arrays, jnp.array(counts_BxC), None, width=10)
    hidden_BxCxD *= counts_BxC[..., None]
    np.testing.assert_allclose(found["scaled"], hidden_BxCxD * scale_BxC[..., None], rtol=1e-5)
    np.testing.assert_allclose(found["sum"], hidden_BxCxD.sum(axis=2), rtol=1e-5, atol=1e-6)
    # No part is gone over that has none which counts.
    jax.effects_barrier()
    assert len(seen) == -(-count // size)


def test_each_position_may_have_what_the_grammar_allows_there(monkeypatch):
    monkeypatch.setattr(positions, "LOGITS_AT_A_TIME", 3 * len(FORM.tokens_A))
    rows = make_rows([([1, 2], [3, 20, 7, 2]), ([5, 6, 7], [7, 20])], 64)
    rows, allowed = under_grammar(FORM, FORM.next_state_SxA >= 0, rows)
    assert FORM.tokens_A[rows.targets[0, :4]].tolist() == [3, 20, 7, 2]
    found_BxCxA = over_positions(
        lambda _, allowed_NxA: allowed_NxA,
        rows.targets,
        rows.weights > 0,
        allowed,
        len(allowed.columns_A),
    )
    by_position = [set(FORM.tokens_A[of_A]) for of_A in np.asarray(found_BxCxA)[0, :4]]
    assert by_position == [{3, 7}, {20}, {3, 7}, {2}]
    np.testing.assert_array_equal(found_BxCxA[1, :2], found_BxCxA[0, :2])
