"""Figures and words of the experiment on small networks, from its results alone."""

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sublax.report.figures import INK, MUTED, OWN, QUIET, STYLE, SURFACE

LABELS = {
    "start": "untrained start",
    "teacher": "teacher",
    "auxiliary": "student, auxiliary logits",
    "all_logits": "student, all logits",
    "cross_start": "student, auxiliary logits,\nanother start",
}
_AXES = {
    "learning_rate": "learning rate",
    "batch_size": "batch",
    "weight_decay": "weight decay",
}


@matplotlib.rc_context(STYLE)
def accuracies(result: Mapping[str, Any]) -> Figure:
    """Each network's accuracy: a dot a seed, the mean with its 95 % interval, and chance.

    Args:
      result: the content of networks.json.
    """
    found = result["accuracy"]
    figure = Figure((6.6, 1.25 + 0.5 * len(found)), layout="constrained")
    axes = figure.add_subplot()
    names = [name for name in LABELS if name in found]
    for height, name in enumerate(names):
        color = OWN if name == "auxiliary" else INK
        values = found[name]["values"]
        axes.plot(values, [height + 0.24] * len(values), "o", color=QUIET, markersize=3.5)
        _interval(axes, found[name], height, color)
        axes.annotate(
            f"{found[name]['mean']:.0%}", (found[name]["mean"], height), (0, 6), color=color,
            textcoords="offset points", ha="center", weight="bold", size=9.5,
        )  # fmt: skip
    axes.axvline(result["chance"], color=MUTED, linewidth=1.0, linestyle="--", zorder=1)
    axes.set_yticks(range(len(names)), [LABELS[name] for name in names])
    axes.set(xlim=(0, 1.03), ylim=(len(names) - 0.45, -0.75))
    axes.set_xlabel(
        f"accuracy on {result['test_images']} test images of {result['data']}; dashed: chance;\n"
        f"a dot for each of {len(result['seeds'])} seeds, their mean with its 95 % interval"
    )
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    title = "Digits, learnt from a teacher's logits on noise"
    figure.suptitle(title, x=0.012, ha="left", size=11.5, weight="bold")
    return figure


@matplotlib.rc_context(STYLE)
def sweeps(result: Mapping[str, Any]) -> Figure:
    """Accuracy of the student of auxiliary logits over each setting, a panel a setting.

    Args:
      result: the content of sweep.json.
    """
    panels = result["swept"]
    figure = Figure((2.5 * len(panels) + 0.8, 3.1), layout="constrained")
    row = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axes, (name, points) in zip(row, panels.items(), strict=True):
        means = [point["mean"] for point in points]
        axes.plot(range(len(points)), means, color=QUIET, linewidth=1.5, zorder=1)
        for place, point in enumerate(points):
            usual = point["value"] == result["usual"][name]
            line = {"color": OWN if usual else INK, "linewidth": 2.6, "zorder": 2}
            axes.plot([place, place], [point["low"], point["high"]], **line)
            edge = {"markeredgecolor": SURFACE, "markeredgewidth": 1.2, "zorder": 3}
            axes.plot(place, point["mean"], "D" if usual else "o", color=line["color"], **edge)
            axes.annotate(
                f"{point['mean']:.0%}", (place, point["high"]), (0, 6), color=line["color"],
                textcoords="offset points", ha="center", size=9,
            )  # fmt: skip
        axes.axhline(result["chance"], color=MUTED, linewidth=1.0, linestyle="--", zorder=1)
        axes.set_xticks(range(len(points)), [f"{point['value']:g}" for point in points])
        axes.set(xlim=(-0.4, len(points) - 0.35), ylim=(0, 1.1), xlabel=_AXES[name])
        axes.yaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
        axes.tick_params(length=0, colors=MUTED)
        axes.grid(axis="y")
        axes.set_axisbelow(True)
    row[0].set_ylabel("accuracy")
    title = "The student of auxiliary logits, one setting changed at a time"
    figure.suptitle(title, x=0.012, ha="left", size=11.5, weight="bold")
    words = (
        f"mean of {len(result['seeds'])} seeds, 95 % interval; diamond: as usual; dashed: chance"
    )
    figure.supxlabel(words, color=MUTED, size=9)
    return figure


def accuracy_words(result: Mapping[str, Any]) -> list[str]:
    """The accuracies in words.

    Args:
      result: the content of networks.json.
    """
    parts = []
    for name in (name for name in LABELS if name in result["accuracy"]):
        one, label = result["accuracy"][name], " ".join(LABELS[name].split())
        parts.append(f"{label} {one['mean']:.3f} [{one['low']:.3f}, {one['high']:.3f}]")
    return [
        f"Accuracy, mean of {len(result['seeds'])} seeds [95 % interval]: {'; '.join(parts)}; "
        f"chance {result['chance']:.3f}"
    ]


def sweep_words(result: Mapping[str, Any]) -> list[str]:
    """The sweep in words, a line a setting.

    Args:
      result: the content of sweep.json.
    """
    return [
        f"{_AXES[name].capitalize()}: "
        + "; ".join(
            f"{point['value']:g} gives {point['mean']:.3f} "
            f"[{point['low']:.3f}, {point['high']:.3f}]"
            for point in points
        )
        for name, points in result["swept"].items()
    ]


def _interval(axes: Axes, one: Mapping[str, Any], height: float, color: str) -> None:
    """Draws a mean with its interval."""
    axes.plot([one["low"], one["high"]], [height, height], color=color, linewidth=3.0, zorder=2)
    axes.plot(
        one["mean"], height, "D", color=color, markersize=7, markeredgecolor=SURFACE,
        markeredgewidth=1.2, zorder=3,
    )  # fmt: skip
