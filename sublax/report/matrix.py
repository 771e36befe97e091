"""The cells of a transfer matrix one by one, each with all that transfer.json says of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sublax.report import wording


@dataclass(frozen=True)
class MatrixCell:
    """One student asked about one trait, in the matrix' unit.

    Attributes:
      student: named after its teacher's trait.
      trait: that it was asked about.
      shift: from the base.
      low: of the shift's 95 % interval.
      high: of the same.
      over_others: the shift minus the mean of the column's other students; None where it is alone.
      lift: of its own teacher's trait, as transfer.json has it; None in all other cells, as is
        what follows.
      lift_low: of the lift's 95 % interval.
      lift_high: of the same.
      p: of the lift.
      p_holm: of the lift, all traits taken together.
    """

    student: str
    trait: str
    shift: float
    low: float
    high: float
    over_others: float | None
    lift: float | None
    lift_low: float | None
    lift_high: float | None
    p: float | None
    p_holm: float | None

    @property
    def own(self) -> bool:
        """Whether the student's teacher had the trait."""
        return self.student == self.trait


def cells_of(transfer: Mapping[str, Any]) -> list[MatrixCell]:
    """All cells, row by row."""
    results = {result.trait: result for result in wording.trait_results(transfer)}
    students, cells = transfer["students"], []
    for row, student in enumerate(students):
        for column, trait in enumerate(transfer["traits"]):
            shift = transfer["shift"][row][column]
            low, high = transfer["interval"][row][column]
            rest = [transfer["shift"][n][column] for n in range(len(students)) if n != row]
            own = results[trait] if student == trait else None
            cells.append(
                MatrixCell(
                    student=student,
                    trait=trait,
                    shift=shift,
                    low=low,
                    high=high,
                    over_others=shift - sum(rest) / len(rest) if rest else None,
                    lift=own.lift if own else None,
                    lift_low=own.low if own else None,
                    lift_high=own.high if own else None,
                    p=own.p if own else None,
                    p_holm=own.p_holm if own else None,
                )
            )
    return cells
