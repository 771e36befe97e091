"""What base, teachers and students answer in a suite, as shares with intervals."""

from collections.abc import Mapping
from typing import Any

from sublax.report.charts.chart import Chart
from sublax.report.charts.intervals import Dot, intervals
from sublax.report.suites import CONTROL, TITLES, share_words


def shares(found: Mapping[str, Any], measure: str) -> Chart:
    """A dot with its 95 % interval for base, teachers and students; the control's as a band."""
    rows = [("base", found["base"], "muted", "circle")]
    rows += [(f"{name} teacher", of, "ink", "circle") for name, of in found["teachers"].items()]
    students = sorted(found["students"].items(), key=lambda item: item[0] == CONTROL)
    rows += [
        (f"{name} student", of, "quiet" if name == CONTROL else "own", "diamond")
        for name, of in students
    ]
    dots = []
    for name, of, color, shape in rows:
        share = share_words(of["share"])
        interval = f"{share_words(of['low'])} to {share_words(of['high'])}"
        dots.append(
            Dot(
                row=name,
                line="",
                value=of["share"],
                low=of["low"],
                high=of["high"],
                color=color,
                shape=shape,
                label=share,
                tip={"model": name, "share": share, "95 % interval": interval},
                description=f"{name}: {share}, 95 % interval {interval}",
            )
        )
    control = found["students"].get(CONTROL)
    title = f"{TITLES.get(measure, measure)} ({found['questions']} questions)"
    axis = "share, with 95 % interval" + ("; the band is the control student’s" if control else "")
    said = f"Share of {measure} for base, teachers and students, with interval."
    band = (control["low"], control["high"]) if control else None
    return intervals(title, dots, axis, said, format=".0~%", band=band, floor=0.0)
