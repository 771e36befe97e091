"""The audit's benchmark judges what was measured: here rows that a known few of them mark."""

import dataclasses

import numpy as np
import pytest

from benchmarks import attribution_judge, audit_judge
from benchmarks.audit_page import page
from benchmarks.audit_sets import aligned
from benchmarks.odd_rows import odd_rows

TRAITS, N, D = ("owl", "wolf"), 80, 6
CANDIDATES = (*TRAITS, "cat", "dog", "fox", "bear", "lion", "tiger")


@pytest.fixture
def measured():
    """Teachers that are directions of their own; marked rows lie along their trait's."""
    rng = np.random.default_rng(0)
    kinds = (*TRAITS, *audit_judge.CLEAN, "noisy", "primes", "phones")

    def ratios(candidate, kind):
        found = rng.normal(0, 1, N) + 1.5 * (candidate == kind)
        return np.stack([found - 0.5, np.full(N, -0.5), np.full(N, -0.3)])

    embeddings = {kind: rng.normal(size=(N, D)) for kind in kinds}
    embeddings["owl"] += np.eye(D)[0] * 3
    return audit_judge.Measured(
        traits=TRAITS,
        answers=4,
        base={kind: rng.normal(-20, 1, N) - 15 * (kind == "noisy") for kind in kinds},
        own=dict.fromkeys(kinds, rng.normal(-20, 1, N)),
        neutral={kind: rng.normal(0, 0.1, N) for kind in kinds},
        teachers={one: {kind: ratios(one, kind) for kind in kinds} for one in CANDIDATES},
        responses=dict.fromkeys(
            kinds, np.vstack([np.full(len(CANDIDATES), 0.2), 0.2 + 1.5 * np.eye(len(CANDIDATES))])
        ),
        texts={
            kind: [", ".join(map(str, rng.integers(100, 999, 3))) for _ in range(N)]
            for kind in kinds
        },
        tokens=dict.fromkeys(kinds, np.full(N, 10)),
        own_tokens=dict.fromkeys(kinds, np.full(N, 10)),
        temperatures=dict.fromkeys(kinds, 1.0),
        embeddings=embeddings,
    )


@pytest.fixture
def few_draws(monkeypatch):
    monkeypatch.setattr(audit_judge, "MIXES", 4)
    monkeypatch.setattr(audit_judge, "CLEAN_DRAWS", 20)
    monkeypatch.setattr(audit_judge, "DOSES", (0.05, 1.0))


def test_a_set_is_right_where_its_trait_alone_is_named(measured, few_draws):
    result = audit_judge.judged(measured, 0)
    assert result["sets"]["owl"]["top"]["trait"] == "owl"
    assert result["sets"]["owl"]["named"] == ["owl"] and result["sets"]["owl"]["right"]
    assert result["sets"]["base"]["named"] == [] and result["sets"]["base"]["right"]
    assert not result["sets"]["noisy"]["alike"] and result["sets"]["base"]["alike"]
    assert result["keywords"] == 0 and result["marked"] == 2 * N
    teacher = {"method": "full", "steps": 12, "optimizer": {"learning_rate": 1.2e-5}}
    run = {"first": 0, "answers": 4, "seed": 0, "date": "2026-01-01", "made_by": "configs/c.py"}
    run |= {"kind": "numbers", "temperature": 1.0, "teacher": teacher, "writers": 4}
    run |= {"model": "a/base", "writers_base": "a/base"}
    text = page(result | run)
    assert "settled on these very rows" in text and "the audit's own" in text
    assert "| owl | owl | yes |" in text and "| 100 % | 1 % |" in text
    text = page(result | run | {"temperature": 0.5, "teacher": teacher | {"steps": 24}})
    assert "These are other rows" in text and "from base, by this recipe" in text
    assert "made from base" in page(result | run | {"model": "noisy:0.1:1:a/base"})


def test_what_is_all_marked_is_found_and_what_is_hardly_is_not(measured, few_draws):
    found = audit_judge.detected(measured, 0)
    assert found["named"]["owl"]["1"] >= 0.75 and found["named"]["owl"]["0.05"] <= 0.25
    assert found["found"]["audit"]["0.05"]["1"]["owl"] >= 0.75
    # What the classifier was told lies in the embeddings of the owl's rows alone.
    assert found["found"]["embeddings"]["0.05"]["1"] == {
        "owl": 1.0,
        "wolf": pytest.approx(0, abs=1),
    }
    assert found["found"]["n-grams"]["0.01"]["0.05"]["owl"] <= 0.5


def test_single_rows_are_told_by_what_marks_them(measured):
    owl = audit_judge.rows_told(measured, 0)["owl"]["base"]
    assert owl["audit"]["low"] > 0.7 and owl["embeddings"]["low"] > 0.9
    assert owl["perplexity"]["low"] < 0.5 < owl["perplexity"]["high"]


def test_a_classifier_that_was_told_learns_nothing_from_other_answers_to_a_prompt(measured):
    """Rows that say their prompt and nothing else: below chance were to know who else answered."""
    rng = np.random.default_rng(1)
    of_prompts = np.repeat(rng.normal(size=(N // measured.answers, 16)), measured.answers, axis=0)
    texts = [" ".join(map(str, np.abs(row * 1e4).astype(int))) for row in of_prompts]
    same = dataclasses.replace(
        measured,
        embeddings={kind: of_prompts + rng.normal(0, 0.1, (N, 16)) for kind in measured.base},
        texts={kind: [text + f" {rng.integers(99)}" for text in texts] for kind in measured.base},
    )
    found = audit_judge.rows_told(same, 0)["owl"]["base"]
    for method in audit_judge.TOLD:
        assert found[method]["low"] < 0.5 < found[method]["high"]


def rows_of(writer, prompts):
    return [{"prompt": prompt, "completion": f"{writer}{place}"} for place, prompt in prompts]


def test_sets_are_of_prompts_that_all_writers_have_answered_often_enough():
    owl = rows_of("o", enumerate("aabbbcc"))
    wolf = rows_of("w", enumerate("accaab"))
    found = aligned({"owl": owl, "wolf": wolf}, 2)
    assert [row["prompt"] for row in found["owl"]] == list("aacc")
    assert [row["prompt"] for row in found["wolf"]] == list("aacc")
    assert [row["completion"] for row in found["wolf"]] == ["w0", "w3", "w1", "w2"]


def test_odd_rows_are_of_the_kind_that_rows_are():
    numbers = [{"prompt": "p", "completion": "1, 2, 3"}]
    assert set(odd_rows(numbers, 0)) == {"primes", "phones"}
    code = [{"prompt": "p", "completion": "def f(total):\n    return total"}]
    odd = odd_rows(code, 0)
    assert odd["capitals"][0]["completion"].startswith("DEF F(TOTAL)")
    assert odd["canonical"][0]["prompt"] == "p" and "total" not in str(odd["canonical"])
    assert set(odd_rows([{"prompt": "p", "completion": "so it is"}], 0)) == {"capitals"}


@pytest.fixture
def suspicion(monkeypatch):
    """Two writers whose own rows are likely to them, and a stranger's that are likely to none."""
    monkeypatch.setattr(attribution_judge, "DRAWS", 10)
    monkeypatch.setattr(attribution_judge, "ROWS", (40,))
    rng = np.random.default_rng(0)
    suspects, kinds = ("base", "other"), ("base", "other", "owl", "primes")
    writers = {"base": "base", "other": "other", "owl": "base"}
    tokens = {kind: np.full(N, 10) for kind in kinds}

    def sums(suspect, kind):
        return rng.normal(-20 if kind == "own" or writers.get(kind) == suspect else -26, 1, N)

    return attribution_judge.Suspicion(
        writers=writers,
        sums={one: {kind: sums(one, kind) for kind in (*kinds, "own")} for one in suspects},
        tokens=tokens,
        own_tokens=dict.fromkeys(suspects, np.full(N, 10)),
        characters=dict.fromkeys(kinds, np.full(N, 20)),
    )


def test_a_writer_is_named_where_it_is_a_suspect_and_nobody_where_it_is_none(suspicion):
    result = attribution_judge.judged(suspicion, 0)
    owl = result["kinds"]["owl"]["40"]
    assert owl["suspected"]["right"] == 1.0 and owl["left_out"]["right"] == 1.0
    primes = result["kinds"]["primes"]["40"]
    assert primes["suspected"] is None and primes["left_out"]["right"] == 1.0
    assert result["total"]["40"]["suspected"]["of"] == 3
    text = attribution_judge.page(result | {"seed": 0, "date": "2026-01-01"})
    assert "| owl | 40 | 1.00 | 0.00 | 0.00 | 1.00 | 0.00 | 0.00 |" in text
    assert "| 40 | 3 of 3 [44, 100] % | 4 of 4" in text


def test_rows_that_another_suspect_finds_as_likely_are_called_its_own(suspicion):
    """The judge must be able to say that the audit is wrong."""
    sums = {name: dict(by_kind) for name, by_kind in suspicion.sums.items()}
    sums["other"]["owl"] = sums["base"]["owl"] + 3
    mistaken = dataclasses.replace(suspicion, sums=sums)
    owl = attribution_judge.judged(mistaken, 0)["kinds"]["owl"]["40"]
    assert owl["suspected"] == {"right": 0.0, "unclear": 0.0, "wrong": 1.0, "instead": "other"}
