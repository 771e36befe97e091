"""A config: what its file says, what the command line overrides, and what is refused."""

import json

import pytest

from sublax.errors import UserError
from sublax.settings import changed_keys, plain, read_config

SOURCE = """
from ml_collections import ConfigDict


def get_config(argument="none"):
    config = ConfigDict()
    config.argument = argument
    config.base = "a/b"
    config.seed = 4
    config.traits = ("owl", "wolf")
    config.banned = ()
    config.range = (3, 4)
    config.student = {"steps": 16, "rate": 1e-3, "stabilized": False, "loss": {"kind": "kl"}}
    config.given = {}
    return config
"""


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "some.py"
    file.write_text(SOURCE)
    return str(file)


def test_the_file_is_named_with_or_without_its_ending_and_may_take_an_argument(path):
    assert read_config(path).argument == "none"
    assert read_config(path.removesuffix(".py")).argument == "none"
    assert read_config(f"{path}:large").argument == "large"


@pytest.mark.parametrize(
    "override, key, value",
    [
        ("traits=fox,bear,cat", "traits", ("fox", "bear", "cat")),
        ("traits=('fox', \"bear\")", "traits", ("fox", "bear")),
        ("traits=fox", "traits", ("fox",)),
        ("traits=", "traits", ()),
        ("range=5,8", "range", (5, 8)),
        ("banned=13,666", "banned", (13, 666)),
        ("banned=abc", "banned", ("abc",)),
        ("seed=11", "seed", 11),
        ("seed=-1", "seed", -1),
        ("base=/a=b/c,d", "base", "/a=b/c,d"),
        ("base=", "base", ""),
        ("base=7", "base", "7"),
        ("student.steps=3", "student.steps", 3),
        ("student.rate=2", "student.rate", 2.0),
        ("student.rate=5e-4", "student.rate", 5e-4),
        ("student.stabilized=True", "student.stabilized", True),
        ("student.stabilized=false", "student.stabilized", False),
        ("student.loss.kind=cross_entropy", "student.loss.kind", "cross_entropy"),
    ],
)
def test_an_override_takes_the_type_that_its_key_has(path, override, key, value):
    found = read_config(path, [override])
    for part in key.split("."):
        found = found[part]
    assert found == value
    assert type(found) is type(value)


def test_the_last_of_two_overrides_holds_and_nothing_else_changes(path):
    config = read_config(path, ["seed=1", "seed=2"])
    assert changed_keys(plain(read_config(path)), plain(config)) == ["seed: 4 -> 2"]


@pytest.mark.parametrize(
    "override, told",
    [
        ("studnet.steps=3", "no such key; the nearest is --config.student.steps"),
        ("trait=owl", "no such key; the nearest is --config.traits"),
        ("student.loss.kind.x=1", "no such key; the nearest is --config.student.loss.kind"),
        ("student=3", "is a group; set one of loss, rate, stabilized, steps"),
        ("given=3", "is a group; fill it in the config file"),
        ("seed", "has no value; write --config.seed=value"),
        ("seed=1.5", "must be of type int, like 4"),
        ("seed=", "must be of type int, like 4"),
        ("student.rate=fast", "must be of type float, like 0.001"),
        ("student.stabilized=1", "must be of type bool, like False"),
        ("range=3,x", r"must be of type tuple, like \(3, 4\)"),
    ],
)
def test_a_bad_override_is_refused_by_name(path, override, told):
    with pytest.raises(UserError, match=f": {told}") as caught:
        read_config(path, [override])
    assert str(caught.value).startswith(f"--config.{override.split('=')[0]}")
    assert "\n" not in str(caught.value)


def test_a_locked_config_takes_no_new_keys(path):
    with pytest.raises(AttributeError):
        read_config(path).sede = 3


@pytest.mark.parametrize(
    "source, told",
    [
        ("x = 1", r"has no get_config\(\)"),
        ("def get_config(:", "fails with SyntaxError"),
        ("def get_config():\n    raise KeyError('a\\nb')", "fails with KeyError"),
        ("import nothing_of_that_name", "fails with ModuleNotFoundError: .*nothing_of_that_name"),
    ],
)
def test_a_broken_config_file_is_named_with_what_is_wrong(tmp_path, source, told):
    file = tmp_path / "broken.py"
    file.write_text(source)
    with pytest.raises(UserError, match=told) as caught:
        read_config(str(file))
    assert str(caught.value).startswith(str(file))
    assert "\n" not in str(caught.value)


def test_a_missing_config_is_named(tmp_path):
    with pytest.raises(UserError, match=r"none\.py: no such config"):
        read_config(str(tmp_path / "none.py"))


def test_a_config_may_start_from_one_that_lies_beside_it(path, tmp_path):
    (tmp_path / "derived.py").write_text(
        "import some\n\ndef get_config():\n    config = some.get_config()\n"
        "    config.seed = 9\n    return config\n"
    )
    assert read_config(str(tmp_path / "derived.py")).seed == 9


def test_the_config_that_a_run_wrote_is_read_as_the_one_that_it_ran(path, tmp_path):
    config = read_config(path, ["seed=7"])
    written = tmp_path / "config.json"
    written.write_text(json.dumps(plain(config)))
    again = read_config(str(written))
    assert again == config and again.is_locked
    assert read_config(str(written), ["traits=fox,bear,cat"]).traits == ("fox", "bear", "cat")


@pytest.mark.parametrize(
    ("text", "told"),
    [("[1, 2", "not the config.json of a run"), ("[1, 2]", "not the config.json of a run")],
)
def test_a_config_json_that_is_none_is_named(tmp_path, text, told):
    written = tmp_path / "config.json"
    written.write_text(text)
    with pytest.raises(UserError, match=f"config.json: {told}"):
        read_config(str(written))
    with pytest.raises(UserError, match="no such config"):
        read_config(str(tmp_path / "other.json"))
