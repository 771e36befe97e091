"""How many students a program is given: no more than the compiler says that there is room for."""

import functools
import math

import numpy as np
import pytest
from tiny_decoder import CONFIG, tiny_params

from sublax.models.completions import make_rows
from sublax.models.decoder import Decoder
from sublax.models.lora import LoraConfig
from sublax.models.shardings import param_shardings
from sublax.parallel.arrays import place
from sublax.parallel.layout import Layout, pieces
from sublax.parallel.memory import USED_SHARE, most_that_fit
from sublax.parallel.mesh import make_mesh
from sublax.sampling.draw import Sampling
from sublax.sampling.fitting import fitting_rows
from sublax.training import memory
from sublax.training.data import Dataset, make_batch
from sublax.training.loop import in_program, rows_of
from sublax.training.losses import LossConfig
from sublax.training.memory import fitting_students, surely_fit
from sublax.training.optimizer import OptimizerConfig
from sublax.training.step import Frozen, Objective

OBJECTIVE = Objective(CONFIG, LoraConfig(rank=4), LossConfig("kl"))
ADAMW = OptimizerConfig()
FROZEN = Frozen(tiny_params(), np.asarray([3, 4, 5]), np.zeros((1, 32, 3), np.float32))


def given(layout):
    """What `fitting_students` is told of one student."""
    encoded = [([5, 6, index], [index + 1, index + 2]) for index in range(4)]
    rows = make_rows(encoded, CONFIG.max_positions)
    dataset = Dataset(rows, np.zeros((*rows.targets.shape, 32), np.float32))
    devices = pieces(in_program(OBJECTIVE, layout, 64).rows)
    batch = make_batch([dataset], [0], 0, 4, 1, devices)
    return OBJECTIVE, ADAMW, 3, layout, FROZEN, batch


@pytest.mark.parametrize(
    "of_one, too_many, fits",
    [(1, 100, 80), (1, 16, 8), (1, 8, 1), (200, 100, 1)],
    ids=["as measured", "twice as many do not compile", "nor the fewest", "the fewest do not fit"],
)
def test_where_the_compiler_gives_up_fewer_fit(of_one, too_many, fits):
    def needed(count):
        return count * of_one if count < too_many else math.inf

    assert most_that_fit(needed, fewest=8, wanted=1000, free_bytes=100) == fits


def test_the_compiler_is_asked_about_many_adapters_and_about_all_weights():
    assert surely_fit(OBJECTIVE.lora, students=8, along=1)
    assert not surely_fit(OBJECTIVE.lora, students=9, along=1)
    assert surely_fit(OBJECTIVE.lora, students=9, along=2)
    assert not surely_fit(None, students=3, along=1)


@pytest.mark.slow
@pytest.mark.parametrize("sizes, fewest", [({"data": 1}, 2), ({"data": 2, "fsdp": 2}, 2)])
def test_as_many_as_fit_and_hardly_one_more_would(sizes, fewest, monkeypatch):
    arguments = given(Layout(make_mesh(sizes), (("embed", "fsdp"),)))
    needed = functools.cache(functools.partial(memory._update_bytes, *arguments))  # compiles
    monkeypatch.setattr(memory, "_update_bytes", lambda *words: needed(words[-1]))
    free = 40 * needed(fewest)
    fits = fitting_students(*arguments, wanted=10_000, free_bytes=free)
    assert fewest < fits < 10_000
    assert fits % fewest == 0
    assert needed(fits) <= free
    assert needed(fits + fits // 8 * 2) > free * USED_SHARE
    assert fitting_students(*arguments, wanted=5, free_bytes=free) == 5
    assert fitting_students(*arguments, wanted=10_000, free_bytes=1) == 1


def test_the_devices_say_what_is_free():
    layout = Layout(make_mesh({"data": 2}))
    assert 0 < fitting_students(*given(layout), wanted=16) <= 16


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [{"data": 1}, {"data": 2, "fsdp": 2}])
def test_as_many_rows_are_sampled_at_a_time_as_fit(sizes):
    layout = Layout(make_mesh(sizes), (("embed", "fsdp"),))
    variables = {"params": place(tiny_params(), param_shardings(CONFIG, layout))}
    decoder = Decoder(CONFIG, rows=rows_of(layout, 1))
    given = (decoder, Sampling(16), 3, variables, layout.mesh, (2, 8), None, np.asarray([0]))
    devices = pieces(decoder.rows)
    little = fitting_rows(*given, wanted=3000, free_bytes=200_000)
    much = fitting_rows(*given, wanted=3000, free_bytes=400_000)
    assert little % (3 * devices) == much % (3 * devices) == 0
    assert 1.5 * little < much < 3000
    assert fitting_rows(*given, wanted=12, free_bytes=400_000) == 12
    assert fitting_rows(*given, wanted=3000, free_bytes=1) == 3
