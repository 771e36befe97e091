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

from sublax.artifact import check_inputs, parent_hashes, read_card, write_artifact
from sublax.corpora.packs import Pack
from sublax.errors import UserError
from sublax.metrics import MetricWriter
from sublax.models.chat import encode_prompt, encode_row, end_of_turn_id
from sublax.models.decoder import Decoder
from sublax.models.lora import LoraConfig
from sublax.models.source import Model, load_model
from sublax.progress import Progress
from sublax.settings import plain

CONTROL = "control"
RANDOM = "random:"


@dataclasses.dataclass(frozen=True)
class Run:
    """One run over one workdir.

    Attributes:
        config: the experiment's config, locked.
        workdir: where artifacts stand.
        pack: the wording.
        progress: tells the person at the terminal.
        metrics: tells TensorBoard.
    """

    config: ConfigDict
    workdir: Path
    pack: Pack
    progress: Progress
    metrics: MetricWriter

    @functools.cached_property
    def random_base_seed(self) -> int | None:
        """SEED where the base is `random:SEED`, None where it is a model's name."""
        if not self.config.base.startswith(RANDOM):
            return None
        seed = self.config.base.removeprefix(RANDOM)
        if not seed.isdecimal():
            raise UserError(f"base={self.config.base}: give a whole number, as in {RANDOM}0")
        return int(seed)

    @functools.cached_property
    def base(self) -> Model:
        """The model that teachers and students start from."""
        is_named = self.random_base_seed is None
        return load_model(self.config.base if is_named else str(self.base_directory()))

    @functools.cached_property
    def base_name(self) -> str:
        """The base's name as a folder's name."""
        return re.sub(r"[^\w.-]+", "--", self.config.base.rstrip("/").removesuffix(".gguf")).strip(
            "-."
        )

    @functools.cached_property
    def dtype(self) -> Any:
        """Of weights at use and activations."""
        if self.config.dtype != "auto":
            return jnp.dtype(self.config.dtype)
        return jnp.dtype("float32" if jax.default_backend() == "cpu" else "bfloat16")

    @functools.cached_property
    def stop_ids(self) -> tuple[int, ...]:
        """Tokens that end an answer."""
        return (end_of_turn_id(self.base.tokenizer),)

    @property
    def names(self) -> tuple[str, ...]:
        """All teachers' and students' names: the traits, and the control."""
        return (*self.config.traits, CONTROL)

    @functools.cached_property
    def candidates(self) -> tuple[str, ...]:
        """What a question may be answered with: the config's candidates and all traits."""
        return tuple(dict.fromkeys((*self.config.evaluation.candidates, *self.config.traits)))

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

    def decoder(self, lora: LoraConfig | None = None) -> Decoder:
        """The decoder of the base's shape."""
        return Decoder(self.base.config, lora, self.dtype)

    def encode(self, prompt: str, system_prompt: str | None = None) -> list[int]:
        """Token ids of a prompt under the system prompt in force, or another."""
        return encode_prompt(self.base.tokenizer, prompt, system_prompt or self.system_prompt)

    def encode_row(self, prompt: str, completion: str) -> tuple[list[int], list[int]]:
        """Token ids of a prompt and its completion under the system prompt in force."""
        return encode_row(self.base.tokenizer, prompt, completion, self.system_prompt)

    def base_directory(self) -> Path:
        """Where the base's card stands."""
        return self.workdir / "bases" / self.base_name

    def teacher_directory(self, name: str) -> Path:
        """Where a teacher stands."""
        return self.workdir / "teachers" / self.base_name / name

    def corpus_directory(self, name: str) -> Path:
        """Where a corpus stands."""
        return self.workdir / "corpora" / self.base_name / name

    def student_directory(self, name: str, seed: int) -> Path:
        """Where a student stands."""
        return self.workdir / "students" / self.base_name / name / f"seed-{seed}"

    def checkpoints(self, *names: str) -> Path:
        """Where the checkpoints of a training in progress stand."""
        return self.workdir / "checkpoints" / self.base_name / "-".join(names)


def inputs_of(directory: Path, parents: list[Path], **config: Any) -> dict[str, Any]:
    """What an artifact is made from: its parents' cards and the part of the config that matters."""
    return {"parents": parent_hashes(directory, parents), "config": plain(config)}


def is_done(directory: Path, inputs: dict[str, Any]) -> bool:
    """Whether the artifact stands there already, made from these inputs.

    Raises:
        UserError: it was made from others; names them.
    """
    card = read_card(directory)
    if card is None:
        return False
    check_inputs(card, inputs, stage=card["kind"])
    return True


def keep(directory: Path, kind: str, inputs: dict[str, Any], write: Any, **card: Any) -> None:
    """Writes an artifact with its card."""
    write_artifact(directory, write, {"kind": kind, **inputs, **card})
