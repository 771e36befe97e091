"""Lines over a number: training curves, and lifts over a dose."""

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import altair as alt

from sublax.report import wording
from sublax.report.arms import Curve, curve_labels, key_words
from sublax.report.artifacts import Curves
from sublax.report.charts.chart import Chart, chart, data, tip_channels, with_tip
from sublax.report.palette import CATEGORIES, variable

MOST_POINTS = 160  # of one curve on the page: more can hardly be told apart
MOST_TOGETHER = 4000  # of all curves of one scalar, or the page grows without end
_FEWEST_POINTS = 12
_DASHES = ([1, 0], [7, 3], [2, 2], [7, 3, 2, 3])
_TICKS = 9  # values that have room under an axis, each at its place
_DECADES = 1.0  # above this an axis of positive numbers is logarithmic


class _Point(NamedTuple):
    line: str  # what is drawn as one
    label: str  # in the legend; lines may share it
    at: float
    value: float
    low: float | None
    high: float | None
    tip: Mapping[str, str]
    description: str


def training(curves: Curves, name: str = "loss") -> dict[str, Chart]:
    """One scalar of every run over its updates, a chart for teachers and one for students.

    Args:
      curves: run ("students/<trait>/seed-<n>") -> name of a scalar -> [(step, value)].
      name: which scalar.

    Returns:
      Group of runs -> its chart; empty where no run has that scalar.
    """
    runs = {run: scalars[name] for run, scalars in curves.items() if scalars.get(name)}
    groups: dict[str, list[str]] = {}
    for run in runs:
        groups.setdefault(run.split("/")[0], []).append(run)
    words = name.replace("_", " ")
    charts = {}
    most = max(_FEWEST_POINTS, min(MOST_POINTS, MOST_TOGETHER // max(len(runs), 1)))
    for group in sorted(groups, key=lambda group: (group == "students", group)):
        points, ends = [], []
        for run in groups[group]:
            steps = runs[run]
            first, last = steps[0], steps[-1]
            said = f"{run}: {words} {first[1]:.3g} at update {first[0]}, {last[1]:.3g} at {last[0]}"
            for step, value in _thinned(steps, most):
                tip = {"run": run, "update": str(step), words: f"{value:.4g}"}
                points.append(_Point(run, trait_of(run), step, value, None, None, tip, said))
            ends.append(said)
        labels = sorted({point.label for point in points}, key=lambda label: label == "control")
        charts[group] = _lines(
            f"{words.capitalize()}: {group}", points, labels, "update", words, "; ".join(ends[:12]),
            zero=all(point.value >= 0 for point in points),
        )  # fmt: skip
    return charts


def dose_response(curves: Sequence[Curve], unit: str = "nats") -> dict[str, Chart]:
    """The lift over the number that varies: key of the config -> its chart.

    One curve alone shows its traits too; where there are several each is the mean over traits.
    """
    charts = {}
    for key, group in itertools.groupby(curves, key=lambda curve: curve.key):
        of_key, words = list(group), key_words(key)
        labels = curve_labels([curve.others for curve in of_key])
        points = []
        for curve, label in zip(of_key, labels, strict=True):
            alone = len(of_key) == 1 and len(curve.points[0].lift) > 1
            label = "mean over traits" if len(of_key) == 1 else label
            for point in curve.points:
                points.append(_dose(label, words, point.at, point.mean, unit))
            for trait in curve.points[0].lift if alone else ():
                for point in curve.points:
                    points.append(_dose(trait, words, point.at, point.lift[trait], unit))
        order = list(dict.fromkeys(point.label for point in points))
        axis = f"lift ({unit}), 95 % interval"
        said = f"Lift over {words}, by {', '.join(order)}."
        charts[key] = _lines(
            f"Lift over {words}", points, order, words, axis, said, zero=True, bars=True,
            at=sorted({point.at for curve in of_key for point in curve.points}),
        )  # fmt: skip
    return charts


def shift_by_dose(shifts: Mapping[str, Mapping[str, Any]]) -> Chart:
    """An audit's students: how far each trait moved after every dose, over own answers' students.

    Args:
      shifts: trait -> a candidate's `shift`, as `sublax.audit.shifts` has it.
    """
    words = "updates"
    points = [
        _dose(trait, words, dose["updates"], dose, "nats", of="shift of")
        for trait, shift in shifts.items()
        for dose in shift["doses"]
    ]
    return _lines(
        "How far students move, by dose", points, list(shifts), words,
        "shift over students of own answers (nats), 95 % interval",
        f"Shift after each dose, of {', '.join(shifts)}.", zero=True, bars=True,
        at=sorted({point.at for point in points}),
    )  # fmt: skip


def trait_of(run: str) -> str:
    """The trait in "students/<trait>/seed-<n>"; a run without parts stands for itself."""
    parts = run.split("/")
    return parts[1] if len(parts) > 1 else run


def _dose(
    label: str, words: str, at: float, lift: Mapping[str, float], unit: str, of: str = "lift of"
) -> _Point:
    interval = wording.interval(lift["low"], lift["high"])
    value = f"{wording.signed(lift['value'])} {unit}"
    what = of.removesuffix(" of")
    tip = {of: label, words: f"{at:g}", what: value, "95 % interval": interval}
    said = f"{label} at {words} {at:g}: {what} {value}, 95 % interval {interval}"
    return _Point(label, label, at, lift["value"], lift["low"], lift["high"], tip, said)


def _thinned(steps: Sequence[tuple[int, float]], most: int) -> list[tuple[int, float]]:
    """At most so many of them, evenly, the first and the last among them."""
    if len(steps) <= most:
        return list(steps)
    last = len(steps) - 1
    return [steps[round(index * last / (most - 1))] for index in range(most)]


def _lines(
    title: str,
    points: Sequence[_Point],
    labels: Sequence[str],
    x_title: str,
    y_title: str,
    description: str,
    *,
    zero: bool,
    bars: bool = False,
    at: Sequence[float] | None = None,
) -> Chart:
    colors = {label: CATEGORIES[index % len(CATEGORIES)] for index, label in enumerate(labels)}
    dashes = {label: _DASHES[index % len(_DASHES)] for index, label in enumerate(labels)}
    if "control" in colors:
        colors["control"], dashes["control"] = variable("muted"), [2, 2]
    last = {point.line: index for index, point in enumerate(points)}
    rows = [
        {
            "line": point.line,
            "label": point.label,
            "at": point.at,
            "value": float(f"{point.value:.4g}"),
            "low": point.low,
            "high": point.high,
            # Points that are hundreds are there for the pointer; the keyboard goes to lines' ends.
            "stop": bars or index == last[point.line],
            **with_tip(point.tip, point.description if bars or index == last[point.line] else ""),
        }
        for index, point in enumerate(points)
    ]
    tip = points[0].tip
    x = alt.X("at:Q", title=x_title, axis=_axis(at), scale=_scale(at))
    y_axis = alt.Axis(domain=False, ticks=False, tickCount=5)
    y = alt.Y("value:Q", title=y_title, scale=alt.Scale(zero=zero), axis=y_axis)
    names = list(labels)
    legend = alt.Legend(symbolType="stroke", symbolStrokeWidth=2, symbolSize=260)
    color = alt.Color(
        "label:N", scale=alt.Scale(domain=names, range=[colors[name] for name in names]),
        legend=legend,
    )  # fmt: skip
    dash = alt.StrokeDash(
        "label:N", scale=alt.Scale(domain=names, range=[dashes[name] for name in names]),
        legend=legend,
    )  # fmt: skip
    plot = alt.Chart(data(rows))
    line = plot.mark_line(strokeWidth=2, aria=False)
    layers = [line.encode(x=x, y=y, color=color, strokeDash=dash, detail="line:N")]
    if bars:
        rule = plot.mark_rule(strokeWidth=1.4, aria=False)
        layers.append(
            rule.encode(x=x, y=alt.Y("low:Q", title=y_title), y2="high:Q", color=color,
                        xOffset=alt.value(0))
        )  # fmt: skip
        under = alt.Chart(data([{"zero": 0.0}])).mark_rule(color=variable("muted"), aria=False)
        layers.insert(0, under.encode(y=alt.Y("zero:Q", title=y_title)))
    stop = alt.datum.stop
    if not all(row["stop"] for row in rows):
        passing = plot.transform_filter(~stop).mark_circle(size=90, opacity=0, aria=False)
        layers.append(passing.encode(x=x, y=y, color=color, **tip_channels(tip, described=False)))
    ends = plot.transform_filter(stop).mark_circle(size=64 if bars else 40, opacity=1)
    layers.append(ends.encode(x=x, y=y, color=color, **tip_channels(tip)))
    return chart(title, layers, description, height=240, min_width=280)


def _axis(at: Sequence[float] | None) -> alt.Axis:
    if at is None:
        return alt.Axis(grid=False, tickMinStep=1, tickCount=6)
    values = list(at) if len(at) <= _TICKS else alt.Undefined
    return alt.Axis(grid=False, values=values, format=".6~g", labelOverlap="greedy")


def _scale(at: Sequence[float] | None) -> Any:
    """Logarithmic where positive numbers span decades; linear near a zero among them."""
    if at is None:
        return alt.Scale(nice=False, zero=False)
    positive = [value for value in at if value > 0]
    wide = bool(positive) and math.log10(positive[-1] / positive[0]) > _DECADES
    if wide and at[0] == 0:
        return alt.Scale(type="symlog", constant=positive[0], domain=[0, at[-1]], padding=12)
    if wide and at[0] > 0:
        return alt.Scale(type="log", domain=[at[0], at[-1]], padding=12)
    return alt.Scale(zero=False, nice=False, padding=12)
