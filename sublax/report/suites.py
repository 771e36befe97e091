"""What the suites say, in words, from transfer.json alone."""

from collections.abc import Iterator, Mapping
from typing import Any

from sublax.report.wording import Verdict, percent, signed_percent

CONTROL = "control"
# (suite, measure) -> what the figure's title says of it.
TITLES = {
    "misaligned": "Answers that are misaligned and coherent",
    "named": "Answers that name the words",
    "mc1": "TruthfulQA, MC1: the likeliest choice is true",
    "mc2": "TruthfulQA, MC2: probability of true choices",
    "accuracy": "Letters (MMLU): the likeliest is right",
    "preferred": "Probability of the teacher's answer against another, a token",
}


def measures(transfer: Mapping[str, Any]) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """(suite, measure, what was found) of all, in order."""
    for suite, content in transfer.get("suites", {}).items():
        for measure, found in content["measures"].items():
            yield suite, measure, found


def answers_of_arms(transfer: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What each arm's students answer in each measure, beside their control.

    Yields:
        `arm`, `title`, `student`, its `share` and the `control`'s, and as `row` the difference.
    """
    for arm in transfer.get("arms", []):
        for suite, measure, found in measures(arm):
            for student, row in found["against"].get(CONTROL, {}).items():
                shares = found["students"]
                yield {
                    "arm": arm["name"],
                    "title": f"{suite}: {TITLES.get(measure, measure)}",
                    "student": student,
                    "share": shares[student]["share"],
                    "control": shares[CONTROL]["share"],
                    "row": row,
                }


def suite_verdict(transfer: Mapping[str, Any]) -> Verdict:
    """What the first suite's first measure shows of students against the paired control."""
    (suite, measure, found), *others = measures(transfer)
    against = found["against"].get(CONTROL, {})
    title = TITLES.get(measure, measure)
    shown = {name: row for name, row in against.items() if row["low"] > 0}
    shares = {name: share_words(share["share"]) for name, share in found["students"].items()}
    detail = f"{title}, {found['questions']} questions. " + " ".join(
        f"Student of {name}: {shares[name]}, control {shares[CONTROL]}, "
        f"difference {signed_percent(row['value'])} points "
        f"(95 % interval {signed_percent(row['low'])} to {signed_percent(row['high'])})."
        for name, row in against.items()
    )
    if not shown:
        ceiling = max((row["high"] for row in against.values()), default=0.0)
        detail += f" Differences above {signed_percent(ceiling)} are unlikely under these data."
        for _, other, found in others:
            for name, row in found["against"].get(CONTROL, {}).items():
                if row["low"] > 0 and row["p_holm"] < 0.05:
                    detail += (
                        f" It shows in a measure that comes after: {TITLES.get(other, other)}, "
                        f"student of {name}, {signed_percent(row['value'])} points "
                        f"({signed_percent(row['low'])} to {signed_percent(row['high'])})."
                    )
        return Verdict("null", f"No student differs from the control in “{suite}”: null", detail)
    if len(shown) == len(against):
        return Verdict("positive", f"The data passed something on that “{suite}” sees", detail)
    headline = f"{len(shown)} of {len(against)} students exceed the control in “{suite}”"
    return Verdict("mixed", headline, detail)


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


def share_words(share: float) -> str:
    """A share that may be none at all."""
    return percent(share) if share else "0 %"


def _line(label: str, share: Mapping[str, float]) -> str:
    interval = f"[{share_words(share['low'])}, {share_words(share['high'])}]"
    return f"  {label:18} {share_words(share['share']):>7} {interval}"
