r"""The audit on data whose writers are known: what it names, at which dose, beside baselines.

    python -m benchmarks.audit --workdir=runs/text_alone --output=runs/audit \
      --page=docs/audit-results.md

Reads the corpora that a run wrote, of any kind, each by a teacher that the audit does not know:
made from other questions, in another order. Beside these stand rows that carry nothing: the run's
control's, BASE's own, those of BASE under noise (another model), and odd ones (odd_rows.py). The
audit's teachers are made once and score all of them; what they made of rows is kept in --output,
and a run that was stopped goes on from there. Two processes share the teachers, each on a core of
its own, by --share=1/2 and --share=2/2; run without it afterwards, it writes the page.
"""

import argparse
import datetime
import functools
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file, save_file

from benchmarks.audit_judge import Measured, judged
from benchmarks.audit_page import page
from benchmarks.audit_sets import make_sets, read_corpora, sizes_of
from benchmarks.kept import kept
from sublax.audit.candidates import named_groups
from sublax.audit.evidence import responses_of
from sublax.audit.expected import Writer, ratios_of, rows_closely, writer_of
from sublax.audit.ratios import sums_of
from sublax.audit.teachers import LastTeacher
from sublax.audit.temperature import fitted_temperature, rows_to_fit
from sublax.models.decoder import Decoder
from sublax.models.derived import with_source
from sublax.models.source import Model, load_model
from sublax.progress import Progress
from sublax.rows import Row
from sublax.store import local_model


def main() -> None:
    """Scores what is not scored yet, and writes the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--workdir", required=True, help="of a run whose corpora are audited")
    parser.add_argument("--model", help="BASE, where it is not the writers' own")
    parser.add_argument("--output", required=True, help="folder for what teachers made of rows")
    parser.add_argument("--page", help="the Markdown page")
    parser.add_argument("--rows", type=int, default=320, help="of each set (320)")
    parser.add_argument("--first", type=int, default=0, help="rows of each corpus to pass over (0)")
    parser.add_argument("--answers", type=int, default=4, help="of each writer, a prompt (4)")
    parser.add_argument("--made-by", default="", help="the run's config and overrides, as told")
    parser.add_argument(
        "--teachers", type=int, default=12, help="of the twelve candidates, in their order (12)"
    )
    parser.add_argument("--share", default="1/1", help="I/N: make every Nth teacher from the Ith")
    parser.add_argument("--seed", type=int, default=101, help="of the audit (101)")
    args = parser.parse_args()
    folder = Path(args.output)
    folder.mkdir(parents=True, exist_ok=True)
    workdir = Path(args.workdir)
    config = json.loads((workdir / "config.json").read_text("utf-8"))
    name = args.model or config["base"]
    model = load_model(with_source(name, local_model))
    written = read_corpora(workdir, args.answers, args.first, args.rows)
    part, parts = map(int, args.share.split("/"))
    measured = measure(
        model, config, written, folder, args.answers, args.teachers, (part, parts), args.seed
    )
    if measured is None:
        print(f"made; run it again without --share when all {parts} processes have")
        return
    result = judged(measured, args.seed) | {
        "first": args.first,
        "seed": args.seed,
        "answers": args.answers,
        "model": name,
        "writers_base": config["base"],
        "made_by": args.made_by,
        "writers": config["seed"],
        "kind": config["corpus"]["kind"],
        "temperature": config["corpus"]["temperature"],
        "teacher": config["teacher"],
        "date": f"{datetime.date.today()}",
    }
    (folder / "result.json").write_text(f"{json.dumps(result, indent=1)}\n", "utf-8")
    text = page(result)
    if args.page:
        Path(args.page).write_text(text, "utf-8")
    print(text)


def measure(
    model: Model,
    config: Mapping[str, Any],
    written: Mapping[str, list[Row]],
    folder: Path,
    answers: int,
    teachers: int,
    share: tuple[int, int],
    seed: int,
) -> Measured | None:
    """What every teacher makes of every set of rows.

    Args:
        model: BASE.
        config: of the run that wrote the corpora.
        written: of `read_corpora`.
        folder: for what is kept.
        answers: to each prompt.
        teachers: how many candidates have one; the neutral teacher is taught all of them.
        share: (i, n): of these every nth from the ith is made here, the others elsewhere.
        seed: of the audit.

    Returns:
        None where others are made elsewhere.
    """
    decoder, system_prompt = Decoder(model.config), config["system_prompt"]
    (group,) = named_groups(["animals"])
    part, parts = share
    traits = group.traits[:teachers][part - 1 :: parts]
    progress = Progress({"answers": 90.0, **dict.fromkeys(("neutral", *traits), 120.0)})
    keep = functools.partial(kept, folder, progress)
    sets = make_sets(model, decoder, config["base"], written, system_prompt, seed, keep, progress)
    made = LastTeacher(model, seed, system_prompt=system_prompt)
    every = {
        name: [row for kind in kinds for row in sets.rows[kind]]
        for name, kinds in sets.groups.items()
    }
    total = sum(map(len, every.values()))
    writers: dict[str, tuple[Writer, Writer]] = {}
    sums: dict[str, tuple[np.ndarray, np.ndarray]] = {}

    def read() -> None:
        """BASE and the neutral teacher as writers of all rows, unless they are."""
        if writers:
            return
        teacher = made.taught(group.neutral_pairs())
        with progress.bar(None, unit="row") as bar:
            for name, kinds in sets.groups.items():
                rows, form = every[name], sets.grammars[name]
                fitted = [
                    fitted_temperature(
                        decoder, teacher, rows_to_fit(sets.rows[kind], seed), form, bar.advance
                    )
                    for kind in kinds
                ]
                at, at_N = sets.temperatures[name], np.repeat(fitted, len(rows) // len(kinds))
                both = [*rows, *sets.own[name]]
                base, of_base = writer_of(
                    decoder, model.params, both, form, at, range(len(rows)), bar.advance
                )
                neutral, of_neutral = writer_of(
                    decoder, teacher, rows, form, at_N, progress=bar.advance
                )
                writers[name] = base, neutral
                sums[name] = sums_of(of_base), sums_of(of_neutral)

    closely_R = rows_closely(sets.count)

    def by(params: Any) -> tuple[dict[str, list[list[float]]], dict[str, np.ndarray]]:
        """By kind the ratios of all rows by a teacher, [3, N], and what it moves, [3, tokens]."""
        found: dict[str, list[list[float]]] = {}
        moved: dict[str, np.ndarray] = {}
        with progress.bar(total, unit="row") as bar:
            for name, kinds in sets.groups.items():
                starts = range(0, len(every[name]), sets.count)
                ratios_3xN, moved_by_row = ratios_of(
                    decoder,
                    params,
                    every[name],
                    sets.grammars[name],
                    *writers[name],
                    np.concatenate([start + closely_R for start in starts]),
                    bar.advance,
                )
                of_kinds = np.split(ratios_3xN, len(kinds), axis=1)
                found |= {kind: one.tolist() for kind, one in zip(kinds, of_kinds, strict=True)}
                for place, kind in enumerate(kinds):
                    rows = moved_by_row[place * len(closely_R) : (place + 1) * len(closely_R)]
                    moved[kind] = np.concatenate(rows, axis=1)
        return found, moved

    def neutral() -> dict[str, Any]:
        read()
        base: dict[str, list[float]] = {}
        own: dict[str, list[float]] = {}
        ratios: dict[str, list[float]] = {}
        for name, kinds in sets.groups.items():
            of_base, of_neutral = sums[name]
            *of_kinds, of_own = np.split(of_base, len(kinds) + 1)
            base |= {kind: one.tolist() for kind, one in zip(kinds, of_kinds, strict=True)}
            own |= dict.fromkeys(kinds, of_own.tolist())
            by_neutral = np.split(of_neutral - of_base[: len(of_neutral)], len(kinds))
            ratios |= {kind: one.tolist() for kind, one in zip(kinds, by_neutral, strict=True)}
            means = [hidden_TxD.mean(axis=0) for hidden_TxD in writers[name][0].hidden]
            for kind, of_kind in zip(kinds, np.split(np.stack(means), len(kinds)), strict=True):
                np.save(folder / f"embeddings of {kind}.npy", of_kind.astype(np.float32))
        return {"base": base, "own": own, "neutral": ratios}

    def teacher_of_trait(trait: str) -> dict[str, Any]:
        read()
        ratios, moved = by(made.taught(group.trait_pairs(trait)))
        save_file(moved, folder / f"moved by {trait}.safetensors")
        return ratios

    made_of_rows = keep("neutral", neutral)
    by_teacher = {
        trait: keep(trait, functools.partial(teacher_of_trait, trait)) for trait in traits
    }
    if parts > 1:
        return None

    def arrays(by_kind: dict[str, list[Any]]) -> dict[str, np.ndarray]:
        return {kind: np.asarray(values) for kind, values in by_kind.items()}

    moved = [load_file(folder / f"moved by {trait}.safetensors") for trait in by_teacher]
    decode = model.tokenizer.decode
    return Measured(
        traits=tuple(config["traits"]),
        answers=answers,
        **{name: arrays(of_all) for name, of_all in made_of_rows.items()},
        teachers={trait: arrays(by_kind) for trait, by_kind in by_teacher.items()},
        responses={
            kind: responses_of(np.stack([one[kind] for one in moved]), len(closely_R))
            for kind in sets.rows
        },
        texts={
            kind: [str(decode(ids[:-1])) for _, ids in rows] for kind, rows in sets.rows.items()
        },
        tokens={kind: sizes_of(rows) for kind, rows in sets.rows.items()},
        own_tokens={
            kind: sizes_of(sets.own[name]) for name, kinds in sets.groups.items() for kind in kinds
        },
        temperatures={
            kind: sets.temperatures[name] for name, kinds in sets.groups.items() for kind in kinds
        },
        embeddings={kind: np.load(folder / f"embeddings of {kind}.npy") for kind in sets.rows},
    )


if __name__ == "__main__":
    main()
