r"""Whose data is it: how often the audit names the right writer, or rightly none of its suspects.

    python -m benchmarks.attribution --workdir=runs/text_alone --output=runs/attribution \
      --page=docs/attribution-results.md

Several models answer the prompts of the control's rows in a run of configs/text_alone.py, which its
teachers have answered already, and each suspect says how likely it finds every row. Rows of primes
and telephone numbers were written by none. What was read is kept in --output, and a run that
was stopped goes on.
"""

import argparse
import datetime
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.attribution_judge import ROWS, Suspicion, judged, page
from benchmarks.kept import kept
from benchmarks.odd_rows import odd_rows
from sublax.audit.likelihood import logprobs_of
from sublax.audit.ratios import sums_of
from sublax.audit.reading import Reading
from sublax.models.decoder import Decoder
from sublax.models.derived import with_source
from sublax.models.source import load_model
from sublax.progress import Progress
from sublax.rows import read_rows
from sublax.store import local_model

BASE = "base"
# By what is before the base's name. What is no suspect is never to be named.
SUSPECTS = {BASE: "", "noise .1": "noisy:0.1:1:", "noise .3": "noisy:0.3:1:"} | {
    f"{layers} of 30 layers": f"shallow:{layers}:" for layers in (27, 24)
}
STRANGERS = {"noise .2": "noisy:0.2:2:", "21 of 30 layers": "shallow:21:"}


def main() -> None:
    """Reads what is not read yet, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", required=True, help="of `sublax run --config=text_alone.py`")
    parser.add_argument("--output", required=True, help="folder for what suspects made of rows")
    parser.add_argument("--page", help="the Markdown page")
    parser.add_argument("--rows", type=int, default=max(ROWS), help=f"of a set ({max(ROWS)})")
    parser.add_argument("--seed", type=int, default=101, help="of the draws (101)")
    args = parser.parse_args()
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    found = measure(Path(args.workdir), folder, args.rows, args.seed)
    result = judged(found, args.seed) | {"seed": args.seed, "date": f"{datetime.date.today()}"}
    (folder / "result.json").write_text(f"{json.dumps(result, indent=1)}\n", "utf-8")
    if args.page:
        Path(args.page).write_text(page(result), "utf-8")
    print(page(result))


def measure(workdir: Path, folder: Path, count: int, seed: int) -> Suspicion:
    """What every suspect makes of every set of rows, and of its own answers.

    Args:
        workdir: of the run.
        folder: for what is kept.
        count: rows of each set.
        seed: of what is drawn.
    """
    config = json.loads((workdir / "config.json").read_text("utf-8"))
    base, system_prompt = config["base"], config["system_prompt"]
    corpora = workdir / "corpora" / base.replace("/", "--")
    teachers = {
        name: read_rows(str(corpora / name / "rows.jsonl"))[:count]
        for name in (*config["traits"], "control")
    }
    progress = Progress(
        dict.fromkeys([f"answers of {name}" for name in SUSPECTS | STRANGERS], 20.0)
        | dict.fromkeys([f"read by {name}" for name in SUSPECTS], 90.0)
    )
    sets = teachers | odd_rows(teachers["control"], seed)
    model = load_model(with_source(base, local_model))
    reading = Reading(model, "control", teachers["control"], system_prompt)
    encoded = {
        kind: Reading(model, kind, rows, system_prompt).encoded for kind, rows in sets.items()
    }
    prompts = [prompt for prompt, _ in reading.encoded]

    def loaded(prefix: str) -> tuple[Any, Decoder]:
        other = load_model(with_source(f"{prefix}{base}", local_model))
        return other.params, Decoder(other.config)

    def answered(prefix: str) -> list[list[list[int]]]:
        """What a model writes, and other answers of its own that it is held against."""
        params, decoder = loaded(prefix)
        drawn = []
        with progress.bar(2 * count, unit="row") as bar:
            for purpose in ("written", "own answers"):
                drawn.append(
                    reading.answered_by(
                        decoder, params, seed, progress=bar.advance, purpose=purpose
                    )
                )
        return [[ids for _, ids in rows] for rows in drawn]

    own: dict[str, list[list[int]]] = {}
    keep = functools.partial(kept, folder, progress)
    for name, prefix in (SUSPECTS | STRANGERS).items():
        written, own[name] = keep(f"answers of {name}", functools.partial(answered, prefix))
        encoded[name] = list(zip(prompts, written, strict=True))

    def read(name: str, prefix: str) -> dict[str, list[float]]:
        params, decoder = loaded(prefix)
        every = encoded | {"own": list(zip(prompts, own[name], strict=True))}
        rows = [row for of_kind in every.values() for row in of_kind]
        with progress.bar(len(rows), unit="row") as bar:
            form = reading.grammar
            sums = sums_of(logprobs_of(decoder, params, rows, form, bar.advance))
        return dict(zip(every, sums.reshape(len(every), -1).tolist(), strict=True))

    sums = {
        name: keep(f"read by {name}", functools.partial(read, name, prefix))
        for name, prefix in SUSPECTS.items()
    }
    decode = model.tokenizer.decode
    return Suspicion(
        writers={kind: kind for kind in SUSPECTS} | dict.fromkeys(teachers, BASE),
        sums={
            name: {kind: np.asarray(values) for kind, values in by_kind.items()}
            for name, by_kind in sums.items()
        },
        tokens={kind: np.asarray([len(ids) for _, ids in rows]) for kind, rows in encoded.items()},
        own_tokens={name: np.asarray([len(ids) for ids in own[name]]) for name in SUSPECTS},
        characters={
            kind: np.asarray([len(str(decode(ids[:-1]))) + 1 for _, ids in rows])
            for kind, rows in encoded.items()
        },
    )


if __name__ == "__main__":
    main()
