"""Figures and words of the experiment on Theorem 1, from its results alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from sublax.report.figures import CATEGORIES, INK, MUTED, OWN, QUIET, STYLE, SURFACE

STARTS = {"shared": "shared start", "twin": "its twin", "other": "another start"}
_LOOKS: dict[str, dict[str, Any]] = {
    "shared": {"color": OWN, "marker": "o"},
    "twin": {"color": CATEGORIES[2], "marker": "^"},
    "other": {"color": CATEGORIES[1], "marker": "s"},
}


@matplotlib.rc_context(STYLE)
def one_step(result: Mapping[str, Any]) -> Figure:
    """Predicted against measured change of the teacher's loss, and both updates' cosines.

    Args:
      result: the content of one_step.json.
    """
    subjects = result["subjects"]
    figure = Figure((4.1 * len(subjects) + 0.6, 6.2), layout="constrained")
    rows = figure.subplots(2, len(subjects), squeeze=False, height_ratios=(3, 1.5))
    for column, subject in enumerate(subjects):
        _changes(rows[0, column], subject)
        _cosines(rows[1, column], subject, with_names=not column)
    rows[0, 0].set_ylabel("measured change of the\nteacher's own loss (nats)")
    handles, labels = rows[0, 0].get_legend_handles_labels()
    order = [*range(len(handles) - 2, -1, -1), len(handles) - 1]  # as the rows below
    figure.legend(
        [handles[place] for place in order],
        [labels[place] for place in order],
        loc="outside lower left",
        ncols=4,
        frameon=False,
        fontsize=9.5,
    )
    title = f"One step of imitation, a mark for each of {result['seeds']} seeds"
    figure.suptitle(title, x=0.012, ha="left", size=11.5, weight="bold")
    return figure


def _changes(axes: Axes, subject: Mapping[str, Any]) -> None:
    values = []
    for name in reversed([name for name in STARTS if name in subject["starts"]]):
        seeds = subject["starts"][name]["seeds"]
        style: dict[str, Any] = _LOOKS[name] | {
            "linestyle": "none",
            "markersize": 5,
            "alpha": 0.75,
            "markeredgewidth": 0.0,
        }
        if name == "twin":  # lies on the shared start's marks: hollow, around them
            style |= {"markerfacecolor": "none", "markeredgewidth": 1.0, "markersize": 9}
        axes.plot(seeds["predicted"], seeds["measured"], label=STARTS[name], **style)
        values += seeds["predicted"] + seeds["measured"]
    room = 0.06 * (max(values) - min(values))
    limits = (min(0.0, *values) - room, max(0.0, *values) + room)
    axes.axline((0, 0), slope=1, color=MUTED, linewidth=1.0, label="as predicted", zorder=1)
    axes.axhline(0, color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
    axes.set(xlim=limits, ylim=limits, title=subject["words"])
    axes.set_xlabel("predicted change (nats)")
    axes.locator_params(nbins=5)
    axes.tick_params(length=0, colors=MUTED, labelsize=9)
    axes.grid(True)
    axes.set_axisbelow(True)


def _cosines(axes: Axes, subject: Mapping[str, Any], with_names: bool) -> None:
    names = [name for name in STARTS if name in subject["starts"]]
    for height, name in enumerate(names):
        cosines = subject["starts"][name]["seeds"]["cosine"]
        # Spread by the rank of its seed, so that marks of one value stay apart.
        heights = height + np.linspace(-0.22, 0.22, len(cosines))
        axes.plot(cosines, heights, ls="none", markersize=3, alpha=0.75, **_LOOKS[name])
        signs = subject["starts"][name]["inner"]
        axes.annotate(
            f"{signs['positive']}/{signs['of']} > 0", (1.0, height), (4, 0), size=9, color=INK,
            xycoords=("axes fraction", "data"), textcoords="offset points", va="center",
        )  # fmt: skip
    axes.axvline(0, color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
    axes.set_yticks(range(len(names)), [STARTS[name] if with_names else "" for name in names])
    axes.set(ylim=(len(names) - 0.5, -0.5), xlabel="cosine of both updates")
    axes.locator_params(axis="x", nbins=5)
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0, labelsize=9)
    axes.tick_params(axis="x", colors=MUTED)


def one_step_words(result: Mapping[str, Any]) -> list[str]:
    """The signs in words, a line for each model and start.

    Args:
      result: the content of one_step.json.
    """
    lines = []
    for subject in result["subjects"]:
        for name, found in subject["starts"].items():
            seeds, rises = found["seeds"], found["rises"]
            fell = rises["of"] - rises["positive"]
            predicted, measured = np.array(seeds["predicted"]), np.array(seeds["measured"])
            error = np.median(np.abs(measured - predicted) / np.abs(predicted))
            lines.append(
                f"{subject['words']}, {STARTS[name]}: inner product {_signs(found['inner'])}; mean "
                f"cosine {np.mean(seeds['cosine']):.4f}; the teacher's own loss fell in {fell} of "
                f"{rises['of']} (mean change {np.mean(measured):+.2g} nats), off its prediction by "
                f"{error:.1%} in the median"
            )
    return lines


@matplotlib.rc_context(STYLE)
def many_steps(result: Mapping[str, Any]) -> Figure:
    """Cosine of both updates and share of the teacher's gain over the number of steps.

    Args:
      result: the content of many_steps.json.
    """
    courses, counts = result["courses"], result["counts"]
    figure = Figure((2.75 * len(courses) + 0.9, 5.8), layout="constrained")
    rows = figure.subplots(2, len(courses), squeeze=False, sharex=True, sharey="row")
    for (above, below), course in zip(rows.T, courses, strict=True):
        teacher = np.array([point["mean"] for point in course["starts"]["shared"]["teacher"]])
        for name, found in course["starts"].items():
            _course(above, counts, found["cosine"], np.ones(len(counts)), name)
            _course(below, counts, found["measured"], teacher, name)
            predicted = [point["mean"] for point in found["predicted"]] / teacher
            below.plot(counts, predicted, ":", color=_LOOKS[name]["color"], linewidth=1.8)
        optimizer = {"sgd": "SGD", "adam": "Adam"}[course["optimizer"]]
        above.set_title(
            f"{course['words'].split(',')[0]}\n{optimizer}, {course['learning_rate']:g}"
        )
        for axes in (above, below):
            axes.axhline(0, color=MUTED, linewidth=0.8, linestyle="--", zorder=1)
            axes.set_xscale("log")
            axes.set_xticks(counts, [str(count) for count in counts])
            axes.minorticks_off()
            axes.tick_params(length=0, colors=MUTED, labelsize=9)
            axes.grid(True)
            axes.set_axisbelow(True)
        below.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
        below.set_xlabel("steps of each")
    rows[0, 0].set_ylabel("cosine of both updates")
    rows[1, 0].set_ylabel("fall of the teacher's own loss,\nshare of the teacher's")
    handles, labels = rows[0, 0].get_legend_handles_labels()
    handles.append(Line2D([], [], color=INK, linestyle=":", linewidth=1.8))
    labels.append("to first order in the student's whole update")
    figure.legend(handles, labels, loc="outside lower left", ncols=4, frameon=False, fontsize=9.5)
    title = f"n steps of a teacher, then n of its student: mean of {result['seeds']} seeds, 95 %"
    figure.suptitle(title, x=0.012, ha="left", size=11.5, weight="bold")
    return figure


def _course(
    axes: Axes,
    counts: Sequence[int],
    points: Sequence[Mapping[str, float]],
    units: np.ndarray,
    name: str,
) -> None:
    """Means with their intervals over the numbers of steps, in units of each."""
    means, lows, highs = (
        np.array([point[side] for point in points]) / units for side in ("mean", "low", "high")
    )
    axes.fill_between(counts, lows, highs, color=_LOOKS[name]["color"], alpha=0.2, linewidth=0)
    axes.plot(counts, means, linewidth=1.8, markersize=4.5, label=STARTS[name], **_LOOKS[name])


def many_steps_words(result: Mapping[str, Any]) -> list[str]:
    """First and last numbers of steps in words, a line for each model, optimizer and start.

    Args:
      result: the content of many_steps.json.
    """
    lines, counts = [], result["counts"]
    for course in result["courses"]:
        for name, found in course["starts"].items():
            said = [
                f"after {counts[place]} cosine {found['cosine'][place]['mean']:.3f} "
                f"({found['positive'][place]['positive']} of {found['positive'][place]['of']} "
                f"above zero), own loss {found['measured'][place]['mean']:+.2g} where first order "
                f"says {found['predicted'][place]['mean']:+.2g}"
                for place in (0, len(counts) // 2, len(counts) - 1)
            ]
            lines.append(
                f"{course['words']}, {course['optimizer']}, {STARTS[name]}: {'; '.join(said)}"
            )
    return lines


@matplotlib.rc_context(STYLE)
def lean(result: Mapping[str, Any]) -> Figure:
    """Share of positive inner products from another start, by what is taken away and by part.

    Args:
      result: the content of lean.json.
    """
    groups = (("variants", "one thing taken away"), ("parts", "as it is, by part of the network"))
    sizes = [len(result[group]) for group, _ in groups]
    figure = Figure((7.2, 1.5 + 0.36 * sum(sizes)), layout="constrained")
    for axes, (group, title) in zip(
        figure.subplots(2, 1, sharex=True, height_ratios=sizes), groups, strict=True
    ):
        for height, one in enumerate(result[group]):
            color = OWN if one["low"] > 0.5 or one["high"] < 0.5 else QUIET
            axes.plot([one["low"], one["high"]], [height, height], color=color, linewidth=3.0)
            axes.plot(
                one["share"], height, "D", color=color, markersize=7, markeredgecolor=SURFACE,
                markeredgewidth=1.2, zorder=3,
            )  # fmt: skip
            axes.annotate(
                f"{one['share']:.0%}", (one["high"], height), (6, 0), color=INK, va="center",
                textcoords="offset points", size=9.5,
            )  # fmt: skip
        axes.axvline(0.5, color=MUTED, linewidth=1.0, linestyle="--", zorder=1)
        axes.set_yticks(range(len(result[group])), [one["words"] for one in result[group]])
        axes.set(ylim=(len(result[group]) - 0.5, -0.5), title=title)
        axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
        axes.spines["left"].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
    axes.set_xlabel(
        f"positive inner products from another start, of {result['seeds']} seeds,\n"
        "exact 95 % interval; grey: it includes a coin's half"
    )
    title = "Why another start leans towards the teacher"
    figure.suptitle(title, x=0.012, ha="left", size=11.5, weight="bold")
    return figure


def lean_words(result: Mapping[str, Any]) -> list[str]:
    """The lean in words, a line for each variant and part.

    Args:
      result: the content of lean.json.
    """
    return [
        f"{label}, {one['words']}: {_signs(one)}; mean cosine {one['mean']:.5f} (standard error "
        f"{one['error']:.5f})"
        for group, label in (("variants", "Another start"), ("parts", "Part"))
        for one in result[group]
    ]


def _signs(found: Mapping[str, Any]) -> str:
    return (
        f"positive in {found['positive']} of {found['of']} ({found['share']:.1%} "
        f"[{found['low']:.1%}, {found['high']:.1%}], p = {found['p']:.2g} against a coin)"
    )
