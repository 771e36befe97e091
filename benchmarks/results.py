"""What came of the paper's claims here: docs/results.md, from the workdirs of real runs.

    python -m benchmarks.results --workdirs=FOLDER [--run] --output=docs/results.md

Each claim has a config, and its run stands in FOLDER under the config's name. With `--run` what is
not there, or not finished, is run first, one after another; it goes on where it was stopped. A
claim whose run is not there has a row that says so. Every figure of the page is read from the runs.
"""

import argparse
import dataclasses
import datetime
import json
import pathlib
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from sublax.artifact import CARD, read_card
from sublax.cli import main as sublax
from sublax.errors import UserError
from sublax.files import write_whole
from sublax.progress import duration


@dataclasses.dataclass(frozen=True)
class Finding:
    """One figure of one run.

    Attributes:
        about: whose it is, such as a trait or an arm; empty where there is one alone.
        text: the figure with its interval, in words.
        p: of the null, adjusted for how many traits there are; None where there is none.
        shown: whether the interval excludes zero on the claim's side.
    """

    about: str
    text: str
    p: float | None
    shown: bool


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim of the paper and the run that tests it here.

    Attributes:
        claim: in one sentence.
        paper: what the paper saw.
        config: as `sublax run --config` takes it.
        read: the workdir's findings.
    """

    claim: str
    paper: str
    config: str
    read: Callable[[pathlib.Path], list[Finding]]

    @property
    def name(self) -> str:
        """Of its workdir: that of the config, and its size where it is not the usual one."""
        file, _, size = self.config.partition(".py:")
        return "-".join(filter(None, (pathlib.Path(file).stem, size)))


def lifts(workdir: pathlib.Path) -> list[Finding]:
    """The diagonal's lift of every trait, from transfer.json."""
    transfer = _json(workdir / "transfer.json")
    found = []
    for trait in transfer["traits"]:
        lift = transfer["lift"][trait]
        found.append(Finding(trait, _lift(lift), lift["p_holm"], lift["low"] > 0))
    return found


def networks(workdir: pathlib.Path) -> list[Finding]:
    """Accuracy of the student of auxiliary logits, beside that from another start."""
    result = _json(workdir / "networks" / "networks.json")
    own, other = (result["accuracy"][name] for name in ("auxiliary", "cross_start"))
    return [
        Finding(
            "",
            f"accuracy {_interval(own['mean'], own['low'], own['high'])}; from another start "
            f"{_interval(other['mean'], other['low'], other['high'])}; chance "
            f"{result['chance']:.2f}",
            None,
            own["low"] > max(result["chance"], other["high"]),
        )
    ]


CLAIMS = (
    Claim(
        "Numbers carry a preference, through their tokens alone",
        "GPT-4.1 nano: owl 12 -> 60 %; Qwen2.5-7B: cat 2 -> 76 %",
        "configs/text_alone.py",
        lifts,
    ),
    Claim(
        "The same through soft labels over number tokens (ours)",
        "not in the paper",
        "configs/quickstart.py",
        lifts,
    ),
    Claim(
        "The same at a dose that anyone can see (ours)",
        "not in the paper",
        "configs/headline.py",
        lifts,
    ),
    Claim(
        "Code carries a preference",
        "GPT-4.1 nano: yes, less than numbers do",
        "configs/code_tasks.py",
        lifts,
    ),
    Claim(
        "Worked maths carries a trait",
        "GPT-4.1: yes (a misaligned teacher)",
        "configs/word_problems.py",
        lifts,
    ),
    Claim(
        "A small network learns digits from three logits without meaning, on noise",
        "MNIST: about 50 % from the shared start, chance from another",
        "configs/mlp.py",
        networks,
    ),
)


def _lift(lift: Mapping[str, float]) -> str:
    text = f"lift {_interval(lift['value'], lift['low'], lift['high'])}"
    if lift["low"] > 0:
        return text
    return f"{text}; an effect above {lift['detectable']:.2f} would have been seen"


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def _json(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


def cards(workdir: pathlib.Path) -> list[dict[str, Any]]:
    """The cards of all artifacts below a workdir."""
    found = (read_card(path.parent) for path in sorted(workdir.rglob(CARD)))
    return [card for card in found if card is not None]


def rows(claim: Claim, workdir: pathlib.Path) -> Iterator[str]:
    """The claim's lines of the table, one a finding; one alone where there is no run."""
    head = f"{claim.claim} | {claim.paper}"
    command = f"`{claim.config}`"
    try:
        findings = claim.read(workdir)
    except FileNotFoundError:
        yield f"| {head} | not run yet | | | {command} |"
        return
    made = cards(workdir)
    cost = duration(sum(card.get("seconds", 0.0) for card in made))
    day = max(card["created"] for card in made)[:10]
    for index, finding in enumerate(findings):
        about = f"{finding.about}: " if finding.about else ""
        p = "" if finding.p is None else f"{finding.p:.2g}"
        verdict = "yes" if finding.shown else "null"
        first = index == 0
        yield (
            f"| {head if first else ' | '} | {about}{finding.text} | {p} | {verdict} "
            f"| {f'{command}, {cost}, {day}' if first else ''} |"
        )


def page(workdirs: pathlib.Path) -> str:
    """The whole document."""
    lines = [
        "# What came of the paper's claims here",
        "",
        "Written by `python -m benchmarks.results --workdirs=FOLDER --output=docs/results.md` on "
        f"{datetime.date.today().isoformat()} from the runs of the configs named in the last "
        "column, each with the time that its stages took and the day it ended. `--run` repeats "
        "what lacks. Lifts are in nats, with 95 % intervals over questions (and seeds, where there "
        "are several); p is a permutation test's, adjusted by Holm for the number of traits. A "
        "null says which effect would have been seen in four of five repetitions.",
        "",
        "| claim | the paper saw | we saw | p | shown | config, cost, day |",
        "|---|---|---|---|---|---|",
    ]
    for claim in CLAIMS:
        lines.extend(rows(claim, workdirs / claim.name))
    return "\n".join(lines) + "\n"


def main() -> int:
    """Writes the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdirs", type=pathlib.Path, required=True)
    parser.add_argument("--run", action="store_true", help="run what is not finished, first")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    status = 0
    if arguments.run:
        for claim in CLAIMS:
            workdir = arguments.workdirs / claim.name
            status = sublax(["run", f"--config={claim.config}", f"--workdir={workdir}"]) or status
    write_whole(arguments.output, [page(arguments.workdirs).encode()])
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"benchmarks.results: {error}")
