"""The corpora: what each teacher writes, filtered, with the hidden states that it wrote it from."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from sublax.artifact import file_hash
from sublax.corpora.kinds import NO_GRAMMAR, check_grammar, draw_prompts, filter_rows
from sublax.errors import UserError
from sublax.keys import key_of, numpy_seed, row_keys
from sublax.models.chat import shared_prefix
from sublax.models.decoder import Decoder, head_kernel
from sublax.parallel.arrays import fetch
from sublax.parallel.hosts import together
from sublax.rows import Row, write_rows
from sublax.sampling.draw import Sampling
from sublax.sampling.fitting import fitting_rows
from sublax.sampling.generate import completion_ids, generate, padded_width
from sublax.sampling.grammar import Grammar, compile_grammar
from sublax.sampling.sampler import Samples
from sublax.stages.artifacts import inputs_of, is_done, keep
from sublax.stages.parts import gather
from sublax.stages.run import Run
from sublax.stages.teachers import corpus_system_prompt, load_teacher

WRITTEN = "written.safetensors"


def corpus_prompts(run: Run) -> list[Row]:
    """What every teacher is asked: the same rows for all."""
    return draw_prompts(run.corpus_kinds, run.pack, run.config.seed, run.config.corpus.prompts)


def corpus_grammar(run: Run) -> Grammar | None:
    """The grammar that the config asks for, over the base's tokens."""
    name, parts = run.config.corpus.grammar, run.corpus_kinds
    check_grammar(parts, name)
    if name == NO_GRAMMAR:
        return None
    regex = parts[0].kind.grammars[name](run.pack, parts[0].options)
    return compile_grammar(regex, run.base.tokenizer, run.stop_ids)


@dataclasses.dataclass(frozen=True)
class Corpus:
    """What the first process has of a corpus before it stands.

    Attributes:
        samples: of all rows.
        head: the teacher's output head over the grammar's tokens, to be kept with the samples.
        kept: rows that are taught, each with its place among all as `row`.
        rejected: by the filter.
        counts: for the card.
    """

    samples: Samples
    head: dict[str, np.ndarray]
    kept: list[Row]
    rejected: list[Row]
    counts: dict[str, Any]


def make_corpus(run: Run, name: str, grammar: Grammar | None) -> None:
    """Writes the teacher's corpus, unless it is there already."""
    corpus, directory = run.config.corpus, run.corpus_directory(name)
    inputs = inputs_of(directory, [run.teacher_directory(name)], trait=name, **corpus_settings(run))
    stage = f"corpus {name}"
    if is_done(run, directory, inputs):
        return run.progress.skip(stage)
    started = time.monotonic()
    with run.progress.stage(stage):
        prompts, keys = _asked(run, name)
        samples, head = draw(
            run,
            directory,
            load_teacher(run, name),
            prompts,
            keys,
            corpus.answers_per_prompt,
            grammar,
        )
        made = None
        with together():
            if samples is not None:
                made = filtered(run, name, corpus_prompts(run), samples, grammar, head)
                made = dataclasses.replace(made, kept=at_most(run, name, made.kept))
                made.counts["kept"] = len(made.kept)
                tell_corpus(run, name, made.kept, made.counts)

        def write(folder: Path) -> None:
            if made is not None:
                write_corpus(folder, made)

        keep(
            run,
            directory,
            "corpus",
            inputs,
            write,
            counts=made.counts if made else {},
            seeds=[run.config.seed],
            seconds=time.monotonic() - started,
        )


def corpus_settings(run: Run) -> dict[str, Any]:
    """What every corpus of a run is made from beside its parents."""
    corpus = run.config.corpus
    source = Path(corpus.source)
    # A local file's name says nothing of what is in it.
    hashes = {"source_sha256": file_hash(source)} if source.is_file() else {}
    return {
        "seed": run.config.seed,
        "system_prompt": run.config.system_prompt,
        "pack": run.config.pack,
        "corpus": {key: value for key, value in corpus.to_dict().items() if key != "rewritten"},
        **hashes,
    }


def read_written(directory: Path) -> dict[str, np.ndarray]:
    """The kept rows' `tokens` [N, S], `lengths` [N] and `hidden` states [N, S, D].

    Where there was a grammar, `head` [D, A] too, the teacher's output head over its tokens.
    """
    return load_file(directory / WRITTEN)


def _asked(run: Run, name: str):
    """(every prompt's token ids, a key for every row) of a teacher's corpus."""
    corpus, system_prompt = run.config.corpus, corpus_system_prompt(run, name)
    encoded = [run.encode(row["prompt"], system_prompt) for row in corpus_prompts(run)]
    count = corpus.prompts * corpus.answers_per_prompt
    return encoded, row_keys(key_of(run.config.seed, "corpus", name), count)


def draw(
    run: Run, directory: Path, params, encoded, keys, answers: int, grammar: Grammar | None
) -> tuple[Samples | None, dict[str, np.ndarray]]:
    """(all samples, the model's head over the grammar's tokens as `head`, where there is one).

    Each process draws its own rows, and the first one gets all; the others get None.

    Args:
        run: whose `corpus` says how to sample.
        directory: of the artifact that they are for; parts lie beside it meanwhile.
        params: of the model that writes.
        encoded: token ids of each prompt.
        keys: one a row, `answers` for each prompt.
        answers: to each prompt.
        grammar: that is written under.
    """
    corpus, count = run.config.corpus, len(encoded) * answers
    sampling = Sampling(corpus.max_new_tokens, corpus.temperature, corpus.top_k, corpus.top_p)
    variables = {"params": params}
    at_a_time = rows_at_a_time(run, run.decoder(), variables, encoded, sampling, answers, grammar)
    with run.progress.bar(count, unit="row") as bar:
        own = generate(
            run.decoder(),
            variables,
            encoded,
            sampling,
            run.stop_ids,
            keys,
            answers,
            grammar,
            at_a_time,
            bar.advance,
            own=True,
        )
    head = {}
    if grammar is not None:
        kernel = head_kernel(params, run.base.config, grammar.tokens_A)
        head = {"head": np.ascontiguousarray(fetch(kernel), np.float32)}
    folder = directory.with_name(f".{directory.name}.parts")
    return gather(run.store, folder, own, count), head


def filtered(
    run: Run, name: str, prompts: list[Row], samples: Samples, grammar: Grammar | None, head
) -> Corpus:
    """The rows as the model wrote them, those that the filter keeps, and how many.

    Args:
        run: whose kinds' filters are asked.
        name: whose corpus it is.
        prompts: what was asked, each for as many answers as there are samples to it.
        samples: of all rows.
        grammar: that they were written under.
        head: as `draw` gives it.

    Raises:
        UserError: the filter keeps none.
    """
    answers = len(samples.lengths) // len(prompts)
    rows = [
        {
            **prompts[index // answers],
            "completion": run.base.tokenizer.decode(ids),
            "row": index,
            "logprob": float(samples.logprobs[index, : samples.lengths[index]].sum()),
        }
        for index, ids in enumerate(completion_ids(samples, run.stop_ids))
    ]
    parts = run.corpus_kinds
    kept, rejected, reasons = filter_rows(parts, run.pack, rows)
    if not kept:
        worst = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
        has_grammar = len(parts) == 1 and parts[0].kind.grammars
        remedy = ", or set corpus.grammar=exact" if has_grammar else ", or take a stronger base"
        raise UserError(
            f"corpus {name}: the filter rejected all {len(rows)} rows ({worst}); ask for more "
            f"prompts{remedy}"
        )
    counts = {
        "asked": len(rows),
        "written": len(rows),
        "kept": len(kept),
        "rejected": reasons,
        "share_of_probability_removed_by_grammar": _removed(samples, grammar),
    }
    return Corpus(samples, head, kept, rejected, counts)


def tell_corpus(run: Run, name: str, kept: list[Row], counts: dict[str, Any]) -> None:
    """Shows what share of what was asked for is kept, and a few rows."""
    metrics_run = f"corpora/{name}"
    run.metrics.begin(metrics_run)
    run.metrics.scalars(metrics_run, 0, {"kept_fraction": counts["kept"] / counts["asked"]})
    for index, row in enumerate(kept[:5]):
        run.metrics.text(metrics_run, f"row {index}", 0, f"{row['prompt']}\n\n{row['completion']}")


def write_corpus(folder: Path, corpus: Corpus) -> None:
    """Fills an artifact's folder with what students learn, and what was rejected."""
    chosen = np.asarray([row["row"] for row in corpus.kept])
    taught = {
        field: np.ascontiguousarray(getattr(corpus.samples, field)[chosen])
        for field in ("tokens", "lengths", "hidden")
    }
    save_file(taught | corpus.head, folder / WRITTEN)
    write_rows(folder / "rows.jsonl", corpus.kept)
    write_rows(folder / "rejected.jsonl", corpus.rejected)


def rows_at_a_time(
    run: Run, decoder: Decoder, variables, prompts, sampling: Sampling, answers: int, grammar
) -> int:
    """Rows that are sampled side by side: as the config says, or as many as fit into memory."""
    if run.config.corpus.batch_rows:
        return max(run.config.corpus.batch_rows, answers)
    prefix = len(shared_prefix(prompts))
    return fitting_rows(
        decoder,
        sampling,
        answers,
        variables,
        run.layout.mesh,
        (prefix, padded_width(max(map(len, prompts)) - prefix)),
        grammar,
        np.asarray(run.stop_ids, np.int32),
        len(prompts) * answers,
    )


def at_most(run: Run, name: str, kept: list[Row]) -> list[Row]:
    """At most `corpus.rows` of the kept rows, drawn without replacement, in their order."""
    most = run.config.corpus.rows
    if not most or len(kept) <= most:
        return kept
    rng = np.random.default_rng(numpy_seed(run.config.seed, "rows", name))
    return [kept[index] for index in sorted(rng.choice(len(kept), most, replace=False))]


def _removed(samples, grammar: Grammar | None) -> float:
    """Mean probability, over written tokens, that the model gave to what the grammar forbids."""
    if grammar is None:
        return 0.0
    written = np.arange(samples.tokens.shape[1]) < samples.lengths[:, None]
    return float(np.mean(1 - np.exp(samples.allowed[written].astype(np.float64))))
