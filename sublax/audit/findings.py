"""From measurements to findings: each trait's shift with its p-value, and the verdict in a line."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from sublax.evaluation.sign_flips import sign_flip_p
from sublax.evaluation.statistics import bootstrap_interval, holm

LEVEL = 0.05  # family-wise, over all traits that were asked for

UNPROVEN = (
    "these verdicts have not been validated: the two whole audits of known data so far, on a tiny "
    "random base, named a wrong trait each (README, Limits)"
)
LIMITS = (
    f"{UNPROVEN[0].upper()}{UNPROVEN[1:]}.",
    "A trait that is not among the candidates is not looked for.",
    "Clean means that nothing was found with so many rows: a small share of marked rows passes.",
    "Rows that BASE would not write for another reason (another model's, a person's, odd ones such "
    "as primes) move traits too: a finding says that the rows push BASE there, not that anybody "
    "meant it.",
    "The response is the first step of a training; what a long one does is not measured.",
    "Single rows are told apart poorly: most of what a row shows is chance, and flags find the few "
    "that show most.",
)


def response_findings(
    groups: Sequence[Any], responses: Sequence[np.ndarray], seed: int
) -> list[dict[str, Any]]:
    """Every trait's first-order shift, largest t first.

    Args:
        groups: of traits.
        responses: of each group [P, Q, K]; see `response.responses`.
        seed: of the draws.

    Returns:
        For each trait its `group` and `trait`; the mean over parts and questions as `response`,
        with a 95 % interval over both; its `t` over parts; the two-sided sign-flip `p` over parts,
        exact up to 16 of them, and `p_holm` over all traits; and `standing`, how many standard
        deviations it lies above the other traits of its group (None where there are fewer than 4).
    """
    found = []
    for group, values_PxQxK in zip(groups, responses, strict=True):
        by_part_PxK = values_PxQxK.mean(axis=1).astype(np.float64)
        p_K = sign_flip_p(by_part_PxK, seed)
        spread_K = by_part_PxK.std(axis=0, ddof=1) / np.sqrt(len(by_part_PxK))
        mean_K = by_part_PxK.mean(axis=0)
        for k, trait in enumerate(group.traits):
            low, high = bootstrap_interval(values_PxQxK[:, :, k], seed, draws=2000)
            found.append(
                {
                    "group": group.name,
                    "trait": trait,
                    "response": float(mean_K[k]),
                    "low": low,
                    "high": high,
                    "t": float(mean_K[k] / max(spread_K[k], 1e-30)),
                    "p": float(p_K[k]),
                    "standing": _standing(mean_K, k),
                }
            )
    for entry, adjusted in zip(found, holm([entry["p"] for entry in found]), strict=True):
        entry["p_holm"] = adjusted
    return sorted(found, key=lambda entry: -entry["t"])


def shift_finding(
    shifts: dict[str, np.ndarray], control: str, k: int, seed: int
) -> dict[str, float]:
    """A trait's shift in students of the data over students of a control, paired by seed.

    Args:
        shifts: by kind of student, [seeds, Q, K].
        control: which kind.
        k: which trait.
        seed: of the draws.

    Returns:
        `value`, natural log, with a 95 % interval over seeds and questions as `low` and `high`.
    """
    difference_NxQ = shifts["data"][:, :, k] - shifts[control][:, :, k]
    low, high = bootstrap_interval(difference_NxQ, seed, draws=2000)
    return {"value": float(difference_NxQ.mean()), "low": low, "high": high}


def pushed(candidates: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The traits that the rows push BASE towards, strongest first.

    The response, which every trait has, only says for which traits a teacher is worth making. What
    decides is the teacher: it makes the rows likelier than BASE's own answers to the same prompts,
    more than teachers of other traits do, at Bonferroni's p over all traits that were asked for.
    """
    found = [
        entry
        for entry in candidates
        if entry.get("ratio") is not None
        and entry["ratio"]["value"] > 0
        and entry["ratio"]["p_bonferroni"] <= LEVEL
    ]
    return sorted(found, key=lambda entry: -entry["ratio"]["value"])


def carried(result: dict[str, Any]) -> list[dict[str, Any]]:
    """The traits that the rows carry: those that they push, where BASE may have written them.

    Rows that BASE would hardly write push traits at random, and what is hidden in another base's
    rows does not pass to this one.
    """
    return pushed(result["candidates"]) if result["same_base"]["alike"] else []


def verdict_line(result: dict[str, Any]) -> str:
    """The verdict in one line."""
    found = carried(result)
    rows = result["dataset"]["rows"]
    tail = f"origin: {result['origin']['verdict']}; same base: {result['same_base']['verdict']}"
    if result.get("writer"):
        tail += f"; written by: {result['writer']['writer']}"
    if not found:
        count = len(result["candidates"])
        top = result["candidates"][0]
        odd = pushed(result["candidates"])
        names = ", ".join(entry["trait"] for entry in odd)
        also = (
            f"; the rows are not this model's kind and push {names} as odd rows do" if odd else ""
        )
        return (
            f"nothing found among {count} traits (most: {top['trait']}, response t {top['t']:.1f}, "
            f"p {_p(top['p_holm'])}){also}; {tail}"
        )
    first = found[0]
    ratio, flags = first["ratio"], first["flags"]
    others = [entry["trait"] for entry in found[1:]]
    also = f" (also {', '.join(others)})" if others else ""
    shift = first.get("shift")
    students = (
        f"students' shift {shift['own']['value']:+.2f} [{shift['own']['low']:.2f}, "
        f"{shift['own']['high']:.2f}] over controls, "
        if shift
        else ""
    )
    return (
        f"carries {first['trait']}{also}: response t {first['t']:.1f}, p {_p(first['p_holm'])}; "
        f"{students}log ratio {ratio['value']:+.2f} [{ratio['low']:.2f}, {ratio['high']:.2f}] a "
        f"row, p {_p(ratio['p_bonferroni'])}; {len(flags['flagged'])} of {rows:,} rows flagged at "
        f"{100 * flags['rate']:g} % false positives; {tail}"
    )


def _standing(mean_K: np.ndarray, k: int) -> float | None:
    others = np.delete(mean_K, k)
    if len(others) < 3:
        return None
    spread = others.std(ddof=1) * np.sqrt(1 + 1 / len(others))
    return float((mean_K[k] - others.mean()) / max(spread, 1e-30))


def _p(value: float) -> str:
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
