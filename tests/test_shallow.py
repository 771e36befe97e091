"""Models with layers left out: what stays computes as it did."""

import dataclasses

import jax
import numpy as np
import pytest
from test_parity import logits_function
from tiny_decoder import CONFIG, random_tokens, tiny_params
from tiny_model import write_model
from tiny_runs import quick_compiles

from sublax.errors import UserError
from sublax.models.derived import derivation_of
from sublax.models.shallow import drop_layers, kept_layers, shallow_config
from sublax.models.source import describe_model, load_model

__all__ = ["quick_compiles"]

DEEP = dataclasses.replace(CONFIG, num_layers=5, sliding_windows=(None, 3, None, 2, None))


def test_layers_that_stay_are_spread_over_all():
    assert kept_layers(30, 30) == tuple(range(30))
    assert kept_layers(5, 3) == (0, 2, 4)
    assert kept_layers(4, 1) == (0,)
    for count in range(1, 31):
        kept = kept_layers(30, count)
        assert len(set(kept)) == count and kept == tuple(sorted(kept))
        steps = np.diff(kept)
        assert count == 1 or ((kept[0], kept[-1]) == (0, 29) and np.ptp(steps) <= 1)


@pytest.mark.parametrize("count", [1, 3])
def test_it_computes_as_if_the_other_layers_wrote_nothing(count):
    params = tiny_params(DEEP)
    kept = kept_layers(5, count)
    silent = [layer for layer in range(5) if layer not in kept]
    layers = dict(params["layers"])
    for name in ("o", "down"):  # all that a layer adds to the stream
        kernel = np.array(layers[name]["kernel"])
        kernel[silent] = 0
        layers[name] = {"kernel": kernel}
    tokens = np.asarray(random_tokens(2, 9))
    expected = logits_function(params | {"layers": layers}, DEEP)(tokens, 9)
    found = drop_layers(params, DEEP, count)
    config = shallow_config(DEEP, count)
    np.testing.assert_allclose(logits_function(found, config)(tokens, 9), expected, atol=1e-5)
    assert config.sliding_windows == tuple(DEEP.sliding_windows[layer] for layer in kept)


def test_a_name_says_how_many_layers_stay(tmp_path):
    folder = str(write_model(tmp_path / "m"))
    model = load_model(f"shallow:1:{folder}")
    assert model.config.num_layers == 1
    assert describe_model(f"shallow:1:shallow:2:{folder}").config == model.config
    assert {leaf.shape[0] for leaf in jax.tree.leaves(model.params["layers"])} == {1}
    with pytest.raises(UserError, match=r"shallow:3:.*it has 2 layers; leave as many or fewer"):
        describe_model(f"shallow:3:{folder}")


@pytest.mark.parametrize("name", ["shallow:m", "shallow:0:m", "shallow:x:m", "shallow:2:"])
def test_half_a_name_is_told(name):
    with pytest.raises(UserError, match=r"give shallow:LAYERS:MODEL"):
        derivation_of(name)
