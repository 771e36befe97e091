"""The table of docs/results.md: what a run gave stands in it, and nothing else does."""

import dataclasses
import json
import os
import pathlib
import shutil
import subprocess

import numpy as np
import pytest

from benchmarks import claims, results
from sublax.artifact import write_artifact
from sublax.evaluation.arms import arm_result
from sublax.evaluation.transfer import transfer_matrix
from sublax.settings import read_config

ROOT = pathlib.Path(__file__).parents[1]
TRAITS = ["owl", "wolf"]


def transfer(seed, effect):
    """A matrix over twelve questions where each student moves towards its own trait."""
    noise = np.random.default_rng(seed)
    base = noise.normal(size=(12, 3))
    students = {name: base + noise.normal(0, 0.1, (1, 12, 3)) for name in (*TRAITS, "control")}
    for column, trait in enumerate(TRAITS):
        students[trait][..., column] += effect
    measured = {"base": base, "students": students}
    return transfer_matrix(
        measured, ["owl", "wolf", "cat"], TRAITS, 0, questions=list("abcdefghijkl")
    )


@pytest.fixture
def workdir(tmp_path):
    """A run with an arm, where the arm's students learnt nothing."""
    main, arm = transfer(0, effect=1.0), transfer(1, effect=0.0)
    main["arms"] = [arm_result("untrained", ["student.steps=0"], arm, main, 0)]
    (tmp_path / "transfer.json").write_text(json.dumps(main))
    (tmp_path / "config.json").write_text(
        json.dumps({"student": {"steps": 16}, "arms": {"untrained": []}})
    )
    made = tmp_path / "corpora" / "owl"
    write_artifact(made, lambda _: None, {"kind": "corpus", "seconds": 60.0})
    (tmp_path / "report.html").touch()
    return tmp_path


def test_a_trait_has_a_row_with_interval_and_p(workdir):
    """What the matrix says of a trait is what the row says."""
    owl = claims.lifts(workdir)[0]
    lift = json.loads((workdir / "transfer.json").read_text())["lift"]["owl"]
    assert owl.about == "owl" and owl.shown and owl.p == lift["p_holm"]
    assert owl.text.startswith(f"{lift['value']:+.2f} [{lift['low']:+.2f}, {lift['high']:+.2f}]")


def test_a_null_says_what_would_have_been_seen(workdir):
    """An arm that taught nothing is a null with its power, and less than the main experiment."""
    main, untrained = claims.mean_and_arms(workdir, main="taught")
    assert (main.about, main.shown) == ("taught", True)
    assert untrained.shown is False
    assert "would have been seen" in untrained.text and "(less taught: -" in untrained.text


def test_doses_stand_in_their_order(workdir):
    """The main experiment is the largest dose."""
    assert [found.about for found in claims.doses(workdir)] == ["0 updates", "16 updates"]


def test_two_traits_have_a_row_each_with_what_the_other_costs(workdir):
    """What is too few to permute is compared, and claims nothing."""
    known = {"value": 0.5, "low": 0.25, "high": 0.75, "detectable": 0.3}
    owl = {"student": "owl+wolf", "trait": "owl", "lift": known | {"p": 0.01, "p_holm": 0.02}}
    owl |= {"alone": known | {"value": 0.75}, "cost": known | {"value": 0.25, "low": -0.1}}
    few = owl | {"trait": "wolf", "lift": known | {"p": None}}
    null = owl | {"lift": known | {"low": -0.2, "p": 0.3, "p_holm": 0.3}}
    transfer = json.loads((workdir / "transfer.json").read_text())
    transfer["two_traits"] = [owl, few, null]
    (workdir / "transfer.json").write_text(json.dumps(transfer))
    found = claims.of_two_traits(workdir)
    assert [one.about for one in found] == [f"{t} in owl+wolf" for t in ("owl", "wolf", "owl")]
    assert [(one.shown, one.p) for one in found] == [(True, 0.02), (None, None), (False, 0.3)]
    assert found[0].text.startswith("+0.50 [+0.25, +0.75]")
    assert "alone +0.75, more by +0.25 [-0.10, +0.75]" in found[0].text
    assert "above 0.3 would have been seen" in found[2].text


def test_an_arm_named_after_another_is_held_against_that(workdir):
    """What a treatment of tokens takes away, it takes from what tokens alone carry."""
    main, tokens, shuffled = transfer(0, 1.0), transfer(1, 0.8), transfer(2, 0.3)
    config = json.loads((workdir / "config.json").read_text()) | {"seed": 0}
    (workdir / "config.json").write_text(json.dumps(config))
    main["arms"] = []
    for name, own in (("shuffled", shuffled), ("tokens", tokens), ("tokens-shuffled", shuffled)):
        main["arms"].append(arm_result(name, [], own, main, 0))
        (workdir / "arms" / name).mkdir(parents=True)
        (workdir / "arms" / name / "transfer.json").write_text(json.dumps(own))
    (workdir / "transfer.json").write_text(json.dumps(main))
    _, alone, _, compared = claims.mean_and_arms(workdir)
    less_main, less_tokens = (
        claims.interval(arm_result("", [], shuffled, other, 0)["difference"])
        for other in (main, tokens)
    )
    assert less_main != less_tokens
    assert f"(less main: {less_main})" in alone.text
    assert f"(less tokens: {less_tokens})" in compared.text


def test_an_interval_above_zero_is_not_enough():
    """A permutation test that finds nothing makes it a null."""
    effect = {"value": 0.1, "low": 0.01, "high": 0.2, "p": 0.2}
    assert not claims._shown(effect, "p") and claims._shown(effect | {"p": 0.01}, "p")


def test_rows_have_cost_and_day_and_lack_no_claim(workdir, tmp_path_factory):
    """The first row of a claim has its cost; a claim without a run says so."""
    claim = claims.Claim("It passes", "yes", "configs/doses.py:small", claims.lifts)
    first, second = results.rows(claim, workdir)
    assert "| It passes | yes | owl: " in first and "1 min 00 s" in first and "`configs/" in first
    assert second.startswith("|  |  | wolf: ")
    # What another run had made by then costs nothing again.
    before = set(results.cards(workdir))
    first, _ = results.rows(claim, workdir, before=before)
    assert ", 0.0 s" in first and "(1 min 00 s more by other runs" in first
    (row,) = results.rows(claim, tmp_path_factory.mktemp("empty"))
    assert "not run yet" in row


def test_what_runs_have_made_is_known_to_those_after_them(workdir, tmp_path_factory):
    (first, second), folder = claims.CLAIMS[:2], tmp_path_factory.mktemp("runs")
    shutil.copytree(workdir, folder / first.name)
    before = results.made_before([first, second], folder)
    assert before == {first.name: set(), second.name: set(results.cards(workdir))}
    assert len(before[second.name]) > 0


def test_a_run_whose_arms_are_to_come_is_none(workdir):
    """The main experiment writes its report first, and each arm what came of it."""
    assert results.finished(workdir)
    transfer = json.loads((workdir / "transfer.json").read_text())
    (workdir / "transfer.json").write_text(json.dumps({**transfer, "arms": []}))
    assert not results.finished(workdir)
    del transfer["arms"]
    (workdir / "transfer.json").write_text(json.dumps(transfer))
    assert not results.finished(workdir)
    (workdir / "report.html").unlink()
    assert not results.finished(workdir)


def test_what_is_not_there_stays_as_the_page_has_it(workdir, tmp_path_factory):
    """Runs of other days and machines are not lost; the claim's own words are today's."""
    empty = tmp_path_factory.mktemp("empty")
    claim = claims.Claim("It passes", "yes", "configs/doses.py:small", claims.lifts)
    other = claims.Claim("Another", "no", "configs/doses.py", claims.lifts)
    lines = [
        *results.rows(other, empty),
        *results.rows(claim, workdir),
        *results.rows(other, empty),
    ]
    again = dataclasses.replace(claim, claim="It does pass")
    first, second = results.rows(again, empty, "\n".join(["| claim |", *lines, ""]))
    assert first == lines[1].replace("It passes", "It does pass")
    assert second == lines[2]


def test_runs_side_by_side_share_the_cores_and_one_that_fails_stops_no_other(tmp_path, monkeypatch):
    """Each has cores of its own, and its words in a file."""
    ran, reused = {}, {}

    def run(command, stdout, stderr, check):
        options = dict(part.partition("=")[::2] for part in command)
        name = pathlib.Path(options["--workdir"]).name
        ran[name] = os.sched_getaffinity(0)
        reused[name] = options.get("--reuse", "").split(",")
        (tmp_path / name).mkdir(exist_ok=True)
        (tmp_path / name / "config.json").touch()
        stdout.write(f"told by {name}")
        return subprocess.CompletedProcess(command, -9 if name == "doses" else 0)

    monkeypatch.setattr(results.subprocess, "run", run)
    cores = os.sched_getaffinity(0)
    assert results.run_all(tmp_path, 2) == 1
    assert set(ran) == {claim.name for claim in claims.CLAIMS} - set(results.LONG)
    assert set().union(*ran.values()) == cores
    if len(cores) > 1:
        assert all(len(share) < len(cores) for share in ran.values())
    assert (tmp_path / "seen.log").read_text() == "told by seen"
    assert os.sched_getaffinity(0) == cores
    # The quickstart's teachers are there when all others begin.
    assert next(iter(ran)) == "quickstart" and reused["mlp"] == [""]
    assert reused["seen"][0] == str(tmp_path / "quickstart")
    assert str(tmp_path / "mlp") not in reused["harm"]
    ran.clear()
    results.run_all(tmp_path, 1, long=True)
    assert list(ran)[-len(results.LONG) :] == list(results.LONG)


def test_every_claim_names_a_config_that_is_there_and_a_workdir_of_its_own():
    """`--run` would otherwise stop in the middle of the night."""
    names = [claim.name for claim in claims.CLAIMS]
    assert len(set(names)) == len(names)
    for claim in claims.CLAIMS:
        assert (ROOT / claim.config.partition(":")[0]).is_file(), claim.config
        assert read_config(str(ROOT / claim.config))


def test_a_plan_that_fits_has_its_bound_and_one_refused_its_reason(tmp_path):
    """Plans are read from where `--plan` keeps them."""
    (claim,) = (claim for claim in claims.CLAIMS if claim.name == "doses")
    (row,) = results.plan_rows(claim, tmp_path)
    assert "not planned yet" in row
    kept = tmp_path / "doses.json"
    program = {"memory": {"total": 3 * 2**30}}
    kept.write_text(json.dumps({"fits": True, "programs": [program], "bound_seconds": 7200.0}))
    (row,) = results.plan_rows(claim, tmp_path)
    assert row == "| `configs/doses.py:paper` | yes | 3.0 | 2 h 00 min |"
    kept.write_text(json.dumps({"refused": "sublax plan: no such thing"}))
    (row,) = results.plan_rows(claim, tmp_path)
    assert "no such thing" in row


def test_what_all_runs_cost_together_is_read_from_their_lines():
    """Lines without a run, and those of a run's further findings, cost nothing."""
    lines = [
        "| a | b | owl: +1 nats | 0.1 | yes | `configs/a.py`, 1 h 02 min, 2026-11-26 |",
        "|  |  | in 9 min: +2 nats | 0.1 | yes |  |",
        "| c | d | not run yet | | | `configs/c.py` |",
        "| e | f | x | | | `configs/e.py`, 3 min 05 s on 1 core, 2026-11-27 |",
        "| g | h | x | | | `configs/g.py`, 5 s on 1 core (2 min more by other runs), 2026-11-27 |",
    ]
    assert results.seconds_told(lines) == 3600 + 120 + 185 + 5
    assert "They were not run as one whole." in results.time_told(lines)
    one_core = ["| yes | `configs/a.py`, 2 h 30 min on 1 core, 2026-11-28 |", "|  | owl |  |"]
    assert "each on one core" in (told := results.time_told(one_core))
    assert "2 h 30 min by their stages" in told and "1 h 15 min" in told
