"""The arms of an experiment beside each other: who is compared, and their figures.

A forest of lifts, arms by traits; and, where arms differ from each other in one number alone, the
lift over that number.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from sublax.report import wording
from sublax.report.figures import CATEGORIES, MUTED, OWN, QUIET, STYLE, SURFACE

MAIN = "main experiment"
_FEWEST = 3  # points that make a curve
_TICKS = 9  # values that have room under an axis, each at its place
_DECADES = 1.0  # above this an axis of positive numbers is logarithmic


@dataclass(frozen=True)
class Point:
    """A value of the number that varies, and what was found there (`value`, `low`, `high`)."""

    at: float
    mean: Mapping[str, float]
    lift: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Curve:
    """Arms that differ from each other in one number alone.

    Attributes:
      key: of the config, whose value differs.
      others: what else they set, as `key=value`; the same in all of them.
      points: by rising value.
    """

    key: str
    others: tuple[str, ...]
    points: tuple[Point, ...]


def rows_of(transfer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The main experiment and then every arm, as transfer.json has an arm."""
    main: dict[str, Any] = {"name": MAIN, "overrides": [], "difference": None}
    main |= {"unit": wording.unit(transfer)}
    return [{**main, **{key: transfer[key] for key in ("lift", "mean_lift")}}, *transfer["arms"]]


def _alike(transfer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Those of `rows_of` whose lifts have the main experiment's unit: one axis can show them."""
    return [row for row in rows_of(transfer) if row.get("unit", "nats") == wording.unit(transfer)]


def find_curves(transfer: Mapping[str, Any], config: Mapping[str, Any]) -> list[Curve]:
    """All sets of three or more arms that differ in one number alone.

    The main experiment counts as one.

    Args:
      transfer: with `arms`.
      config: the main experiment's, plain; empty where it is not known.
    """
    rows = _alike(transfer)
    settings = [_settings(row["overrides"]) for row in rows]
    found = []
    for key in dict.fromkeys(key for own in settings for key in own):
        groups: dict[tuple[str, ...], dict[float, Point]] = {}
        for row, own in zip(rows, settings, strict=True):
            # What an arm does not set it has from the main experiment.
            value = _number(own[key] if key in own else _look_up(config, key))
            if value is not None:
                others = tuple(f"{name}={own[name]}" for name in sorted(own) if name != key)
                point = Point(value, row["mean_lift"], row["lift"])
                groups.setdefault(others, {}).setdefault(value, point)
        found += [
            Curve(key, others, tuple(by_value[at] for at in sorted(by_value)))
            for others, by_value in groups.items()
            if len(by_value) >= _FEWEST
        ]
    return found


@matplotlib.rc_context(STYLE)
def forest(transfer: Mapping[str, Any]) -> Figure:
    """Each arm's lifts with their 95 % intervals: the mean over traits, then trait by trait."""
    rows, traits = _alike(transfer), transfer["traits"]
    panels = ["mean", *traits] if len(traits) > 1 else traits
    left = 0.5 + 0.075 * max(len(row["name"]) for row in rows)
    size = (max(6.6, left + 1.45 * len(panels)), 1.15 + 0.27 * len(rows))
    figure = Figure(size, layout="constrained")
    many = figure.subplots(1, len(panels), squeeze=False, sharey=True)[0]
    for axes, panel in zip(many, panels, strict=True):
        lifts = [row["mean_lift"] if panel == "mean" else row["lift"].get(panel) for row in rows]
        if lifts[0] is not None:
            axes.axvline(lifts[0]["value"], color=QUIET, linewidth=1.0, linestyle=":", zorder=1)
        axes.axvline(0, color=MUTED, linewidth=1.0, zorder=1)
        for height, lift in enumerate(lifts):
            if lift is not None:  # an arm may have other traits
                _interval(axes, lift, height, "D" if height == 0 else "o")
        axes.set_title(panel, fontweight="bold" if panel == "mean" else "normal")
        axes.spines["left"].set_visible(False)
        axes.tick_params(length=0)
        axes.grid(axis="x")
        axes.set_axisbelow(True)
        axes.margins(x=0.1)
    many[0].set_yticks(range(len(rows)), [row["name"] for row in rows])
    many[0].set_ylim(len(rows) - 0.4, -0.6)
    many[0].get_yticklabels()[0].set_fontweight("bold")
    words = "Lift of each arm, in blue where its interval lies above zero"
    figure.suptitle(words, x=0.012, ha="left", size=11.5, weight="bold")
    figure.supxlabel(f"lift ({wording.unit(transfer)}), with 95 % interval", color=MUTED, size=10.5)
    return figure


@matplotlib.rc_context(STYLE)
def dose_response(curves: Sequence[Curve], unit: str = "nats") -> Figure:
    """The lift over the number that varies, a panel for each key.

    One curve alone shows its traits too, as thin lines; where there are several in a panel each
    shows the mean over traits.
    """
    panels = [list(group) for _, group in itertools.groupby(curves, key=lambda curve: curve.key)]
    several = max(map(len, panels)) > 1
    figure = Figure((6.6, 3.5 * len(panels)), layout="constrained")
    many = figure.subplots(len(panels), 1, squeeze=False)[:, 0]
    for axes, group in zip(many, panels, strict=True):
        labels = _labels([curve.others for curve in group])
        for index, (curve, label) in enumerate(zip(group, labels, strict=True)):
            style = ("-", "--", ":")[index // len(CATEGORIES) % 3]
            _curve(axes, curve, label, CATEGORIES[index % len(CATEGORIES)], style, len(group) == 1)
        axes.axhline(0, color=MUTED, linewidth=1.0, zorder=1)
        _scale(axes, sorted({point.at for curve in group for point in curve.points}))
        axes.set_xlabel(_words(group[0].key))
        axes.set_ylabel(f"mean lift ({unit})" if several else f"lift ({unit})")
        axes.grid(axis="y")
        axes.set_axisbelow(True)
        axes.tick_params(length=0, colors=MUTED)
        if len(group) > 1 or len(group[0].points[0].lift) > 1:
            axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=9.5)
    words = "Lift over " + " and over ".join(_words(group[0].key) for group in panels)
    figure.suptitle(words, x=0.012, ha="left", size=11.5, weight="bold")
    return figure


def _interval(axes: Axes, lift: Mapping[str, float], height: float, marker: str) -> None:
    color = OWN if lift["low"] > 0 else QUIET
    axes.plot([lift["low"], lift["high"]], [height, height], color=color, linewidth=2.4, zorder=2)
    edge: dict[str, Any] = {"markeredgecolor": SURFACE, "markeredgewidth": 1.0, "zorder": 3}
    axes.plot(lift["value"], height, marker=marker, color=color, markersize=7, **edge)


def _curve(axes: Axes, curve: Curve, label: str, color: str, style: Any, alone: bool) -> None:
    at = [point.at for point in curve.points]
    traits = list(curve.points[0].lift)
    if alone and len(traits) > 1:
        for index, trait in enumerate(traits):
            thin: dict[str, Any] = {"color": CATEGORIES[1 + index % 5], "linewidth": 1.2}
            thin["linestyle"] = ("--", "-.", ":")[index % 3]
            lifts = [point.lift[trait]["value"] for point in curve.points]
            axes.plot(at, lifts, label=trait, **thin)
        label = "mean, 95 %"
    values = np.array([point.mean["value"] for point in curve.points])
    ends = np.array([[point.mean["low"], point.mean["high"]] for point in curve.points])
    bars = np.abs(ends.T - values)  # a percentile interval may leave out its mean by rounding
    axes.errorbar(
        at, values, yerr=bars, color=color, linestyle=style, linewidth=2.2, elinewidth=1.4,
        marker="o", markersize=6, markeredgecolor=SURFACE, zorder=3, label=label,
    )  # fmt: skip


def _scale(axes: Axes, values: list[float]) -> None:
    positive = [value for value in values if value > 0]
    wide = positive and np.log10(positive[-1] / positive[0]) > _DECADES
    if wide and values[0] == 0:
        axes.set_xscale("symlog", linthresh=positive[0], linscale=0.5)
        axes.set_xlim(left=-positive[0] / 4)
    elif wide and values[0] > 0:
        axes.set_xscale("log")
    if len(values) <= _TICKS:
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xticks(values, [f"{value:g}" for value in values])


def _settings(overrides: Sequence[str]) -> dict[str, str]:
    return {key: value for key, _, value in (text.partition("=") for text in overrides)}


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if np.isfinite(number) else None


def _look_up(config: Mapping[str, Any], key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _labels(others: Sequence[tuple[str, ...]]) -> list[str]:
    """What tells each curve from the others of its panel."""
    common = set.intersection(*map(set, others))
    own = [[_short(one) for one in of_curve if one not in common] for of_curve in others]
    return [", ".join(words) or MAIN for words in own]


def _short(override: str) -> str:
    key, _, value = override.partition("=")
    name = key.rsplit(".", 1)[-1]
    return value if name in ("name", "kind", "method") else f"{name.replace('_', ' ')} {value}"


def _words(key: str) -> str:
    """A config's key as an axis says it: `student learning rate`."""
    group, name = key.partition(".")[0], key.rpartition(".")[2].replace("_", " ")
    return f"{group} {name}" if "." in key else name
