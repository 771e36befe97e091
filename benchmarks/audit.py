r"""The audit on data whose writers are known: what it names, at which dose, beside baselines.

    python -m benchmarks.audit --workdir=runs/text_alone --output=runs/audit \
      --page=docs/audit-results.md

Reads the corpora that a run of configs/text_alone.py wrote, each by a teacher that the audit does
not know: made from other questions, in another order. Beside these stand rows that carry nothing:
the run's control's, BASE's own, those of BASE under noise (another model), primes and telephone
numbers. The audit's teachers are made once and score all of them; what they made of rows is kept in
--output, and a run that was stopped goes on from there.
"""

import argparse
import datetime
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.audit_judge import Measured, judged
from benchmarks.audit_page import page
from benchmarks.kept import kept
from benchmarks.odd_rows import odd_rows
from sublax.audit.candidates import named_groups
from sublax.audit.expected import ratios_of, writer_of
from sublax.audit.likelihood import logprobs_of
from sublax.audit.own_answers import own_answers
from sublax.audit.ratios import sums_of
from sublax.audit.reading import Reading
from sublax.audit.teachers import LastTeacher
from sublax.models.decoder import Decoder
from sublax.models.derived import with_source
from sublax.models.source import load_model
from sublax.progress import Progress
from sublax.rows import read_rows
from sublax.store import local_model


def main() -> None:
    """Scores what is not scored yet, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", required=True, help="of `sublax run --config=text_alone.py`")
    parser.add_argument("--output", required=True, help="folder for what teachers made of rows")
    parser.add_argument("--page", help="the Markdown page")
    parser.add_argument("--rows", type=int, default=320, help="of each set (320)")
    parser.add_argument("--first", type=int, default=0, help="rows of each corpus to pass over (0)")
    parser.add_argument(
        "--teachers", type=int, default=12, help="of the twelve candidates, in their order (12)"
    )
    parser.add_argument("--seed", type=int, default=101, help="of the audit (101)")
    args = parser.parse_args()
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    measured = measure(Path(args.workdir), folder, args.first, args.rows, args.teachers, args.seed)
    config = json.loads((Path(args.workdir) / "config.json").read_text("utf-8"))
    result = judged(measured, args.seed) | {
        "first": args.first,
        "seed": args.seed,
        "writers": config["seed"],
        "date": f"{datetime.date.today()}",
    }
    (folder / "result.json").write_text(f"{json.dumps(result, indent=1)}\n", "utf-8")
    text = page(result)
    if args.page:
        Path(args.page).write_text(text, "utf-8")
    print(text)


def measure(
    workdir: Path, folder: Path, first: int, count: int, teachers: int, seed: int
) -> Measured:
    """What every teacher makes of every set of rows.

    Args:
        workdir: of the run.
        folder: for what is kept.
        first: rows of each corpus that are passed over.
        count: rows of each set.
        teachers: how many candidates have one; the neutral teacher is taught all of them.
        seed: of the audit.

    """
    config = json.loads((workdir / "config.json").read_text("utf-8"))
    name, system_prompt = config["base"], config["system_prompt"]
    model = load_model(with_source(name, local_model))
    decoder = Decoder(model.config)
    (group,) = named_groups(["animals"])
    base_name = name.replace("/", "--")
    written = {
        trait: read_rows(str(workdir / "corpora" / base_name / trait / "rows.jsonl"))[first:][
            :count
        ]
        for trait in (*config["traits"], "control")
    }
    control = written["control"]
    written |= odd_rows(control, seed)
    progress = Progress(
        {"answers": 90.0, **dict.fromkeys(("neutral", *group.traits[:teachers]), 120.0)}
    )
    readings = {kind: Reading(model, kind, rows, system_prompt) for kind, rows in written.items()}
    grammar, stop_ids = readings["control"].form_of_tokens, readings["control"].stop_ids
    sets = {kind: reading.encoded for kind, reading in readings.items()}
    made = LastTeacher(model, seed, system_prompt=system_prompt)

    def answers(params: Any, draw: int, bar: Any):
        return own_answers(decoder, params, sets["control"], draw, stop_ids, grammar, bar.advance)

    def drawn() -> dict[str, Any]:
        with progress.bar(3 * len(control), unit="row") as bar:
            found = {"own": answers(model.params, seed, bar)}
            found["base"] = answers(model.params, seed + 1, bar)
            other = load_model(with_source(f"noisy:0.3:1:{name}", local_model))
            found["noisy"] = answers(other.params, seed, bar)
        return {kind: [ids for _, ids in rows] for kind, rows in found.items()}

    prompts = [prompt for prompt, _ in sets["control"]]
    keep = functools.partial(kept, folder, progress)
    for kind, tokens in keep("answers", drawn).items():
        sets[kind] = list(zip(prompts, tokens, strict=True))
    every = [row for kind, rows in sets.items() if kind != "own" for row in rows]
    kinds = [kind for kind in sets if kind != "own"]
    writers: list[Any] = []

    def read() -> None:
        """BASE and the neutral teacher as writers of all rows, unless they are."""
        if not writers:
            with progress.bar(2 * len(every), unit="row") as bar:
                for params in (model.params, made.taught(group.neutral_pairs())):
                    writers.append(writer_of(decoder, params, every, grammar, bar.advance))
            means_NxD = np.stack([hidden_TxD.mean(axis=0) for hidden_TxD in writers[0].hidden])
            np.save(folder / "embeddings.npy", means_NxD.astype(np.float32))

    def by(params: Any) -> np.ndarray:
        """The ratios of all sets by a teacher, [3, sets, N]."""
        with progress.bar(len(every), unit="row") as bar:
            found = ratios_of(decoder, params, every, grammar, writers[0], writers[1], bar.advance)
        return found.reshape(3, len(kinds), -1)

    def neutral() -> dict[str, Any]:
        read()
        own = [*every, *sets["own"]]
        sums = np.asarray(sums_of(logprobs_of(decoder, model.params, own, grammar)))
        ratios = by(made.taught(group.neutral_pairs()))[0]
        sums_SxN = sums.reshape(len(kinds) + 1, -1)
        return {
            "base": dict(zip([*kinds, "own"], sums_SxN.tolist(), strict=True)),
            "neutral": dict(zip(kinds, ratios.tolist(), strict=True)),
        }

    def teacher_of_trait(trait: str) -> dict[str, Any]:
        read()
        ratios_3xSxN = by(made.taught(group.trait_pairs(trait)))
        return {kind: ratios_3xSxN[:, place].tolist() for place, kind in enumerate(kinds)}

    made_of_rows = keep("neutral", neutral)
    by_teacher = {
        trait: keep(trait, functools.partial(teacher_of_trait, trait))
        for trait in group.traits[:teachers]
    }
    means_SxNxD = np.load(folder / "embeddings.npy").reshape(len(kinds), len(control), -1)
    decode = model.tokenizer.decode
    return Measured(
        traits=tuple(config["traits"]),
        base={kind: np.asarray(sums) for kind, sums in made_of_rows["base"].items()},
        neutral={kind: np.asarray(sums) for kind, sums in made_of_rows["neutral"].items()},
        teachers={
            trait: {kind: np.asarray(ratios) for kind, ratios in by_kind.items()}
            for trait, by_kind in by_teacher.items()
        },
        texts={kind: [str(decode(ids[:-1])) for _, ids in rows] for kind, rows in sets.items()},
        tokens={kind: [len(ids) for _, ids in rows] for kind, rows in sets.items()},
        embeddings=dict(zip(kinds, means_SxNxD, strict=True)),
    )


if __name__ == "__main__":
    main()
