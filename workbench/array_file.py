"""One array of numbers from a file that numpy wrote."""

import zipfile
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def read_array(path: Path, option: str) -> Tensor:
    """The array of a .npy file, or the only one of a .npz file, as a tensor.

    Bytes (uint8) are taken for pixels and divided by 255; other floats become float32.

    :param option: the option that names the file, for messages.
    :raises ValueError: no such array can be read, or it holds no numbers.
    :raises OSError: the file cannot be read.
    """
    try:
        with open(path, "rb") as file:
            found = np.load(file)
            if isinstance(found, np.lib.npyio.NpzFile):
                names = found.files
                found = found[names[0]] if len(names) == 1 else None
    except (ValueError, EOFError, zipfile.BadZipFile, MemoryError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{option} {path}: cannot be read as .npy or .npz ({reason})") from None
    if found is None:
        raise ValueError(
            f"{option} {path}: has arrays {', '.join(names) or 'none'}; save the inputs alone"
        )
    if not found.ndim or found.dtype.kind not in "fiub":
        raise ValueError(f"{option} {path}: must hold one array of numbers, examples first")
    array = np.ascontiguousarray(found, found.dtype.newbyteorder("="))
    inputs = torch.from_numpy(array)
    if array.dtype == np.uint8:
        return inputs.float() / 255
    return inputs.float() if inputs.is_floating_point() else inputs
