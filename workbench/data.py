"""The data sets of the workbench, each with one fixed split.

    name            train   validation   test     input       source of the split
    digits          1,197      300        300     1 x 8 x 8   a fixed permutation of all 1,797
    mnist          55,000    5,000     10,000    1 x 28 x 28  the published test set; validation is
    fashion-mnist  55,000    5,000     10,000    1 x 28 x 28  a fixed random 1/12 of its train set
    cifar10        45,000    5,000     10,000    3 x 32 x 32  the published test set; validation is
                                                            a tenth of its train set, by digest

Thresholds, cluster counts and epochs are chosen on the validation part. Nothing ever selects on
the test part.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from ..training.evaluation import Split
from . import cifar, idx
from .download import obtain
from .names import lookup

SPLIT_SEED = 0
DIGITS_TRAIN, DIGITS_VALIDATION = 1_197, 300
CIFAR_VALIDATION = 5_000  # of 50,000 training images
VALIDATION_SHARE = 12  # one image in twelve of a published train set: 5,000 of 60,000


@dataclass(frozen=True)
class Dataset:
    """A data set in three disjoint parts.

    :param classes: number of classes, labels are 0 to `classes - 1`; of other likelihoods the
        number of labels of an example.
    :param input_shape: shape of one input, `(channels, height, width)` of images; of networks of
        several inputs a tuple or dict of shapes.
    :param levels: inputs are multiples of 1 / levels, at most 255; None: of nothing.
    :param about: how the parts came to be, for reports.
    """

    name: str
    train: Split
    validation: Split
    test: Split | None
    classes: int
    input_shape: Any
    levels: int | None = 255
    about: Mapping[str, Any] = field(default_factory=dict)

    @property
    def parts(self) -> dict[str, Split]:
        """The parts by name; there may be no test part where nothing is tested."""
        found = {"train": self.train, "validation": self.validation, "test": self.test}
        return {name: part for name, part in found.items() if part is not None}

    @property
    def likelihood(self) -> str:
        """What the labels are; see `Split`."""
        return self.train.likelihood


def load_data(
    name: str, data_dir: str | Path | None = None, console: Console | None = None
) -> Dataset:
    """The data set called `name`: "digits", "mnist", "fashion-mnist" or "cifar10".

    `digits` comes with scikit-learn; `cifar10` is found as the module of that name says. The others
    are IDX files, looked for in `data_dir`, `$BITSBACK_DATA`, the cache folder of the user and the
    folder of Debian's dataset-fashion-mnist, each as `<folder>/<name>/<file>` and
    `<folder>/<file>`, plain or `.gz`; else they are downloaded into the cache. Whatever their
    origin they are verified by SHA-256.

    :param name: of the data set.
    :param data_dir: the folder to look in first.
    :param console: where a download shows its progress, if that is a terminal; default stderr.
    :raises ValueError: for an unknown name (the message lists the known ones), and for a file that
        is not the published one.
    :raises OSError: if the files are on no disk and cannot be downloaded.

    >>> data = bitsback.load_data("digits")
    >>> data.train.x.shape, data.train.y.shape
    (torch.Size([1197, 1, 8, 8]), torch.Size([1197]))
    """
    load = lookup("data set", name, DATASETS)
    return load(name, None if data_dir is None else Path(data_dir), console)


def _digits(name: str, data_dir: Path | None, console: Console | None) -> Dataset:
    """Scikit-learn's digits: 8 x 8 images of 17 grey levels."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    images = np.asarray(pixels, np.float32).reshape(-1, 1, 8, 8) / np.float32(16)
    order = _permutation(len(labels))
    stops = (DIGITS_TRAIN, DIGITS_TRAIN + DIGITS_VALIDATION)
    parts = [_split(images[part], labels[part]) for part in np.split(order, stops)]
    return Dataset(name, *parts, classes=10, input_shape=(1, 8, 8), levels=16)


def _idx(name: str, data_dir: Path | None, console: Console | None) -> Dataset:
    source = idx.SOURCES[name]
    arrays = obtain(name, data_dir, console)
    images, labels = (arrays[f.name] for f in (source.train_images, source.train_labels))
    held_out = np.zeros(len(labels), bool)
    held_out[_permutation(len(labels))[: len(labels) // VALIDATION_SHARE]] = True
    return Dataset(
        name,
        train=_split(_scaled(images[~held_out]), labels[~held_out]),
        validation=_split(_scaled(images[held_out]), labels[held_out]),
        test=_split(_scaled(arrays[source.test_images.name]), arrays[source.test_labels.name]),
        classes=10,
        input_shape=(1, *source.train_images.shape[1:]),
    )


def _cifar10(name: str, data_dir: Path | None, console: Console | None) -> Dataset:
    """The 5,000 training images of the smallest digests are the validation part."""
    train, test = cifar.records(data_dir, console)
    parts = [train[CIFAR_VALIDATION:], train[:CIFAR_VALIDATION], test]
    splits = [_split(_colour(part[:, 1:]), part[:, 0]) for part in parts]
    return Dataset(name, *splits, classes=10, input_shape=(3, 32, 32))


DATASETS: dict[str, Callable[[str, Path | None, Console | None], Dataset]] = {
    "digits": _digits,
    "mnist": _idx,
    "fashion-mnist": _idx,
    "cifar10": _cifar10,
}


def _permutation(n: int) -> np.ndarray:
    """A permutation of 0 to n - 1 that is the same everywhere and for ever.

    RandomState's stream is frozen by numpy's policy (NEP 19); Generator's and torch's are not.
    """
    return np.random.RandomState(SPLIT_SEED).permutation(n)


def _scaled(pixels: np.ndarray) -> np.ndarray:
    """Bytes `(N, height, width)` as float32 in [0, 1], `(N, 1, height, width)`."""
    return pixels[:, None].astype(np.float32) / np.float32(255)


def _colour(pixels: np.ndarray) -> np.ndarray:
    """Bytes `(N, 3072)` as float32 in [0, 1], `(N, 3, 32, 32)`."""
    return pixels.reshape(-1, 3, 32, 32).astype(np.float32) / np.float32(255)


def _split(images: np.ndarray, labels: np.ndarray) -> Split:
    return Split(torch.from_numpy(images), torch.from_numpy(labels.astype(np.int64)))
