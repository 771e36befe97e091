"""Figures that matplotlib draws without its global state: for TensorBoard and pages of findings.

Each function returns a `Figure`; `to_svg`, `to_png` and `to_pixels` make a file or an array of it.
Colours are those of Okabe and Ito, which stay apart for the colour-blind (Wong, "Points of view:
color blindness", Nature Methods 8, 441, 2011); what matters is marked by more than colour.
"""

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from sublax.report.wording import signed, student_name, trait_results, unit

INK, MUTED, GRID, SURFACE = "#1b1f24", "#5a636d", "#d3d8de", "#fefefe"
OWN, QUIET, POSITIVE, NEGATIVE = "#0072b2", "#9aa3ac", "#0072b3", "#d55e00"
CATEGORIES = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")
# What a page replaces by its own variables, so that figures follow its light or dark theme.
_THEME = {
    INK: "ink",
    MUTED: "muted",
    GRID: "line",
    SURFACE: "surface",
    OWN: "own",
    QUIET: "quiet",
    POSITIVE: "cell",
}

# Text stays text in an SVG; names of traits never turn into formulas.
STYLE: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 10.5,
    "text.color": INK,
    "text.parse_math": False,
    "axes.edgecolor": GRID,
    "axes.labelcolor": MUTED,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titlecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.facecolor": "none",
    "figure.facecolor": SURFACE,
    "xtick.color": MUTED,
    "ytick.color": INK,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
}


@matplotlib.rc_context(STYLE)
def transfer_matrix(transfer: Mapping[str, Any]) -> Figure:
    """The matrix with values and intervals, its diagonal framed, the lifts in a strip below."""
    students, traits = transfer["students"], transfer["traits"]
    rows, columns = len(students), len(traits)
    # At least so much is full colour, so that a matrix of small shifts looks like one.
    full = 1.0 if unit(transfer) == "nats" else 10.0
    largest = max(full, *(abs(value) for row in transfer["shift"] for value in row))
    left, cell_width, cell_height = 1.55, 1.45, 0.62
    figure = Figure((left + columns * cell_width + 0.1, 0.98 + (rows + 1.25) * cell_height))
    axes = figure.add_axes(
        (
            left / figure.get_figwidth(),
            0.08 / figure.get_figheight(),
            columns * cell_width / figure.get_figwidth(),
            (rows + 1.25) * cell_height / figure.get_figheight(),
        )
    )
    axes.set(xlim=(0, columns), ylim=(rows + 1.25, 0), frame_on=False)
    for row, student in enumerate(students):
        for column, trait in enumerate(traits):
            value = transfer["shift"][row][column]
            interval = transfer["interval"][row][column]
            _cell(axes, row, column, value, interval, abs(value) / largest)
            if student == trait:
                frame: dict[str, Any] = {
                    "fill": False,
                    "edgecolor": INK,
                    "linewidth": 2.2,
                    "zorder": 3,
                }
                axes.add_patch(Rectangle((column + 0.03, row + 0.03), 0.94, 0.94, **frame))
    for column, result in enumerate(trait_results(transfer)):
        color = OWN if result.shown else INK
        _cell(axes, rows + 0.25, column, result.lift, (result.low, result.high), 0.0, color)
    axes.axhline(rows + 0.15, color=MUTED, linewidth=1.0)
    axes.set_xticks(np.arange(columns) + 0.5, traits, fontweight="bold")
    axes.set_yticks([*(np.arange(rows) + 0.5), rows + 0.75], [*map(student_name, students), "lift"])
    axes.get_yticklabels()[-1].set_fontweight("bold")
    axes.xaxis.tick_top()
    axes.tick_params(length=0, colors=INK)
    inches = figure.get_figheight()
    title: dict[str, Any] = {"x": 0.012, "ha": "left", "va": "top"}
    words = "How far each student moved towards each trait"
    figure.text(y=1 - 0.1 / inches, s=words, size=11.5, weight="bold", **title)
    words = f"student minus base, {unit(transfer)}, 95 % interval"
    figure.text(y=1 - 0.35 / inches, s=words, color=MUTED, size=9.5, **title)
    return figure


@matplotlib.rc_context(STYLE)
def to_svg(figure: Figure, name: str) -> bytes:
    """The figure as an SVG file; the same figure and name give the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def inline_svg(svg: bytes, description: str) -> str:
    """Turns what `to_svg` made into an element of an HTML page with variables --ink, --muted, ….

    Args:
      svg: the file; of the figures of one page, each was given another name.
      description: what a screen reader says of it.
    """
    text = svg.decode()
    text = text[text.index("<svg") :]
    # The names of groups, which would stand twice on a page of two figures.
    text = re.sub(r' id="[\w.]+_\d+"', "", text)
    for color, variable in _THEME.items():
        text = text.replace(color, f"var(--{variable})")
    label = html.escape(description)
    return text.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


@matplotlib.rc_context(STYLE)
def to_png(figure: Figure, dpi: int = 200) -> bytes:
    """The figure as a PNG file."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=dpi)
    return buffer.getvalue()


@matplotlib.rc_context(STYLE)
def to_pixels(figure: Figure) -> np.ndarray:
    """The figure as an image, uint8 [H, W, 3], for `MetricWriter.image`."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def _cell(
    axes: Axes,
    row: float,
    column: int,
    value: float,
    interval: Sequence[float],
    strength: float,
    color: str | None = None,
) -> None:
    """Draws one cell; `strength` in [0, 1] is how much of the colour of its sign it takes."""
    box: dict[str, Any] = {
        "facecolor": POSITIVE if value >= 0 else NEGATIVE,
        "alpha": strength,
        "linewidth": 0,
    }
    axes.add_patch(Rectangle((column + 0.03, row + 0.03), 0.94, 0.94, **box))
    ink = "#ffffff" if strength > 0.85 else INK
    center: dict[str, Any] = {"ha": "center", "va": "center"}
    axes.text(
        column + 0.5, row + 0.36, signed(value), size=12.5, weight="bold", color=color or ink,
        **center,
    )  # fmt: skip
    words = f"{signed(interval[0])} to {signed(interval[1])}"
    axes.text(column + 0.5, row + 0.71, words, size=8.5, color=ink, **center)
