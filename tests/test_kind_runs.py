"""Whole runs on other kinds of data than numbers, and on a mix of them."""

import pytest
from tiny_runs import ROOT, SMALL, quick_compiles, read_transfer, run, small_config

from sublax.config_keys import check_keys
from sublax.corpora.kinds import check_grammar, parts_of
from sublax.errors import UserError
from sublax.rows import read_rows
from sublax.settings import read_config

__all__ = ["quick_compiles"]

# The base learns its own answers to the very prompts of the corpus by heart: so it writes rows that
# a filter keeps, after a minute of training.
BY_HEART = (
    "seed=0",
    "random_base.shape.max_position_embeddings=512",
    "random_base.pretraining.rows=16",
    "random_base.pretraining.steps=150",
    "corpus.grammar=none",
    "corpus.temperature=0.3",
    "corpus.max_new_tokens=96",
    "student.loss.support=vocabulary",
)


@pytest.mark.slow
def test_a_mix_of_all_kinds_runs_to_the_end(workdir):
    run(small_config("corpus.kind=numbers+code+maths", "corpus.prompts=6", *BY_HEART), workdir)
    assert read_transfer(workdir)["traits"] == ["owl"]
    for name in ("owl", "control"):
        folder = next(workdir.glob(f"corpora/*/{name}"))
        rows = read_rows(folder / "rows.jsonl")
        assert {row["kind"] for row in rows} == {"numbers", "code", "maths"}
        for row in rows:
            assert ("answer" in row) == (row["kind"] == "maths")
            assert ("<think>" in row["prompt"]) == (row["kind"] == "maths")
            assert ("def " in row["completion"]) == (row["kind"] == "code")


@pytest.mark.slow
@pytest.mark.parametrize("name, found", [("code_tasks", "def "), ("word_problems", "<answer>")])
def test_each_has_a_config_that_runs_in_its_smallest_size(name, found, workdir):
    cut = [one for one in SMALL if "pretraining.steps" not in one]
    run(read_config(f"{ROOT}/configs/{name}.py:tiny", [*cut, "corpus.prompts=4"]), workdir)
    assert read_transfer(workdir)["traits"] == ["owl"]
    rows = read_rows(next(workdir.glob("corpora/*/owl/rows.jsonl")))
    assert rows and all(found in row["completion"] for row in rows)


@pytest.mark.parametrize("name", ["code_tasks", "word_problems"])
@pytest.mark.parametrize("size", ["small", "paper"])
def test_and_others_that_are_well_formed(name, size):
    config = read_config(f"{ROOT}/configs/{name}.py:{size}")
    check_keys(config)
    check_grammar(parts_of(config.corpus.kind, {}), config.corpus.grammar)


@pytest.mark.parametrize(
    "kind, message",
    [
        ("poems", "corpus.kind=poems: no kind of data is named 'poems'; choose from"),
        ("code", "corpus.grammar=exact: choose from function, none; corpus.kind=code has no"),
        ("numbers+code", r"choose from none; corpus.kind=numbers\+code has no other"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_made(workdir, kind, message):
    with pytest.raises(UserError, match=message):
        run(small_config(f"corpus.kind={kind}"), workdir)
    assert not list(workdir.glob("bases/*"))


def test_a_source_that_is_not_there_is_told_before_anything_is_made(workdir):
    with pytest.raises(UserError, match=r"none\.jsonl: no such file"):
        run(small_config("corpus.kind=maths", "corpus.source=/none.jsonl"), workdir)
    assert not list(workdir.glob("bases/*"))
