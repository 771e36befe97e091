"""What the filter kept of each corpus, and what it rejected, by reason."""

from collections.abc import Mapping
from typing import Any

from sublax.report import wording
from sublax.report.charts.chart import Chart
from sublax.report.charts.heat import Cell, heat_map


def kept_and_rejected(counts: Mapping[str, Mapping[str, Any]]) -> Chart | None:
    """Outcomes by corpora, as shares of what was written; None where nothing was rejected.

    Only corpora that lost a row are shown. A row rejected for two reasons counts under both.

    Args:
      counts: name of a corpus -> the `counts` of its card, those with "written" and "rejected".
    """
    known = {name: of for name, of in counts.items() if of.get("written") and of.get("rejected")}
    totals: dict[str, int] = {}
    for of in known.values():
        for reason, count in of["rejected"].items():
            totals[reason] = totals.get(reason, 0) + count
    if not totals:
        return None
    reasons = sorted(totals, key=lambda reason: -totals[reason])
    cells = []
    for outcome in ["kept", *reasons]:
        for name, of in known.items():
            count = of["kept"] if outcome == "kept" else of["rejected"].get(outcome, 0)
            share = count / of["written"]
            text = wording.percent(share) if count else "0 %"
            tip = {"corpus": name, "outcome": outcome, "rows": f"{count} of {of['written']}",
                   "share": text}  # fmt: skip
            said = f"{name}, {outcome}: {count} of {of['written']} rows, {text}"
            strength = share if outcome == "kept" else -share
            words = outcome.replace("_", " ")
            cells.append(Cell(words, name, strength, text, str(count), False, False, tip, said))
    title = "Rows kept, and rejected by reason (share of those written)"
    said = f"Share of rows kept and rejected in {len(known)} corpora; the table has the counts."
    return heat_map(title, cells, said)
