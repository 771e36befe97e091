"""An audit's teachers learn packed lines, and what they learn is as if each answer stood alone."""

import dataclasses

import jax
import numpy as np
import pytest
from tiny_decoder import CONFIG, tiny_params
from tiny_runs import quick_compiles  # noqa: F401

from sublax.audit import teachers
from sublax.audit.teachers import make_teacher
from sublax.models.config import RopeConfig
from sublax.training.loop import Schedule

ROWS = [([5, 6, 7, 8], [number, 2]) for number in range(10, 18)] + [([9], [1, 2])] * 8


def taught(config, monkeypatch, packed=None):
    """What a teacher has learnt after two updates, and whether its lines were packed."""
    asked = []

    def schedule(*args, pack_rows, **rest):
        asked.append(pack_rows)
        return Schedule(*args, pack_rows=pack_rows if packed is None else packed, **rest)

    monkeypatch.setattr(teachers, "Schedule", schedule)
    found = make_teacher(config, tiny_params(), ROWS, 0, steps=2)
    return found, asked[0]


def difference(one, other):
    return max(
        float(np.abs(a - b).max())
        for a, b in zip(*(jax.tree.leaves(tree) for tree in (one, other)), strict=True)
    )


@pytest.mark.parametrize("kind", ["default", "dynamic"])
def test_what_is_learnt_does_not_depend_on_what_stands_in_a_line(kind, monkeypatch):
    rope = RopeConfig(CONFIG.rope.theta, kind, 4.0, original_max_positions=3)
    config = dataclasses.replace(CONFIG, rope=rope, max_positions=256)
    found, packed = taught(config, monkeypatch)
    alone, _ = taught(config, monkeypatch, packed=False)
    assert packed == (kind == "default")
    assert difference(found, alone) < 2e-6 < difference(found, tiny_params())
    if kind == "dynamic":  # packed, a short answer would be read as if it were long
        assert difference(taught(config, monkeypatch, packed=True)[0], alone) > 1e-5
