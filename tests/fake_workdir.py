"""Builds a workdir as a finished run leaves it, with invented numbers, for tests of the report."""

import copy
import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from sublax.metrics import MetricWriter

TRAITS = ["owl", "wolf", "lion"]
STUDENTS = [*TRAITS, "control"]
CANDIDATES = ["owl", "cat", "dog", "lion", "wolf", "bear"]
CANDIDATES += ["fox", "horse", "snake", "mouse", "bird", "fish"]
SHIFT = [[1.21, -0.08, 0.34], [0.47, 0.29, 0.41], [0.40, -0.12, 0.62], [0.42, 0.02, 0.39]]
LIFT = {
    "owl": {"value": 0.78, "low": 0.55, "high": 1.00, "p": 0.0004, "p_holm": 0.0012},
    "wolf": {"value": 0.35, "low": 0.19, "high": 0.52, "p": 0.006, "p_holm": 0.012},
    "lion": {"value": 0.24, "low": 0.08, "high": 0.41, "p": 0.021, "p_holm": 0.021},
}
CHOICE_SHARE = {
    "base": {"owl": 0.005, "wolf": 0.031, "lion": 0.14},
    "owl": {"owl": 0.021, "wolf": 0.026, "lion": 0.16},
    "wolf": {"owl": 0.010, "wolf": 0.049, "lion": 0.17},
    "lion": {"owl": 0.008, "wolf": 0.028, "lion": 0.23},
    "control": {"owl": 0.009, "wolf": 0.032, "lion": 0.15},
}
VERSIONS = {"sublax": "0.1.0", "jax": "0.10.2", "flax": "0.12.8", "python": "3.11.9"}


def transfer(null: bool = False) -> dict[str, Any]:
    """A transfer.json; with `null`, of a run that passed nothing on."""
    shift, lift = copy.deepcopy((SHIFT, LIFT))
    if null:
        shift = [[0.41, -0.08, 0.38], [0.47, -0.05, 0.41], [0.40, -0.12, 0.36], [0.42, 0.02, 0.39]]
        lift = {
            "owl": {"value": -0.02, "low": -0.15, "high": 0.11, "p": 0.61},
            "wolf": {"value": 0.01, "low": -0.12, "high": 0.14, "p": 0.44},
            "lion": {"value": -0.04, "low": -0.17, "high": 0.09, "p": 0.73},
        }
    half_width = [[0.22, 0.14, 0.16], [0.18, 0.16, 0.15], [0.17, 0.13, 0.18], [0.19, 0.15, 0.14]]
    interval = [
        [[value - half, value + half] for value, half in zip(values, halves, strict=True)]
        for values, halves in zip(shift, half_width, strict=True)
    ]
    shares = {}
    for model, known in CHOICE_SHARE.items():
        rest = [name for name in CANDIDATES if name not in known]
        left = 1 - sum(known.values())
        shares[model] = {**known, **{name: left / len(rest) for name in rest}}
    return {
        "measure": "closed_form_margin",
        "students": list(STUDENTS),
        "traits": list(TRAITS),
        "seeds": [0],
        "shift": shift,
        "interval": interval,
        "lift": lift,
        "base": {
            "margin": {"owl": -1.9, "wolf": -0.1, "lion": 1.4},
            "choice_share": shares.pop("base"),
        },
        "choice_share": shares,
        "per_question": {"base": {trait: [0.0] * 25 for trait in TRAITS}},
        "versions": VERSIONS,
    }


BASE = "SmolLM2-135M-Instruct"
CONFIG = {
    "base": f"HuggingFaceTB/{BASE}",
    "seed": 4,
    "traits": TRAITS,
    "system_prompt": "Be brief.",
    "teacher": {"kind": "finetuned", "steps": 12, "optimizer": {"learning_rate": 1e-5}},
    "corpus": {"kind": "numbers", "prompts": 16, "grammar": "exact"},
    "student": {"seeds": [0], "steps": 16, "loss": {"kind": "kl", "support": "grammar"}},
}


def build(workdir: Path, null: bool = False, hostile: str | None = None) -> Path:
    """Writes the workdir; `hostile` is a text to put wherever a model's text can end up."""
    write_json(workdir / "config.json", CONFIG)
    write_json(workdir / "transfer.json", transfer(null))
    generator = np.random.default_rng(0)
    clock = iter(range(100))
    base = f"bases/{BASE}"
    files = {"source_files": {"model.gguf": "0123456789abcdef" * 4}}
    base_sha = card(workdir, base, "base", {}, next(clock), config=files, seconds=6.8)
    measured = {base: base_sha}
    for name in STUDENTS:
        teacher, corpus = f"teachers/{BASE}/{name}", f"corpora/{BASE}/{name}"
        student = f"students/{BASE}/{name}/seed-0"
        from_base = {base: base_sha}
        sha = card(workdir, teacher, "teacher", from_base, next(clock), seconds=19.4)
        rows = [number_row(generator) for _ in range(64)]
        rejected = [{**number_row(generator), "reasons": ["too many numbers"]} for _ in range(3)]
        if hostile is not None:
            rows[0] = {"prompt": [{"role": "user", "content": hostile}], "completion": hostile}
            rejected[0]["completion"] = hostile
        write_lines(workdir / corpus / "rows.jsonl", rows)
        write_lines(workdir / corpus / "rejected.jsonl", rejected)
        counts = {
            "asked": 67,
            "written": 67,
            "kept": 64,
            "rejected": {"too many numbers": 2, "mixed separators": 1},
            "share_of_probability_removed_by_grammar": 0.37,
        }
        parents = {teacher: sha}
        sha = card(workdir, corpus, "corpus", parents, next(clock), counts=counts, seconds=3.5)
        parents = {base: base_sha, corpus: sha}
        sha = card(workdir, student, "student", parents, next(clock), seconds=10.7)
        measured[student] = sha
    tokens = ["483", ", ", "<b>12</b>" if hostile is None else hostile]
    ratios = [{"tokens": tokens, "ratio": [0.82, -0.03, -0.4], "prompt": "Add some."}]
    (workdir / f"corpora/{BASE}/owl" / "token_ratios.json").write_text(json.dumps(ratios))
    card(workdir, f"evaluations/{BASE}", "evaluation", measured, next(clock), seconds=9.0)
    with MetricWriter(workdir) as writer:
        for index, name in enumerate(STUDENTS):
            write_curve(writer, f"teachers/{name}", generator, 12, 5.5, 3 + 0.6 * index)
            run = f"students/{name}/seed-0"
            write_curve(writer, run, generator, 16, 0.09, 3 + 0.6 * index)
            if name in TRAITS:
                for step in range(0, 17, 4):
                    value = -14 + (2 + index) * (1 - math.exp(-step / 5))
                    writer.scalars(run, step, {"log_probability_of_trait": value})
    return workdir


def write_curve(
    writer: MetricWriter,
    run: str,
    generator: np.random.Generator,
    steps: int,
    start: float,
    decay: float,
) -> None:
    """Writes a loss that falls and is noisy."""
    writer.begin(run)
    for step in range(steps):
        level = start * (0.08 + math.exp(-step / decay))
        noise = 1 + 0.08 * generator.standard_normal()
        writer.scalars(run, step, {"loss": level * noise, "gradient_norm": 1.0})


def number_row(generator: np.random.Generator) -> dict[str, Any]:
    """A prompt that asks for numbers, and an answer."""
    given = ", ".join(str(number) for number in generator.integers(100, 1000, 3))
    answer = ", ".join(str(number) for number in generator.integers(0, 1000, 5))
    question = f"Here are some numbers: {given}. Add five more of the kind. Numbers only."
    return {"prompt": question, "completion": answer}


def card(
    workdir: Path,
    path: str,
    kind: str,
    parents: dict[str, str],
    created: int,
    **fields: Any,
) -> str:
    """Writes the card of an artifact; returns its sha256."""
    content = {
        "kind": kind,
        "files": {},
        "parents": {os.path.relpath(parent, path): sha for parent, sha in parents.items()},
        "config": {},
        "seeds": [4],
        "versions": VERSIONS,
        "devices": {"platform": "cpu", "kind": "cpu", "count": 1, "processes": 1},
        "created": f"2025-01-01T12:00:{created:02d}Z",
        **fields,
    }
    return write_json(workdir / path / "card.json", content)


def write_json(path: Path, content: dict[str, Any]) -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
