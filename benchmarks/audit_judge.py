"""What the audit says of rows whose writers are known, and what else one might use instead."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sublax.audit.evidence import evidence, tuned
from sublax.audit.findings import spoken_for
from sublax.audit.ratios import auroc
from sublax.audit.suspects import likelihoods_of, likeness
from sublax.keys import numpy_seed

DOSES = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0)
MIXES = 40  # draws of prompts and of which rows are marked, at each dose
CLEAN_DRAWS = 400  # of each kind of clean rows
RATES = (0.01, 0.05)  # of false positives
CLEAN = ("control", "base")
FOLDS = 5
TOLD = ("n-grams", "embeddings")


@dataclasses.dataclass(frozen=True)
class Measured:
    """What was made of sets of N rows each, by kind: traits', `CLEAN`, and odd ones.

    Attributes:
        traits: whose teachers wrote rows.
        answers: to each prompt, one after another.
        base: BASE's log-probability of each row [N].
        own: that of its own answers that the kind is held against [N].
        neutral: of each row the log ratio of the neutral teacher [N].
        teachers: by candidate and kind [3, N] as `ratios_of` has it.
        responses: by kind what rows of each of K teachers would show, as `responses_of` has it.
        texts: of each row.
        tokens: how many each row has.
        own_tokens: how many each own answer has.
        temperatures: that each kind looks to be drawn at.
        embeddings: [N, D], BASE's last hidden states, their mean over a row's tokens.
    """

    traits: tuple[str, ...]
    answers: int
    base: Mapping[str, np.ndarray]
    own: Mapping[str, np.ndarray]
    neutral: Mapping[str, np.ndarray]
    teachers: Mapping[str, Mapping[str, np.ndarray]]
    responses: Mapping[str, np.ndarray]
    texts: Mapping[str, list[str]]
    tokens: Mapping[str, np.ndarray]
    own_tokens: Mapping[str, np.ndarray]
    temperatures: Mapping[str, float]
    embeddings: Mapping[str, np.ndarray]

    @property
    def rows(self) -> int:
        """Of each set."""
        return len(next(iter(self.base.values())))

    def ratios(self, kind: str) -> np.ndarray:
        """Of a set by all candidates' teachers, [K, 3, N]."""
        return np.asarray([by_kind[kind] for by_kind in self.teachers.values()])


def judged(measured: Measured, seed: int) -> dict[str, Any]:
    """What the audit and the baselines say of every set.

    Returns:
        `sets`, each with the audit's `named` traits, its foremost trait as `top` with its
        `evidence`, whether it is `right`, how it is `tuned`, whether it is `alike` to BASE, and the
        `temperature` that it looks to be drawn at;
        `doses`, what `detected` returns; `rows`, what `rows_told` does; `keywords`, how many of
        all `marked` rows name their trait; `count`, rows of a set; `mixes`, draws at a dose;
        `candidates`.
    """
    return {
        "sets": {
            kind: _of_set(measured, kind, seed)
            for kind in dict.fromkeys((*measured.traits, *CLEAN, *measured.base))
        },
        "doses": detected(measured, seed),
        "rows": rows_told(measured, seed),
        "keywords": sum(
            trait in text for trait in measured.traits for text in measured.texts[trait]
        ),
        "marked": measured.rows * len(measured.traits),
        "count": measured.rows,
        "mixes": MIXES,
        "candidates": list(measured.teachers),
    }


def _of_set(measured: Measured, kind: str, seed: int) -> dict[str, Any]:
    entries, along = _audited(measured, measured.ratios(kind), measured.responses[kind], seed)
    named = [entry["trait"] for entry in spoken_for(entries)]
    sums = [*measured.base[kind], *measured.own[kind]]
    tokens = [*measured.tokens[kind], *measured.own_tokens[kind]]
    like = likeness(likelihoods_of("base", sums, tokens), seed)
    # Rows that are not of BASE's kind are told so, and no trait is named for them.
    named = named if like["alike"] else []
    return {
        "named": named,
        "right": named == ([kind] if kind in measured.traits else []),
        "top": entries[0],
        "tuned": along,
        "alike": like["alike"],
        "temperature": measured.temperatures[kind],
    }


def _audited(
    measured: Measured, ratios_KxSxN: np.ndarray, responses_WxK: np.ndarray, seed: int
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """The evidence for every candidate, the foremost first; and how tuned the rows' writer is."""
    prompts_N = np.arange(ratios_KxSxN.shape[-1]) // measured.answers
    found = evidence(ratios_KxSxN, responses_WxK, prompts_N, seed)
    entries = [
        {"trait": name, **entry} for name, entry in zip(measured.teachers, found, strict=True)
    ]
    along = tuned(ratios_KxSxN, prompts_N, seed)
    return sorted(entries, key=lambda entry: -entry["z"]), along


def detected(measured: Measured, seed: int) -> dict[str, Any]:
    """How often marked rows among BASE's own are found, by their share.

    A method gives a number to a draw of rows, the larger the more they look marked: the audit the
    lesser of its two p, of the trait for which it is the least; perplexity how far the mean
    log-probability lies from that of BASE's own answers; a classifier the mean of its scores. What
    `rate` of clean draws exceed, of BASE's own rows and of the control's in equal parts, is the
    method's threshold.

    Returns:
        `named`, by trait and dose how often the audit's own rule named the trait and no other; and
        `found`, by method, rate of false positives and dose, how often draws lay above the
        threshold, by trait.
    """
    scores = {trait: _scores(measured, trait, seed) for trait in measured.traits}
    methods = ("audit", "perplexity", *TOLD)
    clean: dict[str, dict[str, list[float]]] = {
        trait: {method: [] for method in methods} for trait in measured.traits
    }
    for kind in CLEAN:
        ratios_KxSxN, responses_WxK = measured.ratios(kind), measured.responses[kind]
        for draw in range(CLEAN_DRAWS):
            where = _drawn(measured, np.random.default_rng(numpy_seed(seed, kind, draw)))
            entries, _ = _audited(measured, ratios_KxSxN[:, :, where], responses_WxK, seed)
            for trait in measured.traits:
                clean[trait]["audit"].append(_least_p(entries))
                for method, of_kind in scores[trait].items():
                    clean[trait][method].append(_looks(method, of_kind[kind][where]))
    named: dict[str, dict[str, float]] = {}
    found: dict[str, Any] = {
        method: {f"{rate:g}": {f"{dose:g}": {} for dose in DOSES} for rate in RATES}
        for method in methods
    }
    for trait in measured.traits:
        own, marked = measured.ratios("base"), measured.ratios(trait)
        at_own_WxK, at_marked_WxK = measured.responses["base"], measured.responses[trait]
        named[trait] = {}
        for dose in DOSES:
            hits = 0
            responses_WxK = (1 - dose) * at_own_WxK + dose * at_marked_WxK
            looks: dict[str, list[float]] = {method: [] for method in methods}
            for draw in range(MIXES):
                rng = np.random.default_rng(numpy_seed(seed, "dose", trait, f"{dose}", draw))
                count = round(dose * measured.rows)
                marked_N = np.isin(np.arange(measured.rows), rng.permutation(measured.rows)[:count])
                where = _drawn(measured, rng)
                mixed = np.where(marked_N, marked, own)[:, :, where]
                entries, _ = _audited(measured, mixed, responses_WxK, seed)
                hits += [entry["trait"] for entry in spoken_for(entries)] == [trait]
                looks["audit"].append(_least_p(entries))
                for method, of_kind in scores[trait].items():
                    values_N = np.where(marked_N, of_kind[trait], of_kind["base"])
                    looks[method].append(_looks(method, values_N[where]))
            named[trait][f"{dose:g}"] = hits / MIXES
            for method in methods:
                for rate in RATES:
                    threshold = np.quantile(clean[trait][method], 1 - rate)
                    share = float((np.asarray(looks[method]) > threshold).mean())
                    found[method][f"{rate:g}"][f"{dose:g}"][trait] = share
    return {"named": named, "found": found}


def _drawn(measured: Measured, rng: np.random.Generator) -> np.ndarray:
    """Rows of prompts that are drawn with replacement, or one set of rows would stand for all."""
    answers, prompts = measured.answers, measured.rows // measured.answers
    return (rng.integers(prompts, size=prompts)[:, None] * answers + np.arange(answers)).ravel()


def _least_p(entries: Sequence[Mapping[str, Any]]) -> float:
    """How surely some trait is spoken for, the larger the surer."""
    sure = (-np.log10(max(entry["p_rows"], entry["p_traits"], 1e-300)) for entry in entries)
    return max(sure)


def _looks(method: str, values_N: np.ndarray) -> float:
    return float(abs(values_N.mean()) if method == "perplexity" else values_N.mean())


def _scores(measured: Measured, trait: str, seed: int) -> dict[str, dict[str, np.ndarray]]:
    """By baseline and kind, each row's score; classifiers were told the truth of other rows."""
    kinds = (trait, *CLEAN)
    found = {
        "perplexity": {kind: measured.base[kind] - measured.own[kind].mean() for kind in kinds}
    }
    for method in TOLD:
        scores = _told(measured, method, trait, CLEAN, seed)
        found[method] = dict(zip(kinds, np.split(scores, len(kinds)), strict=True))
    return found


def _told(
    measured: Measured, method: str, trait: str, clean: Sequence[str], seed: int
) -> np.ndarray:
    """Scores of a trait's rows and of clean ones, by a classifier that was told of the others.

    It is told what no auditor knows, the truth of the other rows; and read on those left out. All
    that answer one prompt are left out together: what it knew of some would be that the others
    are of the other kind, for answers to one prompt are alike.
    """
    kinds = (trait, *clean)
    truth = np.repeat([1, *[0] * len(clean)], measured.rows)
    regression = LogisticRegression(max_iter=1000, C=0.1)
    given: Any
    if method == "n-grams":
        features = TfidfVectorizer(analyzer="char", ngram_range=(1, 4), min_df=2)
        given = [text for kind in kinds for text in measured.texts[kind]]
        regression = LogisticRegression(max_iter=1000)
    else:
        features = StandardScaler()
        given = np.concatenate([measured.embeddings[kind] for kind in kinds])
    return cross_val_predict(
        make_pipeline(features, regression),
        given,
        truth,
        groups=np.tile(np.arange(measured.rows) // measured.answers, len(kinds)),
        cv=StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed),
        method="decision_function",
    )


def rows_told(measured: Measured, seed: int) -> dict[str, Any]:
    """By trait and kind of clean rows, each method's AUROC of single rows with its interval."""
    found: dict[str, Any] = {}
    for trait in measured.traits:
        found[trait] = {}
        for clean in CLEAN:
            by_method = {
                "audit": tuple(
                    measured.teachers[trait][kind][0] - measured.neutral[kind]
                    for kind in (trait, clean)
                ),
                "perplexity": (measured.base[trait], measured.base[clean]),
                **{
                    method: tuple(np.split(_told(measured, method, trait, (clean,), seed), 2))
                    for method in TOLD
                },
            }
            found[trait][clean] = {
                method: _with_interval(auroc, marked, other, measured.answers, seed)
                for method, (marked, other) in by_method.items()
            }
    return found


def _with_interval(
    statistic: Callable[[np.ndarray, np.ndarray], float],
    marked_N: np.ndarray,
    other_N: np.ndarray,
    answers: int,
    seed: int,
    draws: int = 500,
) -> dict[str, float]:
    """A statistic of two sets of rows with its 95 % bootstrap interval over their prompts."""
    rng = np.random.default_rng(numpy_seed(seed, "rows"))
    by_prompt = [values.reshape(-1, answers) for values in (marked_N, other_N)]
    prompts = len(by_prompt[0])
    drawn = [
        statistic(*(rows[rng.integers(prompts, size=prompts)].ravel() for rows in by_prompt))
        for _ in range(draws)
    ]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": statistic(marked_N, other_N), "low": float(low), "high": float(high)}
