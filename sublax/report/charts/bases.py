"""Charts of a run over several bases: who passes traits on to whom, and how far they are apart."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt

from sublax.report import wording
from sublax.report.charts.chart import Chart, chart, data, tip_channels, with_tip
from sublax.report.charts.heat import Cell, heat_map
from sublax.report.palette import CATEGORIES, variable

# Kinds of students' bases, seen from their teachers', each with its colour and shape.
_KINDS = {
    "the same base": (variable("ink"), "diamond"),
    "permuted": (CATEGORIES[0], "square"),
    "rotated": (CATEGORIES[5], "triangle-up"),
    "noisy": (CATEGORIES[4], "circle"),
    "distilled": (CATEGORIES[2], "triangle-down"),
    "shallow": (CATEGORIES[3], "triangle-right"),
    "another size": (CATEGORIES[0], "triangle-left"),
    "another base": (CATEGORIES[1], "cross"),
}
_OTHER_SHAPE = 1.75  # where, on the axis of weights, those stand that cannot be compared
_FINEST = 1e-3  # nats; below, the axis of behaviour is linear


def has_matrix(cells: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is something to draw: two pairs of bases at least, with their lifts."""
    return len(cells) > 1 and all("mean_lift" in cell and "distance" in cell for cell in cells)


def matrix(cells: Sequence[Mapping[str, Any]]) -> Chart:
    """The mean lift over traits of every pair of bases, with its interval.

    Args:
      cells: as transfer.json has them.
    """
    teachers = list(dict.fromkeys(cell["teacher_base"] for cell in cells))
    students = list(dict.fromkeys(cell["student_base"] for cell in cells))
    largest = max(1.0, *(abs(cell["mean_lift"]["value"]) for cell in cells))
    by_row = sorted(
        cells,
        key=lambda cell: (
            students.index(cell["student_base"]), teachers.index(cell["teacher_base"])
        ),
    )  # fmt: skip
    drawn = []
    for cell in by_row:
        lift, (tip, said) = cell["mean_lift"], _tip(cell)
        drawn.append(
            Cell(
                row=short(cell["student_base"]),
                column=short(cell["teacher_base"]),
                strength=lift["value"] / largest,
                text=wording.signed(lift["value"]),
                below=wording.interval(lift["low"], lift["high"]),
                framed=cell["teacher_base"] == cell["student_base"],
                bold=lift["low"] > 0,
                tip=tip,
                description=said,
            )
        )
    title = "Mean lift (nats): rows are students’ bases, columns their teachers’"
    said = "Matrix of mean lifts, students' bases by teachers' bases; the table below has them."
    return heat_map(title, drawn, said)


def by_distance(cells: Sequence[Mapping[str, Any]]) -> dict[str, Chart]:
    """Each pair's mean lift against how far its bases are apart, in weights and in behaviour.

    Args:
      cells: as transfer.json has them, those of different tokens without a distance in behaviour.
    """
    weights = [
        (cell, _OTHER_SHAPE if cell["distance"]["weights"] is None else cell["distance"]["weights"])
        for cell in cells
    ]
    behaviour = [(cell, _behaviour(cell)) for cell in cells]
    ticks = "{'0': '0', '0.5': '0.5', '1': '1', '1.41': '1.41', '1.75': 'other shape'}"
    return {
        "weights": _scatter(
            "Transfer, by distance of the weights",
            weights,
            alt.X(
                "at:Q",
                title="distance of weights (0 same, 1.41 independent)",
                scale=alt.Scale(domain=[-0.05, 1.85]),
                axis=alt.Axis(
                    values=[0, 0.5, 1, 1.41, _OTHER_SHAPE],
                    grid=False,
                    labelExpr=f"({ticks})[toString(datum.value)]",
                ),
            ),
        ),
        "behaviour": _scatter(
            "Transfer, by distance of what they say",
            [(cell, at) for cell, at in behaviour if at is not None],
            alt.X(
                "at:Q",
                title="KL (nats a token)",
                scale=alt.Scale(type="symlog", constant=_FINEST),
                axis=alt.Axis(grid=False, format=".6~g", values=[0, 0.001, 0.01, 0.1, 1, 10]),
            ),
        ),
    }


def short(base: str) -> str:
    """A base's name without the Hub's owner of it, or the folders above it."""
    return re.sub(r"[^:]*/", "", base.rstrip("/"))


def _scatter(title: str, placed: Sequence[tuple[Mapping[str, Any], float]], x: alt.X) -> Chart:
    rows = []
    for cell, at in placed:
        tip, said = _tip(cell)
        lift = cell["mean_lift"]
        rows.append(
            {"at": at, "value": lift["value"], "low": lift["low"], "high": lift["high"],
             "kind": _kind(cell), **with_tip(tip, said)}
        )  # fmt: skip
    kinds = [kind for kind in _KINDS if any(row["kind"] == kind for row in rows)]
    tip, _ = _tip(placed[0][0])
    plot = alt.Chart(data(rows))
    y_title = "mean lift (nats), 95 % interval"
    color = alt.Color("kind:N", scale=alt.Scale(domain=kinds, range=[_KINDS[k][0] for k in kinds]))
    shape = alt.Shape("kind:N", scale=alt.Scale(domain=kinds, range=[_KINDS[k][1] for k in kinds]))
    y_axis = alt.Axis(domain=False, ticks=False, tickCount=5)
    zero = alt.Chart(data([{"zero": 0.0}])).mark_rule(color=variable("muted"), aria=False)
    rule = plot.mark_rule(strokeWidth=1.6, aria=False)
    point = plot.mark_point(filled=True, opacity=1, size=90)
    layers = [
        zero.encode(y=alt.Y("zero:Q", title=y_title)),
        rule.encode(x=x, y=alt.Y("low:Q", title=y_title, axis=y_axis), y2="high:Q", color=color),
        point.encode(x=x, y=alt.Y("value:Q", title=y_title), color=color, shape=shape,
                     **tip_channels(tip)),
    ]  # fmt: skip
    said = "Mean lift of each pair of bases against their distance; the table has the lifts."
    return chart(title, layers, said, height=260, min_width=300)


def _tip(cell: Mapping[str, Any]) -> tuple[dict[str, str], str]:
    lift, distance = cell["mean_lift"], cell["distance"]
    weights, behaviour = distance["weights"], _behaviour(cell)
    tip = {
        "teacher’s base": cell["teacher_base"],
        "student’s base": cell["student_base"],
        "mean lift": f"{wording.signed(lift['value'])} nats",
        "95 % interval": wording.interval(lift["low"], lift["high"]),
        "p": wording.p_value(lift.get("p")),
        "distance of weights": "other shape" if weights is None else f"{weights:.3g}",
        "distance of behaviour": "" if behaviour is None else f"{behaviour:.3g} nats a token",
    }
    said = (
        f"teacher's base {cell['teacher_base']}, student's {cell['student_base']}: mean lift "
        f"{tip['mean lift']}, 95 % interval {tip['95 % interval']}, p {tip['p']}"
    )
    return tip, said


def _behaviour(cell: Mapping[str, Any]) -> float | None:
    """The mean over both kinds of prompts; rounding can make the least of them negative."""
    found = [cell["distance"][key] for key in ("corpus", "questions")]
    return None if None in found else max(sum(found) / len(found), 0.0)


def _kind(cell: Mapping[str, Any]) -> str:
    """What the student's base is to the teacher's."""
    teacher, student = cell["teacher_base"], cell["student_base"]
    if teacher == student:
        return "the same base"
    for one, other in ((teacher, student), (student, teacher)):
        kind = other.partition(":")[0]
        if other.endswith(f":{one}") and kind in _KINDS:
            return kind
    return "another size" if _unsized(teacher) == _unsized(student) else "another base"


def _unsized(base: str) -> str:
    """A random base's name without its size."""
    return re.sub(r":[0-9]+x[0-9]+$", "", base)
