"""A lineage as JSON-LD: rows as a Croissant data set, and what came first in W3C PROV.

Croissant 1.0 (http://mlcommons.org/croissant/1.0) describes the files and their columns; PROV-O
(https://www.w3.org/TR/prov-o/) says what each was made from, and by which activity.
"""

import base64
import json
import urllib.parse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sublax.lineage.tree import CLAIMED, Lineage, Node

# The context that Croissant 1.0 prescribes, and the prefix of PROV.
CONTEXT: dict[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "prov": "http://www.w3.org/ns/prov#",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
CROISSANT = "http://mlcommons.org/croissant/1.0"
_DATE = "http://www.w3.org/2001/XMLSchema#dateTime"
_ROWS = (".jsonl", ".json", ".parquet")
_FORMATS = {".jsonl": "application/jsonlines", ".json": "application/json"}
_FORMATS |= {".parquet": "application/x-parquet"}
_TYPES = {str: "sc:Text", bool: "sc:Boolean", int: "sc:Integer", float: "sc:Float"}
_MOST_BYTES = 1 << 20  # of a first row, which shows the columns


def jsonld(lineage: Lineage) -> dict[str, Any]:
    """A lineage as JSON-LD.

    Rows, of a run or claimed, are a Croissant `sc:Dataset` that is a `prov:Entity` too; all that
    they came from stands under `prov:wasDerivedFrom`, each with its own parents by `@id`. Anything
    else is a `@graph` of entities. An `@id` is the sha256 as a `ni` URI (RFC 6920) where there is
    one. A license and an address are for whoever publishes the data to add: no card has them.
    """
    if len(lineage.heads) == 1:
        head = lineage.nodes[lineage.heads[0]]
        if files := [file for file in head.files if Path(file.name).suffix in _ROWS]:
            return {"@context": CONTEXT, **_dataset(lineage, head, [file.name for file in files])}
    entities = [_entity(lineage, node) for node in lineage.nodes.values()]
    return {"@context": CONTEXT, "@graph": entities}


def _dataset(lineage: Lineage, head: Node, names: list[str]) -> dict[str, Any]:
    above = [_entity(lineage, lineage.nodes[name]) for name in lineage.ancestors(head.name)]
    entity = _entity(lineage, head)
    hashes = {file.name: file.sha256 for file in head.files}
    folder = _folder(head)
    return entity | {
        "@type": ["sc:Dataset", "prov:Entity"],
        "conformsTo": CROISSANT,
        "description": f"{head.kind} {head.name}: {head.about}".strip(": "),
        "keywords": ["synthetic", "subliminal learning"],
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": name,
                "name": name,
                "contentUrl": name,
                "encodingFormat": _FORMATS[Path(name).suffix],
                "sha256": hashes[name],
            }
            for name in names
        ],
        "recordSet": [
            record for name in names if (record := _record_set(name, _first_row(folder, name)))
        ],
        "prov:wasDerivedFrom": above,
    }


def _record_set(name: str, row: Mapping[str, Any]) -> dict[str, Any] | None:
    """What the columns of a file are, as its first row shows them."""
    stem = Path(name).stem
    fields = [_field(stem, name, key, value) for key, value in row.items()]
    fields = [field for field in fields if field]
    if not fields:
        return None
    return {"@type": "cr:RecordSet", "@id": stem, "name": stem, "field": fields}


def _field(stem: str, file: str, key: str, value: Any) -> dict[str, Any]:
    """One column; empty where its values are of no type that can be told."""
    identity = f"{stem}/{key}"
    field = {"@type": "cr:Field", "@id": identity, "name": identity}
    source = {"fileObject": {"@id": file}, "extract": {"column": key}}
    if type(value) in _TYPES:
        return field | {"dataType": _TYPES[type(value)], "source": source}
    if not (isinstance(value, list) and value and isinstance(value[0], dict)):
        return {}
    parts = [
        {
            "@type": "cr:Field",
            "@id": f"{identity}/{part}",
            "name": f"{identity}/{part}",
            "dataType": _TYPES[type(inner)],
            "source": source | {"transform": {"jsonPath": part}},
        }
        for part, inner in value[0].items()
        if type(inner) in _TYPES
    ]
    return field | {"repeated": True, "subField": parts} if parts else {}


def _entity(lineage: Lineage, node: Node) -> dict[str, Any]:
    created, versions = node.card.get("created"), node.card.get("versions")
    direct = [{"@id": _id(lineage.nodes[edge.parent])} for edge in lineage.parents(node.name)]
    entity: dict[str, Any] = {
        "@id": _id(node),
        "@type": "prov:Entity",
        "name": node.name,
        "additionalType": node.kind,
        "additionalProperty": {"@type": "PropertyValue", "name": "state", "value": node.state},
    }
    if node.sha256:
        entity["sha256"] = node.sha256
    if node.files and node.kind == "files":
        entity["hasPart"] = [
            {"@type": "MediaObject", "name": file.name, "sha256": file.sha256}
            for file in node.files
        ]
    if isinstance(created, str):
        entity["prov:generatedAtTime"] = {"@type": _DATE, "@value": created}
    if direct:
        entity["prov:wasDerivedFrom"] = direct
    if node.state == CLAIMED:
        claimed = node.card["config"]
        entity["creativeWorkStatus"] = "claimed, not verified"
        entity["prov:wasAttributedTo"] = _agent("prov:Agent", claimed.get("claimed_by"))
        if maker := claimed.get("made_by"):
            maker = {"@type": "prov:Entity", "name": str(maker)}
            entity["prov:wasGeneratedBy"] = {"@type": "prov:Activity", "prov:used": maker}
    elif node.card:
        agent = _agent("prov:SoftwareAgent", "sublax")
        if isinstance(versions, dict) and isinstance(versions.get("sublax"), str):
            agent["softwareVersion"] = versions["sublax"]
        activity = {"@type": "prov:Activity", "name": node.kind, "prov:used": direct}
        entity["prov:wasGeneratedBy"] = activity | {"prov:wasAssociatedWith": agent}
    return entity


def _agent(kind: str, name: Any) -> dict[str, Any]:
    return {"@type": kind, "name": str(name)}


def _id(node: Node) -> str:
    try:
        digest = base64.urlsafe_b64encode(bytes.fromhex(node.sha256)).decode("ascii").rstrip("=")
    except ValueError:  # a card may have anything in a hash's place
        digest = ""
    return f"ni:///sha-256;{digest}" if digest else f"#{urllib.parse.quote(node.name)}"


def _folder(node: Node) -> Path | None:
    return node.card_file.parent if node.card_file else None


def _first_row(folder: Path | None, name: str) -> Mapping[str, Any]:
    """The first row of JSON lines; empty where it cannot be told."""
    if folder is None or not name.endswith(".jsonl"):
        return {}
    try:
        with (folder / name).open("rb") as file:
            row = json.loads(file.readline(_MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}
