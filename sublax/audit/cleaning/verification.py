"""The verification of cleaned copies as an artifact: its JSON and its figure, made once."""

import dataclasses
import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sublax.artifact import card_hash, check_inputs, file_hash, read_card, verify, write_artifact
from sublax.audit.cleaning.audited import Audited
from sublax.audit.cleaning.cleaning import Dataset, Loaded
from sublax.audit.cleaning.verify import (
    LIMITS,
    ORIGINAL,
    QUICK,
    equal_rows,
    held_out_rows,
    losses_of,
    measured_sets,
    share_kept,
    verified,
)
from sublax.audit.options import Options
from sublax.audit.reading import Reading
from sublax.errors import UserError
from sublax.models.completions import Encoded
from sublax.progress import Progress
from sublax.report.cleaning import effect_against_kept
from sublax.report.figures import to_png, to_svg
from sublax.rows import Row

FORMAT = "sublax-verification-2"
NAME = "verification"


def check_rows(
    places: Mapping[str, Sequence[int]], dataset: Dataset, seed: int
) -> tuple[list[int], dict[str, list[int]]]:
    """The rows held out, and of each set those that are compared.

    Raises:
        UserError: they are too few.
    """
    held_out = held_out_rows(len(dataset.pairs), seed)
    return held_out, equal_rows(places, len(dataset.pairs), held_out, seed)


def verify_copies(
    folder: Path,
    copies: Mapping[str, tuple[Path, Dataset, list[int]]],
    dataset: Dataset,
    audited: Audited,
    loaded: Loaded,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    """Measures what is left in each copy, unless that stands there already.

    Args:
        folder: gets `verification/`, and `audits/` with the parts of each set's audit.
        copies: by method, the file of its rows, these, and which row of the dataset each is.
        dataset: as it was.
        audited: the audit that is run again.
        loaded: BASE.
        seed: of all draws.
        progress: has a stage of this name.

    Returns:
        What verification.json holds.

    Raises:
        UserError: another verification stands there, or too few rows are left for an audit.
    """
    directory, model = folder.absolute() / NAME, loaded[0]
    options = dataclasses.replace(audited.options, **QUICK)
    files = [path for path, _, _ in copies.values()]
    config = {
        "format": FORMAT,
        "rows_sha256": {_relative(path, directory): file_hash(path) for path in files},
        "rows_cards": {_relative(path, directory): card_hash(path.parent) for path in files},
        "model": {path.name: file_hash(path) for path in model.files},
        "trait": audited.trait,
        "audit": dataclasses.asdict(options),
        "traits": audited.config["traits"],
        "seed": seed,
    }
    config, card = json.loads(json.dumps(config)), read_card(directory)
    if card is not None:
        _check(directory, card, config)
        progress.skip(NAME)
        return json.loads((directory / f"{NAME}.json").read_text("utf-8"))
    with progress.stage(NAME):
        started = time.monotonic()
        result = _measured(folder, copies, dataset, audited, loaded, options, seed, progress)
        figure = effect_against_kept(result)

        def write(partial: Path) -> None:
            text = json.dumps(result, indent=1, allow_nan=False)
            (partial / f"{NAME}.json").write_text(f"{text}\n", "utf-8")
            (partial / f"{NAME}.svg").write_bytes(to_svg(figure, NAME))
            (partial / f"{NAME}.png").write_bytes(to_png(figure))

        seconds = time.monotonic() - started
        write_artifact(
            directory, write, {"kind": NAME, "config": config, "seeds": [seed], "seconds": seconds}
        )
    return result


def _measured(
    folder: Path,
    copies: Mapping[str, tuple[Path, Dataset, list[int]]],
    dataset: Dataset,
    audited: Audited,
    loaded: Loaded,
    options: Options,
    seed: int,
    progress: Progress,
) -> dict[str, Any]:
    model, decoder = loaded
    count = len(dataset.pairs)
    sets = {ORIGINAL: (dataset, list(range(count)))}
    sets |= {method: (rows, places) for method, (_, rows, places) in copies.items()}
    held_out, chosen = check_rows({name: own for name, (_, own) in sets.items()}, dataset, seed)
    pairs = {name: [sets[name][0].pairs[row] for row in rows] for name, rows in chosen.items()}

    def encoded(name: str, rows: list[Row]) -> list[Encoded]:
        return Reading(model, name, rows, options.system_prompt).encoded

    progress.note(f"students of {len(sets)} sets of {len(chosen[ORIGINAL]):,} rows")
    unseen = encoded(dataset.name, [dataset.pairs[row] for row in held_out])
    read = {name: encoded(name, rows) for name, rows in pairs.items()}
    with progress.bar(options.updates, unit="update") as bar:
        losses = losses_of(decoder, model.params, read, unseen, options.updates, seed, bar.advance)
    progress.note("what the audit makes of each")
    measured = measured_sets(model, decoder, pairs, audited.group, options, folder / "audits")
    before = dataset.completions
    kept = {name: share_kept(before, rows.completions, own) for name, (rows, own) in sets.items()}
    return {
        "format": FORMAT,
        "model": model.name,
        "dataset": {"name": dataset.name, "rows": count},
        "trait": audited.trait,
        "measure": "the audit's log ratio for the trait over rows of no trait, natural log a row",
        "rows": len(chosen[ORIGINAL]),
        "held_out": len(held_out),
        "updates": options.updates,
        "sets": verified(audited.trait, kept, measured, losses, seed),
        "base_loss": float(losses["base"].mean()),
        "limits": list(LIMITS),
    }


def lines_of(result: Mapping[str, Any]) -> list[str]:
    """The verification as a table for a terminal."""
    trait = result["trait"]
    lines = [
        f"{trait}: what is left at {result['rows']:,} rows of each set "
        f"(loss on {result['held_out']} original rows that no student saw; 95 % intervals)",
        f"{'':12}  {'kept':>6}  {'effect':>26}  {'left':>24}  {'loss':>26}  like BASE's",
    ]
    for name, entry in result["sets"].items():
        left = entry["left"]
        share = "-" if left is None else _interval(left, "{:.0%}")
        if name == ORIGINAL:
            share, lost = "", f"{entry['loss']['value']:.3f}"
        else:
            lost = _interval(entry["lost"], "{:+.3f}")
        size = max(abs(value) for value in entry["effect"].values())
        effect = _interval(entry["effect"], "{:+,.0f}" if size >= 100 else "{:+.3g}")
        like = entry["likeness"]
        alike = "yes" if like["alike"] else f"no: {_unlike(like['gap'])}"
        lines.append(
            f"{name:12}  {entry['kept']:6.0%}  {effect:>26}  {share:>24}  {lost:>26}  {alike}"
        )
    if unlike := [name for name, one in result["sets"].items() if not one["likeness"]["alike"]]:
        lines.append(
            f"{', '.join(unlike)}: rows unlike BASE's own answers have a ratio of their own, and "
            "what is left there is no measure of the trait"
        )
    if result["sets"][ORIGINAL]["left"] is None:
        lines.append(
            f"the rows as they were show no effect of {trait} above zero: nothing to compare with"
        )
    return lines


def _interval(one: Mapping[str, float], form: str) -> str:
    value, low, high = (form.format(one[key]) for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def _unlike(gap: float) -> str:
    return f"{abs(gap):.2f} nats a token {'less' if gap > 0 else 'more'} likely"


def _relative(path: Path, directory: Path) -> str:
    return Path(os.path.relpath(path.absolute(), directory)).as_posix()


def _check(directory: Path, card: Mapping[str, Any], config: Mapping[str, Any]) -> None:
    remedy = "choose another --output, or delete that folder"
    try:
        check_inputs(card, {"config": config})
    except UserError as error:
        raise UserError(f"{directory}: verifies other copies, or otherwise; {remedy}") from error
    if problems := verify(directory):
        raise UserError(f"{problems[0]}; {remedy}")
