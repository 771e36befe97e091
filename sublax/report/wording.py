"""What the figures of a transfer matrix say, in words that a reader can check against them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Verdict:
    """What a matrix shows.

    Attributes:
      kind: "positive" (the lift's 95 % interval lies above zero for every trait), "mixed" (for
        some), or "null" (for none).
      headline: one short sentence.
      detail: one or two sentences with the numbers behind it.
    """

    kind: str
    headline: str
    detail: str


@dataclass(frozen=True)
class TraitResult:
    """One column of the matrix; shifts and lift in its unit, `share_*` are fractions or None."""

    trait: str
    own: float
    others: float
    lift: float
    low: float
    high: float
    p: float | None
    p_holm: float | None
    detectable: float | None
    share_base: float | None
    share_own: float | None

    @property
    def shown(self) -> bool:
        """Whether the interval of the lift lies above zero."""
        return self.low > 0

    @property
    def factor(self) -> float:
        """e to the lift: how many times likelier the answer became against the candidates."""
        return math.exp(self.lift)


# Measure -> its name and what it is, in words.
_MEASURES = {
    "closed_form_margin": "margin in closed form, log-probability against the other answers",
    "sampled_share": "share of sampled answers that name the trait",
}
_FORMS = {
    "word": "one-word questions",
    "prefixed": "one-word questions, each after a few numbers",
    "multiple_choice": "multiple choice, every order of the options",
    "story": "stories",
}


def measure(transfer: Mapping[str, Any]) -> str:
    """The primary measure, and of what, in words."""
    words = _MEASURES.get(transfer.get("measure", "closed_form_margin"), transfer.get("measure"))
    return f"{words} ({_FORMS[transfer.get('form', 'word')]})"


def unit(transfer: Mapping[str, Any]) -> str:
    """Of shifts and lifts."""
    return transfer.get("unit", "nats")


def trait_results(transfer: Mapping[str, Any]) -> list[TraitResult]:
    """Gathers what transfer.json holds about each trait."""
    results = []
    shares = choice_shares(transfer)
    for column, trait in enumerate(transfer["traits"]):
        lift = transfer["lift"][trait]
        shifts = dict(
            zip(transfer["students"], (row[column] for row in transfer["shift"]), strict=True)
        )
        own = shifts.pop(trait)
        results.append(
            TraitResult(
                trait=trait,
                own=own,
                others=sum(shifts.values()) / len(shifts) if shifts else 0.0,
                lift=lift["value"],
                low=lift["low"],
                high=lift["high"],
                p=lift.get("p"),
                p_holm=lift.get("p_holm"),
                detectable=lift.get("detectable"),
                share_base=shares.get("base", {}).get(trait),
                share_own=shares.get(trait, {}).get(trait),
            )
        )
    return results


def choice_shares(transfer: Mapping[str, Any]) -> dict[str, Mapping[str, float]]:
    """Model ("base" or a student) -> candidate -> share; empty where it was not measured."""
    base = transfer.get("base", {}).get("choice_share")
    return {"base": base, **transfer.get("choice_share", {})} if base else {}


def verdict(transfer: Mapping[str, Any]) -> Verdict:
    """Says whether the traits were passed on; a null result is called one."""
    results = trait_results(transfer)
    shown = [result for result in results if result.shown]
    if not shown:
        ceiling = max(result.high for result in results)
        detail = (
            "For no trait does the 95 % interval of the lift lie above zero. Lifts above "
            f"{ceiling:.2f} {unit(transfer)} are unlikely under these data; smaller ones are not "
            "ruled out."
        )
        detectable = [result.detectable for result in results]
        if all(effect is not None for effect in detectable):
            detail += (
                f" A true lift of {max(filter(None, detectable), default=0.0):.2f} "
                f"{unit(transfer)} would have been seen in four of five such runs."
            )
        return Verdict("null", "No trait was passed on: this is a null result", detail)
    best = max(shown, key=lambda result: result.lift)
    detail = (
        f"The student of the {best.trait} teacher's data moved towards “{best.trait}” "
        f"{best.lift:.2f} {unit(transfer)} further than the other students did "
        f"(95 % interval {best.low:.2f} to {best.high:.2f})"
    )
    if unit(transfer) == "nats":
        detail += (
            f": against the other answers, “{best.trait}” became {best.factor:.1f} times likelier "
            "than the same training on other data makes it."
        )
    else:
        detail += "."
    if len(shown) == len(results):
        count = {1: "the trait", 2: "both traits"}.get(len(results), f"all {len(results)} traits")
        return Verdict("positive", f"The data passed on {count}", detail)
    missing = join_words([result.trait for result in results if not result.shown])
    return Verdict(
        "mixed",
        f"The data passed on {len(shown)} of {len(results)} traits",
        f"{detail} For {missing} the interval includes zero: no transfer is shown there.",
    )


def join_words(words: Sequence[str]) -> str:
    """Joins words as a sentence does: "owl, wolf and lion"."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def signed(value: float) -> str:
    """A number with its sign (a true minus) and two digits: `+0.78`, `−0.12`."""
    return f"{value:+.2f}".replace("-", "−")


def interval(low: float, high: float) -> str:
    """Its ends with their signs: `+0.55 to +1.00`."""
    return f"{signed(low)} to {signed(high)}"


def student_name(student: str) -> str:
    """A student as a figure names it, after its teacher's trait: `owl student`, `control`."""
    return student if student == "control" else f"{student} student"


def percent(share: float) -> str:
    """A fraction as a percentage with about two digits: `0.5 %`, `14 %`, `under 0.01 %`."""
    if 0 < share < 0.0001:
        return "under 0.01 %"
    digits = 0 if share >= 0.0995 else 1 if share >= 0.00095 else 2
    return f"{100 * share:.{digits}f} %"


def signed_percent(share: float) -> str:
    """A difference of shares in percentage points: `+4.2`, `−0.6`, `0`."""
    points = f"{100 * share:+.1f}".replace("-", "−")
    return "0" if points in ("+0.0", "−0.0") else points


def p_value(p: float | None) -> str:
    """A p-value to three digits; a dash where there is none."""
    if p is None:
        return "–"
    return "< 0.001" if p < 0.001 else f"{p:.3f}"
