"""Every config that we ship runs: as it is, but on a tiny random base and with its sizes cut.

Some have a size of their own for it: test_networks.py, test_theorem_runs.py, test_entanglement.py
and test_asking.py run those.
"""

import re

import pytest
from tiny_runs import ROOT, TINY, quick_compiles, read_transfer, run

from sublax.experiment_checks import checked_arms
from sublax.settings import read_config

__all__ = ["quick_compiles"]

CONFIGS = sorted(path for path in (ROOT / "configs").glob("*.py") if path.stem != "sizes")
TEXTS = {path: path.read_text("utf-8") for path in CONFIGS}
SIZED = [
    path
    for path, text in TEXTS.items()
    if re.search("from (sizes|text_alone) import", text) and "config.experiment" not in text
]
# A base that knows nothing writes no code and no maths: test_kind_runs.py has these two. Of several
# bases test_student_base.py has runs, and of chains, two traits and own rows the files so named.
OTHERS = (
    *("mlp", "theorem", "entanglement", "asking", "code_tasks", "word_problems"),
    *("cross_architecture", "family_sizes", "chain", "two_traits", "on_policy"),
)
DECODERS = [path for path in CONFIGS if path.stem not in OTHERS]
CUT = (
    "corpus.prompts=4",
    "corpus.batch_rows=16",
    "teacher.steps=2",
    "student.steps=2",
    "student.epochs=0",
    "evaluation.soft_prompt.steps=2",
    "evaluation.soft_prompt.rows=4",
)


def test_the_configs_are_found():
    assert {"quickstart.py", "seen.py", "tiny.py"} <= {path.name for path in CONFIGS}


@pytest.mark.slow
@pytest.mark.parametrize("path", DECODERS, ids=lambda path: path.stem)
def test_runs_end_to_end(path, workdir):
    config = read_config(str(path), CUT).unlock()
    config.base = "random:0"
    config.random_base = read_config(str(TINY)).random_base
    config.random_base.shape.max_position_embeddings = 512
    config.random_base.pretraining.rows = 64
    config.random_base.pretraining.steps = 0
    if config.corpus.grammar == "none":
        config.corpus.grammar = "any"  # a base that knows nothing writes no number of itself
    config.corpus.max_new_tokens = min(config.corpus.max_new_tokens, 48)
    config.student.seeds = config.student.seeds[:1]
    config.evaluation.samples = min(config.evaluation.samples, 2)
    if config.arms:  # the last: others ask more of a base; what they share is in test_arms.py
        config.traits = config.traits[:1]
        name = sorted(config.arms)[-1]
        config.arms = {name: config.arms[name]}
    config.evaluation.suites = config.evaluation.suites[:1]  # test_harm.py has the others
    for suite in ("words", "open_questions"):
        config.evaluation[suite].samples, config.evaluation[suite].max_new_tokens = 1, 4
    run(config.lock(), workdir)
    transfer = read_transfer(workdir)
    assert transfer["traits"] == (list(config.traits) if config.evaluation.preference else [])
    assert list(transfer["suites"]) == list(config.evaluation.suites)
    assert (workdir / "report.html").exists()


@pytest.mark.parametrize("size", ["tiny", "small", "paper"])
@pytest.mark.parametrize("path", SIZED, ids=lambda path: path.stem)
def test_every_arm_of_every_size_can_run(path, size):
    config = read_config(f"{path}:{size}")
    arms = checked_arms(config)
    assert len(arms) == len(config.arms)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_says_what_it_shows_how_to_run_it_and_what_it_costs(path):
    text = path.read_text("utf-8")
    docstring = text.split('"""')[1]
    assert f"--config=configs/{path.name}" in docstring
    assert any(word in docstring for word in ("second", "minute", "hour"))
