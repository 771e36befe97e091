"""How much of each student's shift its soft prompt gives the base, and whether it can be read."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sublax.evaluation.rank_correlation import label_p
from sublax.evaluation.statistics import bootstrap_interval, own_minus_others, ratio_interval


def reproduced(students: Mapping[str, Any], soft: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """What soft prompts have in common with the students that they were found for.

    Lifts are compared, not shifts: what all students share, all soft prompts may share too.

    Args:
      students: their matrix, as `transfer_matrix` gives it.
      soft: that of the base under each student's soft prompt, by the student's name.
      seed: of the draws.

    Returns:
      Plain JSON values: "share" (by trait: "value", "low" and "high" of the soft prompt's lift over
      the student's, 95 %; None where the student's own interval includes zero and there is nothing
      to reproduce), "cells" ("r": Pearson's over all students and traits, of the two lifts of each;
      "p": one-sided, by exchange of which soft prompt is whose, as `label_p` gives it).
    """
    names, traits = students["students"], students["traits"]
    student_MxNxQxT, soft_MxNxQxT = (
        own_minus_others(_shifts(matrix, names, traits)) for matrix in (students, soft)
    )
    share: dict[str, Any] = {}
    for column, trait in enumerate(traits):
        own = names.index(trait)
        whole_NxQ, part_NxQ = (lifts[own, ..., column] for lifts in (student_MxNxQxT, soft_MxNxQxT))
        low, high = bootstrap_interval(whole_NxQ, seed)
        share[trait] = None
        if low > 0 or high < 0:
            low, high = ratio_interval(part_NxQ, whole_NxQ, seed)
            value = float(part_NxQ.mean() / whole_NxQ.mean())
            share[trait] = {"value": value, "low": low, "high": high}
    one_MxT, other_MxT = (lifts.mean(axis=(1, 2)) for lifts in (student_MxNxQxT, soft_MxNxQxT))
    return {
        "share": share,
        "cells": {"r": _pearson(one_MxT, other_MxT), "p": label_p(one_MxT @ other_MxT.T, seed)},
    }


def readable(
    ranks: Mapping[str, Mapping[str, Sequence[int]]], traits: Sequence[str], seed: int
) -> dict[str, Any]:
    """Whether a trait's own soft prompts stand nearer to the trait's token than others' do.

    Args:
      ranks: student -> trait -> best rank of the trait's token, one for each seed.
      traits: each with a student of its name.
      seed: of the draws.

    Returns:
      "own" and "others": geometric means of ranks; "p": one-sided, by exchange of the traits
      (`label_p`); None for a single trait.
    """
    logs_MxT = np.array([[np.log(ranks[name][trait]).mean() for trait in traits] for name in ranks])
    places = [list(ranks).index(trait) for trait in traits]
    own = logs_MxT[places, range(len(traits))]
    others = (logs_MxT.sum(axis=0) - own) / (len(ranks) - 1)
    return {
        "own": float(np.exp(own.mean())),
        "others": float(np.exp(others.mean())),
        "p": label_p(-logs_MxT[places], seed) if len(traits) > 1 else None,
    }


def _shifts(matrix: Mapping[str, Any], names: Sequence[str], traits: Sequence[str]) -> np.ndarray:
    """[M, N, Q, T] of a matrix, per seed and question."""
    base, of = matrix["per_question"]["base"], matrix["per_question"]["students"]
    return np.stack(
        [
            np.stack([np.asarray(of[name][trait]) - base[trait] for trait in traits], axis=-1)
            for name in names
        ]
    )


def _pearson(one: np.ndarray, other: np.ndarray) -> float | None:
    """Of two sets of numbers of mean zero; None where either has no spread."""
    lengths = np.linalg.norm(one) * np.linalg.norm(other)
    return float((one * other).sum() / lengths) if lengths > 0 else None
