"""The page of an experiment whose results are a few figures with what they say, in words."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from sublax.errors import UserError
from sublax.files import write_whole
from sublax.report import artifacts, entanglement, networks, template, theorem
from sublax.report.scripts import scripts

Result = Mapping[str, Any]


class Finding(NamedTuple):
    """One section of the page.

    Attributes:
        stage: whose result it shows, DIR/STAGE/STAGE.json.
        title: of the section.
        draw: the figure of a result.
        words: what the result says, a line each, with its numbers.
        explanation: how the figure is to be read.
    """

    stage: str
    title: str
    draw: Callable[[Result], Figure]
    words: Callable[[Result], list[str]]
    explanation: str


class Outline(NamedTuple):
    """A page: its title, its sections, and what they do not show."""

    title: str
    findings: tuple[Finding, ...]
    limits: tuple[str, ...]


# As `config.experiment` says it -> its page.
OUTLINES = {
    "networks": Outline(
        "What small networks learn from noise and logits without meaning",
        (
            Finding(
                "networks",
                "Who can read the images",
                networks.accuracies,
                networks.accuracy_words,
                "Teachers learn labels. Students see noise, and their teacher's logits on it.",
            ),
            Finding(
                "sweep",
                "What it depends on",
                networks.sweeps,
                networks.sweep_words,
                "One of the student's settings is changed at a time, the others stay.",
            ),
        ),
        (
            "Small images and small networks. That a setting matters here does not say how much it "
            "matters in a language model.",
            "Intervals are over seeds: starts, noise and orders. The labelled images are the same "
            "throughout.",
        ),
    ),
    "entanglement": Outline(
        "Are numbers and traits tied to each other in the base?",
        (
            Finding(
                "entanglement",
                "Both directions, number by number",
                entanglement.entangled,
                entanglement.entanglement_words,
                "Nothing was trained. Across: how far a number that the model is told to love "
                "moves the trait's margin against the other candidates. Up: how far a model that "
                "is told to love the trait comes to say that number, against what the other traits "
                "do to it. A dot is a number; those that raise the trait most are named. The last "
                "panel has Spearman's rho of each trait's one direction with each trait's other.",
            ),
        ),
        (
            "A tie in the base does not say that data carry a trait through it: that takes "
            "students.",
            "Numbers share digits, and are not independent of each other. The p of a panel is the "
            "larger of two: numbers exchanged, and digits exchanged in each place. It is small in "
            "random models too, with either sign: only the exchange of traits says that a trait's "
            "numbers are its own. That can give no p below one over the number of their orders.",
            "One wording of the prompt, and a few questions. Another may move other numbers.",
        ),
    ),
    "theorem": Outline(
        "Does imitation follow the teacher?",
        (
            Finding(
                "one_step",
                "One step of imitation",
                theorem.one_step,
                theorem.one_step_words,
                "A teacher takes one step on its own loss, a student one of imitating it on inputs "
                "that have nothing to do with that loss. Theorem 1 says that from a shared start "
                "the inner product of both updates is not negative, so that the teacher's own loss "
                "does not rise in the student. The twin computes the same function as the shared "
                "start, its units in another order.",
            ),
            Finding(
                "many_steps",
                "Many steps",
                theorem.many_steps,
                theorem.many_steps_words,
                "The theorem is of one small step. Here the teacher takes n steps, then the "
                "student as many.",
            ),
            Finding(
                "lean",
                "Why another start leans towards the teacher",
                theorem.lean,
                theorem.lean_words,
                "From another start the theorem leaves the sign open. What could tip it is taken "
                "away, one thing at a time; and the inner product is split by what of the network "
                "it is over.",
            ),
        ),
        (
            "One step of gradient descent says nothing of how much a student learns in the end: "
            "that is what the other experiments measure.",
            "Steps are small shares of the parameters' length, the same for teacher and student. "
            "With the same learning rate the student's would be far smaller.",
        ),
    ),
}


def write_findings(workdir: Path) -> Path:
    """Writes DIR/report.html, and each of its figures to DIR/figures as SVG and PNG.

    Args:
        workdir: what `sublax run` wrote of an experiment of `OUTLINES`; results that are not there
            are left out of the page.

    Returns:
        The path of the page.

    Raises:
        UserError: there is no result, or one is not JSON.
    """
    config = artifacts.read_config(workdir)
    outline = OUTLINES[config["experiment"]]
    found = _results(workdir, outline)
    drawn = {
        finding.stage: (finding.draw(result), " ".join(finding.words(result)))
        for finding, result in found
    }
    inline = template.write_figures(workdir, drawn)
    cards = artifacts.read_cards(workdir)
    page = (
        template.environment()
        .get_template("findings.html.j2")
        .render(
            outline=outline,
            charts={},
            scripts=scripts(with_charts=False),
            compares=False,
            sections=[
                (finding, inline[finding.stage], finding.words(result)) for finding, result in found
            ],
            cards=cards,
            intact=all(parent.state != "changed" for card in cards for parent in card.parents),
            facts=template.facts(cards),
            config=config,
            config_text=json.dumps(config, indent=2, ensure_ascii=False),
        )
    )
    path = workdir / "report.html"
    write_whole(path, [page.encode()])
    return path


def closing_lines(workdir: Path) -> list[str]:
    """What the results say, a line each, for the terminal."""
    outline = OUTLINES[artifacts.read_config(workdir)["experiment"]]
    return [
        line for finding, result in _results(workdir, outline) for line in finding.words(result)
    ]


def _results(workdir: Path, outline: Outline) -> list[tuple[Finding, Result]]:
    found: list[tuple[Finding, Result]] = []
    for finding in outline.findings:
        path = workdir / finding.stage / f"{finding.stage}.json"
        if path.exists():
            found.append((finding, artifacts.read_json(path)))
    if not found:
        raise UserError(f"{workdir}: no result is there yet; finish it with `sublax run` first")
    return found
