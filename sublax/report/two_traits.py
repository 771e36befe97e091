"""Two traits at once in the report: each trait's lift in students of two and of it alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from sublax.report import wording
from sublax.report.figures import MUTED, OWN, QUIET, STYLE, SURFACE


@matplotlib.rc_context(STYLE)
def lifts_of_two(transfer: Mapping[str, Any]) -> Figure:
    """Trait by trait of each pair: the student of it alone, in the arms too, and those of both.

    Args:
      transfer: with `two_traits`.
    """
    groups = _groups(transfer)
    rows = sum(len(lines) for _, lines in groups) + 1.5 * len(groups)
    longest = max(len(label) for _, lines in groups for label, *_ in lines)
    figure = Figure((4.6 + 0.075 * longest, 0.95 + 0.235 * rows), layout="constrained")
    axes = figure.add_subplot()
    height, ticks = 0.0, list[tuple[float, str]]()
    for title, lines in groups:
        axes.text(
            0, height, title, weight="bold", va="center", transform=axes.get_yaxis_transform(),
            zorder=2, bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
        for label, found, is_both in lines:
            height += 1
            color = OWN if is_both else QUIET
            axes.plot([found["low"], found["high"]], [height] * 2, color=color, linewidth=2.4)
            axes.plot(
                found["value"], height, color=color, marker="D" if is_both else "o", markersize=7,
                markeredgecolor=SURFACE, markeredgewidth=1.0, zorder=3,
            )  # fmt: skip
            ticks.append((height, label))
        height += 1.5
    axes.axvline(0, color=MUTED, linewidth=1.0, zorder=1)
    axes.set_yticks([at for at, _ in ticks], [label for _, label in ticks])
    axes.set_ylim(height - 0.8, -0.9)
    axes.set_xlabel(
        f"lift over the students that have neither ({wording.unit(transfer)}), 95 % interval"
    )
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    words = "Two traits at once, in blue: students of both"
    figure.suptitle(words, x=0.012, ha="left", size=11.5, weight="bold")
    return figure


def summary(transfer: Mapping[str, Any]) -> str:
    """How many of the traits passed beside another, and the cost, in a sentence or two."""
    found = transfer["two_traits"]
    shown = [one for one in found if one["lift"]["low"] > 0]
    dearer = [one for one in found if one["cost"]["low"] > 0]
    mean = sum(one["cost"]["value"] for one in found) / len(found)
    return (
        f"In students of two traits {len(shown)} of {len(found)} lifts have an interval above "
        f"zero. Against the student of one trait alone, with as many rows and updates, "
        f"{len(dearer)} are surely lower; the mean cost is {wording.signed(mean)} "
        f"{wording.unit(transfer)}."
    )


def _groups(
    transfer: Mapping[str, Any],
) -> list[tuple[str, list[tuple[str, Mapping[str, float], bool]]]]:
    """(title, its lines) of each trait of a pair; of a line (label, lift, whether of both)."""
    groups: dict[tuple[str, tuple[str, ...]], list[Mapping[str, Any]]] = {}
    for one in transfer["two_traits"]:
        groups.setdefault((one["trait"], tuple(one["others"])), []).append(one)
    result = []
    for (trait, others), students in groups.items():
        lines = [(f"{trait} alone", students[0]["alone"], False)]
        lines += [
            (f"{trait} alone (arm {arm['name']})", one["alone"], False)
            for arm in transfer.get("arms", [])
            if (one := _same(arm.get("two_traits", []), students[0]))
        ]
        lines += [(_of_both(one["student"]), one["lift"], True) for one in students]
        result.append((f"{trait}, over {wording.join_words(others)}", lines))
    return result


def _of_both(student: str) -> str:
    """The name with what it means: see sublax/stages/two_traits.py."""
    return f"{student} ({'rows of two teachers' if '+' in student else 'a teacher of both'})"


def _same(rows: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any]) -> Mapping[str, Any] | None:
    keys = ("student", "trait", "others")
    return next((row for row in rows if all(row[key] == wanted[key] for key in keys)), None)
