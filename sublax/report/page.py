"""The report: one HTML page that needs nothing but itself, made from the artifacts alone."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sublax.files import write_whole
from sublax.report import arms, artifacts, bases, figures, suites, template, wording
from sublax.report.soft_prompt import soft_prompt_lifts, soft_prompt_rows, soft_prompt_words

SAMPLES = 4  # rows of each corpus that the page shows
TRAIT = "log_probability_of_trait"  # the scalar that training writes from time to time


def write_report(workdir: str | os.PathLike[str]) -> Path:
    """Writes DIR/report.html, and each of its figures to DIR/figures as SVG and PNG.

    Args:
      workdir: the folder that `sublax run` wrote, with transfer.json; what else is missing (cards,
        rows, metrics, the config) is left out of the page.

    Returns:
      The path of the page.

    Raises:
      UserError: there is no workdir or no transfer.json, or one of its files is malformed.
    """
    folder = Path(workdir)
    transfer = artifacts.read_transfer(folder)
    config = artifacts.read_config(folder)
    cards = artifacts.read_cards(folder)
    corpora = artifacts.read_corpora(folder, cards, SAMPLES)
    drawn = _draw(transfer, artifacts.read_curves(folder)) | _draw_arms(transfer, config)
    inline = template.write_figures(folder, drawn)
    soft = transfer.get("soft_prompt")
    layout = template.environment().get_template("page.html.j2")
    page = layout.render(
        transfer=transfer,
        verdict=(wording.verdict if transfer["traits"] else suites.suite_verdict)(transfer),
        measures=list(suites.measures(transfer)),
        titles=suites.TITLES,
        measure=wording.measure(transfer),
        unit=wording.unit(transfer),
        sampled=transfer.get("sampled_share", {}),
        results=wording.trait_results(transfer),
        questions=_count_questions(transfer),
        candidates=list(wording.choice_shares(transfer).get("base", {})),
        figures=inline,
        cells=_cells(transfer),
        soft_prompt_words=soft_prompt_words(soft) if soft else [],
        soft_prompt_rows=list(soft_prompt_rows(soft)) if soft else [],
        arms=arms.rows_of(transfer) if transfer.get("arms") and transfer["traits"] else [],
        cards=cards,
        intact=all(parent.state != "changed" for card in cards for parent in card.parents),
        facts=template.facts(cards),
        corpora=corpora,
        label_of=_labels([corpus.card.path for corpus in corpora]),
        config=config,
        config_text=json.dumps(config, indent=2, ensure_ascii=False),
    )
    path = folder / "report.html"
    write_whole(path, [page.encode()])
    return path


def _draw(transfer: Mapping[str, Any], curves: artifacts.Curves) -> dict[str, tuple[Figure, str]]:
    """Name of a figure -> the figure, and what it shows for those who cannot see it."""
    drawn = {
        f"suite_{suite}_{measure}": (
            suites.suite_shares(found, measure),
            f"Share of {measure} for base, teachers and students, with interval.",
        )
        for suite, measure, found in suites.measures(transfer)
    }
    if transfer["traits"]:
        drawn |= _draw_matrix(transfer)
    if any(scalars.get("loss") for scalars in curves.values()):
        drawn["training"] = (
            figures.training_curves(curves),
            "Loss of teachers and students at each update.",
        )
    if any(scalars.get(TRAIT) for scalars in curves.values()):
        drawn["trait"] = (
            figures.training_curves(curves, TRAIT),
            "Log-probability of its trait in each student as training goes.",
        )
    return drawn


def _draw_matrix(transfer: Mapping[str, Any]) -> dict[str, tuple[Figure, str]]:
    lifts = "; ".join(
        f"{result.trait} {wording.signed(result.lift)}"
        for result in wording.trait_results(transfer)
    )
    drawn = {
        "transfer": (
            figures.transfer_matrix(transfer),
            f"Matrix of shifts, students by traits. The lifts are: {lifts}.",
        ),
        "shifts": (figures.shifts(transfer), "Shift of each student on each trait with interval."),
    }
    cells = transfer.get("cells", [])
    if bases.has_matrix(cells):
        drawn["bases"] = (
            bases.bases_matrix(cells),
            "Matrix of mean lifts, students' bases by teachers' bases; the table below has them.",
        )
        drawn["bases_distance"] = (
            bases.transfer_by_distance(cells),
            "Mean lift of each pair of bases against the distance of their weights and behaviour.",
        )
    if soft := transfer.get("soft_prompt"):
        drawn["soft_prompt"] = (
            soft_prompt_lifts(soft),
            "Lift of each student against that of the base under its soft prompt; the table has "
            "those of the students' own traits.",
        )
    if wording.choice_shares(transfer):
        drawn["choice_share"] = (
            figures.choice_share(transfer),
            "Share of each trait among the answers, before and after training.",
        )
    return drawn


def _draw_arms(
    transfer: Mapping[str, Any], config: Mapping[str, Any]
) -> dict[str, tuple[Figure, str]]:
    """The same of the arms, where there are any."""
    if not transfer.get("arms") or not transfer["traits"]:
        return {}
    lifts = "; ".join(
        f"{arm['name']} {wording.signed(arm['mean_lift']['value'])}"
        for arm in arms.rows_of(transfer)
    )
    drawn = {"arms": (arms.forest(transfer), f"Lift of each arm with interval: {lifts}.")}
    curves = arms.find_curves(transfer, config)
    if curves:
        keys = wording.join_words(list(dict.fromkeys(curve.key for curve in curves)))
        drawn["curves"] = (
            arms.dose_response(curves, wording.unit(transfer)),
            f"Mean lift of the arms over {keys}.",
        )
    return drawn


def _labels(paths: list[str]) -> dict[str, str]:
    """Path of an artifact -> its last part, or the path where two end alike."""
    names = [path.rsplit("/", 1)[-1] for path in paths]
    return {
        path: name if names.count(name) == 1 else path
        for path, name in zip(paths, names, strict=True)
    }


def _count_questions(transfer: Mapping[str, Any]) -> int | None:
    """How many questions each margin is a mean over."""
    per_question = transfer.get("per_question", {}).get("base", {})
    return next((len(values) for values in per_question.values()), None)


def _cells(transfer: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The pairs of teacher base and student base of a run over several, with their verdicts."""
    return [
        {
            "teacher_base": cell.get("teacher_base", "?"),
            "student_base": cell.get("student_base", "?"),
            "verdict": wording.verdict(cell),
            "results": wording.trait_results(cell),
        }
        for cell in transfer.get("cells", [])
    ]
