"""What soft prompts found, from transfer.json alone: figure, rows of a table, words."""

from collections.abc import Iterator, Mapping
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D

from sublax.report.figures import CATEGORIES, INK, MUTED, STYLE, SURFACE
from sublax.report.wording import p_value, percent, signed

# What the texts are that they were found on.
TEXTS = {"corpus": "the control’s rows", "questions": "training questions"}
Content = Mapping[str, Any]


def lifts_of(matrix: Content) -> np.ndarray:
    """Each student's shift minus the other students' mean, [M, T]."""
    shift_MxT = np.asarray(matrix["shift"])
    others_MxT = (shift_MxT.sum(axis=0) - shift_MxT) / (len(shift_MxT) - 1)
    return shift_MxT - others_MxT


@matplotlib.rc_context(STYLE)
def soft_prompt_lifts(content: Content) -> Figure:
    """Every student's lift of every trait against that of the base under its soft prompt.

    A lift is a shift minus the mean of the other students' in its column.

    Args:
      content: what transfer.json has of soft prompts.
    """
    texts = content["texts"]
    layout = ConstrainedLayoutEngine(h_pad=0.09)
    figure = Figure((0.9 + 3.5 * len(texts), 5.3), layout=layout)
    panels = figure.subplots(1, len(texts), squeeze=False, sharex=True, sharey=True)[0]
    traits = next(iter(texts.values()))["of_students"]["traits"]
    colors = {trait: CATEGORIES[place % 6] for place, trait in enumerate(traits)}
    for axes, (kind, found) in zip(panels, texts.items(), strict=True):
        sides = found["of_students"], found["of_soft_prompts"]
        student_MxT, soft_MxT = (lifts_of(side) for side in sides)
        for zero in (axes.axhline, axes.axvline):
            zero(0, color=MUTED, linewidth=0.7, zorder=0)
        axes.axline((0, 0), slope=1, color=MUTED, linewidth=0.9, linestyle=(0, (4, 3)), zorder=0)
        for row, name in enumerate(sides[0]["students"]):
            for column, trait in enumerate(traits):
                place = student_MxT[row, column], soft_MxT[row, column]
                if name != trait:
                    axes.plot(
                        *place, "o", color=colors[trait], markersize=5, alpha=0.55,
                        markeredgewidth=0,
                    )  # fmt: skip
                    continue
                across, up = (side["lift"][trait] for side in sides)
                line: dict[str, Any] = {"color": colors[trait], "linewidth": 1.5, "zorder": 2}
                axes.plot([across["low"], across["high"]], [place[1]] * 2, **line)
                axes.plot([place[0]] * 2, [up["low"], up["high"]], **line)
                edge: dict[str, Any] = {"markeredgecolor": SURFACE, "markeredgewidth": 0.9}
                axes.plot(*place, "D", color=colors[trait], markersize=8, zorder=3, **edge)
        cells = found["cells"]
        r = "–" if cells["r"] is None else signed(cells["r"])
        axes.set_title(f"found on {TEXTS[kind]}\nall cells: r {r}, p {p_value(cells['p'])}")
        axes.set_xlabel("lift in the student (nats)")
        axes.tick_params(length=0, colors=MUTED)
        axes.locator_params(nbins=6)
    # One scale both ways, so that what is equal lies on the diagonal.
    limits = [edge for axes in panels for edge in (*axes.get_xlim(), *axes.get_ylim())]
    for axes in panels:
        axes.set(xlim=(min(limits), max(limits)), ylim=(min(limits), max(limits)))
        axes.set_box_aspect(1)
    panels[0].set_ylabel("lift in the base under its soft prompt (nats)")
    title = f"What {content['vectors']} vectors in the base’s prompt give of each student"
    figure.suptitle(title, x=0.012, ha="left", size=11.5, weight="bold")
    marks: list[tuple[str, str, str]] = [(colors[trait], "s", trait) for trait in traits]
    marks += [(INK, "D", "own trait, 95 %"), (INK, "o", "other students"), (MUTED, "--", "equal")]
    handles = [
        Line2D([], [], color=color, linestyle="--") if mark == "--"
        else Line2D([], [], color=color, marker=mark, linestyle="", markersize=6)
        for color, mark, _ in marks
    ]  # fmt: skip
    figure.legend(handles, [words for *_, words in marks], loc="outside lower center",
                  ncols=min(len(marks), 4), frameon=False, handletextpad=0.3)  # fmt: skip
    return figure


def soft_prompt_rows(content: Content) -> Iterator[dict[str, Any]]:
    """A row for each kind of texts and trait: what a table says of the trait's own student."""
    for kind, found in content["texts"].items():
        for trait in found["of_students"]["traits"]:
            ranks = found["ranks"]
            others = [rank for name, of in ranks.items() if name != trait for rank in of[trait]]
            yield {
                "texts": TEXTS[kind],
                "trait": trait,
                "student": found["of_students"]["lift"][trait],
                "soft": found["of_soft_prompts"]["lift"][trait],
                "share": found["share"][trait],
                "rank": min(ranks[trait][trait]),
                "rank_of_others": min(others),
                "nearest": [[one["token"] for one in near] for near in found["nearest"][trait][0]],
            }


def soft_prompt_words(content: Content) -> list[str]:
    """What was found, a line for each kind of texts; a null is called one."""
    return [_words(content, kind) for kind in content["texts"]]


def _words(content: Content, kind: str) -> str:
    found = content["texts"][kind]
    mean, traits = found["of_soft_prompts"]["mean_lift"], found["of_students"]["traits"]
    shown = [t for t in traits if found["of_soft_prompts"]["lift"][t]["low"] > 0]
    whole = found["of_students"]["mean_lift"]["value"]
    lead = f"Soft prompts of {content['vectors']} vectors, found on {TEXTS[kind]}: "
    if mean["low"] > 0:
        lead += f"the base under them takes the traits for {len(shown)} of {len(traits)}"
    else:
        lead += f"a null, and a mean lift above {mean['detectable']:.2f} would have been seen"
    kept = found["divergence"].values()
    before, after = (
        float(np.mean([one[when] for own in kept for one in own])) for when in ("before", "after")
    )
    reading, cells = found["readable"], found["cells"]
    r = "–" if cells["r"] is None else signed(cells["r"])
    return (
        f"{lead}. Mean lift {signed(mean['value'])} [{signed(mean['low'])}, "
        f"{signed(mean['high'])}], p {p_value(mean['p'])}, where the students’ is {signed(whole)}; "
        f"over all cells r {r} (p {p_value(cells['p'])}, students exchanged). KL from the student "
        f"{before:.4f} without them, {after:.4f} with them, nats a token. A trait’s own token is "
        f"{_ordinal(reading['own'])} nearest to one of its own vectors, "
        f"{_ordinal(reading['others'])} to others’ (geometric means, of {reading['tokens']} "
        f"tokens; p {p_value(reading['p'])}, traits exchanged)."
    )


def share_words(share: Mapping[str, float] | None) -> str:
    """A share that may be below zero or above one, with its interval."""
    if share is None:
        return "–"
    value, low, high = (_signed_share(share[key]) for key in ("value", "low", "high"))
    return f"{value} ({low} to {high})"


def _signed_share(share: float) -> str:
    return percent(share) if share >= 0 else "−" + percent(-share)


def _ordinal(rank: float) -> str:
    place = round(rank)
    ending = {1: "st", 2: "nd", 3: "rd"}.get(place % 10, "th") if place % 100 // 10 != 1 else "th"
    return f"{place}{ending}"
