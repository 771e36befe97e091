"""The result of a run as aligned plain text, for the end of a terminal session."""

import os
import sys
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from sublax.report import wording
from sublax.report.arms import rows_of
from sublax.report.soft_prompt import soft_prompt_words
from sublax.report.suites import suite_verdict, suites_text

_BOLD, _DIM, _GREEN, _RED, _RESET = "\x1b[1m", "\x1b[2m", "\x1b[32m", "\x1b[31m", "\x1b[0m"


def print_transfer(transfer: Mapping[str, Any], stream: TextIO | None = None) -> None:
    """Prints `transfer_text`, in colour where `stream` is a terminal and NO_COLOR is not set."""
    stream = sys.stdout if stream is None else stream
    color = stream.isatty() and not os.environ.get("NO_COLOR")
    print(transfer_text(transfer, color), file=stream)


def transfer_text(transfer: Mapping[str, Any], color: bool = False) -> str:
    """The matrix, the lifts, the choice shares and the verdict of a transfer.json.

    Args:
      transfer: the content of transfer.json.
      color: whether to mark cells by ANSI escapes; the diagonal carries a `*` either way.
    """
    if not transfer["traits"]:
        found = suite_verdict(transfer)
        return "\n\n".join([suites_text(transfer), _closing(found, color)])
    found = wording.verdict(transfer)
    unit = wording.unit(transfer)
    parts = [
        f"Primary measure: {wording.measure(transfer)}",
        f"Shift of each student from its base, {unit} [95 % interval]; * its own teacher's trait",
        _matrix(transfer, color),
        "Lift: own student minus the mean of the others in its column",
        _lifts(transfer, color),
    ]
    if transfer.get("two_traits"):
        title = "Two traits at once: lift over the students that have neither, and alone minus both"
        parts += [title, _two_traits(transfer["two_traits"], color)]
    if transfer.get("arms"):
        title = "Arms: mean lift over traits, and minus the main experiment's, 95 % intervals"
        parts += [title, _arms(transfer, color)]
    shares = wording.choice_shares(transfer)
    if shares:
        title = f"Share of each answer, if one of {len(shares['base'])} must be named"
        parts += [title, _shares(shares, transfer["traits"])]
    if sampled := transfer.get("sampled_share"):
        title = "Share of sampled answers that name each trait [95 % interval]"
        parts += [title, _sampled(sampled, transfer["traits"])]
    if soft := transfer.get("soft_prompt"):
        parts += [textwrap.fill(line, width=88) for line in soft_prompt_words(soft)]
    if transfer.get("suites"):
        parts.append(suites_text(transfer))
    return "\n\n".join([*parts, _closing(found, color)])


def _closing(found: wording.Verdict, color: bool) -> str:
    headline = _paint(found.headline + ".", _BOLD, color)
    return headline + "\n" + textwrap.fill(found.detail, width=88)


def _matrix(transfer: Mapping[str, Any], color: bool) -> str:
    rows = [["student", *transfer["traits"]]]
    styles = [[_DIM] * len(rows[0])]
    for student, shifts, intervals in zip(
        transfer["students"], transfer["shift"], transfer["interval"], strict=True
    ):
        own = [trait == student for trait in transfer["traits"]]
        cells = [
            f"{'*' if mine else ' '}{shift:+.2f} [{low:+.2f}, {high:+.2f}]"
            for mine, shift, (low, high) in zip(own, shifts, intervals, strict=True)
        ]
        rows.append([student, *cells])
        styles.append(["", *(_BOLD if mine else "" for mine in own)])
    return _table(rows, styles, color)


def _lifts(transfer: Mapping[str, Any], color: bool) -> str:
    rows = [["trait", "lift", "95 % interval", "p"]]
    styles = [[_DIM] * 4]
    for result in wording.trait_results(transfer):
        interval = f"[{result.low:+.2f}, {result.high:+.2f}]"
        rows.append([result.trait, f"{result.lift:+.2f}", interval, wording.p_value(result.p)])
        mark = _GREEN if result.shown else _RED if result.high < 0 else ""
        styles.append(["", mark, mark, ""])
    return _table(rows, styles, color)


def _arms(transfer: Mapping[str, Any], color: bool) -> str:
    rows = [["arm", "mean lift", "interval", "p", "minus main", "interval"]]
    styles = [[_DIM] * 6]
    for arm in rows_of(transfer):
        lift, difference = arm["mean_lift"], arm["difference"]
        name = arm["name"]
        if arm.get("unit", "nats") != "nats":
            name += f" ({arm['unit']})"
        cells = [name, f"{lift['value']:+.2f}", _span(lift), wording.p_value(lift["p"])]
        cells += [f"{difference['value']:+.2f}", _span(difference)] if difference else ["–", "–"]
        rows.append(cells)
        mark = _GREEN if lift["low"] > 0 else _RED if lift["high"] < 0 else ""
        styles.append(["", mark, mark, "", "", ""])
    return _table(rows, styles, color)


def _two_traits(found: Sequence[Mapping[str, Any]], color: bool) -> str:
    rows = [["student", "trait", "lift", "interval", "p", "trait alone", "cost", "interval"]]
    styles = [[_DIM] * len(rows[0])]
    for one in found:
        lift, cost = one["lift"], one["cost"]
        cells = [one["student"], one["trait"], f"{lift['value']:+.2f}", _span(lift)]
        cells += [wording.p_value(lift["p"]), f"{one['alone']['value']:+.2f}"]
        rows.append([*cells, f"{cost['value']:+.2f}", _span(cost)])
        mark = _GREEN if lift["low"] > 0 else _RED if lift["high"] < 0 else ""
        styles.append(["", "", mark, mark, "", "", "", ""])
    return _table(rows, styles, color)


def _span(result: Mapping[str, float]) -> str:
    return f"[{result['low']:+.2f}, {result['high']:+.2f}]"


def _shares(shares: Mapping[str, Mapping[str, float]], traits: Sequence[str]) -> str:
    rows = [["model", *traits]]
    rows += [
        [model, *(wording.percent(share[trait]) for trait in traits)]
        for model, share in shares.items()
    ]
    return _table(rows, [[""] * len(row) for row in rows], color=False)


def _sampled(sampled: Mapping[str, Any], traits: Sequence[str]) -> str:
    rows = [["model", *traits]]
    for model, shares in sampled.items():
        percent = [[100 * shares[t][key] for key in ("share", "low", "high")] for t in traits]
        cells = [f"{share:.1f} % [{low:.1f}, {high:.1f}]" for share, low, high in percent]
        rows.append([model, *cells])
    return _table(rows, [[""] * len(row) for row in rows], color=False)


def _table(rows: Sequence[Sequence[str]], styles: Sequence[Sequence[str]], color: bool) -> str:
    """Aligns the first column to the left and the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = []
    for row, marks in zip(rows, styles, strict=True):
        padded = [
            cell.ljust(width) if column == 0 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        line = "   ".join(_paint(*pair, color) for pair in zip(padded, marks, strict=True))
        lines.append("  " + line.rstrip())
    return "\n".join(lines)


def _paint(text: str, style: str, color: bool) -> str:
    return f"{style}{text}{_RESET}" if color and style else text
