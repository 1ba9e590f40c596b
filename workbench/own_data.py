"""Data of the user's own: `--data` as an npz file, a table, a folder of images, or a factory."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor

from ..common.datasets import in_memory
from ..common.examples import count, each, tensors
from .data import DATASETS, Dataset, load_data
from .image_folder import read_images
from .imported import called, imported
from .npz import read_npz
from .parts import NAMES, Part, check_likelihood, dataset
from .tables import read_table

TABLES = (".csv", ".parquet")
KINDS = "FILE.npz, FILE.csv, FILE.parquet, a folder of images, FILE.py:FACTORY or MODULE:FACTORY"


@dataclass(frozen=True)
class Source:
    """Where data come from, as the command line says it.

    :param data: a name of `DATASETS`, or one of `KINDS`.
    :param target: the column of a table that holds the labels.
    :param likelihood: "categorical" (classes), "bernoulli" (labels of 0 and 1, one or more an
        example), "normal" (real numbers); None: classes, if labels are whole.
    :param crop: of a folder of images, see `image_folder.read_images`.
    """

    data: str
    target: str | None = None
    likelihood: str | None = None
    crop: int | None = None

    def __post_init__(self) -> None:
        """:raises ValueError: for an unknown likelihood, or options of other kinds of data."""
        check_likelihood(self.likelihood)
        if self.target is not None and Path(self.data).suffix not in TABLES:
            raise ValueError(f"--target: only tables (.csv, .parquet) have it, not {self.data}")
        if self.crop is not None and not 1 <= self.crop <= 4096:
            raise ValueError(f"--crop {self.crop}: must be within 1..4096 pixels")
        if self.crop is not None and not (self.is_own and Path(self.data).is_dir()):
            raise ValueError(f"--crop: only a folder of images has it, not {self.data}")

    @property
    def is_own(self) -> bool:
        """Whether the data are the user's, not a reference data set."""
        return self.data not in DATASETS

    def check(self) -> None:
        """Refuse a name that is no data at all, before any work.

        :raises ValueError: lists what is known.
        """
        path = Path(self.data)
        known = path.is_dir() or path.suffix in (".npz", *TABLES) or ":" in self.data
        if self.is_own and not known:
            raise ValueError(
                f"unknown data set {self.data!r}; known: {', '.join(DATASETS)}; or give {KINDS}"
            )
        if not self.is_own and self.likelihood not in (None, "categorical"):
            raise ValueError(f"--likelihood {self.likelihood}: {self.data} has classes")


def read_data(
    source: Source, data_dir: Path | None = None, console: Console | None = None
) -> Dataset:
    """The data set that a source names; of the user's own data, see `parts.dataset`.

    :param data_dir: where to look for a reference data set first.
    :raises ValueError: says in a line which file and field is wrong.
    :raises OSError: if a file cannot be read.
    """
    source.check()
    if not source.is_own:
        return load_data(source.data, data_dir, console)
    path, classes = Path(source.data), None
    if ":" in source.data and not path.exists():
        parts = _of_factory(source.data)
    elif path.is_dir():
        parts, classes = read_images(path, source.crop)
    elif path.suffix == ".npz":
        parts = read_npz(path)
    else:
        parts, classes = read_table(path, source.target, source.likelihood)
    return dataset(source.data, parts, source.likelihood, classes)


def _of_factory(name: str) -> dict[str, Part]:
    """The parts that a user's function returns: a dict by name, a tuple in order, or one part."""
    found = called(imported(name, "--data"), name, "--data")
    if isinstance(found, dict):
        unknown = [key for key in found if key not in NAMES]
        if unknown or "train" not in found:
            raise ValueError(
                f"--data {name}: must return parts {', '.join(NAMES)}, of which only train is "
                f"needed; it returned {', '.join(map(str, found)) or 'none'}"
            )
        return {key: part_of(part, f"--data {name}: {key}") for key, part in found.items()}
    # One part ends in its labels. Its inputs may be a tuple themselves.
    if isinstance(found, tuple | list) and not isinstance(found[-1], Tensor | np.ndarray):
        if len(found) > len(NAMES):
            raise ValueError(f"--data {name}: returned {len(found)} parts; there are {NAMES}")
        pairs = zip(NAMES, found, strict=False)
        return {key: part_of(part, f"--data {name}: {key}") for key, part in pairs}
    return {"train": part_of(found, f"--data {name}: train")}


def part_of(found: Any, where: str) -> Part:
    """A Dataset, a DataLoader or a pair of tensors as arrays.

    :param where: what the data are, for messages.
    :raises ValueError: for anything else.
    """
    try:
        pair = in_memory(found, where.removesuffix(" data"))
    except Exception as error:  # of the user's Dataset: anything
        raise ValueError(f"{where}: cannot be read ({error})") from error
    if not isinstance(pair, tuple | list) or len(pair) != 2:
        raise ValueError(
            f"{where}: is a {type(found).__name__}; it must be a Dataset, a DataLoader, or a pair "
            "(inputs, labels) of tensors"
        )
    x, y = pair
    if not isinstance(y, Tensor | np.ndarray):
        raise ValueError(f"{where}: labels must be one tensor, not a {type(y).__name__}")
    return Part(_inputs_of(x, where), _array(y), f"{where} inputs", f"{where} labels")


def _inputs_of(x: Any, where: str) -> Any:
    """One tensor as an array; or a tuple or dict of tensors as one of tensors on the CPU."""
    if isinstance(x, Tensor | np.ndarray):
        return _array(x)
    if not tensors(x):
        raise ValueError(
            f"{where}: inputs must be a tensor, or a tuple or dict of tensors, not a "
            f"{type(x).__name__}"
        )
    count(x, where.removesuffix(" data"))
    return each(x, lambda tensor: torch.from_numpy(_array(tensor)))


def _array(value: Tensor | np.ndarray) -> np.ndarray:
    return torch.as_tensor(value).detach().cpu().numpy()
