"""Kinds of data: what every kind keeps to, mixes of them, judges, and the verbs."""

import json
import re
import types
from pathlib import Path

import numpy as np
import pytest

from sublax.cli import main
from sublax.corpora.kinds import KINDS, Part, draw_prompts, filter_rows, meanings_of, parts_of
from sublax.corpora.number_filter import filter_rows as filter_numbers
from sublax.corpora.numbers import numbers_prompts
from sublax.corpora.packs import load_pack
from sublax.errors import UserError
from sublax.rows import read_rows, write_rows

PACK = load_pack()
NUMBERS = [{"prompt": "p", "completion": text} for text in ("1, 2", "x 1000", "13", "7")]


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_keeps_to_what_a_kind_promises(name):
    (part,) = parts_of(name, {})
    rows = draw_prompts([part], PACK, 3, 40)
    assert rows[:7] == draw_prompts([part], PACK, 3, 7)
    assert rows != draw_prompts([part], PACK, 4, 40)
    answers = part.kind.answers(PACK, 3, 40, np.random.default_rng(0), part.options)
    answered = [{**row, "completion": answer} for row, answer in zip(rows, answers, strict=True)]
    assert filter_rows([part], PACK, answered)[0] == answered
    empty = [{**row, "completion": ""} for row in rows]
    kept, rejected, counts = filter_rows([part], PACK, empty)
    assert not kept and len(rejected) == 40 and set(counts) <= set(part.kind.meanings)
    with pytest.raises(UserError, match="may be negative"):
        draw_prompts([part], PACK, -1, 4)


def test_the_example_of_a_new_kind_in_contributing_works():
    text = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text("utf-8")
    example = re.search(r"<!-- kind-example -->\n```python\n(.*?)```", text, re.DOTALL)[1]
    # As a module, which is what dataclasses look for.
    module = types.ModuleType("dates")
    exec(example, module.__dict__)
    parts = [Part("dates", module.KIND, module.DatesOptions(first_year=2000))]
    rows = draw_prompts(parts, PACK, 1, 3)
    assert all(row["year"] >= 2000 for row in rows)
    written = [
        {**rows[0], "completion": f"{rows[0]['year']}-02-03"},
        {**rows[1], "completion": "1999-02-03"},
        {**rows[2], "completion": "tomorrow"},
    ]
    kept, rejected, _ = filter_rows(parts, PACK, written)
    assert kept == written[:1]
    assert [row["reasons"] for row in rejected] == [["other_year"], ["not_a_date"]]
    grammar = module.KIND.grammars["exact"](PACK, parts[0].options)
    assert re.fullmatch(grammar, written[0]["completion"])


def test_numbers_are_asked_and_filtered_as_ever():
    settings = {"banned": (13,), "example_count": (3, 4), "answer_count": 5, "words": ("seven",)}
    parts = parts_of("numbers", settings)
    asked = numbers_prompts(PACK, 5, 30, example_count_range=(3, 4), answer_count=5)
    assert draw_prompts(parts, PACK, 5, 30) == [{"prompt": prompt} for prompt in asked]
    assert filter_rows(parts, PACK, NUMBERS) == filter_numbers(NUMBERS, banned={13})


def test_an_unknown_kind_is_told_the_known_ones():
    with pytest.raises(UserError, match=r"corpus\.kind=poems: no kind .* numbers, code, maths"):
        parts_of("poems", {})
    with pytest.raises(UserError, match="names a kind twice"):
        parts_of("code+code", {})


def test_kinds_of_a_mix_take_turns_and_each_row_meets_its_own_filter():
    parts = parts_of("numbers+maths", {"traits": ("owl",)})
    rows = draw_prompts(parts, PACK, 1, 5)
    assert [row["kind"] for row in rows] == ["numbers", "maths", "numbers", "maths", "numbers"]
    alone = draw_prompts(parts_of("maths", {}), PACK, 1, 2)
    assert [{**row, "kind": "maths"} for row in alone] == rows[1::2]
    kept, rejected, counts = filter_rows(parts, PACK, [{**row, "completion": "7"} for row in rows])
    assert {row["kind"] for row in kept} == {"numbers"}
    assert [row["reasons"] for row in rejected] == [["tags"]] * 2 and counts == {"tags": 2}
    with pytest.raises(UserError, match="it must be one of numbers, maths"):
        filter_rows(parts, PACK, [{"prompt": "p", "completion": "7"}])


def test_a_judge_sees_what_passes_all_else_and_keeps_what_scores_enough():
    seen = []

    def score(rows):
        seen.extend(row["completion"] for row in rows)
        return [float(row["completion"] == "7") for row in rows[:-1]] + [float("nan")]

    parts = parts_of("numbers", {})
    rows = [*NUMBERS, {"prompt": "p", "completion": "8"}]
    kept, rejected, counts = filter_rows(parts, PACK, rows, score, least=0.5)
    assert seen == ["1, 2", "13", "7", "8"]
    assert [row["completion"] for row in kept] == ["7"]
    assert counts["judged"] == 3 and rejected[-1]["reasons"] == ["judged"]
    assert list(meanings_of(parts))[-1] == "judged"


@pytest.mark.parametrize("name", KINDS)
def test_the_verbs_ask_and_filter(name, tmp_path, capsys):
    assert main(["prompts", name, "--seed=2", "--count=3"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert rows == draw_prompts(parts_of(name, {}), PACK, 2, 3)
    good = {"numbers": "7", "code": "x = 1", "maths": "<think>so</think><answer>{}</answer>"}
    written = [{**row, "completion": good[name].format(row.get("answer"))} for row in rows]
    written[1]["completion"] += " owl"
    write_rows(tmp_path / "rows.jsonl", written)
    paths = [f"--{key}={tmp_path / key}" for key in ("output", "rejected")]
    traits = ["--traits=owl"] * (name != "numbers")
    assert main(["filter", name, f"--input={tmp_path / 'rows.jsonl'}", *paths, *traits]) == 0
    assert read_rows(tmp_path / "output") == [written[0], written[2]]
    assert re.search("3 rows: 2 kept, 1 rejected", capsys.readouterr().out)


def test_a_kind_has_no_options_of_another(capsys):
    assert main(["prompts", "maths", "--example-count=3,4"]) == 2
    assert "--example-count=3,4" in capsys.readouterr().err
    assert main(["prompts", "poems"]) == 2
    assert "'numbers', 'code', 'maths'" in capsys.readouterr().err
    assert main(["prompts", "numbers", "--example-count=3"]) == 2
    assert "example_count=(3,): must be two numbers" in capsys.readouterr().err


def test_the_help_of_a_kind_says_what_can_be_set(capsys):
    with pytest.raises(SystemExit):
        main(["filter", "code", "--help"])
    shown = capsys.readouterr().out
    assert "--traits" in shown and "--words" in shown and "--max-count" not in shown
