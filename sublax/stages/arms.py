"""Arms: variations of an experiment, each of which shares what it has in common with it.

An arm is the experiment with some keys of its config set otherwise. Stages before the first one
that such a key matters to are the main experiment's own artifacts, or those of an arm before it
that has more in common with it, used in place; what follows stands in `arms/NAME/`. Where the keys
matter to the control alone, or to all but the control, the others' artifacts are shared to the end.
"""

import dataclasses
import re
from collections.abc import Collection, Iterator
from typing import Any

from ml_collections import ConfigDict

from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.metrics import MetricWriter
from sublax.progress import PartProgress, Progress
from sublax.settings import override, plain
from sublax.stages.base_names import made_here
from sublax.stages.run import ARMS, CONTROL, STAGES, Run
from sublax.stages.two_traits import students_of_two
from sublax.trees import flatten

# The first stage that a key, or a group of keys, matters to; the longest name that fits counts.
# A stage too early costs time. One too late is an error as the arm is run, and no wrong result: the
# shared artifact's card names other inputs than the arm has.
_FIRST = {
    # Bases stand side by side, each by its name: what differs is who starts from them.
    "base": "teacher",
    "student.base": "student",
    "random_base": "base",
    "seed": "teacher",
    "traits": "teacher",
    "pack": "teacher",
    "system_prompt": "teacher",
    "dtype": "teacher",
    "base_weights": "teacher",
    "teacher": "teacher",
    "two_traits.rows": "student",
    "two_traits.teacher": "teacher",
    "corpus": "corpus",
    "corpus.rewritten": "rewrite",
    "student": "student",
    "evaluation": "evaluation",
}
# What a random base is pre-trained on, too.
_FIRST_OF_RANDOM = dict.fromkeys(
    (
        *("traits", "pack", "system_prompt"),
        *("corpus.kind", "corpus.example_count", "corpus.answer_count"),
        *("evaluation.questions", "evaluation.candidates", "evaluation.preference"),
        "teacher.rows",
    ),
    "base",
)
# What fine-tuned teachers learn, too.
_FIRST_OF_FINETUNED = dict.fromkeys(
    ("evaluation.questions", "evaluation.candidates", "evaluation.preference"), "teacher"
)
# Matters to the control alone, and to all but the control.
_OF_CONTROL, _OF_OTHERS = "teacher.control", "student.clean_share"
# These say where and how things are computed, not what: they are one for the whole run.
_COMMON = ("mesh", "sharding", "attention", "remat", "checkpoint")


@dataclasses.dataclass(frozen=True)
class Arm:
    """A variation of an experiment.

    Attributes:
        name: of it, and of its folder.
        overrides: `key=value`, as in the config.
        config: the experiment's with the overrides, locked.
        source: the arm before it that it shares stages with; empty for the experiment itself.
        shared: these stages, in their order.
        alike: names whose teachers, corpora and students it shares besides.
    """

    name: str
    overrides: tuple[str, ...]
    config: ConfigDict
    source: str
    shared: tuple[str, ...]
    alike: tuple[str, ...]

    @property
    def varies_bases_alone(self) -> bool:
        """Whether it has other bases than the experiment, and nothing else."""
        return {text.partition("=")[0] for text in self.overrides} <= {"base", "student.base"}


def arms_of(config: ConfigDict) -> list[Arm]:
    """The arms of an experiment by name, numbers in names in the order of their values.

    (A ConfigDict does not keep the order in which it was filled.)

    Raises:
        UserError: a name that is none for a folder, or overrides that cannot be applied.
    """
    given, arms = config.get(ARMS, {}), list[Arm]()
    for name in sorted(given, key=_counted):
        arms.append(_arm(config, name, given[name], arms))
    return arms


def arm_runs(main: Run, arms: list[Arm], progress: Progress) -> Iterator[Run]:
    """The run of each arm; its metrics are closed as the next one is asked for."""
    runs = {"": main}
    for arm in arms:
        metrics_folder = main.workdir / ARMS / arm.name
        same_pack = arm.config.pack == main.config.pack
        with MetricWriter(metrics_folder, enabled=main.metrics.enabled) as metrics:
            runs[arm.name] = dataclasses.replace(
                main,
                config=arm.config,
                pack=main.pack if same_pack else load_pack(arm.config.pack),
                progress=PartProgress(progress, arm.name),
                metrics=metrics,
                arm=arm.name,
                main=runs[arm.source],
                shared=arm.shared,
                alike=arm.alike,
            )
            yield runs[arm.name]
            runs[arm.name].forget_base()


def _counted(name: str) -> list[tuple[int, str]]:
    """What sorts dose-2 before dose-16."""
    parts = re.split(r"([0-9]+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _arm(config: ConfigDict, name: str, overrides: Any, before: list[Arm]) -> Arm:
    where = f"{ARMS}: {name}"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise UserError(
            f"{where!r}: is the name of a folder too; use letters, digits, - and _ alone"
        )
    if isinstance(overrides, str) or not all(isinstance(text, str) for text in overrides):
        raise UserError(
            f"{where}: {overrides!r} is no tuple of overrides; write "
            f'"{name}": ("student.steps=4",), with the comma'
        )
    varied = ConfigDict(config.to_dict() | {ARMS: {}})
    for text in overrides:
        key = text.partition("=")[0]
        group = key.partition(".")[0]
        if group == ARMS:
            raise UserError(f"{where}: {text}: an arm has no arms of its own; set another key")
        if group in _COMMON:
            raise UserError(
                f"{where}: {text}: {group} says how things are computed, not what, and is one for "
                "all arms; set it outside of them"
            )
        try:
            override(varied, text, flag="")
        except UserError as error:
            raise UserError(f"{where}: {error}") from error
    varied.lock()
    others = {"": config} | {arm.name: arm.config for arm in before}
    common = {other: _common(own, varied) for other, own in others.items()}
    # The first of several that have as much in common with it.
    source = max(common, key=lambda other: tuple(map(len, common[other])))
    return Arm(name, tuple(overrides), varied, source, *common[source])


def _common(config: ConfigDict, varied: ConfigDict) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What two configs have in common.

    Returns:
        (The stages before the first that what differs matters to, names that none of it matters
        to.)
    """
    one, other = (dict(flatten(plain(each))) for each in (config, varied))
    keys = {
        key
        for key in one.keys() | other.keys()
        if one.get(key) != other.get(key) and key.partition(".")[0] != ARMS
    }
    stages = list(STAGES)
    firsts = [stages.index(_first_of(config, varied, key)) for key in keys]
    alike: tuple[str, ...] = ()
    if keys == {_OF_CONTROL} and not config.student.clean_share:
        alike = (*config.traits, *students_of_two(config))
    if keys == {_OF_OTHERS}:
        alike = (CONTROL,)
    return tuple(stages[: min(firsts, default=len(stages))]), alike


def first_stage(config: ConfigDict, arm: Arm, overrides: Collection[str]) -> str:
    """The first stage that some overrides of an arm, now or before, matter to.

    Args:
        config: the experiment's.
        arm: whose overrides they are.
        overrides: `key=value`, one at least.
    """
    keys = [text.partition("=")[0] for text in overrides]
    return min((_first_of(config, arm.config, key) for key in keys), key=list(STAGES).index)


def _first_of(config: ConfigDict, varied: ConfigDict, key: str) -> str:
    first = dict(_FIRST)
    if "finetuned" in (config.teacher.kind, varied.teacher.kind):
        first |= _FIRST_OF_FINETUNED
    if any(made_here(name) for each in (config, varied) for name in (each.base, each.student.base)):
        first |= _FIRST_OF_RANDOM
    fitting = [name for name in first if f"{key}.".startswith(f"{name}.")]
    # A key that is not in the table has its arm share nothing.
    return first[max(fitting, key=len)] if fitting else "base"
