"""A config's keys: a missing or misspelt one is told before anything runs."""

import pathlib

import pytest

from sublax.config_keys import KEYS, check_keys
from sublax.entanglement import experiment as entanglement
from sublax.errors import UserError
from sublax.networks import experiment as networks
from sublax.settings import plain, read_config
from sublax.theorem import experiment as theorem
from sublax.trees import flatten

CONFIGS = pathlib.Path(__file__).parents[1] / "configs"
EXPERIMENTS = sorted(path for path in CONFIGS.glob("*.py") if path.stem != "sizes")


def quickstart():
    return read_config(str(CONFIGS / "quickstart.py")).unlock()


def test_the_keys_are_those_of_the_quickstart():
    assert sorted(KEYS) == sorted(key for key, _ in flatten(plain(quickstart())))


@pytest.mark.parametrize("path", EXPERIMENTS, ids=lambda path: path.stem)
def test_every_config_has_them(path):
    if path.stem == "mlp":  # other experiments, with keys of their own
        check_keys(read_config(str(path)), networks.SECTIONS, ())
    elif path.stem == "theorem":
        check_keys(read_config(str(path)), theorem.SECTIONS, theorem.FREE)
    elif path.stem == "entanglement":
        check_keys(read_config(str(path)), entanglement.SECTIONS)
    else:
        check_keys(read_config(str(path)))


def test_the_groups_that_the_user_fills_may_hold_anything():
    config = quickstart()
    config.teacher.given = {"owl": "some/folder"}
    config.random_base = {"shape": {"hidden_size": 64}}
    check_keys(config)


def test_missing_keys_are_named():
    config = quickstart()
    del config.student.loss, config.seed
    with pytest.raises(UserError, match=r"config: has no seed, student.loss.kind, .*quickstart"):
        check_keys(config)


def test_a_misspelt_key_is_told_with_the_right_one():
    config = quickstart()
    config.student.step = 4
    with pytest.raises(UserError, match=r"student.step: no such key; the nearest is student.steps"):
        check_keys(config)
