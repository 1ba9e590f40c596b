"""A compressed file as numpy arrays: `decode`, which needs no torch."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .archive import Archive, Quantised
from .codec import decode as decode_archive
from .codec import is_packed
from .file import read


def decode(path: str | os.PathLike[str]) -> dict[str, NDArray[Any]]:
    """The tensors of a compressed file by their state_dict names, without importing torch.

    They are those of `load(path).state_dict()` bit for bit, in the order of the file. A tensor of
    several names is one array under each of them. Of a packed checkpoint they are those of
    `unpack`.

    :param path: of a file that `compress`, `shrink` or `pack` wrote.
    :raises CorruptFile: the file is damaged, or of a newer format (UnsupportedVersion).
    :raises ValueError: a packed checkpoint has tensors of a type that numpy lacks (bfloat16,
        float8). Either message names the file.
    :raises TypeError: `path` is no path.

    >>> arrays = bitsback.decode("net.bb")
    >>> arrays["conv1.weight"].shape
    (20, 1, 5, 5)
    """
    try:
        data = read(path)
        if is_packed(data):
            from .packed.arrays import arrays_of_packed

            return arrays_of_packed(data)
        return arrays_of(decode_archive(data))
    except ValueError as error:
        raise type(error)(f"{os.fspath(path)!r}: {error}") from None


def arrays_of(archive: Archive) -> dict[str, np.ndarray]:
    """The tensors of an archive by their state_dict names, each of its dtype in the network."""
    found = {}
    for spec in archive.architecture.tensors():
        tensor = archive.tensors[spec.name]
        values = tensor.values() if isinstance(tensor, Quantised) else tensor
        found[spec.name] = values.astype(spec.dtype, copy=False)
    for name, original in archive.architecture.ties:
        found[name] = found[original]
    return found
