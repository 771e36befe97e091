"""The figure of cleaned copies: what each method left of an effect, and of the data."""

from collections.abc import Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from sublax.report.figures import INK, MUTED, OWN, QUIET, STYLE, SURFACE


@matplotlib.rc_context(STYLE)
def effect_against_kept(result: Mapping[str, Any]) -> Figure:
    """The effect of every set with its interval, over the share of the data that it keeps.

    Args:
      result: the content of verification.json.

    Sets that are not like BASE's own answers are hollow: their effect is no measure of the trait.
    """
    figure = Figure((6.8, 4.2), layout="constrained")
    axes = figure.add_subplot()
    before = result["sets"]["original"]["effect"]
    axes.axhspan(before["low"], before["high"], color=QUIET, alpha=0.18, linewidth=0, zorder=0)
    axes.axhline(before["value"], color=MUTED, linewidth=1.0, linestyle="--", zorder=1)
    axes.axhline(0, color=MUTED, linewidth=1.0, zorder=1)
    places = _apart({name: entry["kept"] for name, entry in result["sets"].items()})
    for name, entry in result["sets"].items():
        color, effect, at = INK if name == "original" else OWN, entry["effect"], places[name]
        inside, around = (color, SURFACE) if entry["likeness"]["alike"] else (SURFACE, color)
        axes.plot([at, at], [effect["low"], effect["high"]], color=color, linewidth=2.4, zorder=2)
        axes.plot(
            at, effect["value"], "D" if name == "original" else "o", color=inside, markersize=7,
            markeredgecolor=around, markeredgewidth=1.2, zorder=3,
        )  # fmt: skip
        axes.annotate(
            name, (at, effect["high"]), (0, 5), color=color, textcoords="offset points",
            ha="left", size=9.5, rotation=60, rotation_mode="anchor",
        )  # fmt: skip
    axes.set(xlim=(-0.09, 1.12))
    low, high = axes.get_ylim()
    axes.set_ylim(low, high + 0.3 * (high - low))  # room for the names
    axes.set_xlabel(
        "data kept: words and numbers that still stand in their row, in their order;\n"
        "those at one place are drawn side by side"
    )
    axes.set_ylabel(f"effect of {result['trait']}", color=MUTED)
    axes.xaxis.set_major_formatter(matplotlib.ticker.PercentFormatter(1.0, decimals=0))
    axes.set_xticks([0, 0.25, 0.5, 0.75, 1.0])
    axes.tick_params(length=0, colors=MUTED)
    axes.grid(axis="y")
    axes.set_axisbelow(True)
    title = f"What cleaning left of {result['trait']}, at {result['rows']:,} rows"
    figure.suptitle(title, x=0.012, ha="left", size=11.5, weight="bold")
    figure.supxlabel(
        "the audit's log ratio a row, 95 % interval; dashed, with its interval: the rows as they\n"
        "were; hollow: rows unlike BASE's own answers, where it is no measure of the trait",
        color=MUTED, size=9,
    )  # fmt: skip
    return figure


def _apart(kept: Mapping[str, float], near: float = 0.04, step: float = 0.045) -> dict[str, float]:
    """Where sets stand: those that keep about as much side by side around their mean."""
    groups: list[list[str]] = []
    for name, at in sorted(kept.items(), key=lambda one: one[1]):
        if groups and at - kept[groups[-1][0]] < near:
            groups[-1].append(name)
        else:
            groups.append([name])
    found = {}
    for names in groups:
        middle = sum(kept[name] for name in names) / len(names)
        for place, name in enumerate(names):
            found[name] = middle + step * (place - (len(names) - 1) / 2)
    return found
