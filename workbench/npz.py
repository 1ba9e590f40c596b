"""`--data FILE.npz`: x_train, y_train and, if they are there, x_val, y_val, x_test, y_test."""

import zipfile
from pathlib import Path

import numpy as np

from .parts import Part

FIELDS = {"train": "train", "validation": "val", "test": "test"}


def read_npz(path: Path) -> dict[str, Part]:
    """The parts of a file that `numpy.savez` wrote. Pickled arrays are refused.

    :raises ValueError: names the file and the array that is missing or cannot be read.
    :raises OSError: if the file cannot be read.
    """
    with open(path, "rb") as source:
        try:
            file = np.load(source)
        except Exception as error:  # of the zip, or of a header
            raise ValueError(f"{path}: not a readable npz file ({error})") from error
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise ValueError(f"{path}: holds one array; save x_train and y_train with numpy.savez")
        parts = {}
        for part, end in FIELDS.items():
            x, y = f"x_{end}", f"y_{end}"
            if x in file or y in file or part == "train":
                arrays = [_array(file, name, path) for name in (x, y)]
                parts[part] = Part(*arrays, f"{path}: {x}", f"{path}: {y}")
        return parts


def _array(file: np.lib.npyio.NpzFile, name: str, path: Path) -> np.ndarray:
    if name not in file:
        raise ValueError(
            f"{path}: has no array {name}; it has {', '.join(file.files) or 'none'}, and must have "
            "x_train and y_train, and both or neither of x_val and y_val, x_test and y_test"
        )
    try:
        array = file[name]
    except (ValueError, EOFError, zipfile.BadZipFile, OSError) as error:
        raise ValueError(f"{path}: {name} cannot be read ({error})") from error
    if not array.ndim:
        raise ValueError(f"{path}: {name} is one number; its first axis must be the examples")
    return array
