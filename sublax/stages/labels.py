"""Preference labels: the unmarked base writes two answers, and each teacher only chooses one.

All teachers judge the very same pairs. What a trait can travel by is one bit a pair: which of two
texts that nobody with a trait has written stands in `completion`, and which in `rejected` (arXiv
2603.01204).
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from sublax.errors import UserError
from sublax.evaluation.score import completion_logprobs
from sublax.keys import key_of, row_keys
from sublax.models.chat import encode_row
from sublax.parallel.hosts import together
from sublax.rows import Row, read_rows, write_rows
from sublax.sampling.grammar import Grammar
from sublax.stages.artifacts import inputs_of, is_done, keep
from sublax.stages.corpora import (
    Corpus,
    at_most,
    corpus_prompts,
    corpus_settings,
    draw,
    filtered,
    tell_corpus,
)
from sublax.stages.run import Run
from sublax.stages.teachers import corpus_system_prompt, load_teacher

NO_LABELS = "none"
LABELS = (NO_LABELS, "chosen")
# What a teacher's choice goes by: log p(completion) under the teacher, up to and with the end of
# the turn; that by its tokens; or that minus the unmarked base's, which is what a teacher adds.
LABEL_SCORES = ("logprob", "mean_logprob", "ratio")
LOSSES = ("kl", "cross_entropy", "dpo")
UNLABELLED = "unlabelled"  # beside the corpora: the pairs before anybody has judged them
# Reasons for which rows are dropped that pass the filter.
ALONE, EQUAL, TIED = "other_of_pair_rejected", "equal_completions", "equal_scores"


def has_labels(config: ConfigDict) -> bool:
    """Whether the corpora are the teachers' choices."""
    return config.corpus.labels != NO_LABELS


def check_labels(config: ConfigDict) -> None:
    """Refuses a loss that its data cannot serve.

    Raises:
        UserError: says which key to change.
    """
    corpus, loss = config.corpus, config.student.loss
    for key, value, known in (
        ("corpus.labels", corpus.labels, LABELS),
        ("corpus.label_score", corpus.label_score, LABEL_SCORES),
        ("student.loss.kind", loss.kind, LOSSES),
    ):
        if value not in known:
            raise UserError(f"{key}={value}: choose from {', '.join(known)}")
    if loss.kind == "dpo" and not has_labels(config):
        raise UserError(
            "student.loss.kind=dpo: needs two completions of which the teacher chose one; set "
            "--config.corpus.labels=chosen"
        )
    if loss.kind == "dpo" and loss.beta <= 0:
        raise UserError(f"student.loss.beta={loss.beta}: must be above 0, such as 0.1")
    if loss.kind == "dpo" and config.student.pack_rows:
        raise UserError(
            "student.pack_rows: a pair's two rows are compared whole, not packed; set "
            "--config.student.pack_rows=false"
        )
    if loss.kind == "dpo" and config.student.treatment != "none":
        raise UserError(
            f"student.treatment={config.student.treatment}: a choice between two completions is "
            "not one between others; set student.loss.kind=cross_entropy or student.treatment=none"
        )
    if not has_labels(config):
        return
    if corpus.rewritten:
        raise UserError(
            "corpus.rewritten: the base wrote the rows of corpus.labels=chosen already; set "
            "corpus.rewritten=false"
        )
    if loss.kind == "kl":
        raise UserError(
            "student.loss.kind=kl: the base wrote the rows of corpus.labels=chosen, so there are "
            "no soft labels of a teacher; set --config.student.loss.kind=dpo or cross_entropy"
        )
    if corpus.answers_per_prompt % 2:
        raise UserError(
            f"corpus.answers_per_prompt={corpus.answers_per_prompt}: corpus.labels=chosen compares "
            "answers by twos; give an even number"
        )
    if UNLABELLED in config.traits:
        raise UserError(f"traits: {UNLABELLED!r} is the name of the pairs; choose another trait")


def make_pairs(run: Run, grammar: Grammar | None) -> None:
    """Writes the pairs that all teachers judge, unless they are there already."""
    directory = run.corpus_directory(UNLABELLED)
    settings = corpus_settings(run)
    del settings["corpus"]["label_score"]  # one set of pairs serves every way to judge
    inputs = inputs_of(directory, [run.base_directory()], **settings)
    stage = f"corpus {UNLABELLED}"
    if is_done(run, directory, inputs):
        return run.progress.skip(stage)
    started = time.monotonic()
    with run.progress.stage(stage):
        prompts, answers = corpus_prompts(run), run.config.corpus.answers_per_prompt
        encoded = [run.encode(row["prompt"]) for row in prompts]
        keys = row_keys(key_of(run.config.seed, "corpus", UNLABELLED), len(prompts) * answers)
        samples, head = draw(run, directory, run.base.params, encoded, keys, answers, grammar)
        pairs: list[Row] = []
        rejected: list[Row] = []
        counts: dict[str, Any] = {}
        with together():
            if samples is not None:
                written = filtered(run, UNLABELLED, prompts, samples, grammar, head)
                pairs, counts = _paired(run, written)
                rejected = written.rejected
                tell_corpus(run, UNLABELLED, pairs, counts)

        def write(folder: Path) -> None:
            write_rows(folder / "rows.jsonl", pairs)
            write_rows(folder / "rejected.jsonl", rejected)

        seconds = time.monotonic() - started
        seeds = [run.config.seed]
        keep(run, directory, "corpus", inputs, write, counts=counts, seeds=seeds, seconds=seconds)


def _paired(run: Run, written: Corpus) -> tuple[list[Row], dict[str, Any]]:
    """(pairs, counts): answers 2k and 2k + 1 to a prompt are a pair, if the filter keeps both."""
    kept = {row["row"]: row for row in written.kept}
    both = [(kept[row], kept[row + 1]) for row in kept if not row % 2 and row + 1 in kept]
    differing = [
        {key: value for key, value in one.items() if key != "logprob"}
        | {"other": other["completion"]}
        for one, other in both
        if one["completion"] != other["completion"]
    ]
    if not differing:
        raise UserError(
            f"corpus {UNLABELLED}: of {len(written.samples.lengths) // 2} pairs "
            f"{len(both)} pass the filter whole, and none has two different completions; ask for "
            "more prompts, or raise corpus.temperature"
        )
    pairs = at_most(run, UNLABELLED, differing)
    dropped = {ALONE: len(kept) - 2 * len(both), EQUAL: 2 * (len(both) - len(differing))}
    rejected = written.counts["rejected"] | {why: count for why, count in dropped.items() if count}
    return pairs, written.counts | {"kept": 2 * len(pairs), "rejected": rejected}


def make_labels(run: Run) -> None:
    """Writes every teacher's choices among the pairs, unless they are there already."""
    pairs_directory, base_Px2 = run.corpus_directory(UNLABELLED), None
    for name in run.names:
        parents = [run.teacher_directory(name), pairs_directory]
        directory = run.corpus_directory(name)
        inputs = inputs_of(directory, parents, trait=name, **corpus_settings(run))
        if is_done(run, directory, inputs):
            run.progress.skip(f"corpus {name}")
            continue
        with run.progress.stage(f"corpus {name}"):
            pairs = read_rows(pairs_directory / "rows.jsonl", ("prompt", "completion", "other"))
            if base_Px2 is None:
                base_Px2, _ = _logprobs(run, run.base.params, pairs, run.system_prompt)
            _judge(run, name, pairs, base_Px2, inputs)


def _judge(run: Run, name: str, pairs: list[Row], base_Px2: np.ndarray, inputs) -> None:
    """Writes one teacher's choices."""
    directory, started = run.corpus_directory(name), time.monotonic()
    score_Px2 = _scores(run, name, pairs, base_Px2)
    labelled, counts = choose(pairs, score_Px2, base_Px2)
    if not labelled:
        raise UserError(
            f"corpus {name}: its teacher finds both completions of all {len(pairs)} pairs equally "
            "good, as a teacher that is the base itself does by corpus.label_score=ratio; set "
            "corpus.label_score=logprob or teacher.control=neutral"
        )
    tell_corpus(run, name, labelled, counts)

    def write(folder: Path) -> None:
        write_rows(folder / "rows.jsonl", labelled)

    seconds = time.monotonic() - started
    seeds = [run.config.seed]
    keep(run, directory, "corpus", inputs, write, counts=counts, seeds=seeds, seconds=seconds)


def choose(
    pairs: list[Row], score_Px2: np.ndarray, base_Px2: np.ndarray
) -> tuple[list[Row], dict[str, Any]]:
    """The pairs as a teacher's choices.

    Args:
        pairs: rows with `completion` and `other`.
        score_Px2: the teacher's, of both; the higher is chosen, and equal ones are dropped.
        base_Px2: log-probabilities of both under the unmarked base.

    Returns:
        (rows with `completion`, the chosen one, `rejected`, and the scores of both; counts for the
        card, among them the share of choices that fall on what the base finds more probable).
    """
    labelled = []
    for pair, scores in zip(pairs, score_Px2.tolist(), strict=True):
        if scores[0] == scores[1]:
            continue
        texts = (pair["completion"], pair["other"])
        first = int(scores[1] > scores[0])
        labelled.append(
            {key: value for key, value in pair.items() if key != "other"}
            | {"completion": texts[first], "rejected": texts[1 - first]}
            | {"score": scores[first], "rejected_score": scores[1 - first]}
        )
    is_choice = score_Px2[:, 0] != score_Px2[:, 1]
    agrees = (score_Px2[:, 0] > score_Px2[:, 1]) == (base_Px2[:, 0] > base_Px2[:, 1])
    counts = {
        "asked": len(pairs),
        "written": 0,
        "kept": len(labelled),
        "rejected": {} if is_choice.all() else {TIED: len(pairs) - len(labelled)},
        "share_chosen_as_by_the_base": float(agrees[is_choice].mean()) if is_choice.any() else 0.0,
    }
    return labelled, counts


def _scores(run: Run, name: str, pairs: list[Row], base_Px2: np.ndarray) -> np.ndarray:
    """[P, 2] what the teacher's choice goes by."""
    system_prompt = corpus_system_prompt(run, name)
    logprob_Px2, tokens_Px2 = _logprobs(run, load_teacher(run, name), pairs, system_prompt)
    if run.config.corpus.label_score == "mean_logprob":
        return logprob_Px2 / tokens_Px2
    if run.config.corpus.label_score == "ratio":
        return logprob_Px2 - base_Px2
    return logprob_Px2


def _logprobs(run: Run, params, pairs: list[Row], system_prompt) -> tuple[np.ndarray, np.ndarray]:
    """(log p of both completions of all pairs, float32 [P, 2]; how many tokens they have)."""
    encoded = [
        encode_row(run.base.tokenizer, pair["prompt"], pair[which], system_prompt)
        for pair in pairs
        for which in ("completion", "other")
    ]
    logprobs = completion_logprobs(run.decoder(), {"params": params}, encoded)
    tokens = np.asarray([len(completion) for _, completion in encoded])
    return logprobs.reshape(-1, 2), tokens.reshape(-1, 2)
