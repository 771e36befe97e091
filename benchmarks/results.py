r"""What came of the paper's claims here: docs/results.md, from the workdirs of real runs.

    python -m benchmarks.results --workdirs=FOLDER [--run [--at-once=2]] [--plan] \
      --output=docs/results.md

Each claim (benchmarks/claims.py) has a config, and its run stands in FOLDER under the config's
name. With `--run` what is not there, or not finished, is run first, one after another; it goes on
where it was stopped, and takes what another of them has made from the same inputs (`sublax run
--reuse`): the quickstart comes first, for most share its teachers. `--at-once` runs several side by
side, each on its share of the cores: small programs fill one core better than two. What is longer
than `:small` is run with `--long` alone. `--plan`
compiles each config's `:paper` size for a slice (the extra `plan`); plans are kept in FOLDER/plans.
What has neither a run nor a plan in FOLDER stays as the page has it, so that runs of several days
and machines come together; what was never run has a row that says so. Every figure of the page was
read from a run or a plan.
"""

import argparse
import concurrent.futures
import contextlib
import datetime
import io
import itertools
import json
import os
import pathlib
import queue
import re
import subprocess
import sys
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from benchmarks.claims import CLAIMS, Claim
from benchmarks.plans import WHOLE
from sublax.artifact import CARD, card_hash, read_card
from sublax.cli import main as sublax
from sublax.errors import UserError
from sublax.files import write_whole
from sublax.progress import duration

SLICE = "v5e:4x4"
FIRST = "quickstart"
# Experiments that have no teachers, or make them in their own way.
ALONE = ("mlp", "theorem", "theorem-smollm2", "entanglement")
# What has no size for a slice, or whose programs `plan` does not know.
UNPLANNED = ("quickstart", "seen", "text_alone-long", *ALONE)
# Beside `:small`, for a night of its own.
LONG = ("text_alone-long",)


def cards(workdir: pathlib.Path) -> dict[str, dict[str, Any]]:
    """The cards of all artifacts below a workdir, by their hash: one that was taken has its own."""
    found = {card_hash(path.parent): read_card(path.parent) for path in workdir.rglob(CARD)}
    return {key: card for key, card in found.items() if key is not None and card is not None}


def made_before(claims: Iterable[Claim], folder: pathlib.Path) -> dict[str, set[str]]:
    """For each claim, the artifacts that runs before its own have made, by the hash of their card.

    Args:
        claims: in the order that they are run in.
        folder: of the workdirs.
    """
    found: dict[str, set[str]] = {}
    made: set[str] = set()
    for claim in claims:
        found[claim.name] = set(made)
        made |= cards(folder / claim.name).keys()
    return found


def finished(workdir: pathlib.Path) -> bool:
    """Whether a run is there, and has come to its end: to the report, with all of its arms."""
    if not (workdir / "report.html").exists():
        return False
    arms = json.loads((workdir / "config.json").read_text("utf-8")).get("arms")
    if not arms:
        return True
    transfer = json.loads((workdir / "transfer.json").read_text("utf-8"))
    return len(transfer.get("arms", ())) == len(arms)


def rows(
    claim: Claim, workdir: pathlib.Path, written: str = "", before: Collection[str] = ()
) -> Iterator[str]:
    """The claim's lines of the table, one a finding; one alone where there never was a run.

    Args:
        claim: what it says.
        workdir: of its run.
        written: the page as it stands, whose lines stay where there is no run.
        before: hashes of the cards of what other runs had made by then.
    """
    head = f"{claim.claim} | {claim.paper}"
    command = f"`{claim.config}`"
    if not finished(workdir):
        first, *others = written_rows(claim, written) or [f"| | | not run yet | | | {command} |"]
        yield f"| {head} |{first.split('|', 3)[3]}"
        yield from others
        return
    findings = claim.read(workdir)
    made = cards(workdir)
    seconds = {key: card.get("seconds", 0.0) for key, card in made.items()}
    cost = duration(sum(value for key, value in seconds.items() if key not in before))
    cores = {card.get("devices", {}).get("cores") for card in made.values() if card.get("seconds")}
    if len(cores) == 1 and (count := cores.pop()):  # older cards do not say
        cost += f" on {count} core{'s' if count > 1 else ''}"
    if (taken := sum(value for key, value in seconds.items() if key in before)) >= 1:
        cost += f" ({duration(taken)} more by other runs, which made some of it)"
    day = max(card["created"] for card in made.values())[:10]
    verdicts = {True: "yes", False: "null", None: ""}
    for index, finding in enumerate(findings):
        about = f"{finding.about}: " if finding.about else ""
        p = "" if finding.p is None else f"{finding.p:.2g}"
        leads = index == 0
        yield (
            f"| {head if leads else ' | '} | {about}{finding.text} | {p} "
            f"| {verdicts[finding.shown]} | {f'{command}, {cost}, {day}' if leads else ''} |"
        )


def seconds_told(lines: Iterable[str]) -> float:
    """What the runs of a table's lines cost together, from their last column, each thing once."""
    units = {"h": 3600, "min": 60, "s": 1}
    costs = (re.sub(r"\(.*?\)", "", line.rstrip(" |").rpartition("|")[2]) for line in lines)
    return sum(
        float(number) * units[unit]
        for cost in costs
        for number, unit in re.findall(r"([\d.]+) (h|min|s)\b", cost)
    )


def time_told(lines: Iterable[str]) -> str:
    """What all the runs of a table's lines took, in a sentence or two."""
    lines = [line for line in lines if "| `configs/" in line]
    seconds = seconds_told(lines)
    told = f"All of these runs but `:long` together took {duration(seconds)} by their stages"
    if all(" on 1 core" in line for line in lines):
        return (
            f"{told}, each on one core. Two at once (`--at-once=2`) on two cores would take half "
            f"of that, {duration(seconds / 2)}, and what one waits for the other. They were not "
            "run as one whole."
        )
    return (
        f"{told}, on as many cores as their line says; where it says nothing, that is not known. "
        "They were not run as one whole."
    )


def written_rows(claim: Claim, written: str) -> list[str]:
    """The claim's lines in a page: that which names its config, and those without a claim below."""
    lines = [line for line in written.splitlines() if line.startswith("|")]
    starts = (index for index, line in enumerate(lines) if f"| `{claim.config}`" in line)
    start = next(starts, len(lines))
    more = itertools.takewhile(lambda line: line.startswith("|  |"), lines[start + 1 :])
    return [*lines[start : start + 1], *more]


def plan_rows(claim: Claim, folder: pathlib.Path, written: str = "") -> Iterator[str]:
    """The line of the claim's `:paper` size in the table of plans, from a plan that was kept.

    Args:
        claim: what it says.
        folder: where plans are kept.
        written: the page as it stands, whose line stays where there is no plan.
    """
    path = folder / f"{claim.name}.json"
    config = f"`{paper_size(claim)}`"
    if claim.name in UNPLANNED:
        return
    if not path.exists():
        lines = (line for line in written.splitlines() if line.startswith(f"| {config} |"))
        yield next(lines, f"| {config} | not planned yet | | |")
        return
    plan = json.loads(path.read_text("utf-8"))
    if "refused" in plan:
        yield f"| {config} | {plan['refused']} | | |"
        return
    largest = max(program["memory"]["total"] for program in plan["programs"]) / 2**30
    bound = duration(plan["bound_seconds"])
    yield f"| {config} | {'yes' if plan['fits'] else 'no'} | {largest:.1f} | {bound} |"


def paper_size(claim: Claim) -> str:
    """The claim's config at the paper's scale."""
    return f"{claim.config.partition('.py')[0]}.py:paper"


def make_plan(claim: Claim, folder: pathlib.Path) -> None:
    """Keeps the plan of the claim's `:paper` size; what `plan` refuses is kept as refused."""
    path = folder / f"{claim.name}.json"
    if path.exists() or claim.name in UNPLANNED:
        return
    folder.mkdir(parents=True, exist_ok=True)
    printed, errors = io.StringIO(), io.StringIO()
    arguments = [
        *("plan", f"--config={paper_size(claim)}", f"--topology={SLICE}", *WHOLE),
        *(f"--keep={folder / 'programs'}", "--json"),
    ]
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(errors):
        sublax(arguments)
    text = printed.getvalue()
    refused = json.dumps({"refused": " ".join(errors.getvalue().split("\n")[-2:]).strip()})
    write_whole(path, [(text or refused).encode()])


def page(workdirs: pathlib.Path, written: str) -> str:
    """The whole document, in place of that which was written before (empty where there is none)."""
    lines = [
        "# What came of the paper's claims here",
        "",
        "Written by `python -m benchmarks.results --workdirs=FOLDER --output=docs/results.md` on "
        f"{datetime.date.today().isoformat()} from the runs of the configs named in the last "
        "column, each with the time that its stages took, whatever else ran on its machine, and "
        "the day it ended; what FOLDER lacks stays as it was written. `--run` runs what it lacks. "
        "Lifts are in nats, with 95 % intervals over "
        "questions (and seeds, where there are several); p is a permutation test's, "
        "adjusted by Holm where a row is of one trait of several. A null says which effect would "
        "have been seen in four of five repetitions. SmolLM2-135M-Instruct, unless the config says "
        "otherwise.",
        "",
        "| claim | seen elsewhere | we saw | p | shown | config, cost, day |",
        "|---|---|---|---|---|---|",
    ]
    before = made_before(in_order(), workdirs)
    by_claim = {c.name: list(rows(c, workdirs / c.name, written, before[c.name])) for c in CLAIMS}
    found = [row for of_claim in by_claim.values() for row in of_claim]
    small = [row for name, of_claim in by_claim.items() if name not in LONG for row in of_claim]
    lines += [
        *found,
        "",
        time_told(small),
        "",
        "## At the paper's scale",
        "",
        f"None of these was run. Each was compiled for {SLICE} by `sublax plan` with "
        f"`{' '.join(WHOLE)}` and fits or does not; GiB of one chip, and the least time that the "
        "chips' published rates allow for the main experiment, no forecast.",
        "",
        "| config | fits | largest program, GiB | at least |",
        "|---|---|---|---|",
    ]
    for claim in CLAIMS:
        lines.extend(plan_rows(claim, workdirs / "plans", written))
    return "\n".join(lines) + "\n"


def run_all(folder: pathlib.Path, at_once: int, long: bool = False) -> int:
    """Runs every claim's config to its end, several at once.

    Args:
        folder: of the workdirs; what a run tells stands in NAME.log there.
        at_once: how many.
        long: those of `LONG` too, in the end.

    Returns:
        0, or 1 where one failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    cores = sorted(os.sched_getaffinity(0))
    shares = [cores[place::at_once] for place in range(min(at_once, len(cores)))]
    free: queue.Queue[list[int]] = queue.Queue()
    for share in shares:
        free.put(share)

    def run(claim: Claim) -> int:
        share = free.get()
        os.sched_setaffinity(0, share)  # this thread's, which the process below begins with
        command = [sys.executable, "-m", "sublax", "run", f"--config={claim.config}"]
        log, begun = folder / f"{claim.name}.log", time.monotonic()
        print(f"{claim.name}: runs; {log}", file=sys.stderr)
        try:
            with log.open("w") as told:
                command.append(f"--workdir={folder / claim.name}")
                if claim.name not in ALONE and (others := reusable(claim, folder)):
                    command.append(f"--reuse={','.join(others)}")
                status = subprocess.run(command, stdout=told, stderr=told, check=False).returncode
        finally:
            free.put(share)
        outcome = f"failed, {status}" if status else "done"
        print(f"{claim.name}: {outcome}, {duration(time.monotonic() - begun)}", file=sys.stderr)
        return status

    wanted = [claim for claim in in_order() if long or claim.name not in LONG]
    with concurrent.futures.ThreadPoolExecutor(len(shares)) as pool:
        status = pool.submit(run, wanted[0]).result()
        return int(any([status, *pool.map(run, wanted[1:])]))


def in_order() -> list[Claim]:
    """The claims as they are run."""
    return sorted(CLAIMS, key=lambda claim: (claim.name != FIRST, claim.name in LONG))


def reusable(claim: Claim, folder: pathlib.Path) -> list[str]:
    """Workdirs of other claims that a run may take artifacts from, the quickstart's before all.

    That one's card of the base is the one that all others then have too.
    """
    names = [other.name for other in CLAIMS if other.name not in (claim.name, *ALONE)]
    names.sort(key=lambda name: name != FIRST)
    return [str(folder / name) for name in names if (folder / name / "config.json").exists()]


def main() -> int:
    """Writes the document."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workdirs", type=pathlib.Path, required=True)
    parser.add_argument("--run", action="store_true", help="run what is not finished, first")
    parser.add_argument("--at-once", type=int, default=1, help="runs side by side (1)")
    parser.add_argument("--long", action="store_true", help="those beside :small too")
    parser.add_argument("--plan", action="store_true", help="plan what is not planned, first")
    parser.add_argument("--output", type=pathlib.Path, required=True)
    arguments = parser.parse_args()
    if arguments.at_once < 1:
        parser.error(f"--at-once={arguments.at_once}: must be 1 or more")
    given = arguments.workdirs, arguments.at_once, arguments.long
    status = run_all(*given) if arguments.run else 0
    for claim in CLAIMS if arguments.plan else ():
        make_plan(claim, arguments.workdirs / "plans")
    output = arguments.output
    written = output.read_text("utf-8") if output.exists() else ""
    write_whole(output, [page(arguments.workdirs, written).encode()])
    return status


if __name__ == "__main__":
    try:
        sys.exit(main())
    except UserError as error:
        sys.exit(f"benchmarks.results: {error}")
