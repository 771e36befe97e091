"""The programs of a run, to be compiled for devices that are not there, from shapes alone."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from sublax.errors import UserError
from sublax.evaluation.preference import lower_candidate_logprobs, make_answers
from sublax.evaluation.score import BATCH_ROWS, lower_completion_logprobs
from sublax.models.attention_backends import choose
from sublax.models.completions import group_rows, make_rows
from sublax.models.config import DecoderConfig
from sublax.models.decoder import Decoder, abstract_params
from sublax.models.int8 import quantize
from sublax.models.lora import LoraConfig
from sublax.models.shardings import param_shardings
from sublax.parallel import memory
from sublax.parallel.layout import Layout, pieces
from sublax.planning import model_flops
from sublax.planning.program import Lengths, Program
from sublax.planning.topology import Chip
from sublax.sampling.draw import Sampling
from sublax.sampling.fitting import fitting_rows, lower_sample
from sublax.sampling.generate import padded_width
from sublax.settings import held_out_count, lora_config, loss_config, optimizer_config
from sublax.training.data import Dataset, make_batch, plan_packing
from sublax.training.loop import in_program, rows_of
from sublax.training.losses import LossConfig
from sublax.training.memory import fitting_students, lower_update, surely_fit
from sublax.training.step import Batch, Frozen, Objective

# Digits, the separator's characters and the end of the turn.
GRAMMAR_TOKENS = 13
OPTION_TOKENS = 5  # of an option of multiple choice, in its line
STOP = np.zeros(1, np.int32)
# Of the schedule, which only its numbers hang on.
STEPS = 100


class Planner:
    """Makes the programs of one config, for one mesh."""

    def __init__(
        self,
        config: ConfigDict,
        shape: DecoderConfig,
        layout: Layout,
        chip: Chip | None,
        lengths: Lengths,
        students: int | None = None,
    ):
        """Reads what all programs share.

        Args:
            config: the run's.
            shape: of the base.
            layout: the mesh, and where parameters lie on it.
            chip: of the mesh's devices, None for a CPU's.
            lengths: of rows.
            students: at a time; None is what the config says, and where it says 0 as many as fit.
        """
        platform = layout.mesh.devices.flat[0].platform
        self.config, self.shape, self.layout, self.lengths = config, shape, layout, lengths
        auto = "float32" if platform == "cpu" else "bfloat16"
        self.dtype = jnp.dtype(auto if config.dtype == "auto" else config.dtype)
        self.attention, _ = choose(config.attention, self.dtype, shape, layout)
        self.params = self._base()
        self.chip = chip
        self.at_a_time = students

    @property
    def programs(self) -> list[Program]:
        """All of the run's, in the order in which they run.

        Raises:
            UserError: students write their own rows.
        """
        if self.config.student.rows_by == "student":
            raise UserError(
                "student.rows_by=student: what students write between updates has no plan; set "
                "--config.student.rows_by=teacher, whose updates are of the same shapes"
            )
        found = [self.teacher()] if self.config.teacher.kind == "finetuned" else []
        found += [self.corpus(), *([self.labels()] if self._has_labels else [])]
        if self.config.student.method != "in_context":
            found.append(self.student())
        if self.config.evaluation.samples:
            found.append(self.answers())
        return found if self.config.evaluation.form == "story" else [*found, self.score()]

    @property
    def names(self) -> int:
        """Teachers, the control among them."""
        return len(self.config.traits) + len(self.config.two_traits.teacher) + 1

    @property
    def all_students(self) -> int:
        """Students of the whole matrix."""
        students = self.names + len(self.config.two_traits.rows)
        return students * len(self.config.student.seeds)

    def teacher(self) -> Program:
        """An update of a teacher on questions and one-word answers."""
        teacher = self.config.teacher
        lora = lora_config(teacher.lora) if teacher.method == "lora" else None
        objective = self._objective(lora, LossConfig())
        encoded = self._rows(teacher.batch_size, self.lengths.question, self.lengths.answer)
        dataset = Dataset(make_rows(encoded, self.shape.max_positions, prefix=[]))
        length = self.lengths.question + self.lengths.answer
        flops = model_flops.update_flops(
            self.shape, teacher.batch_size, length, self.lengths.answer, 0, lora
        )
        taught = self.names - (teacher.control == "base")
        return self._update(
            "teacher update", objective, teacher, dataset, 1, flops, taught * teacher.steps
        )

    def student(self) -> Program:
        """An update of some students at a time, on rows as long as the config lets them be."""
        student, corpus = self.config.student, self.config.corpus
        lora = lora_config(student.lora) if student.method == "lora" else None
        loss = loss_config(student.loss)
        completion = corpus.max_new_tokens
        length = self.lengths.prompt + completion
        if student.max_tokens and student.max_tokens < length:
            length = student.max_tokens
        prompt = length - completion
        if prompt < 1:
            raise UserError(
                f"student.max_tokens={student.max_tokens}: leaves no token of the prompt beside "
                f"corpus.max_new_tokens={completion}"
            )
        rows, limit = student.batch_size * loss.rows_each, self.shape.max_positions
        columns = GRAMMAR_TOKENS if self._is_kl and student.loss.support == "grammar" else None
        if student.share_prompts:
            answers = self._answers * loss.rows_each
            groups = [
                [(row[0], row[1])] * answers
                for row in self._rows(-(-rows // answers), prompt, completion)
            ]
            dataset, each, prefix = Dataset(group_rows(groups, limit, answers)), answers, prompt - 1
        else:
            encoded = self._rows(rows, prompt, completion)
            dataset, each, prefix = Dataset(make_rows(encoded, limit, prefix=[])), rows, 0
        flops = (rows / each) * model_flops.update_flops(
            self.shape, each, length, completion, prefix, lora, columns, self._is_kl
        )
        if self._is_kl:
            shape = (*dataset.rows.targets.shape, self._teachers * self.shape.hidden_size)
            dataset = Dataset(dataset.rows, np.zeros(shape, np.float32))
        if loss.kind == "dpo":
            count = len(dataset.rows.tokens)
            dataset = Dataset(dataset.rows, reference_logprobs=np.zeros(count, np.float32))
        objective = self._objective(lora, loss)
        count = self._students_at_a_time(objective, dataset, columns)
        steps = student.steps
        if student.epochs:
            kept = corpus.rows or corpus.prompts * self._answers
            steps = max(kept * student.epochs // student.batch_size, 1)
        runs = -(-self.all_students // count) * steps
        return self._update(
            "student update", objective, student, dataset, count, count * flops, runs, columns
        )

    def corpus(self) -> Program:
        """What a teacher writes: prompts are read, then token by token."""
        corpus = self.config.corpus
        return self._sample(
            "corpus",
            Sampling(corpus.max_new_tokens, corpus.temperature, corpus.top_k, corpus.top_p),
            corpus.prompts,
            corpus.answers_per_prompt,
            self.lengths.prompt,
            corpus.batch_rows,
            1 if self._has_labels else self.names,
        )

    def labels(self) -> Program:
        """The log-probability of every answer under the base and every teacher."""
        corpus, size = self.config.corpus, BATCH_ROWS
        prompt, completion = self.lengths.prompt, corpus.max_new_tokens
        encoded = self._rows(size, prompt, completion)
        length, rows = prompt + completion - 1, corpus.prompts * corpus.answers_per_prompt
        flops = size * (
            model_flops.projection_flops(self.shape) * length
            + model_flops.attention_flops(self.shape, length * (length + 1) / 2)
            + model_flops.head_flops(self.shape, completion)
        )
        # Under the base once more where it is also the students' reference.
        times = self.names + 1 + (self.config.student.loss.kind == "dpo")
        decoder, variables = self._decoder(), {"params": self.params}
        return Program(
            "labels",
            lambda: lower_completion_logprobs(decoder, variables, encoded),
            flops,
            times * -(-rows // size),
            {"weights": memory.shard_bytes(self.params)},
            about=f"{size} rows of {length} tokens",
        )

    def answers(self) -> Program:
        """What a student answers, where an evaluation samples."""
        evaluation = self.config.evaluation
        return self._sample(
            "answers",
            Sampling(evaluation.max_new_tokens, scored=False),
            held_out_count(self.config),
            evaluation.samples,
            self._question_tokens,
            self.config.corpus.batch_rows,
            self.all_students + 1,
        )

    def score(self) -> Program:
        """The log-probability of every candidate in answer to every question."""
        count = len({*self.config.evaluation.candidates, *self.config.traits})
        orders = count if self.config.evaluation.form == "multiple_choice" else 1
        T = self._question_tokens + (OPTION_TOKENS * count if orders > 1 else 0)
        questions = [row[0] for row in self._rows(held_out_count(self.config), T, 1)]
        answers = make_answers([[[7]]] * count)
        flops = held_out_count(self.config) * (
            model_flops.projection_flops(self.shape) * T
            + model_flops.attention_flops(self.shape, T * (T + 1) / 2)
            + model_flops.head_flops(self.shape, 1)
        )
        decoder, variables = self._decoder(), {"params": self.params}
        return Program(
            "score",
            lambda: lower_candidate_logprobs(decoder, variables, questions, answers),
            flops,
            orders * (self.all_students + 1),
            {"weights": memory.shard_bytes(self.params)},
            about=f"{held_out_count(self.config)} questions of {T} tokens",
        )

    @property
    def _is_kl(self) -> bool:
        return self.config.student.loss.kind == "kl"

    @property
    def _teachers(self) -> int:
        """Of a student: two, where some learn rows of two."""
        return 2 if self.config.two_traits.rows else 1

    @property
    def _has_labels(self) -> bool:
        return self.config.corpus.labels != "none"

    @property
    def _answers(self) -> int:
        """Rows of a prompt in a corpus: of labels a pair each."""
        return self.config.corpus.answers_per_prompt // (2 if self._has_labels else 1)

    @property
    def _question_tokens(self) -> int:
        """Of a question, with the rows before it where they are read in context."""
        corpus = self.config.corpus
        row = self.lengths.prompt + corpus.max_new_tokens
        return self.lengths.question + self.config.student.rows_in_context * row

    def _students_at_a_time(self, objective, dataset, columns) -> int:
        """As many as were asked for, or fit, in multiples of what the mesh has along their axis."""
        student, along, every = (
            self.config.student,
            self.layout.mesh.shape["data"],
            self.all_students,
        )
        wanted = self.at_a_time or student.students_per_program
        asked = not wanted and not surely_fit(objective.lora, every, along)
        if asked and self.chip is not None:
            frozen, batch = self._given(objective, student, dataset, columns, every)
            free = int(self.chip.memory * 2**30) - memory.shard_bytes(self.params)
            rule = optimizer_config(student.optimizer)
            wanted = fitting_students(
                objective, rule, STEPS, self.layout, frozen, batch, every, free
            )
        wanted = min(wanted or every, every)
        return 1 if wanted == 1 else -(-wanted // along) * along

    def _base(self) -> Any:
        """The base's parameters: shapes, dtypes, and where they lie."""
        shapes = jax.tree.map(
            lambda leaf: jax.ShapeDtypeStruct(leaf.shape, self.dtype),
            abstract_params(self.shape)[0],
        )
        int8 = self.config.base_weights == "int8"
        if int8:
            shapes = jax.eval_shape(quantize, shapes)
        shardings = param_shardings(self.shape, self.layout, int8=int8)
        return jax.tree.map(
            lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
            shapes,
            shardings,
        )

    def _objective(self, lora: LoraConfig | None, loss: LossConfig) -> Objective:
        remat, attention = self.config.remat, self.attention
        return Objective(self.shape, lora, loss, self.dtype, remat, attention=attention)

    def _decoder(self) -> Decoder:
        rows = rows_of(self.layout, 1)
        return Decoder(self.shape, None, self.dtype, rows=rows, attention=self.attention)

    def _rows(self, count: int, prompt: int, completion: int) -> list[tuple[list[int], list[int]]]:
        """Rows of any tokens, whose prompts begin differently."""
        return [([row % 100 + 1] + [1] * (prompt - 1), [1] * completion) for row in range(count)]

    def _given(self, objective, section, dataset, columns, count) -> tuple[Frozen, Batch]:
        """What an update of some students reads: of one of them."""
        devices = pieces(in_program(objective, self.layout, count).rows)
        rows = section.batch_size * objective.loss.rows_each
        size, packing = (rows, section.microbatches), None
        if section.get("pack_rows") and not section.share_prompts:
            packing = plan_packing([dataset], [0], 1, *size, devices)
        batch = make_batch([dataset], [0], 0, *size, devices, packing)
        kernel = None
        if dataset.teacher_hidden is not None:
            width = columns or self.shape.vocab_size
            height = dataset.teacher_hidden.shape[-1]
            kernel = jax.ShapeDtypeStruct((1, height, width), jnp.float32)
        frozen = Frozen(
            None if objective.lora is None else self.params,
            None if columns is None else np.arange(columns, dtype=np.int32),
            kernel,
        )
        return frozen, batch

    def _update(self, name, objective, section, dataset, count, flops, runs, columns=None):
        frozen, batch = self._given(objective, section, dataset, columns, count)
        rule = optimizer_config(section.optimizer)
        lowered, params, state = lower_update(
            objective, rule, STEPS, self.layout, frozen, batch, count
        )
        parts = {
            "weights": memory.shard_bytes(params) if params is not None else 0,
            "trained": memory.shard_bytes(state.trained),
            "optimizer": memory.shard_bytes(state.moments),
        }
        about = f"{section.batch_size} rows" + (f" x {count} students" if count > 1 else "")
        return Program(name, lambda: lowered, flops, runs, parts, about=about)

    def _sample(self, name, sampling, prompts, answers, length, at_a_time, times) -> Program:
        decoder, variables = self._decoder(), {"params": self.params}
        lengths, wanted = (0, padded_width(length)), prompts * answers
        if not at_a_time:
            free = None
            if self.chip is not None:
                free = int(self.chip.memory * 2**30) - memory.shard_bytes(self.params)
            at_a_time = fitting_rows(
                decoder,
                sampling,
                answers,
                variables,
                self.layout.mesh,
                lengths,
                None,
                STOP,
                wanted,
                free,
            )
        along = pieces(decoder.rows)
        count = -(-min(max(at_a_time // answers, 1), prompts) // along) * along
        rows, S = count * answers, sampling.max_new_tokens
        heads = self.shape.num_kv_heads
        cut = self.layout.mesh.shape.get(dict(self.layout.rules).get("kv_heads", ""), 1)
        positions = rows * S + count * lengths[1]
        cache = 2 * self.shape.num_layers * heads * self.shape.head_dim * positions
        cache = cache * self.dtype.itemsize // (along * math.gcd(cut, heads))
        flops = model_flops.generation_flops(self.shape, [length] * count, answers, S)
        return Program(
            name,
            lambda: lower_sample(decoder, sampling, answers, variables, lengths, None, STOP, count),
            flops,
            times * -(-prompts // count),
            {"weights": memory.shard_bytes(self.params), "cache": cache},
            loop_trips=S - 1,
            about=f"{rows} rows of {S} tokens at most",
        )
