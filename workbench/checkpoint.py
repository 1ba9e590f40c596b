"""The state of a training run in one file, written atomically and compared before it is used."""

import io
import random
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .files import write_atomic

VERSION = 1


class CheckpointMismatch(ValueError):
    """A checkpoint belongs to a run with other settings, so going on from it would not be exact."""


def generators() -> dict[str, Any]:
    """The state of every random number generator that training may draw from."""
    kind, keys, position, has_gauss, cached = np.random.get_state()
    return {
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "numpy": [kind, torch.from_numpy(keys.astype(np.int64)), position, has_gauss, cached],
        "python": random.getstate(),
    }


def restore_generators(state: dict[str, Any]) -> None:
    """Put back what `generators` returned."""
    torch.set_rng_state(state["torch"])
    if state["cuda"] and torch.cuda.is_available():
        torch.cuda.set_rng_state_all(state["cuda"])
    kind, keys, *rest = state["numpy"]
    np.random.set_state((kind, keys.numpy().astype(np.uint32), *rest))
    random.setstate(state["python"])


def fingerprint(*tensors: Tensor) -> str:
    """A short sum of shapes and contents, to recognise the same data again."""
    total = 0
    for tensor in tensors:
        tensor = tensor.detach().cpu().contiguous()
        if tensor.is_floating_point() and tensor.element_size() < 4:
            tensor = tensor.float()  # numpy has no bfloat16
        array = tensor.numpy()
        total = zlib.crc32(array.tobytes(), zlib.crc32(repr(array.shape).encode(), total))
    return f"{total:08x}"


def save(path: Path, run: dict[str, Any], state: dict[str, Any]) -> None:
    """Write the description of the run and its state; the old file stays until the new is whole.

    :raises OSError: if it cannot be written; the old checkpoint is then still there.
    """
    buffer = io.BytesIO()
    torch.save({"version": VERSION, "run": run, "state": state}, buffer)
    write_atomic(path, buffer.getvalue())


def load(path: Path, run: dict[str, Any], force: bool = False) -> dict[str, Any]:
    """The state in a checkpoint of this very run.

    :param run: the description that the checkpoint's own must equal.
    :param force: go on even so; the result is then not that of an uninterrupted run.
    :raises CheckpointMismatch: names each setting that differs.
    :raises ValueError: for a file that is no checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not look at its checksums
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"wrong checksum of {damaged}")
        content = torch.load(path, weights_only=True, map_location="cpu")
        version, saved, state = content["version"], content["run"], content["state"]
    except Exception as error:  # torch and zipfile raise a dozen kinds for a damaged file
        raise ValueError(f"{path}: not a readable checkpoint; delete it to start afresh") from error
    if version != VERSION:
        raise CheckpointMismatch(
            f"{path}: checkpoint of format {version}, this bitsback reads {VERSION}; "
            "delete it to start afresh"
        )
    different = [
        f"{key} was {saved.get(key)!r}, is {run.get(key)!r}"
        for key in sorted({*saved, *run})
        if saved.get(key) != run.get(key)
    ]
    if different and not force:
        raise CheckpointMismatch(
            f"{path}: this run is not the one that wrote the checkpoint ({'; '.join(different)}). "
            "Repeat it with the same settings, name another folder, or force it "
            "(--force-resume), which will not be exact"
        )
    return state
