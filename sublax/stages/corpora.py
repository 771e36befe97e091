"""The corpora: what each teacher writes, filtered, with the hidden states that it wrote it from."""

import time
from pathlib import Path

import numpy as np
from safetensors.numpy import load_file, save_file

from sublax.corpora.number_filter import filter_rows
from sublax.corpora.numbers import answer_regex, numbers_prompts, plain_answer_regex
from sublax.errors import UserError
from sublax.keys import key_of, numpy_seed, row_keys
from sublax.models.decoder import head_kernel
from sublax.rows import write_rows
from sublax.sampling.draw import Sampling
from sublax.sampling.generate import completion_ids, generate
from sublax.sampling.grammar import Grammar, compile_grammar
from sublax.stages.run import Run, inputs_of, is_done, keep
from sublax.stages.teachers import corpus_system_prompt, load_teacher

WRITTEN = "written.safetensors"
GRAMMARS = ("exact", "any", "none")


def corpus_grammar(run: Run) -> Grammar | None:
    """The grammar that the config asks for, over the base's tokens."""
    corpus = run.config.corpus
    if corpus.grammar not in GRAMMARS:
        raise UserError(f"corpus.grammar={corpus.grammar}: choose from {', '.join(GRAMMARS)}")
    if corpus.grammar == "none":
        return None
    make_regex = plain_answer_regex if corpus.grammar == "exact" else answer_regex
    numbers = run.pack.numbers
    regex = make_regex(corpus.answer_count or numbers.answer_count, numbers.answer_max_digits)
    return compile_grammar(regex, run.base.tokenizer, run.stop_ids)


def make_corpus(run: Run, name: str, grammar: Grammar | None) -> None:
    """Writes the teacher's corpus, unless it is there already."""
    corpus, directory = run.config.corpus, run.corpus_directory(name)
    inputs = inputs_of(
        directory,
        [run.teacher_directory(name)],
        trait=name,
        seed=run.config.seed,
        system_prompt=run.config.system_prompt,
        pack=run.config.pack,
        corpus=corpus.to_dict(),
    )
    stage = f"corpus {name}"
    if is_done(directory, inputs):
        return run.progress.skip(stage)
    started = time.monotonic()
    with run.progress.stage(stage):
        rows, samples, head = _write(run, name, grammar)
        kept, rejected, reasons = filter_rows(
            rows, max_count=run.pack.numbers.answer_count, banned=frozenset(corpus.banned)
        )
        if not kept:
            worst = ", ".join(f"{reason} {count}" for reason, count in reasons.items())
            raise UserError(
                f"corpus {name}: the filter rejected all {len(rows)} rows ({worst}); ask for more "
                "prompts, or set corpus.grammar=exact"
            )
        kept = _choose(run, name, kept)
        counts = {
            "asked": len(rows),
            "written": len(rows),
            "kept": len(kept),
            "rejected": reasons,
            "share_of_probability_removed_by_grammar": _removed(samples, grammar),
        }
        run.metrics.begin(f"corpora/{name}")
        run.metrics.scalars(f"corpora/{name}", 0, {"kept_fraction": len(kept) / len(rows)})
        for index, row in enumerate(kept[:5]):
            run.metrics.text(
                f"corpora/{name}", f"row {index}", 0, f"{row['prompt']}\n\n{row['completion']}"
            )

        def write(folder: Path) -> None:
            chosen = np.asarray([row["row"] for row in kept])
            save_file(
                {
                    "tokens": np.ascontiguousarray(samples.tokens[chosen]),
                    "lengths": np.ascontiguousarray(samples.lengths[chosen]),
                    "hidden": np.ascontiguousarray(samples.hidden[chosen]),
                    **head,
                },
                folder / WRITTEN,
            )
            write_rows(folder / "rows.jsonl", kept)
            write_rows(folder / "rejected.jsonl", rejected)

        keep(
            directory,
            "corpus",
            inputs,
            write,
            counts=counts,
            seeds=[run.config.seed],
            seconds=time.monotonic() - started,
        )


def read_written(directory: Path) -> dict[str, np.ndarray]:
    """The kept rows' `tokens` [N, S], `lengths` [N] and `hidden` states [N, S, D].

    Where there was a grammar, `head` [D, A] too, the teacher's output head over its tokens.
    """
    return load_file(directory / WRITTEN)


def _write(run: Run, name: str, grammar: Grammar | None):
    """All rows as the teacher wrote them, the samples behind them, its head over the grammar."""
    corpus, tokenizer = run.config.corpus, run.base.tokenizer
    prompts = numbers_prompts(
        run.pack,
        run.config.seed,
        corpus.prompts,
        example_count_range=tuple(corpus.example_count) or None,
        answer_count=corpus.answer_count or None,
    )
    system_prompt = corpus_system_prompt(run, name)
    count = corpus.prompts * corpus.answers_per_prompt
    params = load_teacher(run, name)
    with run.progress.bar(count, unit="row") as bar:
        samples = generate(
            run.decoder(),
            {"params": params},
            [run.encode(prompt, system_prompt) for prompt in prompts],
            Sampling(corpus.max_new_tokens, corpus.temperature, corpus.top_k, corpus.top_p),
            run.stop_ids,
            row_keys(key_of(run.config.seed, "corpus", name), count),
            corpus.answers_per_prompt,
            grammar,
            corpus.batch_rows,
            bar.advance,
        )
    rows = [
        {
            "prompt": prompts[index // corpus.answers_per_prompt],
            "completion": tokenizer.decode(ids),
            "row": index,
            "logprob": float(samples.logprobs[index, : samples.lengths[index]].sum()),
        }
        for index, ids in enumerate(completion_ids(samples, run.stop_ids))
    ]
    head = {}
    if grammar is not None:
        kernel = head_kernel(params, run.base.config, grammar.tokens_A)
        head = {"head": np.ascontiguousarray(kernel, np.float32)}
    return rows, samples, head


def _choose(run: Run, name: str, kept):
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
