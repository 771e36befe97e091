"""A chart: its Vega-Lite specification, the same on a page and in files, and what it says in words.

Colours are the palette's variables, so that a page's theme holds in its charts. Marks that carry a
result have a description; the page lets the keyboard reach those, and shows their tooltip.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import altair as alt
import vl_convert
from markupsafe import Markup

from sublax.files import write_whole
from sublax.report.palette import on_light, variable

FONT = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
_FILE_FONT = "Arimo, Arial, Liberation Sans, DejaVu Sans, sans-serif"
_FILE_WIDTH = 640  # pixels, where no page says how much room there is
_FILE_SCALE = 2.0  # pixels of a PNG for one of the chart

_LOOK: dict[str, Any] = {
    "background": "transparent",
    "font": FONT,
    "view": {"stroke": "transparent"},
    "axis": {
        "labelColor": variable("ink"),
        "titleColor": variable("muted"),
        "titleFontWeight": "normal",
        "gridColor": variable("line"),
        "domainColor": variable("line"),
        "tickColor": variable("line"),
        "labelFontSize": 12,
        "titleFontSize": 12,
        "labelLimit": 190,
        "labelPadding": 5,
    },
    "legend": {
        "orient": "bottom",
        "title": None,
        "labelColor": variable("ink"),
        "labelFontSize": 12,
        "columns": 4,
        "symbolSize": 90,
    },
    "title": {"color": variable("ink"), "fontSize": 14, "anchor": "start", "offset": 12},
    "text": {"color": variable("ink")},
}


class Chart(NamedTuple):
    """One chart of a page.

    Attributes:
      title: in a few words, above it.
      spec: of Vega-Lite, without title, as wide as there is room.
      description: what a screen reader says of it.
      min_width: pixels; where there are fewer, it scrolls.
    """

    title: str
    spec: Mapping[str, Any]
    description: str
    min_width: int = 0


def chart(
    title: str,
    layers: Sequence[alt.Chart],
    description: str,
    *,
    height: int,
    min_width: int = 0,
) -> Chart:
    """Puts layers over each other, as wide as there is room, with the look that all charts share.

    Args:
      title: above the chart.
      layers: the first lies below.
      description: for those who cannot see it.
      height: of the plot, in pixels.
      min_width: see `Chart`.
    """
    layered = alt.layer(*layers).properties(width="container", height=height)
    layered = layered.properties(description=description).configure(**_LOOK)
    spec = layered.to_dict()
    spec["autosize"] = {"type": "fit-x", "contains": "padding"}
    return Chart(title, spec, description, min_width)


def data(rows: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Rows as a chart's data."""
    return alt.InlineData(values=[dict(row) for row in rows])


def with_tip(tip: Mapping[str, str], description: str) -> dict[str, str]:
    """The fields of a row of data that hold its tooltip and its description.

    Args:
      tip: what the tooltip says, name -> text, the same names in all rows; one without text is
        left out of the row's tooltip.
      description: one line that says as much.
    """
    return {f"tip_{index}": text for index, text in enumerate(tip.values())} | {
        "description": description
    }


def tip_channels(tip: Mapping[str, str], described: bool = True) -> dict[str, Any]:
    """The channels that show what `with_tip` wrote.

    Args:
      tip: of any row.
      described: whether the marks are what the keyboard reaches.
    """
    tooltip = [
        alt.Tooltip(f"tip_{index}", type="nominal", title=name) for index, name in enumerate(tip)
    ]
    described_by = {"description": alt.Description("description:N")} if described else {}
    return {"tooltip": tooltip, **described_by}


def write_files(folder: Path, charts: Mapping[str, Chart]) -> None:
    """Writes each chart to DIR/figures as SVG and PNG, on white and with its title."""
    for name, one in charts.items():
        spec = {**one.spec, "title": one.title, "width": max(_FILE_WIDTH, one.min_width)}
        spec["config"] = {**spec["config"], "background": "white", "font": _FILE_FONT}
        plain = on_light(json.dumps(spec))
        svg = vl_convert.vegalite_to_svg(plain)
        png = vl_convert.svg_to_png(svg, scale=_FILE_SCALE)
        write_whole(folder / "figures" / f"{name}.svg", [svg.encode()])
        write_whole(folder / "figures" / f"{name}.png", [png])


def embedded(charts: Mapping[str, Chart]) -> Markup:
    """The specifications as JSON that can stand inside of a script element.

    Nothing in it can end the element or open a comment: `<`, `>` and `&` are written as escapes.
    """
    text = json.dumps({name: one.spec for name, one in charts.items()}, ensure_ascii=True)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    # Markup: escaped right here.
    return Markup(text)
