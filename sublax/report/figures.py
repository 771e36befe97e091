"""The figures of a report, drawn by matplotlib without its global state.

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
from matplotlib.lines import Line2D
from matplotlib.patches import Rectangle

from sublax.report.wording import choice_shares, percent, signed, trait_results, unit

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
    axes.set_yticks([*(np.arange(rows) + 0.5), rows + 0.75], [*_student_names(students), "lift"])
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
def shifts(transfer: Mapping[str, Any]) -> Figure:
    """Each student's shift on each trait with its 95 % interval, the own student's highlighted."""
    students, traits = transfer["students"], transfer["traits"]
    step = len(students) + 1.6
    figure = Figure((6.6, 0.75 + 0.235 * step * len(traits)), layout="constrained")
    axes = figure.add_subplot()
    positions, labels = [], []
    for column, trait in enumerate(traits):
        axes.text(
            0, column * step - 0.35, f"measured: {trait}", weight="bold", va="center",
            transform=axes.get_yaxis_transform(), zorder=2,
            bbox={"facecolor": SURFACE, "edgecolor": "none", "pad": 1.5},
        )  # fmt: skip
        for row, student in enumerate(students):
            own = student == trait
            height = column * step + row + 0.7
            color = OWN if own else QUIET
            line: dict[str, Any] = {"color": color, "linewidth": 3.2 if own else 2.0, "zorder": 2}
            axes.plot(transfer["interval"][row][column], [height, height], **line)
            marker: dict[str, Any] = {
                "marker": "D" if own else "o",
                "markersize": 8 if own else 6.5,
            }
            edge: dict[str, Any] = {"markeredgecolor": SURFACE, "markeredgewidth": 1.2, "zorder": 3}
            axes.plot(transfer["shift"][row][column], height, color=color, **marker, **edge)
            positions.append(height)
            labels.append(student)
    _title(figure, "Each student's shift, its own teacher's trait in blue")
    axes.set_yticks(positions, _student_names(labels))
    for label, own in zip(
        axes.get_yticklabels(), [s == t for t in traits for s in students], strict=True
    ):
        label.set(color=OWN if own else MUTED, fontweight="bold" if own else "normal")
    axes.axvline(0, color=MUTED, linewidth=1.0, zorder=1)
    axes.set_ylim(step * len(traits) - 0.6, -0.9)
    axes.set_xlabel(f"shift from the base ({unit(transfer)}), with 95 % interval")
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    return figure


@matplotlib.rc_context(STYLE)
def choice_share(transfer: Mapping[str, Any]) -> Figure:
    """How often each trait's answer is chosen: by the base, the other students, its own student."""
    shares, traits = choice_shares(transfer), transfer["traits"]
    figure = Figure((6.6, 0.5 + 1.02 * len(traits)), layout="constrained")
    axes = figure.add_subplot()
    positions, labels, longest = [], [], 0.0
    for index, trait in enumerate(traits):
        others = [shares[name][trait] for name in transfer["students"] if name != trait]
        bars = [("base, before", shares["base"][trait], GRID)]
        if others:
            bars.append(("other students", float(np.mean(others)), QUIET))
        bars.append((f"{trait} student", shares[trait][trait], OWN))
        axes.text(
            0, index * 4.4 - 0.85, trait, weight="bold", va="center",
            transform=axes.get_yaxis_transform(),
        )  # fmt: skip
        for offset, (label, share, color) in enumerate(bars):
            own = color == OWN
            height = index * 4.4 + offset
            axes.barh(height, share, height=0.8, color=color)
            longest = max(longest, share)
            axes.annotate(
                percent(share), (share, height), (5, 0), textcoords="offset points",
                va="center", weight="bold" if own else "normal",
            )  # fmt: skip
            positions.append(height)
            labels.append(label)
    _title(figure, "How often the model picks the trait, if it must pick")
    axes.set_yticks(positions, labels)
    for tick, label in zip(axes.get_yticklabels(), labels, strict=True):
        tick.set_color(OWN if label.removesuffix(" student") in traits else MUTED)
    axes.set_ylim(4.4 * len(traits) - 1.7, -1.5)
    axes.set_xlim(0, 1.14 * longest)
    axes.xaxis.set_visible(False)
    axes.spines[["left", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    return figure


@matplotlib.rc_context(STYLE)
def training_curves(
    curves: Mapping[str, Mapping[str, Sequence[tuple[int, float]]]], name: str = "loss"
) -> Figure:
    """One scalar of every run over its updates: a panel for teachers and one for students.

    Args:
      curves: run ("students/<trait>/seed-<n>") -> name of a scalar -> [(step, value)].
      name: which scalar.

    Raises:
      ValueError: no run has that scalar.
    """
    runs = {run: scalars[name] for run, scalars in curves.items() if scalars.get(name)}
    if not runs:
        raise ValueError(f"no run has the scalar {name!r}")
    groups: dict[str, list[str]] = {}
    for run in runs:
        groups.setdefault(run.split("/")[0], []).append(run)
    order = sorted(groups, key=lambda group: (group != "teachers", group))
    labels = sorted({_trait_of(run) for run in runs}, key=lambda label: (label == "control", label))
    colors = {label: CATEGORIES[index % 6] for index, label in enumerate(labels)}
    styles: dict[str, Any] = {
        label: ("-", "--", "-.", ":")[index % 4] for index, label in enumerate(labels)
    }
    colors["control"] = MUTED
    figure = Figure((6.6, 3.0), layout="constrained")
    for axes, group in zip(figure.subplots(1, len(order), squeeze=False)[0], order, strict=True):
        for run in groups[group]:
            label = _trait_of(run)
            steps, values = zip(*runs[run], strict=True)
            axes.plot(steps, values, styles[label], color=colors[label], linewidth=1.9)
        axes.set_title(group)
        axes.set_xlabel("update")
        if all(value >= 0 for run in groups[group] for _, value in runs[run]):
            axes.set_ylim(bottom=0.0)
        axes.grid(axis="y")
        axes.tick_params(length=0, colors=MUTED)
        axes.xaxis.get_major_locator().set_params(integer=True)
    _title(figure, f"Training: {name.replace('_', ' ')}")
    figure.axes[0].set_ylabel(name.replace("_", " "))
    handles = [Line2D([], [], color=colors[x], linestyle=styles[x], linewidth=1.9) for x in labels]
    columns = min(len(labels), 6)
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False)
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


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.012, ha="left", size=11.5, weight="bold")


def _student_names(students: Sequence[str]) -> list[str]:
    return [f"{student} student" if student != "control" else student for student in students]


def _trait_of(run: str) -> str:
    """The trait in "students/<trait>/seed-<n>"; a run without parts stands for itself."""
    parts = run.split("/")
    return parts[1] if len(parts) > 1 else run
