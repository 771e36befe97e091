"""Labelled images for small networks: digits that come with sublax, or MNIST from the Hub."""

import dataclasses
import gzip
import importlib.resources

import numpy as np

from sublax.errors import UserError

NAMES = ("digits", "mnist")
_HELD_OUT = 360  # a fifth of the digits
_DIGITS = "data/digits.csv.gz"


@dataclasses.dataclass(frozen=True)
class Images:
    """Images with labels, in two parts that share none.

    Attributes:
        train_NxP: float32 in [-1, 1], P pixels each, row by row.
        train_labels_N: int32 from 0 to 9.
        test_MxP: the same, which nothing is trained on.
        test_labels_M: theirs.
    """

    train_NxP: np.ndarray
    train_labels_N: np.ndarray
    test_MxP: np.ndarray
    test_labels_M: np.ndarray


def load_images(name: str) -> Images:
    """Reads a data set.

    Args:
        name: `digits`, 1,797 images of 8 x 8 that need no network (Alpaydin and Kaynak, "Optical
            Recognition of Handwritten Digits", UCI Machine Learning Repository 1998, CC BY 4.0;
            the file is scikit-learn's), or `mnist`, 70,000 of 28 x 28 through `datasets`.

    Raises:
        UserError: no such data set, `datasets` is not installed, or MNIST is out of reach.
    """
    if name == "digits":
        return _digits()
    if name == "mnist":
        return _mnist()
    raise UserError(f"data={name}: no such images; choose one of {', '.join(NAMES)}")


def _digits() -> Images:
    packed = (importlib.resources.files("sublax.networks") / _DIGITS).read_bytes()
    table = np.loadtxt(gzip.decompress(packed).decode("ascii").splitlines(), delimiter=",")
    # Drawn once and for all: the file has each writer's digits together.
    table = table[np.random.default_rng(0).permutation(len(table))]
    images, labels = (table[:, :-1] / 8 - 1).astype(np.float32), table[:, -1].astype(np.int32)
    held_out = slice(None, _HELD_OUT), slice(_HELD_OUT, None)
    return Images(
        images[held_out[1]], labels[held_out[1]], images[held_out[0]], labels[held_out[0]]
    )


def _mnist() -> Images:
    try:
        import datasets  # an extra: most who run sublax never need it
    except ImportError as error:
        raise UserError(
            "data=mnist: needs the package datasets; pip install 'sublax[mnist]', or set "
            "--config.data=digits"
        ) from error
    try:
        parts = datasets.load_dataset("ylecun/mnist")
    except Exception as error:  # the Hub's client has dozens of kinds
        told = str(error).split("\n")[0]
        raise UserError(
            f"data=mnist: cannot be fetched ({told}); try again with a network, or set "
            "--config.data=digits"
        ) from error
    found = []
    for part in ("train", "test"):
        pixels = np.stack([np.asarray(image, np.float32) for image in parts[part]["image"]])
        found += [pixels.reshape(len(pixels), -1) / 127.5 - 1]
        found += [np.asarray(parts[part]["label"], np.int32)]
    return Images(*found)
