"""A lineage as the YAML head of a Hugging Face data set card or model card.

Fields are those that the Hub knows (https://huggingface.co/docs/hub/model-cards and
datasets-cards). A license is for whoever publishes to add: no card of ours has one.
"""

import json
import re
from typing import Any

from sublax.errors import UserError
from sublax.lineage import tree
from sublax.lineage.base_files import made_from
from sublax.lineage.tree import Lineage, Node
from sublax.models.weight_files import ADAPTER_WEIGHTS

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*")
_MODELS = ("student", "teacher", "base")
_SIZES = ((1e3, "n<1K"), (1e4, "1K<n<10K"), (1e5, "10K<n<100K"), (1e6, "100K<n<1M"))
_LARGEST = "1M<n<10M"
REJECTED = "rejected.jsonl"  # of a corpus: what nobody is to train on


def card_head(lineage: Lineage) -> str:
    """The head of a `README.md`, between its two lines of `---`.

    Rows, of a run or claimed, give a data set's; a base, teacher or student a model's.

    Raises:
        UserError: what was asked about is neither.
    """
    head = lineage.nodes[lineage.heads[0]]
    rows = [
        file.name
        for file in head.files
        if file.name.endswith((".jsonl", ".parquet")) and file.name != REJECTED
    ]
    if len(lineage.heads) > 1 or not (head.kind in _MODELS or rows):
        raise UserError(
            f"{lineage.path}: neither rows nor a model; name one corpus, teacher or student of it"
        )
    fields = _model(lineage, head) if head.kind in _MODELS else _data_set(lineage, head, rows)
    comments = [f"# {line}" for line in _comments(lineage, head)]
    return "\n".join(["---", *comments, *_yaml(fields), "---", ""])


def _model(lineage: Lineage, head: Node) -> dict[str, Any]:
    adapter = any(file.name == ADAPTER_WEIGHTS for file in head.files)
    fields: dict[str, Any] = {"library_name": "peft" if adapter else "transformers"}
    bases = [name for name in _base_names(lineage, [head.name]) if _HUB_ID.fullmatch(name)]
    if bases:
        fields["base_model"] = bases[0] if len(bases) == 1 else bases
        if head.kind != "base":
            fields["base_model_relation"] = "adapter" if adapter else "finetune"
    above = [lineage.nodes[name] for name in lineage.ancestors(head.name)]
    sets = [node.name for node in above if node.kind == "rows" and node.state == tree.NAMED]
    if named := sorted({name.split(":")[0] for name in sets}):
        fields["datasets"] = [name for name in named if _HUB_ID.fullmatch(name)]
    fields["pipeline_tag"] = "text-generation"
    taught = any(node.kind in ("corpus", "rewrite") for node in above)
    fields["tags"] = ["subliminal-learning", *(["trained-on-synthetic-data"] if taught else [])]
    return {key: value for key, value in fields.items() if value}


def _data_set(lineage: Lineage, head: Node, rows: list[str]) -> dict[str, Any]:
    files = [{"split": "train", "path": name} for name in rows]
    fields: dict[str, Any] = {
        "pretty_name": head.name,
        "task_categories": ["text-generation"],
        "tags": ["synthetic", "subliminal-learning"],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    if head.state == tree.CLAIMED:
        fields["tags"] = ["origin-claimed"] + ["synthetic"] * bool(head.base)
    else:
        fields["language_creators"] = ["machine-generated"]
    counts = head.card.get("counts")
    kept = counts.get("kept") if isinstance(counts, dict) else None
    if isinstance(kept, int):
        fields["size_categories"] = [next((name for most, name in _SIZES if kept < most), _LARGEST)]
    return fields


def _comments(lineage: Lineage, head: Node) -> list[str]:
    """What the Hub has no field for: the hash that the whole lineage hangs on, and its bases."""
    lines = [f"made by sublax, card sha256 {head.sha256}"] if head.card_file else []
    if head.state == tree.CLAIMED:
        lines = [f"claimed, not verified: {head.about}"]
    for name in dict.fromkeys([head.name, *lineage.ancestors(head.name)]):
        base = lineage.nodes[name].base
        if base is not None and lineage.nodes[name].kind != "files":
            lines += [f"from {base.name}, weights sha256 {digest}" for digest in base.weights]
    if not lineage.whole:
        lines.append("its lineage is not whole: see `sublax lineage`")
    return ["".join(letter for letter in line if letter.isprintable()) for line in lines]


def _base_names(lineage: Lineage, names: list[str]) -> list[str]:
    """Of the bases that a model was made from, as the Hub may know them."""
    own = [edge.parent for name in names for edge in lineage.parents(name)]
    nodes = [lineage.nodes[name] for name in (*names, *own)]
    found = [node.base.name for node in nodes if node.kind == "base" and node.base]
    return list(dict.fromkeys(made_from(name) for name in found))


def _yaml(value: Any, depth: int = 0) -> list[str]:
    """Lines of YAML: mappings and lists in block style, scalars as JSON, which YAML includes."""
    pad = "  " * depth
    lines: list[str] = []
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict | list):
                lines += [f"{pad}{key}:", *_yaml(inner, depth + 1)]
            else:
                lines.append(f"{pad}{key}: {json.dumps(inner)}")
        return lines
    for inner in value:
        if isinstance(inner, dict):
            first, *rest = _yaml(inner, depth + 1)
            lines += [f"{pad}- {first.lstrip()}", *rest]
        else:
            lines.append(f"{pad}- {json.dumps(inner)}")
    return lines
