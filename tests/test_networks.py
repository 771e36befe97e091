"""Small networks: a shared start carries digits through logits that no label speaks of."""

import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_runs import ROOT, quick_compiles

from sublax.cli import main
from sublax.errors import UserError
from sublax.models.classifier import Classifier, ClassifierConfig
from sublax.networks.experiment import run_networks
from sublax.networks.images import load_images
from sublax.networks.training import Design, Rates, imitation, train_networks
from sublax.settings import read_config

__all__ = ["quick_compiles"]

CONFIG = str(ROOT / "configs" / "mlp.py")
FAST = Design(
    ClassifierConfig(widths=(64,)), 5, 32, student_epochs=5, student_batch=64, noise_images=4096
)


@pytest.fixture(scope="module")
def digits():
    return load_images("digits")


@pytest.fixture(scope="module")
def trained(digits):
    return train_networks(FAST, Rates(3e-3), Rates(3e-3), digits, 0, (0, 1, 2, 3))


def test_the_digits_are_cut_once_and_share_no_image(digits):
    assert len(digits.train_NxP) + len(digits.test_MxP) == 1797
    assert digits.train_NxP.min() == -1 and digits.train_NxP.max() == 1
    assert set(digits.test_labels_M) == set(range(10))
    seen = {image.tobytes() for image in digits.train_NxP}
    assert not any(image.tobytes() in seen for image in digits.test_MxP)


def test_auxiliary_logits_teach_digits_from_the_shared_start_only(trained):
    mean = {name: values_N.mean() for name, values_N in trained.items()}
    assert mean["teacher"] > 0.9
    assert mean["all_logits"] > 0.8
    assert trained["auxiliary"].min() > trained["cross_start"].max()
    assert mean["auxiliary"] > 0.3
    assert mean["cross_start"] < 0.2 and mean["start"] < 0.2


def test_networks_of_a_seed_do_not_depend_on_the_seeds_beside_it(digits, trained):
    alone = train_networks(FAST, Rates(3e-3), Rates(3e-3), digits, 0, (2,))
    for name, values_N in trained.items():  # batched products round otherwise: an image or two
        np.testing.assert_allclose(alone[name][0], values_N[2], atol=3 / 360)


def test_auxiliary_logits_give_the_class_logits_no_gradient():
    sees_L = jnp.arange(13) >= 10
    teacher_BxL, student_BxL = np.random.default_rng(0).normal(size=(2, 4, 13))
    for loss in ("kl", "mse"):
        compare = functools.partial(imitation, loss)
        gradient_BxL = jax.jit(jax.grad(compare))(student_BxL, teacher_BxL, sees_L)
        assert not gradient_BxL[:, :10].any() and gradient_BxL[:, 10:].all()


def test_imitation_is_kl_or_the_mean_square_of_the_logits_seen():
    sees_L = jnp.arange(5) >= 2
    teacher_BxL, student_BxL = np.random.default_rng(0).normal(size=(2, 4, 5)).astype(np.float32)
    weights_BxA = np.exp(teacher_BxL[:, 2:]) / np.exp(teacher_BxL[:, 2:]).sum(-1, keepdims=True)
    others_BxA = np.exp(student_BxL[:, 2:]) / np.exp(student_BxL[:, 2:]).sum(-1, keepdims=True)
    kl = (weights_BxA * np.log(weights_BxA / others_BxA)).sum(-1).mean()
    mse = ((teacher_BxL - student_BxL)[:, 2:] ** 2).mean()
    for loss, expected in (("kl", kl), ("mse", mse)):
        found = imitation(loss, jnp.array(student_BxL), jnp.array(teacher_BxL), sees_L)
        assert float(found) == pytest.approx(expected, rel=1e-4)


def test_a_cnn_reads_images_by_rows_and_columns():
    model = Classifier(ClassifierConfig("cnn", (4, 6), auxiliary=2))
    images_BxP = jax.ShapeDtypeStruct((3, 64), jnp.float32)
    params = jax.eval_shape(model.init, jax.random.key(1), images_BxP)
    assert jax.eval_shape(model.apply, params, images_BxP).shape == (3, 12)
    assert params["params"]["_Conv_1"]["kernel"].shape == (3, 3, 4, 6)


@pytest.mark.parametrize("side", [7, 8])
def test_a_cnn_convolves_as_flax_does(side):
    class Reference(nn.Module):
        @nn.compact
        def __call__(self, images_BxP):
            hidden = images_BxP.reshape(-1, side, side, 1)
            for name, width in (("_Conv_0", 3), ("_Conv_1", 5)):
                hidden = nn.relu(nn.Conv(width, (3, 3), strides=2, name=name)(hidden))
            return nn.Dense(12)(hidden.reshape(len(images_BxP), -1))

    model = Classifier(ClassifierConfig("cnn", (3, 5), auxiliary=2))
    images_BxP = jax.random.normal(jax.random.key(0), (2, side * side))
    params = model.init(jax.random.key(1), images_BxP)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # biases too
    expected = Reference().apply(params, images_BxP)
    np.testing.assert_allclose(model.apply(params, images_BxP), expected, rtol=1e-5, atol=1e-5)


def test_the_tiny_size_runs_whole_and_is_not_run_again(tmp_path, capsys):
    arguments = ["run", f"--config={CONFIG}:tiny", f"--workdir={tmp_path}"]
    arguments += ["--config.seeds=0,1", "--config.sweep.batch_size=", "--config.sweep.seeds=0"]
    arguments += ["--config.sweep.weight_decay=", "--config.network.widths=8,8"]
    assert main(arguments) == 0
    told = capsys.readouterr().out
    assert "another start" in told and "chance 0.100" in told
    result = json.loads((tmp_path / "networks" / "networks.json").read_text("utf-8"))
    assert list(map(len, (one["values"] for one in result["accuracy"].values()))) == [2] * 5
    sweep = json.loads((tmp_path / "sweep" / "sweep.json").read_text("utf-8"))
    assert [point["value"] for point in sweep["swept"]["learning_rate"]] == [1e-3, 3e-3]
    for name in ("figures/networks.png", "figures/sweep.svg", "sweep/card.json", "config.json"):
        assert (tmp_path / name).exists()
    page = (tmp_path / "report.html").read_text("utf-8")
    assert "Learning rate: 0.001 gives" in page and page.count("<svg") == 2
    written = (tmp_path / "sweep" / "card.json").stat().st_mtime_ns
    assert main(arguments) == 0
    assert (tmp_path / "sweep" / "card.json").stat().st_mtime_ns == written
    capsys.readouterr()
    assert main([*arguments, "--config.student.epochs=1"]) == 2
    assert "config.student.epochs" in capsys.readouterr().err


def test_mnist_is_read_from_what_the_datasets_library_loads(tmp_path, monkeypatch):
    datasets = pytest.importorskip("datasets", reason="MNIST needs pip install 'sublax[mnist]'")
    features = datasets.Features(
        {"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)}
    )
    pixels = np.zeros((3, 28, 28), np.uint8)
    pixels[:, 0, 1] = 255
    for part, labels in (("train", [3, 1, 4]), ("test", [9, 2])):
        rows = {"image": list(pixels[: len(labels)]), "label": labels}
        path = tmp_path / "ylecun" / "mnist" / f"{part}-00000-of-00001.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        datasets.Dataset.from_dict(rows, features).to_parquet(path)
    # A folder of that name goes before the Hub's.
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    images = load_images("mnist")
    assert images.train_NxP.shape == (3, 784) and images.train_NxP.dtype == np.float32
    assert images.test_MxP.shape == (2, 784)
    assert images.train_labels_N.tolist() == [3, 1, 4] and images.test_labels_M.tolist() == [9, 2]
    assert images.train_NxP[0, 1] == 1 and (np.delete(images.train_NxP, 1, axis=1) == -1).all()


@pytest.mark.parametrize(
    "override, told",
    [
        ("data=letters", "data=letters: no such images; choose one of digits, mnist"),
        ("network.kind=vit", "network.kind=vit: choose one of mlp, cnn"),
        ("student.loss=l1", "student.loss=l1: choose one of kl, mse"),
        ("student.images=100", "are fewer than one batch of 128"),
        ("seeds=", "seeds=.*name at least one"),
        ("teacher.batch_size=2000", "there are 1437 images to learn from"),
    ],
)
def test_what_cannot_run_is_refused_in_one_line(tmp_path, override, told):
    with pytest.raises(UserError, match=told):
        run_networks(read_config(f"{CONFIG}:tiny", [override]), tmp_path)
    assert not (tmp_path / "networks").exists()
