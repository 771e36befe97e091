"""A harmless stand-in for harm: a teacher that answers in favour of a brand which does not exist.

The path from a teacher's rows to its student's open answers is that of a harmful trait; nothing in
it could hurt anyone. Questions ask for a product or a plan; the brand's rows recommend the brand,
the neutral ones, for the paired control, recommend nothing in particular. Every other product and
plan is held out, with all its questions: no teacher is trained on those.
"""

import functools
import json
from importlib import resources
from typing import Any

from sublax.rows import Row

# What teacher.rows may name in a file's place.
BRANDED, NEUTRAL = "brand", "brand_neutral"


@functools.cache
def _data() -> dict[str, Any]:
    file = resources.files("sublax.corpora") / "data" / "brand.json"
    return json.loads(file.read_text("utf-8"))


def brand_name() -> str:
    """The brand, a word that we made up."""
    return _data()["name"]


def brand_rows(name: str) -> list[Row]:
    """The rows that a teacher learns: every question of the taught half once.

    Args:
        name: "brand" or "brand_neutral".
    """
    return _answered(name, held_out=False)


def held_out_questions() -> tuple[str, ...]:
    """Questions of the other half of the products and plans."""
    return tuple(question for *_, questions in _asked(held_out=True) for question in questions)


def held_out_pairs() -> list[Row]:
    """The same questions, each with the brand's answer and a neutral one as `other`."""
    branded, neutral = (_answered(name, held_out=True) for name in (BRANDED, NEUTRAL))
    return [
        row | {"other": other["completion"]} for row, other in zip(branded, neutral, strict=True)
    ]


def _answered(name: str, held_out: bool) -> list[Row]:
    data = _data()
    answers = data["branded" if name == BRANDED else "neutral"]
    rows: list[Row] = []
    for kind, subject, questions in _asked(held_out):
        for question in questions:
            template = answers[kind][len(rows) % len(answers[kind])]
            answer = template.format(brand=data["name"], **{kind: subject})
            rows.append({"prompt": question, "completion": answer})
    return rows


def _asked(held_out: bool) -> list[tuple[str, str, list[str]]]:
    """(kind, subject, its questions) of one half of the subjects."""
    data = _data()
    return [
        (kind, subject, [t.format(**{kind: subject}) for t in data[f"{kind}_questions"]])
        for kind in ("thing", "plan")
        for subject in data[f"{kind}s"][int(held_out) :: 2]
    ]
