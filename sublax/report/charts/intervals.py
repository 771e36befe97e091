"""Dots with their intervals, a line for each, in rows that may hold several."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import altair as alt

from sublax.report.charts.chart import Chart, chart, data, tip_channels, with_tip
from sublax.report.palette import variable

_ROW, _LINE = 14, 20  # pixels between rows, and of each line in a row


class Dot(NamedTuple):
    """One estimate.

    Attributes:
      row: its row's name.
      line: which line of the row, by a name; those of the same name lie at the same height.
      value: where the dot is.
      low: lower end of the interval.
      high: upper end.
      color: of the palette, by its name.
      shape: of Vega, as "circle" or "diamond".
      label: beside it, if anything.
      tip: name -> text, the same names in all dots.
      description: all of it in one line.
    """

    row: str
    line: str
    value: float
    low: float
    high: float
    color: str
    shape: str
    label: str
    tip: Mapping[str, str]
    description: str


def intervals(
    title: str,
    dots: Sequence[Dot],
    axis: str,
    description: str,
    *,
    format: str = ".6~g",
    band: tuple[float, float] | None = None,
    floor: float | None = None,
) -> Chart:
    """The dots, rows and lines in the order in which they come, over an axis with its zero.

    Args:
      title: above it.
      dots: all of them.
      axis: what the axis is of, with its unit.
      description: for those who cannot see it.
      format: of the axis' numbers, as d3 has it.
      band: an interval to compare with, drawn behind all.
      floor: the least value there can be, where the axis begins.
    """
    rows = list(dict.fromkeys(dot.row for dot in dots))
    lines = list(dict.fromkeys(dot.line for dot in dots))
    values = [
        {
            "row": dot.row,
            "line": dot.line,
            "value": dot.value,
            "low": dot.low,
            "high": dot.high,
            "color": variable(dot.color),
            "ink": variable("muted" if dot.color == "quiet" else dot.color),
            "shape": dot.shape,
            "label": dot.label,
            "size": 100 if dot.shape == "diamond" else 62,
            **with_tip(dot.tip, dot.description),
        }
        for dot in dots
    ]
    tip = dots[0].tip
    low, high = min(0.0, *(dot.low for dot in dots)), max(0.0, *(dot.high for dot in dots))
    low = low if floor is None else floor
    # A dot's label stands at the right of its interval and needs room.
    longest = max(len(dot.label) for dot in dots)
    room = 0.02 * (high - low or 1.0)
    end = alt.ExprRef(f"width - {6.4 * longest + 8:.0f}") if longest else alt.Undefined
    start = low - 0.04 * (high - low or 1.0)
    scale = alt.Scale(domain=[start, high + room], rangeMax=end, nice=False, zero=False)
    x_axis = alt.Axis(format=format, tickCount=6, grid=True, domain=False, ticks=False)
    x = alt.X("value:Q", title=axis, scale=scale, axis=x_axis)
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(domain=False, ticks=False))
    offset = {}
    if len(lines) > 1:
        offset = {"yOffset": alt.YOffset("line:N", sort=lines, scale=alt.Scale(padding=0.25))}
    color = alt.Color("color:N", scale=None)
    plot = alt.Chart(data(values))
    layers = []
    if band is not None:
        behind = alt.Chart(data([{"low": band[0], "high": band[1]}]))
        behind = behind.mark_rect(color=variable("quiet"), opacity=0.22, aria=False)
        layers.append(behind.encode(x=alt.X("low:Q", title=axis, scale=scale), x2="high:Q"))
    zero = alt.Chart(data([{"zero": 0.0}])).mark_rule(color=variable("muted"), aria=False)
    layers.append(zero.encode(x=alt.X("zero:Q", title=axis, scale=scale)))
    rule = plot.mark_rule(strokeWidth=2.6, aria=False, strokeCap="round")
    rule = rule.encode(x=alt.X("low:Q", title=axis, scale=scale), x2="high:Q", y=y, color=color,
                       **offset, **tip_channels(tip, described=False))  # fmt: skip
    point = plot.mark_point(filled=True, opacity=1, stroke=variable("surface"), strokeWidth=1)
    point = point.encode(
        x=x, y=y, fill=alt.Fill("color:N", scale=None), shape=alt.Shape("shape:N", scale=None),
        size=alt.Size("size:Q", scale=None), **offset, **tip_channels(tip),
    )  # fmt: skip
    layers += [rule, point]
    if longest:
        label = plot.mark_text(align="left", dx=8, fontSize=11, aria=False)
        layers.append(
            label.encode(x=alt.X("high:Q", title=axis, scale=scale), y=y, text="label:N",
                         color=alt.Color("ink:N", scale=None), **offset)
        )  # fmt: skip
    height = len(rows) * (_ROW + _LINE * len(lines))
    return chart(title, layers, description, height=height, min_width=300)
