"""The page of an audit: its verdict, what the rows speak for, which of them, and its limits."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sublax.files import write_whole
from sublax.report import artifacts, template
from sublax.report.scripts import scripts
from sublax.report.tokens import TokenRow, token_rows

DRAWN = 4  # candidates whose shift is drawn over the dose: more lines tell less
TOKEN_ROWS = 12  # flagged rows of each trait that are shown token by token


def is_audit(folder: Path) -> bool:
    """Whether `sublax audit` has finished there."""
    return (folder / "verdict" / "verdict.json").exists()


def write_audit(folder: Path) -> Path:
    """Writes AUDIT/report.html, and its chart to AUDIT/figures as SVG and PNG.

    Args:
        folder: the --output of `sublax audit`, with its verdict.

    Returns:
        The path of the page.

    Raises:
        UserError: a file is not JSON.
    """
    # Not at the top: an audit without --output needs no charts, whose library takes its time.
    from sublax.report.charts.candidates import excesses
    from sublax.report.charts.chart import embedded, write_files
    from sublax.report.charts.lines import shift_by_dose

    result = artifacts.read_json(folder / "verdict" / "verdict.json")
    charts = {"candidates": excesses(result)}
    if result["words"] is not None:
        foremost = result["candidates"][:DRAWN]
        charts["doses"] = shift_by_dose({entry["trait"]: entry["shift"] for entry in foremost})
    write_files(folder, charts)
    cards = artifacts.read_cards(folder)
    page = (
        template.environment()
        .get_template("audit.html.j2")
        .render(
            result=result,
            headline=headline(result),
            verdict_color="bad" if result["carries"] else "positive",
            flagged=flagged(result),
            command=command(result),
            charts=charts,
            chart_data=embedded(charts),
            scripts=scripts(with_charts=True),
            left_out=0,
            cards=cards,
            intact=all(parent.state != "changed" for card in cards for parent in card.parents),
            facts=template.facts(cards),
            config={"base": result["model"]},
        )
    )
    path = folder / "report.html"
    write_whole(path, [page.encode()])
    return path


def headline(result: Mapping[str, Any]) -> str:
    """The finding in a few words."""
    if result["carries"]:
        return f"These rows carry {' and '.join(result['carries'])}"
    count = len(result["candidates"])
    return f"Nothing found among {count} candidate{'s' if count > 1 else ''}"


def command(result: Mapping[str, Any]) -> str:
    """What asks the same again, as far as the verdict says what was set."""
    groups: dict[str, list[str]] = {}
    for entry in sorted(result["candidates"], key=lambda entry: entry["trait"]):
        groups.setdefault(entry["group"], []).append(entry["trait"])
    own = groups.pop("candidates", [])
    return " ".join(
        [
            f"sublax audit --model={result['model']} --dataset={result['dataset']['name']}",
            *([f"--candidates={','.join(own)}"] if own else []),
            *([f"--pack={','.join(groups)}"] if groups else []),
            f"--rows={result['options']['rows']} --seed={result['options']['seed']}",
            "--output=ANOTHER_FOLDER",
        ]
    )


def flagged(result: Mapping[str, Any]) -> list[tuple[Mapping[str, Any], list[TokenRow]]]:
    """The candidates whose rows were scored, with the first flagged rows of each."""
    return [
        (entry, token_rows(entry["flags"]["rows"][:TOKEN_ROWS], f"flags of {entry['trait']}"))
        for entry in result["candidates"]
        if "flags" in entry
    ]
