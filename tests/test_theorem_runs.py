"""The theorem as an experiment: its steps, the causes of the lean, and the whole run."""

import dataclasses
import json

import jax
import numpy as np
import optax
import pytest
import tiny_model
from tiny_runs import ROOT, quick_compiles

from sublax.cli import main
from sublax.errors import UserError
from sublax.evaluation.theorem import added, distance, inner, length, scaled
from sublax.models.classifier import Classifier, ClassifierConfig
from sublax.models.decoder import init_params
from sublax.models.export import export_folder
from sublax.networks.images import load_images
from sublax.settings import read_config
from sublax.theorem.experiment import run_theorem
from sublax.theorem.lean import VARIANTS, _products
from sublax.theorem.steps import many_steps, one_steps
from sublax.theorem.subjects import draw_images, load_subject

__all__ = ["quick_compiles"]

CONFIG = str(ROOT / "configs" / "theorem.py")


def small(*overrides):
    return read_config(f"{CONFIG}:tiny", overrides)


@pytest.fixture(scope="module")
def mlp():
    return load_subject("mlp", small("mlp.widths=16,16", "mlp.images=32", "mlp.noise=32"))


def test_a_twin_moves_elsewhere_and_its_loss_falls_all_the_same(mlp):
    found = one_steps(mlp, "kl", range(12))
    shared, twin = found["shared"], found["twin"]
    assert (shared.inner > 0).all() and (shared.measured < 0).all()
    # Imitation sees functions, and the twin's is the same.
    np.testing.assert_allclose(twin.predicted, shared.predicted, rtol=0.01)
    np.testing.assert_allclose(twin.measured, shared.measured, rtol=0.01, atol=1e-6)
    assert 0 < (twin.inner > 0).sum() < 12
    assert np.abs(twin.cosine.mean()) < 0.3 * shared.cosine.mean()
    assert not np.allclose(found["other"].predicted, shared.predicted, rtol=0.5)


def test_many_steps_are_those_of_a_plain_loop(mlp):
    found = many_steps(mlp, "kl", "adam", 1e-2, (1, 3), range(2))
    drawn = jax.tree.map(lambda leaf: leaf[1], mlp.draw(range(2)))
    start, other = mlp.start(None, drawn.start), mlp.start(None, drawn.other)
    own_loss = jax.jit(lambda params: mlp.own_loss(params, drawn.own))

    def trained(objective, params):
        gradient, update = jax.jit(jax.grad(objective)), optax.adam(1e-2)
        moments = update.init(params)
        for _ in range(3):
            changes, moments = update.update(gradient(params), moments)
            params = optax.apply_updates(params, changes)
        return params

    teacher = trained(own_loss, start)
    taught = mlp.outputs(teacher, drawn.inputs)
    taught_update = added(teacher, scaled(-1.0, start))
    for name, begin in (("shared", start), ("other", other)):
        student = trained(lambda params: distance(mlp.outputs(params, drawn.inputs), taught), begin)
        update = added(student, scaled(-1.0, begin))
        cosine = inner(update, taught_update) / length(update) / length(taught_update)
        course = jax.tree.map(lambda values: values[1, 1], found[name])
        assert course.cosine == pytest.approx(float(cosine), rel=1e-3, abs=1e-4)
        change = float(own_loss(student) - own_loss(begin))
        assert course.measured == pytest.approx(change, rel=1e-2, abs=1e-5)
        fall = float(own_loss(teacher) - own_loss(start))
        assert course.teacher == pytest.approx(fall, rel=1e-3)


def test_the_parts_of_the_lean_are_parts_of_one_inner_product():
    network = ClassifierConfig("mlp", (8, 6))
    images = load_images("digits")
    drawn = draw_images(images, 0, range(3), 32, 16)
    found = _products(VARIANTS[0], network, 1e-3, drawn, images.train_NxP.mean(axis=0))
    first, later, biases = (
        found[name] for name in ("first layer's weights", "later hidden weights", "hidden biases")
    )
    np.testing.assert_allclose(first + later + biases, found["all"], atol=1e-6)
    split = found["biases and units' mean later weights"] + found["all but those"]
    np.testing.assert_allclose(split, found["all"], atol=1e-6)

    model, drawn = Classifier(network), jax.tree.map(lambda leaf: leaf[2], drawn)
    images_BxP, labels_B = drawn.own
    start, other = (model.init(key, images_BxP) for key in (drawn.start, drawn.other))

    def own_loss(params):
        logits_BxL = model.apply(params, images_BxP)[:, :10]
        return optax.softmax_cross_entropy_with_integer_labels(logits_BxL, labels_B).mean()

    own = jax.grad(own_loss)(start)
    teacher = added(start, scaled(-1e-3 * length(start) / length(own), own))
    taught_BxA = model.apply(teacher, drawn.inputs)[:, 10:]
    taught = jax.grad(lambda p: distance(model.apply(p, drawn.inputs)[:, 10:], taught_BxA))(other)
    cosine = inner(own, taught) / length(own) / length(taught)
    assert float(found["all"][2]) == pytest.approx(float(cosine), rel=1e-3, abs=1e-5)


def test_without_its_own_term_a_student_is_drawn_to_the_teachers_preferences_alone():
    network = ClassifierConfig("mlp", (8, 6), bias=False)
    images = load_images("digits")
    drawn = draw_images(images, 0, range(2), 32, 16)
    without = next(variant for variant in VARIANTS if not variant.own_term)
    mean_P = images.train_NxP.mean(axis=0)
    usual, left = (
        _products(variant, network, 1e-3, drawn._replace(inputs=0 * drawn.inputs), mean_P)
        for variant in (VARIANTS[0], without)
    )
    # On black images, without biases, no network has a preference: nothing is left to imitate.
    for products in (usual, left):
        assert not np.nan_to_num(products["all"]).any()
    usual, left = (
        _products(variant, network, 1e-3, drawn, mean_P) for variant in (VARIANTS[0], without)
    )
    assert not np.allclose(usual["all"], left["all"], rtol=0.1)


CUT = (
    "subjects=mlp",
    "mlp.widths=8,8",
    "mlp.images=16",
    "mlp.noise=16",
    "many_steps.seeds=2",
    "many_steps.counts=1,2",
    "lean.seeds=4",
    "lean.widths=6,6",
)


@pytest.mark.slow
def test_runs_whole_goes_on_and_makes_again_what_it_is_told_to(tmp_path, capsys):
    arguments = ["run", f"--config={CONFIG}:tiny", f"--workdir={tmp_path}"]
    arguments += [f"--config.{override}" for override in CUT]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "shared start: inner product positive in 8 of 8" in told
    assert told.splitlines()[-1] == str(tmp_path / "report.html")
    result = json.loads((tmp_path / "one_step" / "one_step.json").read_text("utf-8"))
    seeds = result["subjects"][0]["starts"]["shared"]["seeds"]
    assert len(seeds["predicted"]) == 8 and max(seeds["predicted"]) < 0
    lean = json.loads((tmp_path / "lean" / "lean.json").read_text("utf-8"))
    assert [one["words"] for one in lean["variants"]] == [variant.words for variant in VARIANTS]
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count("<svg") == 3 and "MLP 64-8-8-(10+3)" in page and "chain is broken" not in page

    cards = [tmp_path / stage / "card.json" for stage in ("one_step", "many_steps", "lean")]
    before = [card.read_bytes() for card in cards]
    assert main(arguments) == 0
    assert [card.read_bytes() for card in cards] == before
    assert main([*arguments, "--config.lean.seeds=6"]) == 2
    assert "lean.seeds: 4 -> 6; add --redo=lean" in capsys.readouterr().err
    written = [card.stat().st_mtime_ns for card in cards]
    assert main([*arguments, "--redo=lean"]) == 0
    after = [card.stat().st_mtime_ns for card in cards]
    assert after[:2] == written[:2] and after[2] > written[2]

    (tmp_path / "report.html").unlink()
    (tmp_path / "figures" / "lean.png").unlink()
    assert main(["report", str(tmp_path)]) == 0
    assert "in 8 of 8" in (tmp_path / "report.html").read_text("utf-8")
    assert (tmp_path / "figures" / "lean.png").exists()


@pytest.mark.slow
def test_holds_for_decoders_drawn_and_named(tmp_path):
    shape = dataclasses.replace(tiny_model.CONFIG, max_positions=1024)
    params = init_params(shape, jax.random.key(0))
    export_folder(tmp_path / "named", params, shape, tiny_model.TOKENIZER)
    for base, starts in (("random", 3), (str(tmp_path / "named"), 2)):
        config = small(f"decoder.base={base}", "decoder.rows=2", "decoder.tokens=8")
        subject = load_subject("decoder", config)
        found = one_steps(subject, "kl", range(2))
        assert list(found) == ["shared", "twin", "other"][:starts]
        assert (found["shared"].inner > 0).all() and (found["shared"].measured < 0).all()
        np.testing.assert_allclose(found["twin"].predicted, found["shared"].predicted, rtol=0.02)
    # Two animals: each seed's loss is of its own answer.
    tokens, weights = subject.draw(range(2)).own
    answers = [tiny_model.TOKENIZER.decode(tokens[n][0][weights[n][0] > 0]) for n in range(2)]
    assert answers == ["owl<|im_end|>", "wolf<|im_end|>"]


@pytest.mark.parametrize(
    "override, told",
    [
        ("subjects=cnn", "subjects=cnn: no such model; choose from mlp, decoder"),
        ("loss=l1", "loss=l1: choose one of kl, squared"),
        ("mlp.images=2000", "mlp.images=2000: there are 1437"),
        ("one_step.seeds=0", "one_step.seeds=0: .*give 2 or more"),
        ("lean.seeds=1", "lean.seeds=1: .*give 2 or more, or 0"),
        ("lean.widths=8", "lean.widths=.*two hidden layers"),
        ("many_steps.counts=4,2", "many_steps.counts=.*increasing"),
        ("decoder.base=some/model", "no other start to compare with"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(tmp_path, override, told):
    with pytest.raises(UserError, match=told):
        run_theorem(small(override), tmp_path)
    assert not (tmp_path / "one_step").exists()
