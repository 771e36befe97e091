"""An arm's result beside the main experiment's: its lifts, their mean, and how it differs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sublax.evaluation.statistics import bootstrap_interval, own_minus_others


def arm_result(
    name: str,
    overrides: Sequence[str],
    transfer: Mapping[str, Any],
    main: Mapping[str, Any],
    seed: int,
) -> dict[str, Any]:
    """What transfer.json says of an arm.

    Args:
      name: the arm's.
      overrides: its settings, `key=value`.
      transfer: of the arm, as `transfer_matrix` gives it, with `questions`.
      main: of the main experiment.
      seed: of the bootstrap.

    Returns:
      "name", "overrides", "unit", "lift" (by trait), "mean_lift", "suites" and "two_traits" as in
      `transfer`, and "difference": the arm's mean lift minus the main experiment's, {"value",
      "low", "high"}, 95 %, paired over seeds and questions; None where the two differ in what was
      asked or measured (measure, seeds, questions or traits), or were asked nothing but suites.
    """
    same = bool(main["traits"]) and all(
        transfer[key] == main[key] for key in ("measure", "seeds", "questions", "traits")
    )
    difference = None
    if same:
        values_NxQ = mean_lifts(transfer) - mean_lifts(main)
        low, high = bootstrap_interval(values_NxQ, seed)
        difference = {"value": float(values_NxQ.mean()), "low": low, "high": high}
    return {
        "name": name,
        "overrides": list(overrides),
        "unit": transfer["unit"],
        "lift": transfer["lift"],
        "mean_lift": transfer["mean_lift"],
        "suites": transfer.get("suites", {}),
        "two_traits": transfer.get("two_traits", []),
        "difference": difference,
    }


def mean_lifts(transfer: Mapping[str, Any]) -> np.ndarray:
    """The mean over traits of each trait's lift, [N, Q] over seeds and questions.

    The base's values cancel in a lift, so that the students' suffice.
    """
    students = transfer["per_question"]["students"]
    lifts_TxNxQ = [
        own_minus_others(np.stack([np.asarray(of[trait]) for of in students.values()]))[
            list(students).index(trait)
        ]
        for trait in transfer["traits"]
    ]
    return np.mean(lifts_TxNxQ, axis=0)
