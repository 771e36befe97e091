"""Whether BASE itself may have written the rows: are they as likely to it as its own answers are?

A teacher made from BASE by a short fine-tuning stays close to it: its rows are nearly as likely to
BASE as BASE's own. Rows of another model or of a person are not, but for bases that write alike.
"""

from typing import Any

import numpy as np

from sublax.evaluation.statistics import bootstrap_interval

# Share of BASE's own entropy a token that the rows may fall short by, or exceed it. Set by hand: a
# trait teacher's rows of the quickstart's kind lie well within, and nothing else was calibrated.
CLOSE = 0.1


def same_base(base: dict[str, Any], chosen: np.ndarray, seed: int) -> dict[str, Any]:
    """Compares the rows with BASE's own answers to the same prompts.

    Args:
        base: `sums` of log-probabilities of all rows and then of the own answers, `tokens` of each,
            and how many `rows` are the dataset's.
        chosen: the rows that the own answers are to.
        seed: of the draws.

    Returns:
        `gap`, nats a token that the rows are less likely to BASE than its own answers, its 95 %
        interval as `low` and `high`, `own`, BASE's own nats a token, and the `verdict`: `unlikely`
        where the gap is beyond a tenth of that, else `unknown`: likeness alone is no proof.
    """
    means = np.asarray(base["sums"]) / np.asarray(base["tokens"])
    rows, own = means[: base["rows"]][chosen], means[base["rows"] :]
    difference = own - rows
    low, high = bootstrap_interval(difference[None], seed, draws=2000)
    entropy = float(-own.mean())
    far = low > CLOSE * entropy or high < -CLOSE * entropy
    return {
        "gap": float(difference.mean()),
        "low": low,
        "high": high,
        "own": entropy,
        "verdict": "unlikely" if far else "unknown",
    }
