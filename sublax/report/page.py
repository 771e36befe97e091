"""The report: one HTML page that needs nothing but itself, made from the artifacts alone."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from sublax.files import write_whole
from sublax.report import arms, artifacts, suites, template, two_traits, wording
from sublax.report.lineage import graph
from sublax.report.matrix import cells_of
from sublax.report.scripts import scripts
from sublax.report.soft_prompt import soft_prompt_lifts, soft_prompt_rows, soft_prompt_words
from sublax.report.tokens import TokenRow, read_token_rows

SAMPLES = 8  # rows of each corpus that the page shows
TOKEN_ROWS = 12  # rows of each artifact that are shown token by token


def write_report(workdir: str | os.PathLike[str]) -> Path:
    """Writes DIR/report.html, and each of its charts to DIR/figures as SVG and PNG.

    Args:
      workdir: the folder that `sublax run` wrote, with transfer.json; what else is missing (cards,
        rows, metrics, the config) is left out of the page.

    Returns:
      The path of the page.

    Raises:
      UserError: there is no workdir or no transfer.json, or one of its files is malformed.
    """
    # Not at the top: a run imports this module, and should not start later for its last page.
    from sublax.report.charts.chart import embedded, write_files
    from sublax.report.charts.of_run import DOSE, TRAINING, TRAIT_CURVES, charts_of

    folder = Path(workdir)
    transfer = artifacts.read_transfer(folder)
    config = artifacts.read_config(folder)
    cards = artifacts.read_cards(folder)
    corpora = artifacts.read_corpora(folder, cards, SAMPLES)
    label_of = _labels([corpus.card.path for corpus in corpora])
    shown = {label_of[corpus.card.path]: corpus for corpus in corpora}
    charts = charts_of(transfer, config, cards, shown, artifacts.read_curves(folder))
    write_files(folder, charts)
    soft = transfer.get("soft_prompt")
    layout = template.environment().get_template("page.html.j2")
    page = layout.render(
        transfer=transfer,
        verdict=verdict(transfer),
        measures=list(suites.measures(transfer)),
        titles=suites.TITLES,
        measure=wording.measure(transfer),
        unit=wording.unit(transfer),
        sampled=transfer.get("sampled_share", {}),
        results=wording.trait_results(transfer),
        cells=cells_of(transfer),
        questions=_count_questions(transfer),
        candidates=list(wording.choice_shares(transfer).get("base", {})),
        base_cells=_cells(transfer),
        arms=arms.rows_of(transfer) if transfer.get("arms") and transfer["traits"] else [],
        answers_of_arms=list(suites.answers_of_arms(transfer)),
        doses=_named(charts, DOSE),
        training=_named(charts, TRAINING),
        trait_curves=_named(charts, TRAIT_CURVES),
        figures=template.write_figures(
            folder, {**_draw_two_traits(transfer), **_draw_soft_prompt(soft)}
        ),
        two_traits_summary=two_traits.summary(transfer) if transfer.get("two_traits") else "",
        soft_prompt_words=soft_prompt_words(soft) if soft else [],
        soft_prompt_rows=list(soft_prompt_rows(soft)) if soft else [],
        charts=charts,
        chart_data=embedded(charts),
        scripts=scripts(with_charts=bool(charts)),
        left_out=graph(cards).left_out,
        cards=cards,
        intact=all(parent.state != "changed" for card in cards for parent in card.parents),
        facts=template.facts(cards),
        corpora=corpora,
        label_of=label_of,
        token_rows=_token_rows(folder, cards),
        config=config,
        config_text=json.dumps(config, indent=2, ensure_ascii=False),
        compares=True,
    )
    path = folder / "report.html"
    write_whole(path, [page.encode()])
    return path


def verdict(transfer: Mapping[str, Any]) -> wording.Verdict:
    """What a run found, be it of traits or of suites alone."""
    return (wording.verdict if transfer["traits"] else suites.suite_verdict)(transfer)


def _draw_two_traits(transfer: Mapping[str, Any]) -> dict[str, tuple[Figure, str]]:
    if not transfer.get("two_traits"):
        return {}
    return {"two_traits": (two_traits.lifts_of_two(transfer), two_traits.summary(transfer))}


def _draw_soft_prompt(soft: Mapping[str, Any] | None) -> dict[str, tuple[Figure, str]]:
    if not soft:
        return {}
    words = (
        "Lift of each student against that of the base under its soft prompt; the table has those "
        "of the students' own traits."
    )
    return {"soft_prompt": (soft_prompt_lifts(soft), words)}


def _named(charts: Mapping[str, Any], prefix: str) -> list[str]:
    return [name for name in charts if name.startswith(prefix)]


def _token_rows(folder: Path, cards: list[artifacts.Card]) -> dict[str, list[TokenRow]]:
    """Path of an artifact -> its first rows, of those that have ratios."""
    found = {card.path: read_token_rows(folder / card.path, TOKEN_ROWS) for card in cards}
    return {path: rows for path, rows in found.items() if rows}


def _labels(paths: list[str]) -> dict[str, str]:
    """Path of an artifact -> its last part, with its arm's name; the path where two are alike."""
    names = []
    for path in paths:
        parts = path.split("/")
        arm = f"{parts[1]}: " if parts[0] == "arms" and len(parts) > 2 else ""
        seed = parts[-1].startswith("seed-") and len(parts) > 1
        names.append(arm + (f"{parts[-2]}, {parts[-1]}" if seed else parts[-1]))
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
