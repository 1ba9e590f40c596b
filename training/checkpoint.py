"""The state of a training run in one file, written atomically and compared before it is used.

The file is a line with the version, the SHA-256 of all that follows, and what torch.save writes.
"""

import hashlib
import io
import random
import zlib
from collections.abc import Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..compression.atomic import write_atomic

VERSION = 2
_TITLE = b"bitsback checkpoint "
_ZIP = b"PK"  # how files of version 1 begin
_DIGEST = 32  # bytes


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
    torch.save({"run": run, "state": state}, buffer)
    content = buffer.getvalue()
    title = _TITLE + str(VERSION).encode() + b"\n"
    write_atomic(path, title + hashlib.sha256(content).digest() + content)


def read(path: Path) -> dict[str, dict[str, Any]]:
    """What is in a checkpoint: `run`, the description, and `state`.

    :raises CheckpointMismatch: it is of another version.
    :raises ValueError: it is damaged, or no checkpoint.
    """
    title, _, rest = path.read_bytes().partition(b"\n")
    version = 1 if title.startswith(_ZIP) else _version(title)
    if version not in (None, VERSION):
        raise CheckpointMismatch(
            f"{path}: checkpoint of format {version}, this bitsback reads {VERSION}; "
            "delete it to start afresh"
        )
    digest, content = rest[:_DIGEST], rest[_DIGEST:]
    if version is None or hashlib.sha256(content).digest() != digest:
        raise ValueError(f"{path}: not a readable checkpoint; delete it to start afresh")
    try:
        found = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
        _check_types(found, {"run": Mapping, "state": Mapping})
    except Exception as error:  # torch raises a dozen kinds for what it does not know
        raise ValueError(f"{path}: not a readable checkpoint; delete it to start afresh") from error
    return found


def _version(title: bytes) -> int | None:
    number = title.removeprefix(_TITLE)
    return int(number) if title.startswith(_TITLE) and number.isdigit() else None


def _check_types(found: Any, types: Mapping[str, type | tuple[type, ...]]) -> None:
    if not isinstance(found, Mapping):
        raise ValueError("it is no dictionary")
    for name, kind in types.items():
        if name not in found or not isinstance(found[name], kind) or found[name] is True:
            raise ValueError(f"{name!r} is missing or not of the right type")


def check_state(state: Mapping[str, Any]) -> None:
    """Refuse a state whose entries are not what `fit` keeps.

    :raises ValueError: names the entry.
    """
    kinds = {"module": Mapping, "optimizer": Mapping, "generators": Mapping}
    _check_types(state, {**kinds, "step": int, "sums": list, "history": list})
    if state["step"] < 0:
        raise ValueError("'step' is below 0")
    numbers = [*state["sums"]]
    for epoch in state["history"]:
        _check_types(epoch, {"number": int, "kl": Real, "lr": Real})
        numbers += [value for value in epoch.values() if value is not None]
    if len(state["sums"]) != 2 or not all(isinstance(number, Real) for number in numbers):
        raise ValueError("'sums' or 'history' holds what is no number")


def load(path: Path, run: dict[str, Any], force: bool = False) -> dict[str, Any]:
    """The state in a checkpoint of this very run.

    :param run: the description that the checkpoint's own must equal.
    :param force: go on even so; the result is then not that of an uninterrupted run.
    :raises CheckpointMismatch: names each setting that differs, or another version.
    :raises ValueError: for a file that is no checkpoint.
    """
    found = read(path)
    saved, state = found["run"], found["state"]
    different = [
        f"{key} was {saved.get(key)!r}, is {run.get(key)!r}"
        for key in sorted({*saved, *run}, key=str)
        if saved.get(key) != run.get(key)
    ]
    if different and not force:
        raise CheckpointMismatch(
            f"{path}: this run is not the one that wrote the checkpoint ({'; '.join(different)}). "
            "Repeat it with the same settings, name another folder, or force it "
            "(--force-resume), which will not be exact"
        )
    return state
