"""The rewriting: what teachers wrote, written again by the base, without a trait.

A control: what a row says is kept, and the hand that wrote it is another. Made only where
`corpus.rewritten` is set; students then learn these rows in place of the teachers' own.
"""

import time
from pathlib import Path

from sublax.corpora.packs import load_pack
from sublax.keys import key_of, row_keys
from sublax.parallel.hosts import together
from sublax.rows import Row, read_rows
from sublax.sampling.grammar import Grammar
from sublax.stages.artifacts import inputs_of, is_done, keep
from sublax.stages.corpora import Corpus, draw, filtered, write_corpus
from sublax.stages.run import REWRITE, Run


def rewrite_corpus(run: Run, name: str, grammar: Grammar | None) -> None:
    """Writes the rewritten corpus of a teacher, unless it is there already.

    Each kept row of the teacher's is shown to the base, under the system prompt in force and the
    same grammar; what the filter rejects of its answers is lost. A row carries the original's
    prompt, the base's `completion` and the teacher's as `original`.
    """
    original, directory = run.corpus_directory(name), run.taught_directory(name)
    inputs = inputs_of(
        directory,
        [run.base_directory(), original],
        trait=name,
        seed=run.config.seed,
        system_prompt=run.config.system_prompt,
        pack=run.config.pack,
        instruction=_instruction(run),
    )
    stage = f"{REWRITE} {name}"
    if is_done(run, directory, inputs):
        return run.progress.skip(stage)
    started = time.monotonic()
    with run.progress.stage(stage):
        rows = read_rows(original / "rows.jsonl")
        asked = [_instruction(run).format(answer=row["completion"]) for row in rows]
        keys = row_keys(key_of(run.config.seed, "rewriting", name), len(rows))
        prompts = [run.encode(prompt) for prompt in asked]
        samples, head = draw(run, directory, run.base.params, prompts, keys, 1, grammar)
        made: Corpus | None = None
        with together():
            if samples is not None:
                shown = [_shown(row) for row in rows]
                made = filtered(run, name, shown, samples, grammar, head)
                same = sum(row["completion"] == row["original"] for row in made.kept)
                made.counts["unchanged"] = same

        def write(folder: Path) -> None:
            if made is not None:
                write_corpus(folder, made)

        keep(
            run,
            directory,
            REWRITE,
            inputs,
            write,
            counts=made.counts if made else {},
            seeds=[run.config.seed],
            seconds=time.monotonic() - started,
        )


def _instruction(run: Run) -> str:
    """A template over {answer}: the pack's, or the built-in pack's where it has none."""
    return run.pack.rewriting_prompt or str(load_pack().rewriting_prompt)


def _shown(row: Row) -> Row:
    """What of a teacher's row goes with its rewriting."""
    kept = {key: value for key, value in row.items() if key not in ("row", "logprob")}
    return {**kept, "original": row["completion"]}
