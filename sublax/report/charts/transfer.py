"""The charts of a transfer matrix: the matrix, its shifts, and what is chosen."""

from collections.abc import Mapping
from typing import Any

import altair as alt
import numpy as np

from sublax.report import wording
from sublax.report.charts.chart import Chart, chart, data, tip_channels, with_tip
from sublax.report.charts.heat import Cell, heat_map
from sublax.report.charts.intervals import Dot, intervals
from sublax.report.matrix import MatrixCell, cells_of
from sublax.report.palette import variable

LIFT = "lift"
_MANY = 6  # traits, above which each student has no line of its own
# At least so much is full colour, so that a matrix of small shifts looks like one.
_FULL = {"nats": 1.0, "percentage points": 10.0}


def full_colour(*transfers: Mapping[str, Any]) -> float:
    """The shift that has full colour in matrices that are to be compared."""
    largest = max(abs(shift) for of in transfers for row in of["shift"] for shift in row)
    return max(largest, *(_FULL.get(wording.unit(of), 1.0) for of in transfers))


def matrix(transfer: Mapping[str, Any], full: float | None = None) -> Chart:
    """Students by traits, each student's own trait framed, with the lifts as the last row.

    Args:
      transfer: as transfer.json has it.
      full: the shift that has full colour; the matrix' own where not given.
    """
    full = full_colour(transfer) if full is None else full
    unit = wording.unit(transfer)
    cells = [_shift_cell(cell, full, unit) for cell in cells_of(transfer)]
    for result in wording.trait_results(transfer):
        of_lift = _lift_tip(result.lift, result.low, result.high, result.p, result.p_holm, unit)
        tip = {
            "student": f"the {result.trait} student over the others",
            "asked about": result.trait,
            "shift": "",
            "95 % of the shift": "",
            **of_lift,
        }
        said = f"Lift of {result.trait}: {of_lift['lift']}, 95 % interval "
        said += f"{of_lift['95 % of the lift']}, p {of_lift['p of the lift']}"
        interval = wording.interval(result.low, result.high)
        cells.append(
            Cell(LIFT, result.trait, 0.0, wording.signed(result.lift), interval, False,
                 result.shown, tip, said)
        )  # fmt: skip
    lifts = "; ".join(
        f"{result.trait} {wording.signed(result.lift)}"
        for result in wording.trait_results(transfer)
    )
    words = f"Matrix of shifts, students by traits. The lifts are: {lifts}. The table has them all."
    title = f"Shift of each student towards each trait ({unit})"
    return heat_map(title, cells, words, last_apart=True)


def _lift_tip(
    lift: float | None,
    low: float | None,
    high: float | None,
    p: float | None,
    p_holm: float | None,
    unit: str,
) -> dict[str, str]:
    """What a tooltip says of a lift; texts that are empty where there is none."""
    names = ("lift", "95 % of the lift", "p of the lift", "p, all traits together")
    if lift is None or low is None or high is None:
        return dict.fromkeys(names, "")
    texts = (
        f"{wording.signed(lift)} {unit}",
        wording.interval(low, high),
        wording.p_value(p),
        "" if p_holm is None else wording.p_value(p_holm),
    )
    return dict(zip(names, texts, strict=True))


def _shift_cell(cell: MatrixCell, full: float, unit: str) -> Cell:
    interval = wording.interval(cell.low, cell.high)
    of_lift = _lift_tip(cell.lift, cell.lift_low, cell.lift_high, cell.p, cell.p_holm, unit)
    tip = {
        "student": wording.student_name(cell.student),
        "asked about": cell.trait,
        "shift": f"{wording.signed(cell.shift)} {unit}",
        "95 % of the shift": interval,
        **of_lift,
    }
    said = (
        f"{wording.student_name(cell.student)} asked about {cell.trait}: shift {tip['shift']}, "
        f"95 % interval {interval}"
    )
    if cell.own:
        said += f"; lift {of_lift['lift']}, 95 % interval {of_lift['95 % of the lift']}, "
        said += f"p {of_lift['p of the lift']}"
    return Cell(
        wording.student_name(cell.student), cell.trait, cell.shift / full,
        wording.signed(cell.shift), interval, cell.own, cell.own, tip, said,
    )  # fmt: skip


def shifts(transfer: Mapping[str, Any]) -> Chart:
    """Each student's shift on each trait with its interval, the own student's as a blue diamond."""
    unit = wording.unit(transfer)
    # Of many traits the others share a line, or the chart would be as long as the page.
    many = len(transfer["traits"]) > _MANY
    by_trait = sorted(cells_of(transfer), key=lambda cell: transfer["traits"].index(cell.trait))
    dots = []
    for cell in by_trait:
        as_cell = _shift_cell(cell, 1.0, unit)
        dots.append(
            Dot(
                row=cell.trait,
                line=("own" if cell.own else "others") if many else cell.student,
                value=cell.shift,
                low=cell.low,
                high=cell.high,
                color="own" if cell.own else "quiet",
                shape="diamond" if cell.own else "circle",
                label="" if many and not cell.own else wording.student_name(cell.student),
                tip=as_cell.tip,
                description=as_cell.description,
            )
        )
    words = "Shift of each student on each trait with interval; the table has them all."
    axis = f"shift from the base ({unit}), with 95 % interval"
    title = "Shift by trait; in blue, the student of that trait’s teacher"
    return intervals(title, dots, axis, words)


def choice_share(transfer: Mapping[str, Any]) -> Chart:
    """How often each trait's answer is chosen: by the base, the other students, its own student."""
    shares, traits = wording.choice_shares(transfer), transfer["traits"]
    rows, lines = [], []
    for trait in traits:
        others = [shares[name][trait] for name in transfer["students"] if name != trait]
        bars = [("base, before", shares["base"][trait], "line")]
        if others:
            bars.append(("other students", float(np.mean(others)), "quiet"))
        bars.append(("own student", shares[trait][trait], "own"))
        for line, share, color in bars:
            lines.append(line)
            text = wording.percent(share)
            tip = {"answer": trait, "model": line, "share": text}
            said = f"{line}: names {trait} in {text}"
            rows.append(
                {"trait": trait, "line": line, "share": share, "color": variable(color),
                 "text": f"{text}  {line}", **with_tip(tip, said)}
            )  # fmt: skip
    tip = {"answer": "", "model": "", "share": ""}
    lines = list(dict.fromkeys(lines))
    plot = alt.Chart(data(rows))
    longest = max(row["share"] for row in rows)
    x = alt.X("share:Q", title=None, axis=None, scale=alt.Scale(domain=[0, 1.55 * longest]))
    y = alt.Y("trait:N", sort=traits, title=None, axis=alt.Axis(domain=False, ticks=False))
    offset = alt.YOffset("line:N", sort=lines, scale=alt.Scale(paddingInner=0.15))
    bar = plot.mark_bar().encode(
        x=x, y=y, yOffset=offset, color=alt.Color("color:N", scale=None), **tip_channels(tip)
    )
    text = plot.mark_text(align="left", dx=6, fontSize=11.5, aria=False)
    text = text.encode(x=x, y=y, yOffset=offset, text="text:N")
    words = "Share of each trait among the answers, before and after training."
    title = "How often the model picks the trait, if it must pick"
    return chart(title, [bar, text], words, height=72 * len(traits), min_width=300)
