"""Two traits at once: how much of each passes, and at what cost against a student of one alone."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sublax.evaluation.statistics import holm, permutation_p
from sublax.evaluation.transfer import CLOSED_FORM_MARGIN, estimate, values_of

# With the student of two traits itself, so many without either make labels worth exchanging.
FEWEST_OTHERS = 2


def two_traits(
    students: Mapping[str, Any],
    candidates: Sequence[str],
    traits: Sequence[str],
    of_two: Mapping[str, tuple[str, str]],
    seed: int,
    *,
    measure: str = CLOSED_FORM_MARGIN,
    samples: int = 0,
) -> list[dict[str, Any]]:
    """Each trait's lift in a student of two, in the student of it alone, and the difference.

    A lift here is over the students that have neither of the two traits, for both students alike,
    so that one is not measured against the other. Intervals are paired over seeds and questions, as
    `transfer_matrix`'s; `p` is `permutation_p`'s, of the student of two among those that have
    neither, None where these are fewer than two.

    Args:
      students: float [N, Q, C] for every student, of one trait, of two, and the control.
      candidates: names of the C candidates.
      traits: the matrix's columns. Of what is no column nothing is said.
      of_two: students of two traits -> their traits.
      seed: of the bootstrap and the permutations.
      measure: as `transfer_matrix`.
      samples: as there.

    Returns:
      By student and trait: "student", "trait", "others" (names of those that have neither), "lift"
      (of the student of two, with "p" and, adjusted for all of these, "p_holm"), "alone" (the lift
      of the student of that trait) and "cost" (alone minus lift), each with "value", "low", "high"
      and "detectable".
    """
    columns = [list(candidates).index(trait) for trait in traits]
    values = {
        name: values_of(np.asarray(of, np.float64), measure)[..., columns]
        for name, of in students.items()
    }
    answers = samples * next(iter(values.values()))[..., 0].size
    found = list[dict[str, Any]]()
    for name, both in of_two.items():
        others = [other for other in students if other not in (*of_two, *both)]
        for trait in both:
            if trait not in traits:
                continue
            column = list(traits).index(trait)
            own_NxQ, alone_NxQ = values[name][..., column], values[trait][..., column]
            others_MxNxQ = np.stack([values[other][..., column] for other in others])
            mean_NxQ, lift = others_MxNxQ.mean(axis=0), dict[str, Any]()
            lift |= estimate(own_NxQ - mean_NxQ, seed, answers)
            enough = len(others) >= FEWEST_OTHERS
            every_MxNxQ = np.concatenate([own_NxQ[None], others_MxNxQ])
            lift["p"] = permutation_p(every_MxNxQ, 0, seed) if enough else None
            found.append(
                {
                    "student": name,
                    "trait": trait,
                    "others": others,
                    "lift": lift,
                    "alone": estimate(alone_NxQ - mean_NxQ, seed, answers),
                    "cost": estimate(alone_NxQ - own_NxQ, seed, answers),
                }
            )
    tested = [one["lift"] for one in found if one["lift"]["p"] is not None]
    for lift, p_holm in zip(tested, holm([lift["p"] for lift in tested]), strict=True):
        lift["p_holm"] = p_holm
    return found
