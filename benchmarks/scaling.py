"""How cost grows: with students in a program, with rows that are sampled at a time, with a model.

    python -m benchmarks.scaling --model=FOLDER [--only=students,sampler,loading] [--repeats=3]

FOLDER is as in `benchmarks.compare`. Nothing here needs a peer but the row of eight students in
`benchmarks.compare`, which stands beside eight updates of peft one after another.
"""

import argparse
import multiprocessing
import pathlib
import threading

import numpy as np

from benchmarks.compare import ANSWER, number_grammar, stop_token
from benchmarks.machine import describe
from benchmarks.timing import Call, alternate, use_huge_pages
from benchmarks.workload import number_prompts, number_rows

STUDENTS = (1, 4, 8, 16, 32)
ROWS = (64, 256, 1024)
OURS = "benchmarks.sublax_side:"
MIB = 2**20


def main() -> None:
    """Prints what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--only", default="students,sampler,loading")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    use_huge_pages()
    print(describe(), flush=True)
    for name in args.only.split(","):
        _PARTS[name](args.model, args.repeats)


def _students(folder: str, repeats: int) -> None:
    """LoRA updates of 16 rows of 59 tokens, all students of a program one update on."""
    batches = [number_rows(folder, 16, 59, 21, seed) for seed in range(max(STUDENTS))]
    calls = {
        f"{count}": Call(OURS + "student_updates", {"folder": folder, "batches": batches[:count]})
        for count in STUDENTS
    }
    print("| students | update | a student | peak memory |\n|---|---|---|---|")
    for count, side in alternate(calls, repeats).items():
        each = side.median / int(count)
        print(
            f"| {count} | {side.median:.2f} s | {each:.2f} s | {side.peak_bytes / 2**30:.1f} GiB |",
            flush=True,
        )


def _sampler(folder: str, repeats: int) -> None:
    """Rows of five numbers under the grammar, four answers a prompt."""
    grammar = number_grammar(folder)
    calls = {
        f"{rows}": Call(
            OURS + "generation",
            {
                "folder": folder,
                "prompts": number_prompts(folder, rows // 4),
                "answers": 4,
                "tokens_A": grammar.tokens_A,
                "next_state_SxA": grammar.next_state_SxA,
                "start": grammar.start,
                "stop_token": int(stop_token(folder)),
                "max_new_tokens": 24,
            },
        )
        for rows in ROWS
    }
    print(f"| rows at a time ({ANSWER}) | rows a second | peak memory |\n|---|---|---|")
    for rows, side in alternate(calls, repeats).items():
        rate = int(rows) / side.median
        print(f"| {rows} | {rate:.1f} | {side.peak_bytes / 2**30:.1f} GiB |", flush=True)


def _loading(folder: str, repeats: int) -> None:
    """Memory above the model itself while its weights are read, in a process of its own."""
    above = []
    for _ in range(repeats):
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            peak, model, leaf = pool.apply(_load, [folder])
        above.append(peak - model)
    print(
        f"loading: {np.median(above) / MIB:.0f} MiB above the model's {model / MIB:.0f} MiB; "
        f"two copies of its largest leaf are {2 * leaf / MIB:.0f} MiB"
    )


def _load(folder: str) -> tuple[int, int, int]:
    """(peak of anonymous memory above what it was before, bytes of the model, of its largest leaf).

    Anonymous, for pages of the mapped file are the system's to take back.
    """
    import jax

    from sublax.models.hf_config import read_config
    from sublax.models.weights import load_folder

    config = read_config(folder)
    jax.numpy.zeros(1).block_until_ready()
    before, highest, done = _anonymous_bytes(), 0, threading.Event()

    def watch():
        nonlocal highest
        while not done.wait(0.005):
            highest = max(highest, _anonymous_bytes())

    watcher = threading.Thread(target=watch)
    watcher.start()
    leaves = jax.block_until_ready(jax.tree.leaves(load_folder(folder, config)))
    done.set()
    watcher.join()
    sizes = [leaf.nbytes for leaf in leaves]
    return highest - before, sum(sizes), max(sizes)


def _anonymous_bytes() -> int:
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


_PARTS = {"students": _students, "sampler": _sampler, "loading": _loading}

if __name__ == "__main__":
    main()
