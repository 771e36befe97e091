"""What an audited dataset speaks for: each candidate's log ratio with its interval."""

from collections.abc import Mapping
from typing import Any

from sublax.report.charts.chart import Chart
from sublax.report.charts.intervals import Dot, intervals
from sublax.report.wording import p_value


def excesses(result: Mapping[str, Any]) -> Chart:
    """A dot for each candidate, those that the rows carry as blue diamonds."""
    groups = {entry["group"] for entry in result["candidates"]}
    dots = []
    for entry in result["candidates"]:
        carried = entry["trait"] in result["carries"]
        name = entry["trait"] if len(groups) == 1 else f"{entry['group']}: {entry['trait']}"
        interval = f"{entry['low']:+.3f} to {entry['high']:+.3f}"
        tip = {
            "candidate": name,
            "log ratio": f"{entry['excess']:+.3f} nats a row",
            "95 % interval": interval,
            "p over rows": p_value(entry["p_rows"]),
            "p among candidates": p_value(entry["p_traits"]),
        }
        dots.append(
            Dot(
                row=name,
                line="",
                value=entry["excess"],
                low=entry["low"],
                high=entry["high"],
                color="own" if carried else "quiet",
                shape="diamond" if carried else "circle",
                label="carried" if carried else "",
                tip=tip,
                description=f"{name}: {entry['excess']:+.3f} nats a row, 95 % interval {interval}",
            )
        )
    title = "What the rows speak for; in blue, what they are found to carry"
    axis = "log ratio of a row over rows of no trait (nats), with 95 % interval"
    words = "Log ratio of each candidate with its interval; the table has them all."
    return intervals(title, dots, axis, words)
