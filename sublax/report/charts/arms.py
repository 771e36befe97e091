"""The arms of an experiment under each other: the mean lift of each, and every trait's."""

from collections.abc import Mapping
from typing import Any

from sublax.report import wording
from sublax.report.arms import alike
from sublax.report.charts.chart import Chart
from sublax.report.charts.intervals import Dot, intervals


def forest(transfer: Mapping[str, Any]) -> Chart:
    """Each arm's mean lift with its 95 % interval, and below it those of its traits.

    Arms whose lifts have another unit than the main experiment's are left out.
    """
    rows, unit = alike(transfer), wording.unit(transfer)
    dots = []
    for row in rows:
        many = {"mean": row["mean_lift"], **row["lift"]} if len(row["lift"]) > 1 else row["lift"]
        for line, lift in many.items():
            # Of a few arms all traits are shown; of many the means alone, or nobody sees any.
            if len(rows) > 8 and line != "mean" and len(many) > 1:
                continue
            interval = wording.interval(lift["low"], lift["high"])
            value = f"{wording.signed(lift['value'])} {unit}"
            p = wording.p_value(lift.get("p"))
            dots.append(
                Dot(
                    row=row["name"],
                    line=line,
                    value=lift["value"],
                    low=lift["low"],
                    high=lift["high"],
                    color="own" if lift["low"] > 0 else "quiet",
                    shape="diamond" if line == "mean" else "circle",
                    label=line if len(many) > 1 else "",
                    tip={"arm": row["name"], "lift of": line, "lift": value,
                         "95 % interval": interval, "p": p},
                    description=f"{row['name']}, lift of {line}: {value}, 95 % interval "
                    f"{interval}, p {p}",
                )
            )  # fmt: skip
    if len({dot.line for dot in dots}) == 1:
        dots = [dot._replace(label="") for dot in dots]
    lifts = "; ".join(f"{row['name']} {wording.signed(row['mean_lift']['value'])}" for row in rows)
    title = "Lift of each arm, in blue where its interval lies above zero"
    said = f"Lift of each arm with interval. Means: {lifts}."
    return intervals(title, dots, f"lift ({unit}), with 95 % interval", said)
