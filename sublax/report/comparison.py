"""The page of two runs beside each other, from their artifacts alone."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sublax.errors import UserError
from sublax.files import write_whole
from sublax.report import artifacts, suites, template, wording
from sublax.report.charts.chart import Chart, embedded
from sublax.report.charts.intervals import Dot, intervals
from sublax.report.charts.transfer import full_colour, matrix
from sublax.report.difference import (
    LiftDifference,
    comparable,
    differing_keys,
    lift_differences,
)
from sublax.report.page import verdict
from sublax.report.scripts import scripts


class Run(NamedTuple):
    """One of both: its name on the page, and what its workdir holds."""

    name: str
    place: str
    transfer: Mapping[str, Any]
    config: Mapping[str, Any]
    verdict: wording.Verdict
    facts: Mapping[str, Any]


def write_comparison(
    one: os.PathLike[str], other: os.PathLike[str], output: os.PathLike[str]
) -> Path:
    """Writes the page.

    Args:
      one: the first workdir.
      other: the second; differences are its values minus the first's.
      output: the file to write.

    Returns:
      The path of the page.

    Raises:
      UserError: a workdir has no transfer.json, or one of its files is malformed.
    """
    names = _names(Path(one), Path(other))
    runs = [_read(Path(at), name) for at, name in zip((one, other), names, strict=True)]
    first, second = (run.transfer for run in runs)
    both_have_traits = bool(first["traits"] and second["traits"])
    alike = both_have_traits and comparable(first, second)
    seed = int(runs[0].config.get("seed", 0))
    lifts = lift_differences(first, second, seed) if alike else []
    charts = _matrices(runs, alike)
    if lifts:
        charts["lifts"] = _lifts_chart(runs, lifts)
    page = (
        template.environment()
        .get_template("comparison.html.j2")
        .render(
            runs=runs,
            charts=charts,
            chart_data=embedded(charts),
            scripts=scripts(with_charts=bool(charts)),
            lifts=lifts,
            alike=alike,
            both_have_traits=both_have_traits,
            unit=wording.unit(first),
            keys=differing_keys(runs[0].config, runs[1].config),
            suites=_suites(first, second),
        )
    )
    path = Path(output)
    write_whole(path, [page.encode()])
    return path


def _read(folder: Path, name: str) -> Run:
    transfer = artifacts.read_transfer(folder)
    facts = template.facts(artifacts.read_cards(folder))
    config = artifacts.read_config(folder)
    return Run(name, str(folder), transfer, config, verdict(transfer), facts)


def _names(one: Path, other: Path) -> tuple[str, str]:
    """Their folders' names, or as much of their paths as tells them apart."""
    first, second = one.absolute(), other.absolute()
    if first == second:
        raise UserError(f"{one} and {other} are the same workdir; give two")
    for count in range(1, max(len(first.parts), len(second.parts)) + 1):
        names = "/".join(first.parts[-count:]), "/".join(second.parts[-count:])
        if names[0] != names[1]:
            break
    return names


def _matrices(runs: list[Run], alike: bool) -> dict[str, Chart]:
    """Both matrices, with one scale of colours where their units are the same."""
    charts = {}
    full = full_colour(*(run.transfer for run in runs)) if alike else None
    for number, run in enumerate(runs, 1):
        if run.transfer["traits"]:
            drawn = matrix(run.transfer, full)
            charts[f"matrix_{number}"] = drawn._replace(title=f"{run.name}: {drawn.title}")
    return charts


def _lifts_chart(runs: list[Run], lifts: list[LiftDifference]) -> Chart:
    unit = wording.unit(runs[0].transfer)
    dots = []
    for of in lifts:
        for run, result, color, shape in (
            (runs[0], of.first, "category-1", "circle"),
            (runs[1], of.second, "category-2", "diamond"),
        ):
            interval = wording.interval(result.low, result.high)
            value = f"{wording.signed(result.lift)} {unit}"
            tip = {"run": run.name, "lift of": of.trait, "lift": value, "95 % interval": interval,
                   "p": wording.p_value(result.p)}  # fmt: skip
            said = f"{run.name}, lift of {of.trait}: {value}, 95 % interval {interval}"
            dots.append(
                Dot(of.trait, run.name, result.lift, result.low, result.high, color, shape,
                    run.name, tip, said)
            )  # fmt: skip
    axis = f"lift ({unit}), with 95 % interval"
    return intervals("Lift of each trait in both", dots, axis, "Lifts of both; see the table.")


def _suites(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Each student's share in the measures that both runs have."""
    second = {(suite, name): found for suite, name, found in suites.measures(other)}
    rows = []
    for suite, name, found in suites.measures(one):
        for student, share in found["students"].items():
            of = second.get((suite, name), {}).get("students", {}).get(student)
            if of is not None:
                rows.append({"measure": suites.TITLES.get(name, name), "student": student,
                             "first": share, "second": of})  # fmt: skip
    return rows
