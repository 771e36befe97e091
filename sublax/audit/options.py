"""What can be set about an audit, and how long its parts take."""

import dataclasses
import re
from collections.abc import Sequence

from sublax.audit.candidates import Group
from sublax.audit.teachers import OPTIMIZER, LastTeacher
from sublax.models.source import Model


@dataclasses.dataclass(frozen=True)
class Options:
    """What can be set about an audit.

    Attributes:
        rows: of the dataset that are read closely, drawn at random by their prompts; the flags go
            over all.
        students: of each kind; 0 trains none.
        updates: of each student.
        epochs: of the training that is planned on the whole dataset, which the students' shifts are
            drawn out to.
        teacher_steps: updates of each candidate's teacher.
        teacher_learning_rate: of each.
        rate: of false positives among flagged rows.
        suspects: names of other models that may have written the rows.
        system_prompt: in force for rows and questions; None is the template's own.
        seed: of all draws.
    """

    rows: int = 400
    students: int = 0
    updates: int = 16
    epochs: float = 1.0
    teacher_steps: int = 12
    teacher_learning_rate: float = OPTIMIZER.learning_rate
    rate: float = 0.01
    suspects: tuple[str, ...] = ()
    system_prompt: str | None = None
    seed: int = 0


def stages_of(groups: Sequence[Group], options: Options) -> dict[str, float]:
    """Each part with its seconds at 135M on two cores, for the time that is left."""
    seconds = {"temperature": 12.0, "answers": 60.0, "likelihood": 40.0}
    for group in groups:
        seconds[part_of("neutral", group)] = 170.0 if len(groups) == 1 else 70.0
        seconds |= dict.fromkeys(teachers_of(group), 56.0)
    seconds["flags"] = 170.0
    if options.students:
        updates = options.students * options.updates / 32
        seconds |= {"students": 200.0 * updates, "fifths": 140.0 * updates}
    if options.suspects:
        seconds["suspects"] = 200.0
    return seconds | {"verdict": 1.0}


def teachers_of(group: Group) -> dict[str, list[tuple[str, str]]]:
    """What each teacher of a group is taught, (question, answer), by the part that it makes."""
    parts = {part_of("teacher", group, trait): group.trait_pairs(trait) for trait in group.traits}
    references = enumerate(group.reference_pairs(), 1)
    return parts | {part_of("reference", group, f"{k}"): pairs for k, pairs in references}


def teachers_for(model: Model, options: Options) -> LastTeacher:
    """Teachers of BASE by the options of an audit."""
    return LastTeacher(
        model,
        options.seed,
        options.teacher_learning_rate,
        options.teacher_steps,
        options.system_prompt,
    )


def part_of(kind: str, group: Group, trait: str = "") -> str:
    """A part's folder; words of a user's own may have anything in them."""
    words = [kind, group.name, *([trait] if trait else [])]
    return "-".join(re.sub(r"[^a-z0-9]+", "_", word.lower()) for word in words)
