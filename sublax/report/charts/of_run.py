"""All charts of a run's page, by name, in the order of the page."""

from collections.abc import Mapping, Sequence
from typing import Any

from sublax.report import wording
from sublax.report.arms import find_curves
from sublax.report.artifacts import Card, Corpus, Curves
from sublax.report.charts import arms, bases, corpora, lineage, lines, suites, transfer
from sublax.report.charts.chart import Chart
from sublax.report.lineage import graph
from sublax.report.suites import measures

TRAIT = "log_probability_of_trait"  # the scalar that training writes from time to time
DOSE, TRAINING, TRAIT_CURVES = "dose_", "training_", "trait_"  # begin the names of several


def charts_of(
    found: Mapping[str, Any],
    config: Mapping[str, Any],
    cards: Sequence[Card],
    shown: Mapping[str, Corpus],
    curves: Curves,
) -> dict[str, Chart]:
    """The charts of what is there.

    Args:
      found: transfer.json.
      config: the run's, plain; empty where it is not known.
      cards: of all artifacts.
      shown: name of a corpus on the page -> the corpus.
      curves: what training wrote.
    """
    charts = _of_matrix(found) | _of_arms(found, config) if found["traits"] else {}
    charts |= {
        f"suite_{suite}_{measure}": suites.shares(content, measure)
        for suite, measure, content in measures(found)
    }
    counts = {name: corpus.card.fields.get("counts", {}) for name, corpus in shown.items()}
    if kept := corpora.kept_and_rejected(counts):
        charts["kept"] = kept
    for prefix, scalar in ((TRAINING, "loss"), (TRAIT_CURVES, TRAIT)):
        drawn = lines.training(curves, scalar)
        charts |= {f"{prefix}{group}": one for group, one in drawn.items()}
    if cards:
        charts["lineage"] = lineage.drawing(graph(cards))
    return charts


def _of_matrix(found: Mapping[str, Any]) -> dict[str, Chart]:
    charts = {"transfer": transfer.matrix(found), "shifts": transfer.shifts(found)}
    cells = found.get("cells", [])
    if bases.has_matrix(cells):
        charts["bases"] = bases.matrix(cells)
        by_distance = bases.by_distance(cells)
        charts |= {f"bases_{name}": one for name, one in by_distance.items()}
    if wording.choice_shares(found):
        charts["choice_share"] = transfer.choice_share(found)
    return charts


def _of_arms(found: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Chart]:
    if not found.get("arms"):
        return {}
    doses = lines.dose_response(find_curves(found, config), wording.unit(found))
    charts = {f"{DOSE}{key.replace('.', '_')}": one for key, one in doses.items()}
    return {**charts, "arms": arms.forest(found)}
