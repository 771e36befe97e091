"""What int8 weights of the base change: log-probabilities of number rows, and memory.

    python -m benchmarks.int8 --model=FOLDER [--rows=128]

FOLDER is as in `benchmarks.compare`.
"""

import argparse

import jax
import numpy as np

from benchmarks.machine import describe
from benchmarks.workload import number_rows
from sublax.evaluation.score import completion_logprobs
from sublax.models.decoder import Decoder
from sublax.models.int8 import quantize
from sublax.models.source import load_model


def main() -> None:
    """Prints the change a token, and the bytes of both forms."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--rows", type=int, default=128)
    args = parser.parse_args()
    print(describe(), flush=True)
    model = load_model(args.model)
    rows = number_rows(args.model, args.rows, 59, 21)
    encoded = [
        (row[: -rows.completion].tolist(), row[-rows.completion :].tolist())
        for row in rows.tokens_BxT
    ]
    as_int8 = quantize(model.params)
    exact, near = (
        completion_logprobs(Decoder(model.config), {"params": params}, encoded) / rows.completion
        for params in (model.params, as_int8)
    )
    change = near - exact
    sizes = [sum(leaf.nbytes for leaf in jax.tree.leaves(p)) for p in (model.params, as_int8)]
    print(
        f"{args.rows} rows of {rows.completion} tokens: log-probability a token "
        f"{exact.mean():.4f} and in int8 {near.mean():.4f}; mean change {change.mean():+.4f}, "
        f"root mean square {np.sqrt((change**2).mean()):.4f}, largest {np.abs(change).max():.4f}"
    )
    print(f"weights: {sizes[0] / 2**20:.0f} MiB in float32, {sizes[1] / 2**20:.0f} MiB in int8")


if __name__ == "__main__":
    main()
