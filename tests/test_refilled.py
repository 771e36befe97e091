"""Places that are refilled while others still write: the rows of a plain batch, in fewer steps."""

import numpy as np
import pytest
from test_sampler import NUMBERS_STOP, SHARED, STOPS, numbers_grammar
from tiny_decoder import CONFIG, random_tokens, tiny_params

from sublax.keys import key_of, row_keys
from sublax.models.decoder import Decoder
from sublax.models.shardings import param_shardings
from sublax.parallel.arrays import place
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh, single_device_mesh
from sublax.sampling import generate as batches
from sublax.sampling import refilled
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import generate
from sublax.training.loop import rows_of

PROMPTS = [[*SHARED, *np.asarray(random_tokens(2 + n % 5, seed=n)).tolist()] for n in range(11)]


@pytest.fixture
def written(monkeypatch):
    """(rows, device steps, progress) of all prompts, refilled or in plain batches."""

    def call(long, answers, grammar=None, sizes=None, new_tokens=40):
        layout = Layout(make_mesh(sizes) if sizes else single_device_mesh())
        steps, told = [], []

        def counted(sampler, variables, begun, loop, *rest):
            before = int(loop.step)
            loop = plain(sampler, variables, begun, loop, *rest)
            steps.append(int(loop.step) - before)
            return loop

        plain = refilled._decode
        with monkeypatch.context() as patch:
            patch.setattr(batches, "LONG", 1 if long else 1000)
            patch.setattr(refilled, "STEPS", 4)
            patch.setattr(refilled, "_decode", counted)
            samples = generate(
                Decoder(CONFIG, rows=rows_of(layout, 1)),
                {"params": place(tiny_params(), param_shardings(CONFIG, layout))},
                PROMPTS,
                Sampling(new_tokens),
                (NUMBERS_STOP,) if grammar is not None else STOPS,
                row_keys(key_of(0, "refilled"), len(PROMPTS) * answers),
                answers,
                grammar,
                batch_rows=4 * answers,
                progress=told.append,
            )
        return samples, sum(steps), told

    return call


def assert_same_rows(got, wanted):
    np.testing.assert_array_equal(got.lengths, wanted.lengths)
    for row, length in enumerate(wanted.lengths):
        np.testing.assert_array_equal(got.tokens[row, :length], wanted.tokens[row, :length])
        for name in ("logprobs", "allowed", "hidden"):
            found, known = (getattr(samples, name)[row, :length] for samples in (got, wanted))
            np.testing.assert_allclose(found, known, atol=1e-4)


@pytest.mark.parametrize("answers", [1, 3])
@pytest.mark.parametrize("ruled", [False, True])
def test_rows_are_those_of_a_plain_batch(written, answers, ruled):
    grammar = numbers_grammar() if ruled else None
    got, _, told = written(True, answers, grammar)
    wanted, _, _ = written(False, answers, grammar)
    assert_same_rows(got, wanted)
    assert sum(told) == len(PROMPTS) * answers
    assert len(told) >= 3  # places were given away more than once
    assert len(set(wanted.lengths.tolist())) > 3  # rows end at different times


def test_it_takes_fewer_steps_than_batches_that_wait_for_their_longest_row(written):
    got, steps, _ = written(True, 1)
    in_order = np.asarray(got.lengths)
    by_length = in_order[np.argsort([len(prompt) for prompt in PROMPTS], kind="stable")]
    waiting = sum(by_length[first : first + 4].max() for first in range(0, len(PROMPTS), 4))
    assert steps < waiting


def test_rows_that_reach_the_limit_give_their_places_away_too(written):
    got, _, _ = written(True, 1, new_tokens=5)
    wanted, _, _ = written(False, 1, new_tokens=5)
    assert (wanted.lengths == 5).sum() > 3
    assert_same_rows(got, wanted)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [{"data": 4}, {"fsdp": 2, "tensor": 2}])
def test_on_several_devices_rows_are_those_of_one(written, sizes):
    assert_same_rows(written(True, 3, sizes=sizes)[0], written(False, 3)[0])
