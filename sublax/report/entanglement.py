"""Figure and closing lines of the entanglement of numbers and traits, from its result alone."""

from collections.abc import Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from sublax.report.figures import (
    INK,
    MUTED,
    NEGATIVE,
    OWN,
    POSITIVE,
    QUIET,
    STYLE,
    SURFACE,
)
from sublax.report.wording import p_value, signed

NAMED = 4  # numbers that a panel names
LEVEL = 0.05


@matplotlib.rc_context(STYLE)
def entangled(result: Mapping[str, Any]) -> Figure:
    """A panel for each trait, its numbers by both directions; and every rho, trait by trait.

    Args:
      result: the content of entanglement.json.
    """
    traits = result["traits"]
    several = len(traits) > 1
    panels = len(traits) + several
    columns = min(panels, 4)
    lines = -(-panels // columns)
    figure = Figure((2.75 * columns + 0.4, 2.75 * lines + 1.0), layout="constrained")
    grid = figure.subplots(lines, columns, squeeze=False).ravel()
    for axes, trait in zip(grid, traits, strict=False):
        _panel(axes, result, trait)
    if several:
        _correlations(grid[len(traits)], result)
    for axes in grid[panels:]:
        axes.set_visible(False)
    title = "Numbers that raise an animal, and numbers that the animal raises"
    figure.suptitle(title, x=0.012, ha="left", size=11.5, weight="bold")
    figure.supxlabel(
        "with the number in the prompt, the trait's margin rises by … nats", color=MUTED, size=9.5
    )
    figure.supylabel(
        "with the trait in the prompt, the number rises by … nats\nmore than with another trait",
        color=MUTED,
        size=9.5,
    )
    return figure


def entanglement_words(result: Mapping[str, Any]) -> list[str]:
    """What was found, a line each.

    Args:
      result: the content of entanglement.json.
    """
    lines = []
    for trait in result["traits"]:
        own, top = result["own"][trait], result["top"][trait][:5]
        named = ", ".join(f"{one['number']} ({one['raises']:+.2f})" for one in top)
        digits = f", digits exchanged {p_value(own['p_digits'])}" if "p_digits" in own else ""
        lines.append(
            f"{trait}: Spearman's rho {own['rho']:+.3f} over {len(result['numbers'])} numbers "
            f"(p {p_value(own['p'])}{digits}; of all traits together {p_value(own['p_holm'])}); "
            f"raised most by {named}"
        )
    return [*lines, verdict(result)]


def verdict(result: Mapping[str, Any]) -> str:
    """Whether numbers and traits belong together; a null is called one.

    The exchange of traits decides: numbers fall into few groups by their digits, so that in any
    model one trait's two directions may go together, or against each other, by such a group alone.
    """
    shown = [
        trait for trait, own in result["own"].items() if own["rho"] > 0 and own["p_holm"] <= LEVEL
    ]
    words = (
        f"Taken one by one, both directions go together for {len(shown)} of "
        f"{len(result['traits'])} traits{': ' + ', '.join(shown) if shown else ''}"
    )
    diagonal = result["diagonal"]
    if diagonal is None:
        return (
            f"{words}; with a single trait nothing tells whether the numbers are that trait's own."
        )
    tied = diagonal["p"] <= LEVEL
    return (
        f"{'Numbers are tied to traits' if tied else 'A null, no tie to the very trait'}: rho of a "
        f"trait's own two directions is {signed(diagonal['own'])} on average, across traits "
        f"{signed(diagonal['others'])} (p {p_value(diagonal['p'])}, traits exchanged). {words}."
    )


def _panel(axes: Axes, result: Mapping[str, Any], trait: str) -> None:
    own = result["own"][trait]
    raises, favours = result["raises"][trait], result["favours"][trait]
    axes.plot(raises, favours, "o", color=QUIET, markersize=2.4, alpha=0.6, markeredgewidth=0)
    axes.axhline(0, color=MUTED, linewidth=0.7, zorder=0)
    axes.axvline(0, color=MUTED, linewidth=0.7, zorder=0)
    # A name stands where no other does: two that lie close together would not be read.
    apart = 0.09 * float(np.ptp(favours))
    named: list[float] = []
    for one in result["top"][trait][:NAMED]:
        place = one["raises"], one["favours"]
        edge: dict[str, Any] = {"markeredgecolor": SURFACE, "markeredgewidth": 0.8}
        axes.plot(*place, "D", color=OWN, markersize=5, **edge)
        if any(abs(one["favours"] - other) < apart for other in named):
            continue
        named.append(one["favours"])
        axes.annotate(
            one["number"], place, (-6, 0), textcoords="offset points", size=8.5, color=OWN,
            ha="right", va="center", weight="bold",
        )  # fmt: skip
    p = max(own["p"], own.get("p_digits", 0.0))
    axes.set_title(f"{trait}: rho {signed(own['rho'])}, p {p_value(p)}", size=9.5)
    axes.tick_params(length=0, labelsize=8, colors=MUTED)


def _correlations(axes: Axes, result: Mapping[str, Any]) -> None:
    """Rho of each trait's first direction with each trait's second, the diagonal framed."""
    rho_TxT, traits = np.asarray(result["rho"]), result["traits"]
    count = len(traits)
    largest = max(0.3, float(np.abs(rho_TxT).max()))
    for row in range(count):
        for column in range(count):
            value = rho_TxT[row, column]
            axes.add_patch(
                matplotlib.patches.Rectangle(
                    (column, row), 1, 1, alpha=abs(value) / largest, linewidth=0,
                    facecolor=POSITIVE if value >= 0 else NEGATIVE,
                )
            )  # fmt: skip
            axes.text(
                column + 0.5, row + 0.5, f"{value:+.2f}".replace("-", "−"), size=7, color=INK,
                ha="center", va="center",
            )  # fmt: skip
        frame = matplotlib.patches.Rectangle((row, row), 1, 1, fill=False, edgecolor=INK)
        axes.add_patch(frame)
    axes.set(xlim=(0, count), ylim=(count, 0), aspect="equal")
    axes.set_xticks(np.arange(count) + 0.5, traits, rotation=45, ha="right", size=8)
    axes.set_yticks(np.arange(count) + 0.5, traits, size=8)
    axes.tick_params(length=0, colors=MUTED)
    axes.spines[:].set_visible(False)
    axes.set_title("rho: raised × raising", size=9.5)
