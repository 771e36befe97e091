"""A heat map: cells with their value in them, blue above zero and orange below."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import altair as alt

from sublax.report.charts.chart import Chart, chart, data, tip_channels, with_tip
from sublax.report.palette import variable

_MANY = 8  # columns, above which cells have no room for what is under their value
_HEIGHT = 48  # pixels of a row
_LOW_HEIGHT, _SLIM_WIDTH = 34, 50  # of a row and a column, where values stand alone
_WIDTH = 74  # pixels that a cell's interval needs
_CHARACTER = 6.6  # pixels of one, in a row's name
_DARK = 0.72  # of full colour, from where on ink has to be white


class Cell(NamedTuple):
    """One cell.

    Attributes:
      row: its row's name.
      column: its column's name.
      strength: in [-1, 1], of the colour of its sign.
      text: its value.
      below: smaller, under the value.
      framed: whether a frame marks it.
      bold: whether it has something to say.
      tip: name -> text, the same names in all cells.
      description: all of it in one line.
    """

    row: str
    column: str
    strength: float
    text: str
    below: str
    framed: bool
    bold: bool
    tip: Mapping[str, str]
    description: str


def heat_map(
    title: str,
    cells: Sequence[Cell],
    description: str,
    *,
    last_apart: bool = False,
) -> Chart:
    """The cells, rows and columns in the order in which they come.

    Where there are many columns, intervals are left to the tooltip.

    Args:
      title: above it.
      cells: all of them.
      description: for those who cannot see it.
      last_apart: whether the last row sums up the others: a line parts it from them.
    """
    rows = list(dict.fromkeys(cell.row for cell in cells))
    columns = list(dict.fromkeys(cell.column for cell in cells))
    values = [
        {
            "row": cell.row,
            "column": cell.column,
            "fill": variable("cell" if cell.strength >= 0 else "cell-below"),
            "strength": min(abs(cell.strength), 1.0),
            "frame": variable("ink") if cell.framed else "transparent",
            "text": cell.text,
            "below": cell.below,
            "ink": variable(_ink(cell)),
            "weight": "bold" if cell.bold else "normal",
            **with_tip(cell.tip, cell.description),
        }
        for cell in cells
    ]
    tip = cells[0].tip
    y = alt.Y(
        "row:N",
        sort=rows,
        title=None,
        axis=alt.Axis(domain=False, ticks=False, labelLimit=150),
        scale=alt.Scale(paddingInner=0.06, paddingOuter=0.03),
    )
    x = alt.X(
        "column:N",
        sort=columns,
        title=None,
        axis=alt.Axis(
            orient="top", domain=False, ticks=False, labelAngle=0, labelFontWeight="bold",
            labelLimit=_WIDTH + 40,
        ),
        scale=alt.Scale(paddingInner=0.04, paddingOuter=0.02),
    )  # fmt: skip
    plot = alt.Chart(data(values))
    box = plot.mark_rect(strokeWidth=2.4, cornerRadius=2).encode(
        x=x,
        y=y,
        fill=alt.Fill("fill:N", scale=None),
        fillOpacity=alt.FillOpacity("strength:Q", scale=None),
        stroke=alt.Stroke("frame:N", scale=None),
        **tip_channels(tip),
    )
    slim = len(columns) > _MANY
    layers = [box, _text(plot, x, y, tip, below=False, alone=slim)]
    if not slim:
        layers.append(_text(plot, x, y, tip, below=True))
    if last_apart:
        line = alt.Chart(data([{"row": rows[-1]}])).mark_rule(
            color=variable("muted"), aria=False, strokeWidth=1, yOffset=-2
        )
        layers.append(line.encode(y=alt.Y("row:N", sort=rows, bandPosition=0)))
    names = min(_CHARACTER * max(map(len, rows)), 150) + 12
    least = round(names + (_SLIM_WIDTH if slim else _WIDTH) * len(columns))
    height = (_LOW_HEIGHT if slim else _HEIGHT) * len(rows)
    return chart(title, layers, description, height=height, min_width=least)


def _text(
    plot: alt.Chart,
    x: alt.X,
    y: alt.Y,
    tip: Mapping[str, str],
    below: bool,
    alone: bool = False,
) -> alt.Chart:
    mark = plot.mark_text(
        dy=10 if below else 0 if alone else -5,
        fontSize=10 if below else 12.5 if alone else 14.5,
        fontWeight="normal" if below else "bold",
        aria=False,
    )
    return mark.encode(
        x=x,
        y=y,
        text=alt.Text("below:N" if below else "text:N"),
        color=alt.Color("ink:N", scale=None),
        **tip_channels(tip, described=False),
    )


def _ink(cell: Cell) -> str:
    if abs(cell.strength) > _DARK:
        return "on-cell"
    return "own" if cell.strength == 0 and cell.bold else "ink"
