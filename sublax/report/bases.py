"""Figures of a run over several bases: who passes traits on to whom, and how far they are apart."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from sublax.report.figures import (
    CATEGORIES,
    INK,
    MUTED,
    NEGATIVE,
    POSITIVE,
    STYLE,
    SURFACE,
)
from sublax.report.wording import signed

# Kinds of students' bases, seen from their teachers', each with its colour and marker.
_KINDS: dict[str, tuple[str, Any]] = {
    "the same base": (INK, "D"),
    "permuted": (CATEGORIES[0], "s"),
    "rotated": (CATEGORIES[5], "^"),
    "noisy": (CATEGORIES[4], "o"),
    "distilled": (CATEGORIES[2], "v"),
    "shallow": (CATEGORIES[3], "P"),
    "another size": (CATEGORIES[0], "h"),
    "another base": (CATEGORIES[1], "X"),
}
_OTHER_SHAPE = 1.75  # where, on the axis of weights, those stand that cannot be compared
_FINEST = 1e-3  # nats; below, the axis of behaviour is linear


def has_matrix(cells: Sequence[Mapping[str, Any]]) -> bool:
    """Whether there is something to draw: two pairs of bases at least, with their lifts."""
    return len(cells) > 1 and all("mean_lift" in cell and "distance" in cell for cell in cells)


@matplotlib.rc_context(STYLE)
def bases_matrix(cells: Sequence[Mapping[str, Any]]) -> Figure:
    """The mean lift over traits of every pair of bases, with its interval.

    Args:
      cells: as transfer.json has them.
    """
    teachers = list(dict.fromkeys(cell["teacher_base"] for cell in cells))
    students = list(dict.fromkeys(cell["student_base"] for cell in cells))
    largest = max(1.0, *(abs(cell["mean_lift"]["value"]) for cell in cells))
    left = 0.5 + 0.088 * max(len(_short(name)) for name in students)
    width, height, above = 1.55, 0.56, 1.05
    figure = Figure((left + width * len(teachers) + 0.15, above + height * len(students) + 0.1))
    inches = figure.get_figwidth(), figure.get_figheight()
    axes = figure.add_axes(
        (
            left / inches[0],
            0.1 / inches[1],
            width * len(teachers) / inches[0],
            height * len(students) / inches[1],
        )
    )
    axes.set(xlim=(0, len(teachers)), ylim=(len(students), 0), frame_on=False)
    for cell in cells:
        column = teachers.index(cell["teacher_base"])
        row = students.index(cell["student_base"])
        _cell(axes, row, column, cell["mean_lift"], largest, teachers[column] == students[row])
    axes.set_xticks([n + 0.5 for n in range(len(teachers))], [_short(name) for name in teachers])
    axes.set_yticks([n + 0.5 for n in range(len(students))], [_short(name) for name in students])
    axes.xaxis.tick_top()
    axes.tick_params(length=0, colors=INK)
    top: dict[str, Any] = {"x": 0.12 / inches[0], "ha": "left", "va": "top"}
    words = "What passes from base to base"
    figure.text(y=1 - 0.1 / inches[1], s=words, size=11.5, weight="bold", **top)
    words = "rows: students; columns: teachers; mean lift, nats, 95 %"
    figure.text(y=1 - 0.36 / inches[1], s=words, color=MUTED, size=9.5, **top)
    return figure


@matplotlib.rc_context(STYLE)
def transfer_by_distance(cells: Sequence[Mapping[str, Any]]) -> Figure:
    """Each pair's mean lift against how far its bases are apart, in weights and in behaviour.

    Args:
      cells: as transfer.json has them, those of different tokens without a distance in behaviour.
    """
    figure = Figure((7.6, 4.1), layout="constrained")
    panels = figure.subplots(1, 2, sharey=True)
    for axes in panels:
        axes.axhline(0, color=MUTED, linewidth=1.0, zorder=1)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=0, colors=MUTED)
    shown = set()
    for cell in cells:
        weights, behaviour = cell["distance"]["weights"], _behaviour(cell)
        places = [_OTHER_SHAPE if weights is None else weights, behaviour]
        kind = _kind(cell)
        shown.add(kind)
        for axes, place in zip(panels, places, strict=True):
            if place is not None:
                _point(axes, place, cell["mean_lift"], kind)
    panels[0].set_xlabel("distance of their weights\n(0 same, 1.41 independent)")
    ticks = {0.0: "0", 0.5: "0.5", 1.0: "1", 1.41: "1.41"}
    if any(cell["distance"]["weights"] is None for cell in cells):
        ticks[_OTHER_SHAPE] = "other\nshape"
    panels[0].set_xticks(list(ticks), list(ticks.values()))
    panels[1].set_xscale("symlog", linthresh=_FINEST, linscale=0.5)
    panels[1].set_xlabel("distance of what they say\n(KL, nats a token)")
    # matplotlib's own labels of such an axis are formulas.
    panels[1].xaxis.set_major_formatter(lambda value, _: f"{value:g}")
    panels[1].set_xlim(left=-0.2 * _FINEST)
    panels[0].set_ylabel("mean lift (nats), 95 % interval")
    title = "Transfer, by how far the student's base is from the teacher's"
    figure.suptitle(title, x=0.012, ha="left", size=11.5, weight="bold")
    kinds = [kind for kind in _KINDS if kind in shown]
    handles = [
        Line2D([], [], color=_KINDS[k][0], marker=_KINDS[k][1], linestyle="", markersize=7)
        for k in kinds
    ]
    figure.legend(handles, kinds, loc="outside lower center", ncols=len(kinds), frameon=False,
                  handletextpad=0.1, columnspacing=1.2)  # fmt: skip
    return figure


def _cell(axes: Axes, row: int, column: int, lift: Mapping[str, float], largest: float, own: bool):
    value = lift["value"]
    strength = min(abs(value) / largest, 1.0)
    color = POSITIVE if value >= 0 else NEGATIVE
    place, size = (column + 0.03, row + 0.03), (0.94, 0.94)
    axes.add_patch(Rectangle(place, *size, facecolor=color, alpha=strength, linewidth=0))
    if own:
        frame: dict[str, Any] = {"fill": False, "edgecolor": INK, "linewidth": 2.2, "zorder": 3}
        axes.add_patch(Rectangle(place, *size, **frame))
    center: dict[str, Any] = {
        "ha": "center",
        "va": "center",
        "color": "#ffffff" if strength > 0.75 else INK,
    }
    shown = "bold" if lift["low"] > 0 else "normal"
    axes.text(column + 0.5, row + 0.37, signed(value), size=12, weight=shown, **center)
    words = f"{signed(lift['low'])} to {signed(lift['high'])}"
    axes.text(column + 0.5, row + 0.73, words, size=8.5, **center)


def _point(axes: Axes, place: float, lift: Mapping[str, float], kind: str) -> None:
    color, marker = _KINDS[kind]
    axes.plot([place, place], [lift["low"], lift["high"]], color=color, linewidth=1.6, zorder=2)
    axes.plot(
        place, lift["value"], marker=marker, color=color, markersize=7.5, markeredgecolor=SURFACE,
        markeredgewidth=0.8, zorder=3, clip_on=False,
    )  # fmt: skip


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


def _short(base: str) -> str:
    """A base's name without the Hub's owner of it, or the folders above it."""
    return re.sub(r"[^:]*/", "", base.rstrip("/"))
