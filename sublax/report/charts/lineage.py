"""The drawing of what was made from what, from the base's files at the top to what was measured."""

import altair as alt

from sublax.report.charts.chart import Chart, chart, data, tip_channels, with_tip
from sublax.report.lineage import Graph, Node
from sublax.report.palette import variable

_LAYER = 74  # pixels from one layer to the next
_TALL = 0.44  # of that, a box
_WIDTH = 84  # pixels of a box and the gap beside it
_CHARACTERS = 13  # of a label in such a box


def drawing(graph: Graph) -> Chart:
    """Boxes in layers and the lines between them; what was changed is orange and dashed."""
    across = max(sum(node.layer == layer for node in graph.nodes) for layer in _layers(graph))
    at = {node.path: node for node in graph.nodes}
    # A box never takes the room of more than a third of the width.
    half = 0.5 / max(across, 3) * 0.9
    boxes = []
    for node in graph.nodes:
        long = len(node.label) > _CHARACTERS * max(across, 3) / _count(graph, node)
        label = f"{node.label[: _CHARACTERS - 1]}…" if long and across > 2 else node.label
        wide = min(half * max(across, 3) / _count(graph, node), max(half, 0.011 * len(label)))
        tip = {
            "artifact": node.path,
            "kind": node.kind,
            "sha256": f"{node.sha256[:16]}…",
            "state": "changed after others were made from it" if node.changed else "",
        }
        said = f"{node.kind} {node.path}"
        made_from = [edge.source for edge in graph.edges if edge.target == node.path]
        said += f", made from {', '.join(made_from)}" if made_from else ""
        said += ", changed after others were made from it" if node.changed else ""
        boxes.append(
            {
                "left": node.place - wide,
                "right": node.place + wide,
                "middle": node.place,
                "top": node.layer,
                "bottom": node.layer + _TALL,
                "center": node.layer + _TALL / 2,
                "label": label,
                "stroke": variable("bad" if node.changed else _stroke(node)),
                "dashed": node.changed or node.kind == "outside",
                **with_tip(tip, said),
            }
        )
    tip = {"artifact": "", "kind": "", "sha256": "", "state": ""}
    depth = max(_layers(graph)) + 1
    x = alt.Scale(domain=[0, 1], nice=False)
    y = alt.Scale(domain=[depth - 1 + _TALL + 0.12, -0.3], nice=False)
    plot = alt.Chart(data(boxes))
    box_layers = []
    for of, dash in ((~alt.datum.dashed, [1, 0]), (alt.datum.dashed, [5, 3])):
        box = plot.transform_filter(of).mark_rect(
            cornerRadius=5, fill=variable("surface"), strokeWidth=1.5, strokeDash=dash
        )
        box_layers.append(
            box.encode(
                x=alt.X("left:Q", scale=x, axis=None),
                x2="right:Q",
                y=alt.Y("top:Q", scale=y, axis=None),
                y2="bottom:Q",
                stroke=alt.Stroke("stroke:N", scale=None),
                **tip_channels(tip),
            )
        )
    text = plot.mark_text(fontSize=11.5, aria=False).encode(
        x=alt.X("middle:Q", scale=x, axis=None),
        y=alt.Y("center:Q", scale=y, axis=None),
        text="label:N",
        **tip_channels(tip, described=False),
    )
    kinds: dict[int, list[str]] = {}
    for node in graph.nodes:
        kinds.setdefault(node.layer, []).append(_plural(node.kind, _count(graph, node)))
    names = alt.Chart(
        data(
            [
                {"text": ", ".join(dict.fromkeys(of)), "at": layer - 0.13}
                for layer, of in kinds.items()
            ]
        )
    ).mark_text(align="left", fontSize=11, color=variable("muted"), aria=False)
    names = names.encode(x=alt.value(0), y=alt.Y("at:Q", scale=y, axis=None), text="text:N")
    layers = [_edges(graph, at, x, y), *box_layers, text, names]
    said = f"{len(graph.nodes)} artifacts in {depth} layers; the table below has them all."
    height = round(_LAYER * (depth + 0.1))
    return chart("What was made from what", layers, said, height=height,
                 min_width=_WIDTH * across)  # fmt: skip


def _edges(graph: Graph, at: dict[str, Node], x: alt.Scale, y: alt.Scale) -> alt.Chart:
    rows = []
    for index, edge in enumerate(graph.edges):
        source, target = at[edge.source], at[edge.target]
        start, end = source.layer + _TALL, float(target.layer)
        bend = (start + end) / 2
        ways = [(source.place, start), (source.place, bend), (target.place, bend),
                (target.place, end)]  # fmt: skip
        for step, (across, down) in enumerate(ways):
            rows.append(
                {"edge": index, "step": step, "x": across, "y": down,
                 "color": variable("bad" if edge.state == "changed" else "quiet"),
                 # What leaps over layers lies behind all that is between.
                 "strength": 0.75 if target.layer - source.layer == 1 else 0.3}
            )  # fmt: skip
    line = alt.Chart(data(rows)).mark_line(interpolate="basis", strokeWidth=1.2, aria=False)
    return line.encode(
        x=alt.X("x:Q", scale=x, axis=None),
        y=alt.Y("y:Q", scale=y, axis=None),
        detail="edge:N",
        order="step:Q",
        opacity=alt.Opacity("strength:Q", scale=None),
        color=alt.Color("color:N", scale=None),
    )


def _layers(graph: Graph) -> list[int]:
    return sorted({node.layer for node in graph.nodes})


def _count(graph: Graph, node: Node) -> int:
    return sum(other.layer == node.layer for other in graph.nodes)


def _stroke(node: Node) -> str:
    return {"outside": "muted", "files": "muted", "base": "ink", "evaluation": "own"}.get(
        node.kind, "quiet"
    )


def _plural(kind: str, count: int) -> str:
    if count == 1 or kind in ("files", "outside"):
        return kind
    return {"corpus": "corpora", "base": "bases"}.get(kind, f"{kind}s")
