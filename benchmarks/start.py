"""From an empty process to the end of its first LoRA update, with a cold and a warm compile cache.

    python -m benchmarks.start --model=FOLDER [--repeats=5]

FOLDER is as in `benchmarks.compare`. Each repeat starts sublax with an empty cache of compiled
programs, then with the one that this left behind, then transformers and peft.
"""

import argparse
import os
import statistics
import tempfile

from benchmarks.machine import describe
from benchmarks.timing import Build, Call, start_seconds, use_huge_pages
from benchmarks.workload import number_rows


def main() -> None:
    """Prints the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    use_huge_pages()
    print(describe(), flush=True)
    rows = number_rows(args.model, 16, 59, 21)
    ours = Call("benchmarks.sublax_side:student_updates", {"folder": args.model, "batches": [rows]})
    peer = Call("benchmarks.peft_peer:lora_update", {"folder": args.model, "rows": rows})
    seconds: dict[str, list[float]] = {"sublax, cold": [], "sublax, warm": [], "peer": []}
    for _ in range(args.repeats):
        with tempfile.TemporaryDirectory() as cache:
            for name in ("sublax, cold", "sublax, warm"):
                seconds[name].append(_start(name, ours, cache))
        seconds["peer"].append(_start("peer", peer, ""))
    for name, spent in seconds.items():
        print(f"{name}: {statistics.median(spent):.1f} s ({min(spent):.1f} to {max(spent):.1f})")


def _start(name: str, build: Build, cache: str) -> float:
    # A side reads its environment when it starts.
    os.environ["JAX_COMPILATION_CACHE_DIR"] = cache
    return start_seconds(name, build)


if __name__ == "__main__":
    main()
