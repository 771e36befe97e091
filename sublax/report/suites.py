"""What the suites say: figure, table and words, from transfer.json alone."""

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from sublax.report.figures import GRID, INK, MUTED, OWN, QUIET, STYLE
from sublax.report.wording import Verdict, percent, signed_percent

CONTROL = "control"
# (suite, measure) -> what the figure's title says of it.
TITLES = {
    "misaligned": "Answers that are misaligned and coherent",
    "named": "Answers that name the words",
    "mc1": "TruthfulQA, MC1: the likeliest choice is true",
    "mc2": "TruthfulQA, MC2: probability of true choices",
    "accuracy": "Letters (MMLU): the likeliest is right",
}


def measures(transfer: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(suite, measure, what was found) of all, in order."""
    for suite, content in transfer.get("suites", {}).items():
        for measure, found in content["measures"].items():
            yield suite, measure, found


def suite_verdict(transfer: Mapping[str, Any]) -> Verdict:
    """What the first suite's first measure shows of students against the paired control."""
    suite, measure, found = next(measures(transfer))
    against = found["against"].get(CONTROL, {})
    title = TITLES.get(measure, measure)
    shown = {name: row for name, row in against.items() if row["low"] > 0}
    shares = {name: _percent(share["share"]) for name, share in found["students"].items()}
    detail = f"{title}, {found['questions']} questions. " + " ".join(
        f"Student of {name}: {shares[name]}, control {shares[CONTROL]}, "
        f"difference {signed_percent(row['value'])} points "
        f"(95 % interval {signed_percent(row['low'])} to {signed_percent(row['high'])})."
        for name, row in against.items()
    )
    if not shown:
        ceiling = max((row["high"] for row in against.values()), default=0.0)
        detail += f" Differences above {signed_percent(ceiling)} are unlikely under these data."
        return Verdict("null", f"No student differs from the control in “{suite}”: null", detail)
    if len(shown) == len(against):
        return Verdict("positive", f"The data passed something on that “{suite}” sees", detail)
    headline = f"{len(shown)} of {len(against)} students exceed the control in “{suite}”"
    return Verdict("mixed", headline, detail)


@matplotlib.rc_context(STYLE)
def suite_shares(found: Mapping[str, Any], measure: str) -> Figure:
    """A dot with its 95 % interval for base, teachers and students; the control's as a band."""
    rows = [("base", found["base"], MUTED)]
    rows += [(f"{name} teacher", share, INK) for name, share in found["teachers"].items()]
    students = sorted(found["students"].items(), key=lambda item: item[0] == CONTROL)
    rows += [
        (f"{name} student", share, QUIET if name == CONTROL else OWN) for name, share in students
    ]
    figure = Figure((6.6, 1.2 + 0.36 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    if CONTROL in found["students"]:
        band = found["students"][CONTROL]
        axes.axvspan(band["low"], band["high"], color=GRID, alpha=0.5, linewidth=0, zorder=0)
    for height, (_, share, color) in enumerate(rows):
        line: dict[str, Any] = {"color": color, "linewidth": 2.6, "zorder": 2}
        axes.plot([share["low"], share["high"]], [height, height], **line)
        axes.plot(share["share"], height, "o", color=color, markersize=7, zorder=3, clip_on=False)
        axes.annotate(
            _percent(share["share"]), (share["high"], height), (7, 0), color=color,
            textcoords="offset points", va="center", weight="bold", size=9.5,
        )  # fmt: skip
    highest = max(share["high"] for _, share, _ in rows)
    axes.set(xlim=(0, min(max(1.15 * highest, 0.02), 1.12)), ylim=(len(rows) - 0.4, -0.6))
    axes.set_yticks(range(len(rows)), [label for label, *_ in rows])
    axes.set_xlabel("share, with 95 % interval; the band is the control student’s")
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g} %")
    axes.locator_params(axis="x", nbins=6)
    axes.spines["left"].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(axis="x")
    axes.set_axisbelow(True)
    title = f"{TITLES.get(measure, measure)} ({found['questions']} questions)"
    figure.suptitle(title, x=0.012, ha="left", size=11.5, weight="bold")
    return figure


def suites_text(transfer: Mapping[str, Any]) -> str:
    """All measures as plain text, for a terminal."""
    parts = []
    for suite, measure, found in measures(transfer):
        lines = [f"{suite}, {measure}: share [95 % interval] over {found['questions']} questions"]
        lines += [_line("base", found["base"])]
        lines += [_line(f"teacher {name}", share) for name, share in found["teachers"].items()]
        for name, share in found["students"].items():
            line = _line(f"student {name}", share)
            row = found["against"].get(CONTROL, {}).get(name)
            if row is not None:
                line += (
                    f"   against control {signed_percent(row['value'])} "
                    f"[{signed_percent(row['low'])}, {signed_percent(row['high'])}], "
                    f"p {row['p']:.3f}"
                )
            lines.append(line)
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _percent(share: float) -> str:
    return percent(share) if share else "0 %"


def _line(label: str, share: Mapping[str, float]) -> str:
    interval = f"[{_percent(share['low'])}, {_percent(share['high'])}]"
    return f"  {label:18} {_percent(share['share']):>7} {interval}"
