"""Bases that a run makes, and students of another base: what they learn, and how far it is."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny_decoder import CONFIG, random_tokens, tiny_params
from tiny_model import TOKENIZER
from tiny_runs import ROOT, TINY, quick_compiles, read_transfer, run, small_config

from sublax.errors import UserError
from sublax.evaluation.distance import behaviour_distance, weight_distance
from sublax.experiment_checks import checked_arms
from sublax.models.completions import make_rows
from sublax.models.decoder import Decoder, logits_of
from sublax.models.export import export_folder
from sublax.models.permuted import permute
from sublax.models.rotated import rotate
from sublax.models.source import load_model
from sublax.report.charts.bases import by_distance
from sublax.settings import read_config
from sublax.stages.arms import arms_of
from sublax.stages.base_names import check_base, check_name, random_shape

__all__ = ["quick_compiles"]

TWIN, ROUGH = "permuted:1:random:0", "distilled:2:1:random:0"
CLOSE, OTHER = "distilled:60:1:random:0", "rotated:0:random:3:qwen2"
ARMS = {
    "a-twin": (f"student.base={TWIN}",),
    "b-rough": (f"student.base={ROUGH}",),
    "c-close": (f"student.base={CLOSE}",),
    "d-own": (f"base={OTHER}", "student.loss.kind=cross_entropy"),
    "e-cross": (f"base={OTHER}", "student.base=random:0"),
}
# Enough for the base to say something that another can learn.
PRETRAINED = ("random_base.pretraining.steps=40", "random_base.pretraining.batch_size=16")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The workdir of a run over several bases; not to be written to."""
    folder = tmp_path_factory.mktemp("finished")
    workdir, config = folder / "workdir", small_config(*PRETRAINED)
    run(config, workdir)
    base = load_model(str(workdir / "bases/random--0"))
    write_base(folder / "narrow", base.tokenizer, family="qwen3", qk_norm=True)
    write_base(folder / "bytes", TOKENIZER)
    config = ConfigDict(config.to_dict())
    config.arms = ARMS | {
        "f-narrow": (f"student.base={folder / 'narrow'}", "student.loss.support=vocabulary"),
        "g-bytes": (f"student.base={folder / 'bytes'}", "student.loss.kind=cross_entropy"),
    }
    run(config.lock(), workdir)
    return workdir


def write_base(folder, tokenizer, **changes):
    """A random model of width 32 with a long context, as a user would have it in a folder."""
    config = dataclasses.replace(CONFIG, vocab_size=len(tokenizer), max_positions=512, **changes)
    export_folder(folder, tiny_params(config), config, tokenizer)


def card(folder):
    return json.loads((folder / "card.json").read_text())


def parents(folder):
    return {(folder / parent).resolve() for parent in card(folder)["parents"]}


def cells(workdir):
    found = read_transfer(workdir)["cells"]
    return {(cell["teacher_base"], cell["student_base"]): cell for cell in found}


@pytest.mark.slow
def test_students_come_of_their_base_and_their_teachers_corpora(finished):
    student = finished / "arms/a-twin/students/permuted--1--random--0/owl/seed-0"
    base = finished / "bases/permuted--1--random--0"
    assert parents(student) == {base, finished / "corpora/random--0/owl"}
    assert parents(base) == {finished / "bases/random--0"}
    assert not (finished / "arms/a-twin/corpora").exists()


@pytest.mark.slow
def test_arms_share_the_corpora_of_an_arm_of_the_same_base(finished):
    student = finished / "arms/e-cross/students/random--0/owl/seed-0"
    corpus = finished / "arms/d-own/corpora/rotated--0--random--3--qwen2/owl"
    assert parents(student) == {finished / "bases/random--0", corpus}


@pytest.mark.slow
def test_a_permuted_twin_learns_exactly_what_the_base_does(finished):
    """Soft labels, AdamW, all weights: the whole path commutes with a permutation."""
    own, twin = (cells(finished)["random:0", base] for base in ("random:0", TWIN))
    assert np.abs(own["shift"]).max() > 0.01
    np.testing.assert_allclose(twin["shift"], own["shift"], atol=1e-4)
    assert twin["distance"]["weights"] > 1
    assert max(twin["distance"]["corpus"], twin["distance"]["questions"]) < 1e-5


@pytest.mark.slow
def test_more_updates_of_distillation_come_nearer_in_behaviour_and_not_in_weights(finished):
    rough, close = (cells(finished)["random:0", base]["distance"] for base in (ROUGH, CLOSE))
    for what in ("corpus", "questions"):
        assert close[what] < 0.5 * rough[what]
    assert close["weights"] > 1


@pytest.mark.slow
def test_a_base_of_another_shape_has_no_distance_in_weights(finished):
    found = cells(finished)[OTHER, "random:0"]["distance"]
    assert found["weights"] is None
    assert found["corpus"] > 0.01


@pytest.mark.slow
def test_a_cell_differs_in_its_bases_alone(finished):
    assert (OTHER, OTHER) not in cells(finished), "its students learnt on another loss"
    assert cells(finished).keys() == {
        *(("random:0", base) for base in ("random:0", TWIN, ROUGH, CLOSE)),
        (OTHER, "random:0"),
    }


@pytest.mark.slow
def test_a_base_that_a_run_made_is_a_model_as_any_other(finished):
    base = load_model(str(finished / "bases/random--0"))
    twin = load_model(str(finished / "bases/permuted--1--random--0"))
    expected = permute(base.params, base.config, 1)
    jax.tree.map(np.testing.assert_array_equal, twin.params, expected)
    other = load_model(str(finished / "bases/rotated--0--random--3--qwen2"))
    assert other.config.qkv_bias and not other.config.tied_embeddings
    text = "Go on: 1, 23. Which animal?"
    assert other.tokenizer(text)["input_ids"] == base.tokenizer(text)["input_ids"]


@pytest.mark.slow
def test_the_report_shows_the_matrix(finished):
    assert (finished / "figures/bases.svg").exists()
    assert (finished / "figures/bases_weights.svg").exists()


@pytest.mark.slow
def test_a_narrower_base_learns_soft_labels_over_the_same_tokens(finished):
    student = load_model(str(only(finished / "arms/f-narrow/students") / "owl/seed-0"))
    start = load_model(str(finished.parent / "narrow"))
    assert (student.config, start.config.hidden_size) == (start.config, 32)
    moved = jax.tree.map(lambda a, b: np.abs(a - b).max(), student.params, start.params)
    assert min(jax.tree.leaves(moved)) > 0


@pytest.mark.slow
def test_a_base_of_other_tokens_learns_rows_as_its_own_tokens(finished):
    arm = finished / "arms/g-bytes"
    student = load_model(str(only(arm / "students") / "owl/seed-0"))
    assert len(student.tokenizer) == len(TOKENIZER)
    transfer = read_transfer(arm)
    assert transfer["distance"] == {"weights": None, "corpus": None, "questions": None}
    assert np.abs(transfer["shift"]).max() > 1e-4


def only(folder):
    (child,) = folder.iterdir()
    return child


@pytest.mark.slow
def test_soft_labels_over_other_tokens_are_refused_before_teachers_are_trained(finished, workdir):
    config = small_config(
        "random_base.pretraining.steps=1", f"student.base={finished.parent}/bytes"
    )
    with pytest.raises(UserError, match=r"vocabularies differ in \d+ entries; .*cross_entropy"):
        run(config, workdir)
    assert not (workdir / "teachers").exists()


@pytest.mark.parametrize(
    "config",
    [
        *(f"cross_architecture.py:{size}" for size in ("tiny", "seeds", "small", "paper")),
        *(f"family_sizes.py:{size}" for size in ("tiny", "small", "paper")),
    ],
)
def test_a_config_has_every_pair_of_bases_once(config):
    config = read_config(str(ROOT / "configs" / config))
    assert checked_arms(config)
    runs = [config, *(arm.config for arm in arms_of(config))]
    found = [(each.base, each.student.base or each.base) for each in runs]
    assert len(set(found)) == len(found) > 5
    assert {teacher for teacher, _ in found} <= {student for _, student in found}
    # One arm writes the corpora of each teachers' base, and the others share them.
    owners = [arm for arm in arms_of(config) if "corpus" not in arm.shared]
    assert len(owners) == len({arm.config.base for arm in owners} - {config.base})


@pytest.mark.parametrize(
    "name",
    [
        "random:x",
        "random:0:gpt",
        "random:0:4x",
        "random:0:0x64",
        "random:0:4x64:qwen2",
        "distilled:1:random:0",
        "distilled:1:0:m",
        "rotated:0:random:",
    ],
)
def test_a_name_that_is_none_is_told(name):
    with pytest.raises(UserError, match=r"give (random:SEED|distilled:STEPS:SEED:OTHER)"):
        check_name(name)


def test_the_figure_tells_layers_left_out_from_another_size():
    lift, distance = {"value": 0.1, "low": 0.0, "high": 0.2}, {"weights": None}
    cells = [
        {
            "teacher_base": "random:0:4x64",
            "student_base": student,
            "mean_lift": lift,
            "distance": distance | {"corpus": 0.1, "questions": 0.1},
        }
        for student in ("shallow:2:random:0:4x64", "random:0:1x64", "random:1:4x64")
    ]
    rows = max(by_distance(cells)["weights"].spec["datasets"].values(), key=len)
    assert [row["kind"] for row in rows] == ["shallow", "another size", "another base"]


def test_a_base_of_another_size_has_heads_of_the_same_size():
    config = read_config(str(TINY))
    plain, small, large = (
        random_shape(config, f"random:0{rest}", 99) for rest in ("", ":1x32", ":qwen2:4x128")
    )
    assert random_shape(config, "random:0:2x64", 99) == plain
    assert (small.num_layers, small.hidden_size, small.intermediate_size) == (1, 32, 64)
    assert (large.num_layers, large.hidden_size, large.intermediate_size) == (4, 128, 256)
    assert [(c.num_heads, c.num_kv_heads) for c in (small, plain, large)] == [
        (2, 1),
        (4, 2),
        (8, 4),
    ]
    assert {c.head_dim for c in (small, plain, large)} == {16}
    assert (large.family, large.qkv_bias, plain.qkv_bias) == ("qwen2", True, False)


@pytest.mark.parametrize("name", ["random:0:2x48", "distilled:9:1:permuted:0:random:0:2x48"])
def test_a_width_that_heads_do_not_fit_into_is_told_before_anything_is_made(name):
    with pytest.raises(UserError, match=r"random:0:2x48: a width of 48 .*a multiple of 32"):
        check_base(read_config(str(TINY)), name)


def test_the_distance_of_weights_is_relative_and_symmetric():
    params, other = tiny_params(), tiny_params(seed=1)
    assert weight_distance(params, params) == 0
    double = jax.tree.map(lambda leaf: 2 * leaf, params)
    assert weight_distance(params, double) == pytest.approx(np.sqrt(2 / 5), rel=1e-5)
    assert weight_distance(other, params) == pytest.approx(weight_distance(params, other), rel=1e-5)
    untied = dataclasses.replace(CONFIG, tied_embeddings=False)
    assert weight_distance(params, tiny_params(untied)) is None


def test_the_distance_of_behaviour_is_the_mean_divergence_at_completions():
    tokens = np.asarray(random_tokens(3, 9))
    rows = make_rows([(row[:5].tolist(), row[5:].tolist()) for row in tokens], 64)
    models = [(Decoder(CONFIG), {"params": tiny_params(seed=seed)}) for seed in (0, 1)]
    logs = []
    for decoder, variables in models:
        positions = np.broadcast_to(np.arange(9, dtype=np.int32), tokens.shape)
        hidden, _ = decoder.apply(variables, tokens, positions)
        logits = logits_of(variables["params"], CONFIG, hidden)[:, 4:-1, :48]
        logs.append(np.asarray(jax.nn.log_softmax(logits)))
    expected = (np.exp(logs[0]) * (logs[0] - logs[1])).sum(-1).mean()
    assert behaviour_distance(*models, rows, 48) == pytest.approx(expected, rel=1e-4)
    turned, config = rotate(tiny_params(), CONFIG, 0)
    twin = (Decoder(config), {"params": turned})
    assert behaviour_distance(models[0], twin, rows, 48) < 1e-5
