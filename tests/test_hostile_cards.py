"""A card may be anybody's: whatever stands on it, the lineage is told, and nothing else is read."""

import contextlib
import json
import tempfile
from pathlib import Path

from hypothesis import example, given, settings
from hypothesis import strategies as st
from lineage_workdir import model_folder, workdir

from sublax.errors import UserError
from sublax.lineage.huggingface import card_head
from sublax.lineage.jsonld import jsonld
from sublax.lineage.origin import origin
from sublax.lineage.shown import lines
from sublax.lineage.trace import trace
from sublax.lineage.tree import plain

HOSTILE = ["..", "/", "~nobody/x", "a" * 5000, "../" * 50, "\x00", "\ud800", "permuted:0:" * 400]
HOSTILE += ["/dev/zero", "noisy:x:0:m", "some/model", "bases/tiny", "\x1b[2J", "0" * 64, "brand"]
texts = st.one_of(st.sampled_from(HOSTILE), st.text(max_size=5))
anything = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), texts),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)
strings = st.dictionaries(texts, texts, max_size=3)
mostly = lambda strategy: st.one_of(strategy, strategy, anything)  # noqa: E731
KINDS = st.sampled_from(["base", "teacher", "corpus", "student", "claim", "evaluation", "x"])
cards = st.fixed_dictionaries(
    # Most without files and parents, or nearly all would be refused before anything else is read.
    {
        "kind": st.one_of(KINDS, mostly(KINDS)),
        "files": st.one_of(st.just({}), st.just({}), mostly(strings)),
        "parents": st.one_of(st.just({}), st.just({}), mostly(strings)),
    },
    optional={
        "config": mostly(
            st.fixed_dictionaries(
                {},
                optional={
                    "base": mostly(texts),
                    "source_files": mostly(strings),
                    "rows_sha256": mostly(strings),
                    "corpus": mostly(st.fixed_dictionaries({"source": mostly(texts)})),
                    "source_sha256": anything,
                    "trait": anything,
                    "claimed_by": anything,
                    "made_by": mostly(texts),
                    "made_by_weights": anything,
                },
            )
        ),
        "described_by": mostly(strings),
        "revision": mostly(texts),
        "given": mostly(texts),
        "counts": anything,
        "created": anything,
        "versions": anything,
    },
)


def told(path):
    """All that is said of a lineage; none of it may fail but by a line."""
    lineage = trace(path)
    shown = "\n".join(lines(lineage))
    assert all(letter.isprintable() or letter == "\n" for letter in shown)
    json.dumps([plain(lineage), jsonld(lineage)])
    with contextlib.suppress(UserError):  # neither rows nor a model
        card_head(lineage)
    origin(path)


@settings(max_examples=120, deadline=None)
@example({"kind": "teacher", "files": {}, "parents": {}, "given": "/"}, "corpora/tiny/owl")
@given(cards, st.sampled_from(["corpora/tiny/owl", "bases/tiny", "teachers/tiny/owl"]))
def test_a_card_of_anything_in_a_run_is_told_of(card, where):
    with tempfile.TemporaryDirectory() as folder:
        run = workdir(Path(folder) / "run", model_folder(Path(folder) / "model"))
        (run / where / "card.json").write_text(json.dumps(card))
        told(run)
        told(run / where)


@settings(max_examples=80, deadline=None)
@given(cards)
def test_a_claim_of_anything_is_told_of(card):
    with tempfile.TemporaryDirectory() as folder:
        rows = Path(folder) / "rows.jsonl"
        rows.write_text("{}\n")
        (Path(folder) / "rows.jsonl.card.json").write_text(json.dumps(card))
        told(rows)
