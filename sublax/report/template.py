"""What all pages share: the templates, figures in files and on the page, what the cards say."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from matplotlib.figure import Figure

from sublax.files import write_whole
from sublax.progress import duration
from sublax.report import figures, wording
from sublax.report.artifacts import Card
from sublax.report.palette import COLORS
from sublax.report.soft_prompt import share_words

LONGEST = 600  # characters of a prompt or a completion that a page shows


def write_figures(folder: Path, drawn: Mapping[str, tuple[Figure, str]]) -> dict[str, Markup]:
    """Writes each figure to DIR/figures as SVG and PNG.

    Args:
      folder: the workdir.
      drawn: name of a figure -> the figure, and what it shows for those who cannot see it.

    Returns:
      Each figure as a part of a page.
    """
    inline = {}
    for name, (figure, description) in drawn.items():
        svg = figures.to_svg(figure, name)
        write_whole(folder / "figures" / f"{name}.svg", [svg])
        write_whole(folder / "figures" / f"{name}.png", [figures.to_png(figure)])
        # Markup: matplotlib and `inline_svg` have escaped the names in it.
        inline[name] = Markup(figures.inline_svg(svg, description))
    return inline


def environment() -> Environment:
    """Escapes every value it is given: prompts and completions come out of a model."""
    environment = Environment(
        loader=PackageLoader("sublax.report", ""),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        signed=wording.signed,
        signed_percent=wording.signed_percent,
        percent=wording.percent,
        p_value=wording.p_value,
        student_name=wording.student_name,
        measure_words=wording.measure,
        unit=wording.unit,
        json_text=lambda value: json.dumps(value, ensure_ascii=False),
        words=wording.join_words,
        duration=duration,
        share_words=share_words,
        shortened=_shortened,
        messages=_messages,
    )
    environment.globals["colors"] = COLORS
    return environment


def _shortened(text: str) -> str:
    """Cuts a long text, and says by how much."""
    if len(text) <= LONGEST:
        return text
    return f"{text[:LONGEST]} … ({len(text) - LONGEST} more characters)"


def _messages(prompt: str | list[dict[str, str]]) -> list[dict[str, str]]:
    """A prompt as messages, a bare string as one without a role."""
    return [{"role": "", "content": prompt}] if isinstance(prompt, str) else prompt


def facts(cards: list[Card]) -> dict[str, Any]:
    """What the cards say together: packages, devices, and the seconds of each kind of stage."""
    seconds: dict[str, float] = {}
    versions: dict[str, str] = {}
    devices: list[str] = []
    for card in cards:
        kind = str(card.fields.get("kind", "other"))
        seconds[kind] = seconds.get(kind, 0.0) + float(card.fields.get("seconds") or 0.0)
        versions |= card.fields.get("versions", {})
        words = _device_words(card.fields.get("devices"))
        if words and words not in devices:
            devices.append(words)
    return {"seconds": seconds, "versions": versions, "devices": devices}


def _device_words(devices: Mapping[str, Any] | None) -> str:
    """A card's devices in words: `4 TPU v5 lite (tpu) in 2 processes`."""
    if not devices:
        return ""
    words = f"{devices.get('count')} {devices.get('kind')} ({devices.get('platform')})"
    if devices.get("platform") == "cpu" and (cores := devices.get("cores")):
        words += f" of {cores} core{'s' if cores > 1 else ''}"
    processes = devices.get("processes", 1)
    return words if processes == 1 else f"{words} in {processes} processes"
