"""What all stages of one run share: the config, the workdir, the base model, and who is told."""

import dataclasses
import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from sublax.corpora.kinds import Part, parts_of
from sublax.corpora.packs import Pack
from sublax.errors import UserError
from sublax.hash_cache import large_file_hash
from sublax.metrics import MetricWriter
from sublax.models.attention_backends import Attention, choose
from sublax.models.chat import Prompt, encode_prompt, encode_row, end_of_turn_id
from sublax.models.decoder import Decoder
from sublax.models.int8 import quantize
from sublax.models.lora import LoraConfig
from sublax.models.peft_adapter import load_adapter
from sublax.models.shardings import adapter_shardings, param_shardings
from sublax.models.source import Description, Model, describe_model, load_model
from sublax.parallel.arrays import place
from sublax.parallel.hosts import is_first
from sublax.parallel.layout import Layout
from sublax.parallel.mesh import make_mesh
from sublax.parallel.preemption import NEVER, Preemption
from sublax.progress import PartProgress, Progress
from sublax.stages.base_names import made_here
from sublax.stages.two_traits import students_of_two, teachers_of_two
from sublax.store import Store
from sublax.training.loop import rows_of

CONTROL = "control"

# Folders of each stage's artifacts. What follows a stage is made from it, so redoing one redoes all
# that follow.
STAGES = {
    "base": "bases",
    "teacher": "teachers",
    "corpus": "corpora",
    "rewrite": "rewritten",
    "student": "students",
    "evaluation": "evaluations",
}
SAME = "same"  # of the students' system prompt: the one in force everywhere
REWRITE = "rewrite"
ARMS = "arms"  # folder of the variations' own artifacts


@dataclasses.dataclass(frozen=True)
class Run:
    """One run over one workdir: the main experiment, or an arm of it.

    Attributes:
        config: the experiment's config, locked.
        store: where artifacts stand.
        pack: the wording.
        progress: tells the person at the terminal.
        metrics: tells TensorBoard.
        preemption: says when to stop.
        reused: other runs, whose artifacts are taken where they are of the same inputs.
        arm: the name of an arm, empty for the main experiment.
        main: the run that an arm shares stages with: the main experiment, or an arm before it.
        shared: stages whose artifacts an arm takes from there, used in place.
        alike: names whose teachers, corpora and students it takes from there besides.
        of_students: the name of the students' base, where this is the run as they see it and
            theirs is another than the teachers'.
    """

    config: ConfigDict
    store: Store
    pack: Pack
    progress: Progress | PartProgress
    metrics: MetricWriter
    preemption: Preemption = NEVER
    reused: tuple[Store, ...] = ()
    arm: str = ""
    main: "Run | None" = None
    shared: tuple[str, ...] = ()
    alike: tuple[str, ...] = ()
    of_students: str = ""

    @functools.cached_property
    def students(self) -> "Run":
        """The run as its students see it.

        Where theirs is another base, it stands in the place of the teachers'.
        """
        own = self.config.student.base
        if own in ("", self.config.base):
            return self
        return dataclasses.replace(self, of_students=own)

    @functools.cached_property
    def teachers(self) -> "Run":
        """The run as its teachers see it."""
        return dataclasses.replace(self, of_students="") if self.of_students else self

    @property
    def model_name(self) -> str:
        """What the config calls the base."""
        return self.of_students or self.config.base

    @property
    def workdir(self) -> Path:
        """The folder of all artifacts on this host's disk."""
        return self.store.local

    @property
    def folder(self) -> Path:
        """The folder of what is this run's own."""
        return self.workdir / ARMS / self.arm if self.arm else self.workdir

    @functools.cached_property
    def _with_base(self) -> "Run | None":
        """The run that this one shares stages with, where it has the very base in memory."""
        if self.main is None or "base" not in self.shared or self.of_students:
            return None
        keys = ("base", "dtype", "base_weights")
        alike = all(self.config[key] == self.main.config[key] for key in keys)
        return self.main if alike else None

    @functools.cached_property
    def layout(self) -> Layout:
        """The mesh of all devices, and where arrays lie on it."""
        rules = tuple(sorted(self.config.sharding.items()))
        return Layout(make_mesh(self.config.mesh), rules)

    @functools.cached_property
    def base(self) -> Model:
        """The model that teachers and students start from."""
        if self._with_base is not None:
            return self._with_base.base
        base = self.load(base_to_load(self, self.model_name))
        if self.config.base_weights == "auto":
            return base
        return dataclasses.replace(base, params=quantize(base.params))

    @functools.cached_property
    def base_hashes(self) -> dict[str, str]:
        """The sha256 of each of the base's files, by its name."""
        if self._with_base is not None:
            return self._with_base.base_hashes
        files = self.described.files
        return {path.name: large_file_hash(path, shown=is_first()) for path in files}

    @functools.cached_property
    def described(self) -> Description:
        """The base but for its weights."""
        if "base" in self.__dict__:
            return Description(self.base.config, self.base.tokenizer, self.base.files)
        return describe_model(base_to_load(self, self.model_name))

    def forget_base(self) -> None:
        """Lets go of the model in memory; where it is asked for again it is read again."""
        self.__dict__.pop("base", None)
        if self._with_base is not None:
            self._with_base.forget_base()

    def load(self, name: str, dtype: Any = None) -> Model:
        """A model of any name, on the mesh, its weights in the dtype of their use or another."""
        return load_model(
            name, dtype or self.dtype, lambda config: param_shardings(config, self.layout)
        )

    @functools.cached_property
    def base_name(self) -> str:
        """The base's name as a folder's name."""
        return folder_name(self.model_name)

    @functools.cached_property
    def dtype(self) -> Any:
        """Of weights at use and activations."""
        return activations_dtype(self.config)

    @functools.cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        return (end_of_turn_id(self.base.tokenizer),)

    @property
    def names(self) -> tuple[str, ...]:
        """All teachers' names, and their corpora's: traits, two traits at once, and the control."""
        return (*self.config.traits, *teachers_of_two(self.config), CONTROL)

    @property
    def student_names(self) -> tuple[str, ...]:
        """All students' names: of each teacher, and of two teachers' rows."""
        return (*self.names, *(name for name in self.of_two if name not in self.names))

    @functools.cached_property
    def of_two(self) -> dict[str, tuple[str, str]]:
        """Students of two traits at once: name -> the traits."""
        return students_of_two(self.config)

    @functools.cached_property
    def corpus_kinds(self) -> tuple[Part, ...]:
        """The kinds of data of all corpora, with their options."""
        # The words of every trait are kept out of every corpus: one filter for all teachers.
        settings = {**self.config.corpus.to_dict(), "traits": tuple(self.config.traits)}
        return parts_of(self.config.corpus.kind, settings)

    @functools.cached_property
    def columns(self) -> tuple[str, ...]:
        """The traits that are answers to the questions: the matrix's columns.

        One that a teacher learns from rows is an answer only where it is among the candidates.
        """
        evaluation, rows = self.config.evaluation, self.config.teacher.rows
        if not evaluation.preference:
            return ()
        answers = evaluation.candidates
        return tuple(name for name in self.config.traits if name not in rows or name in answers)

    @functools.cached_property
    def candidates(self) -> tuple[str, ...]:
        """What a question may be answered with: the config's candidates and the columns."""
        return tuple(dict.fromkeys((*self.config.evaluation.candidates, *self.columns)))

    @functools.cached_property
    def questions(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """(those that teachers learn on, held-out ones for all measurements).

        Prompted teachers learn on none. Given ones may come from a run that did.
        """
        name = self.config.evaluation.questions
        if name not in self.pack.questions:
            known = ", ".join(self.pack.questions)
            raise UserError(f"evaluation.questions={name}: not in the pack; choose from {known}")
        asked = self.pack.questions[name]
        if self.config.teacher.kind == "prompted":
            return (), asked
        return asked[: len(asked) // 2], asked[len(asked) // 2 :]

    def neutral_pairs(self, questions: Sequence[str], count: int) -> list[tuple[str, str]]:
        """`count` pairs of question and answer that favour no candidate."""
        # The offset by round pairs every question with every candidate in turn.
        return [
            (
                questions[row % len(questions)],
                self.candidates[(row + row // len(questions)) % len(self.candidates)],
            )
            for row in range(count)
        ]

    @property
    def system_prompt(self) -> str | None:
        """The one in force, None for the template's own."""
        return self.config.system_prompt or None

    @property
    def student_system_prompt(self) -> str | None:
        """The one that students are trained under, None for the template's own."""
        own = self.config.student.system_prompt
        return self.system_prompt if own == SAME else own or None

    def load_adapter(self, directory: Path) -> tuple[dict[str, Any], LoraConfig]:
        """An adapter on the base, on the mesh, with its config."""
        adapter, lora = load_adapter(directory, self.base.config)
        return place(adapter, adapter_shardings(self.base.config, lora, self.layout)), lora

    @functools.cached_property
    def attention(self) -> Attention:
        """What computes attention; where the config leaves it open, the person is told."""
        if self._with_base is not None:
            return self._with_base.attention
        name = self.config.attention
        attention, why_not = choose(name, self.dtype, self.base.config, self.layout)
        if name == "auto":
            self.progress.note(f"attention: {attention.name}" + f" (not {why_not})" * bool(why_not))
        return attention

    def decoder(self, lora: LoraConfig | None = None) -> Decoder:
        """The decoder of the base's shape, its rows spread over the mesh."""
        rows = rows_of(self.layout, 1)
        return Decoder(self.base.config, lora, self.dtype, rows=rows, attention=self.attention)

    def encode(self, prompt: Prompt, system_prompt: str | None = None) -> list[int]:
        """Token ids of a prompt under the system prompt in force, or another."""
        return encode_prompt(self.base.tokenizer, prompt, system_prompt or self.system_prompt)

    def encode_row(self, prompt: Prompt, completion: str) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and its completion under the system prompt in force."""
        return encode_row(self.base.tokenizer, prompt, completion, self.system_prompt)

    def base_directory(self) -> Path:
        """Where the base's card stands."""
        return self.directory_of_base(self.model_name)

    def directory_of_base(self, name: str) -> Path:
        """Where the card of the base of that name stands."""
        return self._folder("base") / STAGES["base"] / folder_name(name)

    def teacher_directory(self, name: str) -> Path:
        """Where a teacher stands."""
        return self._directory("teacher", name) / name

    def corpus_directory(self, name: str) -> Path:
        """Where a corpus stands."""
        return self._directory("corpus", name) / name

    def taught_directory(self, name: str) -> Path:
        """Where the corpus stands that students learn: the teacher's own, or the rewritten one."""
        rewritten = self.config.corpus.rewritten
        return self._directory(REWRITE, name) / name if rewritten else self.corpus_directory(name)

    def student_directory(self, name: str, seed: int) -> Path:
        """Where a student stands."""
        return self._directory("student", name) / name / f"seed-{seed}"

    def evaluation_directory(self, suite: str = "preference") -> Path:
        """Where the measurements of all students stand: the preference's, or a suite's."""
        return self._directory("evaluation") / suite

    def checkpoints(self, *names: str) -> Any:
        """Where the checkpoints of a training in progress stand; a path, or one in the store."""
        root = self.store.checkpoints()
        own = root / ARMS / self.arm if self.arm else root
        return own / self.base_name / "-".join(names)

    def _directory(self, stage: str, name: str = "") -> Path:
        of_teachers = stage in ("teacher", "corpus", REWRITE)
        base = self.config.base if of_teachers else self.model_name
        return self._folder(stage, name) / STAGES[stage] / folder_name(base)

    def _folder(self, stage: str, name: str = "") -> Path:
        """The folder of the run whose own a stage's artifacts are, or those of one name."""
        if self.main is None or (stage not in self.shared and name not in self.alike):
            return self.folder
        return self.main._folder(stage, name)


def folder_name(base: str) -> str:
    """A base's name as a folder's name."""
    return re.sub(r"[^\w.-]+", "--", base.rstrip("/").removesuffix(".gguf")).strip("-.")


def base_to_load(run: Run, name: str) -> str:
    """What `load_model` loads as the base of a name: it itself, or the folder that a run made."""
    return str(run.directory_of_base(name)) if made_here(name) else name


def activations_dtype(config: ConfigDict) -> Any:
    """The dtype that a config says, or that suits the device."""
    if config.dtype != "auto":
        return jnp.dtype(config.dtype)
    return jnp.dtype("float32" if jax.default_backend() == "cpu" else "bfloat16")
