"""What both directions have in common: numbers that raise a trait, and that the trait raises."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from sublax.evaluation.rank_correlation import exchange_p, label_p, spearman
from sublax.evaluation.statistics import holm
from sublax.evaluation.transfer import margins

TOP = 10  # numbers that are named for each trait
BASE = 10


def find(to_trait: Mapping[str, Any], to_number: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The correlation of both directions, over numbers.

    `raises` is a trait's margin with the number in the prompt minus without, mean over questions.
    `favours` is the number's log-probability under the trait's system prompt minus under none, mean
    over questions, minus the same mean over all traits: what any such prompt does to a number
    cancels, as what a number does to all candidates cancels in a margin.

    Args:
        to_trait: as `number_to_trait` gives it.
        to_number: as `trait_to_number` does, of traits that are candidates there.
        seed: of the exchanges.

    Returns:
        Plain JSON values: "numbers" [N], "traits" [T], "raises" and "favours" (by trait, [N],
        nats), "rho" ([T][T], Spearman's of `raises` of the row's trait with `favours` of the
        column's), "own" (by trait: "rho", "p" and, where the numbers are all those of their digits,
        "p_digits", as `exchange_p` gives them, "p_holm" of the larger of both over all traits),
        "diagonal" ("own" and "others", mean rho on and off it, and "p" as `label_p` gives it; None
        for a single trait), "top" (by trait, numbers by `raises`, with both), "spread" (standard
        deviation of `raises` over numbers, by trait).
    """
    numbers, traits = list(to_trait["numbers"]), list(to_number["traits"])
    columns = [to_trait["candidates"].index(trait) for trait in traits]
    with_NxQxC = margins(np.asarray(to_trait["logprobs"], np.float64))
    without_QxC = margins(np.asarray(to_trait["without"], np.float64))
    raises_TxN = (with_NxQxC - without_QxC).mean(axis=1)[:, columns].T
    favours_TxQxN = np.asarray(to_number["logprobs"], np.float64) - np.asarray(to_number["without"])
    favours_TxN = favours_TxQxN.mean(axis=1)
    if len(traits) > 1:
        favours_TxN = favours_TxN - favours_TxN.mean(axis=0)
    rho_TxT = spearman(raises_TxN, favours_TxN)
    by_digits = len(numbers) == BASE ** len(numbers[-1])
    own = {}
    for place, trait in enumerate(traits):
        pair = raises_TxN[place], favours_TxN[place]
        own[trait] = {"rho": float(rho_TxT[place, place]), "p": exchange_p(*pair, seed)}
        if by_digits:
            own[trait]["p_digits"] = exchange_p(*pair, seed, BASE)
    worst = [max(one["p"], one.get("p_digits", 0.0)) for one in own.values()]
    for one, p_holm in zip(own.values(), holm(worst), strict=True):
        one["p_holm"] = p_holm
    return {
        "numbers": numbers,
        "traits": traits,
        "raises": dict(zip(traits, raises_TxN.tolist(), strict=True)),
        "favours": dict(zip(traits, favours_TxN.tolist(), strict=True)),
        "rho": rho_TxT.tolist(),
        "own": own,
        "diagonal": _diagonal(rho_TxT, seed),
        "top": {
            trait: [
                {"number": numbers[at], "raises": float(up[at]), "favours": float(liked[at])}
                for at in np.argsort(-up, kind="stable")[:TOP]
            ]
            for trait, up, liked in zip(traits, raises_TxN, favours_TxN, strict=True)
        },
        "spread": dict(zip(traits, raises_TxN.std(axis=1).tolist(), strict=True)),
    }


def _diagonal(rho_TxT: np.ndarray, seed: int) -> dict[str, float] | None:
    count = len(rho_TxT)
    if count < 2:
        return None
    own = float(np.trace(rho_TxT)) / count
    others = float(rho_TxT.sum() - np.trace(rho_TxT)) / (count * (count - 1))
    return {"own": own, "others": others, "p": label_p(rho_TxT, seed)}
