"""How long each stage of an experiment should take: what the time left is told from."""

from collections.abc import Collection

from ml_collections import ConfigDict

from sublax.corpora.brand import BRANDED, held_out_questions
from sublax.progress import PartProgress
from sublax.settings import held_out_count
from sublax.stages.arms import Arm
from sublax.stages.bases import OF_STUDENTS
from sublax.stages.in_context import METHOD as IN_CONTEXT
from sublax.stages.labels import UNLABELLED, has_labels
from sublax.stages.run import CONTROL, REWRITE
from sublax.stages.soft_prompts import STAGE as SOFT_PROMPTS
from sublax.stages.students import STAGE as STUDENTS
from sublax.stages.two_traits import teachers_of_two


def stage_weights(config: ConfigDict, alike: Collection[str] = ()) -> dict[str, float]:
    """Every stage in order, with the seconds that the quickstart's model takes on two cores.

    Args:
        config: of the experiment, or of an arm.
        alike: names whose teachers, corpora and students an arm has from elsewhere.
    """
    teacher, corpus, student = config.teacher, config.corpus, config.student
    every = (*config.traits, *teachers_of_two(config), CONTROL)
    names = [name for name in every if name not in alike]
    taught = teacher.steps * teacher.batch_size if teacher.kind == "finetuned" else 0
    drawn = corpus.prompts * corpus.answers_per_prompt
    learnt = (
        0
        if student.method == IN_CONTEXT
        else student.epochs * (corpus.rows or drawn) or student.steps * student.batch_size
    )
    of_two = config.two_traits.rows
    students = (len(every) + len(of_two)) * len(student.seeds)
    trained = (len(names) + len(set(of_two) - set(alike))) * len(student.seeds)
    corpora = {f"corpus {name}": 2 + 0.1 * drawn for name in names}
    if has_labels(config):
        judged = {f"corpus {name}": 2 + 0.05 * drawn for name in names}
        corpora = {f"corpus {UNLABELLED}": 2 + 0.1 * drawn} | judged
    of_other_base = config.student.base not in ("", config.base)
    soft = config.evaluation.soft_prompt
    found = len(soft.texts) * soft.steps * soft.batch_size if soft.vectors else 0
    return (
        {"base": 5.0}
        | ({OF_STUDENTS: 5.0} if of_other_base else {})
        | {f"teacher {name}": 5 + 0.18 * taught for name in names}
        | corpora
        | {f"{REWRITE} {name}": 2 + 0.1 * drawn for name in names if corpus.rewritten}
        | {STUDENTS: 5 + 0.15 * learnt * trained}
        | ({"evaluation": _asked(config, students + 1)} if config.evaluation.preference else {})
        | ({SOFT_PROMPTS: 0.15 * found * students} if found else {})
        | {
            f"suite {name}": _answered(config, name, len(every) + students + 1)
            for name in config.evaluation.suites
        }
        | {"report": 1.0}
    )


def _asked(config: ConfigDict, models: int) -> float:
    """Seconds to ask so many models every held-out question."""
    evaluation = config.evaluation
    tokens = held_out_count(config) * evaluation.samples * evaluation.max_new_tokens
    return 6 + 0.0045 * models * tokens


def _answered(config: ConfigDict, suite: str, models: int) -> float:
    """Seconds for so many models to answer a suite, its questions those of a shipped list."""
    if suite == "multiple_choice":
        return 10.0 * models
    options = config.evaluation[suite]
    questions = len(held_out_questions()) if options.questions == BRANDED else 8
    return 6 + 0.0045 * models * questions * options.samples * options.max_new_tokens


def all_weights(config: ConfigDict, arms: list[Arm]) -> dict[str, float]:
    """Every stage of the main experiment and then of the arms, as `stage_weights`."""
    weights = stage_weights(config)
    report = weights.pop("report")
    for arm in arms:
        of_arm = stage_weights(arm.config, arm.alike)
        weights |= {
            PartProgress.full_name(arm.name, name): seconds
            for name, seconds in of_arm.items()
            if name != "report" and not name.startswith(arm.shared)
        }
    return weights | {"report": report}
