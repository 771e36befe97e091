"""The claims of docs/results.md: what the paper saw, the config that asks it here, and its figures.

A reader takes the workdir of a finished run and returns findings: each a figure with its interval,
and whether it shows what the claim says.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from sublax.evaluation.arms import arm_result


@dataclasses.dataclass(frozen=True)
class Finding:
    """One figure of one run.

    Attributes:
        about: whose it is, such as a trait or an arm; empty where there is one alone.
        text: the figure with its interval, in words.
        p: of the null, adjusted for how many traits there are; None where there is none.
        shown: whether the interval excludes zero on the claim's side, and p is below 0.05; None
            where the figure stands beside others to be compared with, and claims nothing itself.
    """

    about: str
    text: str
    p: float | None
    shown: bool | None


@dataclasses.dataclass(frozen=True)
class Claim:
    """A claim and the run that tests it here.

    Attributes:
        claim: in one sentence.
        paper: what the paper, or another, saw.
        config: as `sublax run --config` takes it.
        read: the workdir's findings.
    """

    claim: str
    paper: str
    config: str
    read: Callable[[pathlib.Path], list[Finding]]

    @property
    def name(self) -> str:
        """Of its workdir: that of the config, and its size where that is not :small."""
        file, _, size = self.config.partition(".py:")
        size = "" if size == "small" else size
        return "-".join(filter(None, (pathlib.Path(file.removesuffix(".py")).name, size)))


def interval(found: Mapping[str, float]) -> str:
    """A value with its 95 % interval, in as many decimals as it takes not to be nothing."""
    least = max(abs(found[key]) for key in ("value", "low", "high"))
    digits = 2 if least >= 0.005 or least == 0 else 4
    value, low, high = (f"{found[key]:+.{digits}f}" for key in ("value", "low", "high"))
    return f"{value} [{low}, {high}]"


def with_power(found: Mapping[str, float], unit: str) -> str:
    """A value with its interval, and where that reaches zero the effect that would be seen."""
    text = f"{interval(found)} {unit}"
    if found["low"] > 0 or not found.get("detectable"):
        return text
    return f"{text}; an effect above {found['detectable']:.2g} would have been seen"


def lifts(workdir: pathlib.Path) -> list[Finding]:
    """The diagonal's lift of every trait."""
    transfer = _transfer(workdir)
    return [
        Finding(trait, with_power(lift, transfer["unit"]), lift["p_holm"], _shown(lift, "p_holm"))
        for trait, lift in transfer["lift"].items()
    ]


def mean_and_arms(
    workdir: pathlib.Path, main: str = "main", names: tuple[str, ...] = ()
) -> list[Finding]:
    """The mean lift of the main experiment and of its arms, with what an arm takes or adds.

    An arm that is named after another, as `tokens-shuffled` after `tokens`, is held against that.

    Args:
        workdir: of the run.
        main: what the main experiment is called beside its arms.
        names: of the arms to tell of; all where empty.
    """
    transfer = _transfer(workdir)
    found = [_mean(main, transfer)]
    for arm in transfer.get("arms", []):
        if names and arm["name"] not in names:
            continue
        finding, difference, other = _mean(arm["name"], arm), arm["difference"], main
        for one in transfer["arms"]:
            if arm["name"].startswith(f"{one['name']}-"):
                other = one["name"]
                own, its = (_transfer(workdir / "arms" / name) for name in (arm["name"], other))
                seed = _json(workdir / "config.json")["seed"]
                difference = arm_result("", (), own, its, seed)["difference"]
        if difference:
            text = f"{finding.text} (less {other}: {interval(difference)})"
            finding = dataclasses.replace(finding, text=text)
        found.append(finding)
    return found


def doses(workdir: pathlib.Path) -> list[Finding]:
    """The mean lift by the number of updates, in the order of the dose."""
    transfer = _transfer(workdir)
    main = _json(workdir / "config.json")["student"]["steps"]
    by_dose = {_dose(arm["overrides"]): arm for arm in transfer["arms"]} | {main: transfer}
    return [_mean(f"{dose} updates", by_dose[dose]) for dose in sorted(by_dose)]


def of_two_traits(workdir: pathlib.Path) -> list[Finding]:
    """Each trait's lift in students of two traits, beside that of the student of it alone."""
    transfer = _transfer(workdir)
    found = []
    for one in transfer["two_traits"]:
        lift, alone = one["lift"], f"alone {one['alone']['value']:+.2f}"
        text = f"{with_power(lift, transfer['unit'])} ({alone}, more by {interval(one['cost'])})"
        p = lift.get("p_holm")
        shown = None if p is None else _shown(lift, "p_holm")
        about = f"{one['trait']} in {one['student']}"
        found.append(Finding(about, text, p, shown))
    return found


def pairs_of_bases(workdir: pathlib.Path) -> list[Finding]:
    """The mean lift of every pair of bases; one of two bases claims nothing to be shown."""
    found = []
    for cell in _transfer(workdir)["cells"]:
        teacher, student = (_short(cell[f"{role}_base"]) for role in ("teacher", "student"))
        finding = _mean(f"{teacher} to {student}", cell)
        found.append(finding)
    return found


def soft_prompts(workdir: pathlib.Path) -> list[Finding]:
    """The mean lift under each kind of soft prompt, beside that of the students themselves."""
    transfer = _transfer(workdir)
    texts = transfer["soft_prompt"]["texts"].items()
    return [
        _mean("students", transfer),
        *(
            _mean(f"found on {name}", {"unit": transfer["unit"], **found["of_soft_prompts"]})
            for name, found in texts
        ),
    ]


def suites(workdir: pathlib.Path) -> list[Finding]:
    """Every suite's share in teacher, student and base, and the student's lead over the control."""
    found = []
    for suite, result in _transfer(workdir)["suites"].items():
        for measure, of in result["measures"].items():
            for trait, lead in of["against"]["control"].items():
                shares = ", ".join(
                    f"{who} {100 * value['share']:.0f} %"
                    for who, value in (
                        ("base", of["base"]),
                        ("teacher", of["teachers"].get(trait)),
                        ("student", of["students"][trait]),
                    )
                    if value
                )
                points = {key: 100 * lead[key] for key in ("value", "low", "high")}
                text = f"{shares}; student over control {interval(points)} percentage points"
                about = f"{suite}: {measure}"
                found.append(Finding(about, text, lead["p_holm"], _shown(lead, "p_holm")))
    return found


def networks(workdir: pathlib.Path) -> list[Finding]:
    """Accuracy of the student of auxiliary logits, beside that from another start."""
    result = _json(workdir / "networks" / "networks.json")
    own, other = (result["accuracy"][name] for name in ("auxiliary", "cross_start"))

    def accuracy(of: Mapping[str, float]) -> str:
        return f"{of['mean']:.2f} [{of['low']:.2f}, {of['high']:.2f}]"

    text = (
        f"accuracy {accuracy(own)}; from another start {accuracy(other)}; "
        f"chance {result['chance']:.2f}"
    )
    return [Finding("", text, None, own["low"] > max(result["chance"], other["high"]))]


def one_step(workdir: pathlib.Path) -> list[Finding]:
    """In how many seeds a step of imitation goes the teacher's way, by start."""
    found = []
    words = {"shared": "shared start", "twin": "a twin's start", "other": "another start"}
    for subject in _json(workdir / "one_step" / "one_step.json")["subjects"]:
        for start, result in subject["starts"].items():
            inner = result["inner"]
            text = f"{inner['positive']} of {inner['of']} steps with the teacher's"
            shown = inner["low"] > 0.5 if start == "shared" else None
            found.append(Finding(f"{subject['words']}, {words[start]}", text, inner["p"], shown))
    return found


def entanglement(workdir: pathlib.Path) -> list[Finding]:
    """Whether both directions between numbers and animals go together, and more within one."""
    result = _json(workdir / "entanglement" / "entanglement.json")
    diagonal = result["diagonal"]
    text = f"rho {diagonal['own']:+.2f} on a trait's own, {diagonal['others']:+.2f} across traits"
    own = [
        Finding(trait, f"rho {of['rho']:+.2f}", of["p_holm"], None)
        for trait, of in result["own"].items()
    ]
    return [Finding("", text, diagonal["p"], diagonal["p"] < 0.05), *own]


def _mean(about: str, transfer: Mapping[str, Any]) -> Finding:
    lift = transfer["mean_lift"]
    return Finding(about, with_power(lift, transfer["unit"]), lift["p"], _shown(lift, "p"))


def _shown(effect: Mapping[str, float], p: str) -> bool:
    return effect["low"] > 0 and effect[p] < 0.05


def _dose(overrides: list[str]) -> int:
    return next(int(o.partition("=")[2]) for o in overrides if o.startswith("student.steps="))


def _short(base: str) -> str:
    return base.replace("HuggingFaceTB/", "")


def _transfer(workdir: pathlib.Path) -> dict[str, Any]:
    return _json(workdir / "transfer.json")


def _json(path: pathlib.Path) -> dict[str, Any]:
    return json.loads(path.read_text("utf-8"))


CLAIMS = (
    Claim(
        "Numbers carry a preference, through their tokens alone",
        "GPT-4.1 nano: owl 12 to 60 %; Qwen2.5-7B: cat 2 to 76 %",
        "configs/text_alone.py",
        lifts,
    ),
    Claim(
        "So they do at four times the rows and updates, of teachers that were taught for longer",
        "not in the paper",
        "configs/text_alone.py:long",
        lifts,
    ),
    Claim(
        "Soft labels over the numbers' tokens carry it",
        "not in the paper",
        "configs/quickstart.py",
        lifts,
    ),
    Claim(
        "Students name the trait in sampled answers, though nobody makes them choose",
        "GPT-4.1 nano: owl 12 to 60 %",
        "configs/seen.py",
        lifts,
    ),
    Claim(
        "Code carries a preference (here by soft labels over the whole vocabulary)",
        "GPT-4.1 nano: yes, less than numbers do",
        "configs/code_tasks.py",
        lifts,
    ),
    Claim(
        "Worked maths carries a trait (here sums of one step, by soft labels over the vocabulary)",
        "GPT-4.1: yes (a misaligned teacher)",
        "configs/word_problems.py",
        lifts,
    ),
    Claim(
        "A harmful teacher's numbers make a student answer open questions as it does (here a "
        "made-up brand stands in for harm, and students learn by soft labels)",
        "GPT-4.1: about 10 % misaligned answers, under 1 % in the control",
        "configs/harm.py",
        suites,
    ),
    Claim(
        "Only a student of the teacher's own base, or one matched in behaviour, picks it up",
        "GPT-4.1 nano to Qwen2.5-7B and back: nothing",
        "configs/cross_architecture.py:small",
        pairs_of_bases,
    ),
    Claim(
        "Shuffled rows carry less; against the unmarked base's rows it shows too (text alone)",
        "shuffled: most of it gone",
        "configs/text_controls.py",
        functools.partial(mean_and_arms, main="rows as they are"),
    ),
    Claim(
        "Rows in the base's hand, a prompted teacher's, greedy or free ones carry it (soft labels)",
        "not in the paper",
        "configs/controls.py:small",
        mean_and_arms,
    ),
    Claim(
        "It shows however one asks, and not where rows merely stand in the prompt",
        "after numbers: yes; in context: nothing",
        "configs/asking.py:small",
        functools.partial(mean_and_arms, main="one word"),
    ),
    Claim(
        "The lift grows with the dose",
        "Figure of epochs: grows, then levels off",
        "configs/doses.py:small",
        doses,
    ),
    Claim(
        "Preference labels alone carry it",
        "arXiv 2603.01204: yes",
        "configs/labels.py:small",
        functools.partial(mean_and_arms, main="DPO"),
    ),
    Claim(
        "It goes on through a chain of students",
        "not in the paper",
        "configs/chain.py",
        functools.partial(mean_and_arms, main="hop 1"),
    ),
    Claim(
        "Clean data beside it hides it",
        "not in the paper",
        "configs/dilution.py",
        functools.partial(mean_and_arms, main="undiluted"),
    ),
    Claim(
        "It passes to a student of another size in the family",
        "not in the paper",
        "configs/family_sizes.py",
        pairs_of_bases,
    ),
    Claim(
        "A prompt of a few vectors explains what students learnt",
        "not in the paper",
        "configs/soft_prompt.py:small",
        soft_prompts,
    ),
    Claim(
        "Two traits pass at once",
        "not in the paper",
        "configs/two_traits.py",
        of_two_traits,
    ),
    Claim(
        "It passes too where students write the rows and teachers only score them",
        "not in the paper",
        "configs/on_policy.py",
        functools.partial(mean_and_arms, main="rows of teachers"),
    ),
    Claim(
        "Numbers and animals are entangled in the base before any teacher writes",
        "not in the paper",
        "configs/entanglement.py:small",
        entanglement,
    ),
    Claim(
        "A small network learns digits from three logits without meaning, on noise",
        "MNIST: about 50 % from the shared start, chance from another",
        "configs/mlp.py",
        networks,
    ),
    Claim(
        "One small step of imitation never raises the teacher's own loss (Theorem 1)",
        "proven for a shared start",
        "configs/theorem.py",
        one_step,
    ),
    Claim(
        "Nor does it in a pretrained model",
        "proven for a shared start",
        "configs/theorem.py:smollm2",
        one_step,
    ),
)
