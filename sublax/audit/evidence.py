"""Which trait's teacher wrote the rows: each candidate's likelihood ratio against the others'.

A teacher of every candidate is made, all in one way, and its log ratio to BASE on the dataset's
rows is held against what it would be on average, position by position, if BASE or a neutral
teacher had gone on from there (`sublax.audit.expected`); the neutral one was taught every
candidate alike. To first order a teacher is a direction d away from BASE, and its log ratio on
rows of a writer w is <w, d> - |d|^2 / 2 (in the Fisher metric). So BASE tells each teacher's
length, the neutral one what any tuning on such answers shares, and what is left of the dataset's
ratios speaks for one trait more than for others.

Teachers lean towards each other too: rows of one trait's writer speak for its kin, and rows of any
trait's for some traits more than for others. How much, each teacher's own distributions say at the
positions of the rows (to first order alone it would be <d_j, d_k>, and these steps are not that
small): what the rows show is put together from what every teacher's rows would show, by ridge
regression in the metric of what chance does to it (a linear discriminant, Fisher 1936).
"""

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from scipy import stats

from sublax.keys import numpy_seed

DRAWS = 2000
RIDGE = 0.05  # of the mean on the diagonal: directions that rows hardly show are not blown up


def excess(ratios_KxSxN: np.ndarray, weights_DxN: np.ndarray) -> np.ndarray:
    """How much more the rows speak for each trait than rows of no trait would.

    Each teacher's log ratio is held against the mean of the other teachers' (K > 1), and that
    against what rows of no trait give, which lie on the line from BASE to the neutral teacher: as
    far along as the mean ratio of all teachers says.

    Args:
        ratios_KxSxN: log ratios of N rows by K teachers, S being (found, expected of BASE, expected
            of the neutral teacher).
        weights_DxN: of the rows, for D weighted means; each sums to 1.

    Returns:
        float [D, K], natural log a row.
    """
    found_DxK, base_DxK, neutral_DxK = np.einsum(
        "ksn,dn->sdk", _contrasts(ratios_KxSxN), weights_DxN
    )
    along_Dx1 = _along(ratios_KxSxN, weights_DxN)[:, None]
    return found_DxK - (1 - along_Dx1) * base_DxK - along_Dx1 * neutral_DxK


def responses_of(moved_Kx3xM: np.ndarray, rows: int) -> np.ndarray:
    """What rows of each teacher's would show, by what it would write at the positions of some rows.

    Args:
        moved_Kx3xM: of K teachers, what `sublax.audit.expected.ratios_of` returns of the same rows,
            their M tokens one after another.
        rows: how many they are.

    Returns:
        float64 [1 + K, K], natural log a row: each teacher's mean log ratio on rows of the neutral
        teacher, and then on those of each of the K, over that on BASE's.
    """
    ratios_KxM = moved_Kx3xM[:, 2].astype(np.float64)
    drawn_WxM = np.concatenate([moved_Kx3xM[:1, 0], moved_Kx3xM[:, 1]])
    return drawn_WxM @ ratios_KxM.T / rows


def strengths(
    excess_DxK: np.ndarray, chance_KxN: np.ndarray, responses_WxK: np.ndarray
) -> np.ndarray:
    """How strongly rows speak for each trait when what they say for others anyway is taken out.

    Args:
        excess_DxK: of K traits, as `excess` returns them.
        chance_KxN: by how much each row's contrast differs from what is expected of it.
        responses_WxK: of `responses_of`.

    Returns:
        float [D, K]: 1 is about what rows of the audit's own teacher of a trait would have.
    """
    signatures_KxK = _signatures(responses_WxK)
    # Contrasts sum to zero, so both are singular but for the ridge.
    weighed_KxK = np.linalg.solve(_ridged(np.cov(chance_KxN)), signatures_KxK.T).T
    alike_KxK = _ridged(weighed_KxK @ signatures_KxK.T)
    return np.linalg.solve(alike_KxK, weighed_KxK @ excess_DxK.T).T


def evidence(
    ratios_KxSxN: np.ndarray,
    responses_WxK: np.ndarray,
    prompts_N: Sequence[int] | np.ndarray,
    seed: int,
) -> list[dict[str, Any]]:
    """The evidence for each of K traits.

    Args:
        ratios_KxSxN: as `excess` takes them.
        responses_WxK: of `responses_of`.
        prompts_N: which prompt each row answers; rows of one prompt are drawn together.
        seed: of the draws.

    Returns:
        For each trait its `excess`, natural log a row, with a 95 % bootstrap interval over prompts
        as `low` and `high`; its `effect`, as `strengths` has it, and that in bootstrap standard
        errors as `z`; `p_rows`, one-sided, of `z` from zero, times K; and `t` and `p_traits`, of
        `outliers` among all `z` (`t` None for the two smallest).
    """
    N = ratios_KxSxN.shape[-1]
    weights_DxN = np.concatenate(
        [np.full((1, N), 1 / N), _drawn_weights(np.asarray(prompts_N), seed)]
    )
    excess_DxK = excess(ratios_KxSxN, weights_DxN)
    low_K, high_K = np.quantile(excess_DxK[1:], [0.025, 0.975], axis=0)
    along = _along(ratios_KxSxN, weights_DxN[:1])[0]
    line_S = np.array([1.0, along - 1, -along])
    chance_KxN = np.einsum("ksn,s->kn", _contrasts(ratios_KxSxN), line_S)
    effect_DxK = strengths(excess_DxK, chance_KxN, responses_WxK)
    z_K = effect_DxK[0] / np.maximum(effect_DxK[1:].std(axis=0, ddof=1), 1e-30)
    K = len(z_K)
    p_rows_K = np.minimum(K * stats.norm.sf(z_K), 1.0)
    t_K, p_traits_K = outliers(z_K)
    return [
        {
            "excess": float(excess_DxK[0, k]),
            "low": float(low_K[k]),
            "high": float(high_K[k]),
            "effect": float(effect_DxK[0, k]),
            "z": float(z_K[k]),
            "p_rows": float(p_rows_K[k]),
            "t": float(t_K[k]) if np.isfinite(t_K[k]) else None,
            "p_traits": float(p_traits_K[k]),
        }
        for k in range(K)
    ]


def evidence_of_traits(
    traits: Sequence[str],
    ratios_KxSxN: np.ndarray,
    responses_WxK: np.ndarray,
    prompts: Sequence[Hashable],
    groups: int,
    seed: int,
) -> list[dict[str, Any]]:
    """`evidence` of a group's traits, by name, where other groups are asked about too.

    Args:
        traits: the group's; any further ratios are its references'.
        ratios_KxSxN: as `excess` takes them.
        responses_WxK: of `responses_of`.
        prompts: of the N rows.
        groups: how many are asked about: each p is adjusted for them (Bonferroni).
        seed: of the draws.

    Returns:
        For each trait `trait`, what `evidence` says, and under `tuned` what `tuned` does.
    """
    places = {prompt: place for place, prompt in enumerate(dict.fromkeys(prompts))}
    prompts_N = [places[prompt] for prompt in prompts]
    along = tuned(ratios_KxSxN, prompts_N, seed)
    found = evidence(ratios_KxSxN, responses_WxK, prompts_N, seed)
    for entry in found:
        for p in ("p_rows", "p_traits"):
            entry[p] = min(entry[p] * groups, 1.0)
    return [
        {"trait": trait, **entry, "tuned": along}
        for trait, entry in zip(traits, found, strict=False)
    ]


def tuned(
    ratios_KxSxN: np.ndarray, prompts_N: Sequence[int] | np.ndarray, seed: int
) -> dict[str, float]:
    """Whether a model wrote the rows that was tuned on such answers, whatever trait it has.

    Args:
        ratios_KxSxN: as `excess` takes them.
        prompts_N: as `evidence` takes them.
        seed: of the draws.

    Returns:
        `value`, how far the rows lie from what BASE would write (0) towards what the neutral
        teacher would (1) by the mean log ratio of all teachers, with a 95 % interval over prompts
        as `low` and `high`.
    """
    N = ratios_KxSxN.shape[-1]
    weights_DxN = np.concatenate(
        [np.full((1, N), 1 / N), _drawn_weights(np.asarray(prompts_N), seed)]
    )
    along_D = _along(ratios_KxSxN, weights_DxN)
    low, high = np.quantile(along_D[1:], [0.025, 0.975])
    return {"value": float(along_D[0]), "low": float(low), "high": float(high)}


def outliers(z_K: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How far each trait stands above those that are smaller than it.

    What rows alone cannot tell is how far a teacher lies from others for reasons of its own, the
    order of what it was taught; the other traits show it. Rosner's generalized test (1983,
    Technometrics 25:165), of large values alone: the largest is held against all that are smaller,
    then the next, and so on for a third of them; a trait stands out if it or a smaller one does.

    Args:
        z_K: of K traits.

    Returns:
        (t, p) [K] each: the Studentized deviate from the smaller ones, NaN for the last two, who
        have fewer than two below them; and its one-sided p times how many traits it is the largest
        of, 1 beyond a third of K.
    """
    K = len(z_K)
    t_K, p_K = np.full(K, np.nan), np.ones(K)
    order = np.argsort(-z_K)
    for place, k in enumerate(order[:-2]):
        rest = z_K[order[place + 1 :]]
        spread = rest.std(ddof=1) * np.sqrt(1 + 1 / len(rest))
        t_K[k] = (z_K[k] - rest.mean()) / max(spread, 1e-30)
        if place < K // 3:
            p_K[k] = min((len(rest) + 1) * stats.t.sf(t_K[k], len(rest) - 1), 1.0)
    # A trait that hides behind a larger one does not hide it.
    for place in range(K // 3 - 2, -1, -1):
        p_K[order[place]] = min(p_K[order[place]], p_K[order[place + 1]])
    return t_K, p_K


def _contrasts(ratios_KxSxN: np.ndarray) -> np.ndarray:
    """Each teacher's log ratio over the mean of the other teachers', [K, S, N]."""
    K = len(ratios_KxSxN)
    return (ratios_KxSxN - ratios_KxSxN.mean(axis=0)) * K / (K - 1)


def _signatures(responses_WxK: np.ndarray) -> np.ndarray:
    """What `excess` would be of rows of each teacher's, [K, K]."""
    neutral_K, by_teacher_KxK = responses_WxK[0], responses_WxK[1:]
    apart, found_K = neutral_K.mean(), by_teacher_KxK.mean(axis=1)
    along_K = found_K / apart if apart else np.zeros_like(found_K)
    return _contrasts((by_teacher_KxK - along_K[:, None] * neutral_K).T).T


def _ridged(matrix_KxK: np.ndarray) -> np.ndarray:
    K = len(matrix_KxK)
    return matrix_KxK + max(RIDGE * np.trace(matrix_KxK) / K, 1e-30) * np.eye(K)


def _along(ratios_KxSxN: np.ndarray, weights_DxN: np.ndarray) -> np.ndarray:
    found_D, base_D, neutral_D = np.einsum("sn,dn->sd", ratios_KxSxN.mean(axis=0), weights_DxN)
    apart_D = neutral_D - base_D
    # Teachers that learnt nothing tell no writers apart.
    return np.divide(found_D - base_D, apart_D, out=np.zeros_like(apart_D), where=apart_D != 0)


def _drawn_weights(prompts_N: np.ndarray, seed: int) -> np.ndarray:
    """Weights [D, N] of rows whose prompts are drawn with replacement."""
    _, which_N = np.unique(prompts_N, return_inverse=True)
    count = which_N.max() + 1
    rng = np.random.default_rng(numpy_seed(seed, "audit", "evidence"))
    times_DxP = rng.multinomial(count, np.full(count, 1 / count), size=DRAWS)
    weights_DxN = times_DxP[:, which_N].astype(np.float64)
    return weights_DxN / weights_DxN.sum(axis=1, keepdims=True)
