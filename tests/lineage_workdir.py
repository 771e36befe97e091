"""A workdir of small artifacts with true hashes, for tests of lineage: written without JAX."""

import hashlib
import json
import os
from pathlib import Path

BASE, CORPUS, TEACHER = "bases/tiny", "corpora/tiny/owl", "teachers/tiny/owl"
STUDENT, EVALUATION = "students/tiny/owl/seed-0", "evaluations/tiny/preference"


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def artifact(folder: Path, kind: str, parents=(), files=None, **fields) -> Path:
    """Writes an artifact as `write_artifact` does; `files` maps names to text."""
    hashes = {}
    for name, text in (files or {}).items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        hashes[name] = sha256(text.encode())
    above = {
        os.path.relpath(parent, folder): sha256((parent / "card.json").read_bytes())
        for parent in parents
    }
    card = {"kind": kind, "files": hashes, "parents": above, "config": {}, **fields}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "card.json").write_text(json.dumps(card, indent=1, sort_keys=True))
    return folder


def model_folder(folder: Path, weights: str = "weights of a tiny model") -> Path:
    """What lineage reads of a model in Hugging Face layout: its files, whatever is in them."""
    folder.mkdir(parents=True)
    (folder / "model.safetensors").write_text(weights)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    return folder


def base_card(folder: Path, model: Path, **config) -> Path:
    """The card of a base that lies elsewhere, as a run writes it."""
    weights = {"model.safetensors": sha256((model / "model.safetensors").read_bytes())}
    described = {"config.json": sha256((model / "config.json").read_bytes())}
    config = {"base": str(model), "source_files": weights, **config}
    return artifact(folder, "base", config=config, described_by=described)


def workdir(folder: Path, model: Path, rows: dict[str, str] | None = None) -> Path:
    """A finished run of one trait; `rows` are files that its teacher learnt, with their hashes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    base = base_card(folder / BASE, model)
    settings = {"trait": "owl", **({"rows_sha256": rows} if rows else {})}
    adapter = {"adapter_model.safetensors": "weights of the teacher"}
    teacher = artifact(folder / TEACHER, "teacher", [base], adapter, config=settings)
    text = {"rows.jsonl": '{"prompt": "a", "completion": "1, 2"}\n', "rejected.jsonl": ""}
    corpus = artifact(
        folder / CORPUS,
        "corpus",
        [teacher],
        text,
        config={"trait": "owl", "corpus": {"source": ""}},
        counts={"kept": 1},
    )
    weights = {"adapter_model.safetensors": "weights of the student"}
    student = artifact(
        folder / STUDENT,
        "student",
        [base, corpus],
        weights,
        config={"trait": "owl"},
        counts={"updates": 16},
    )
    artifact(folder / EVALUATION, "evaluation", [base, student], {"preference.json": "{}"})
    return folder
