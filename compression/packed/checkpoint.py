"""Checkpoints to pack: dictionaries of tensors, safetensors files, and state_dicts of torch.save.

A `Source` gives the bits of one tensor when asked, so that one tensor at a time is in memory.
"""

from __future__ import annotations

import json
import os
import warnings
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import TYPE_CHECKING, Any

import numpy as np

from ..codec import MAGIC
from .dtypes import BY_CODE, BY_NAME, Kind

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Source:
    """One tensor of a checkpoint.

    :param bits: its elements as unsigned integers, shape (n,), read when called.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    bits: Callable[[], np.ndarray]

    @property
    def count(self) -> int:
        """Elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Checkpoint:
    """All tensors of a checkpoint in order, tied ones once; see `header.Header`."""

    sources: tuple[Source, ...]
    order: tuple[str, ...]
    ties: tuple[tuple[str, str], ...] = ()
    metadata: Mapping[str, str] = field(default_factory=dict)


def open_checkpoint(path: str | os.PathLike) -> Checkpoint:
    """A safetensors file, or a state_dict that torch.save wrote; told apart by their first bytes.

    :raises ValueError: neither, damaged, or with tensors that cannot be packed. The message names
        the file.
    :raises OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        start = file.read(len(MAGIC) + 1)
    try:
        if start[: len(MAGIC)] == MAGIC:
            raise ValueError("is a bitsback file, so it is compressed already")
        if start[:2] == b"PK" or start[:1] == b"\x80":
            return of_tensors(_torch_load(path))
        return _safetensors(path)
    except ValueError as error:
        raise ValueError(f"{os.fspath(path)!r}: {error}") from None


def of_tensors(tensors: Mapping[str, Tensor]) -> Checkpoint:
    """A dictionary of dense tensors by name, such as a state_dict.

    :raises ValueError: the dictionary has an entry that is no dense tensor of a known type.
    """
    from ..ties import find_ties

    if not isinstance(tensors, Mapping):
        raise ValueError(f"holds a {type(tensors).__name__}, not a state_dict: save a state_dict")
    for name, tensor in tensors.items():
        _check_tensor(name, tensor)
    ties = find_ties(tensors)
    tied = {name for name, _ in ties}
    sources = tuple(
        Source(name, tuple(t.shape), BY_NAME[_type_of(t)], partial(_bits, t))
        for name, t in tensors.items()
        if name not in tied
    )
    return Checkpoint(sources, tuple(tensors), ties)


def _check_tensor(name: Any, tensor: Any) -> None:
    import torch

    if not isinstance(name, str):
        raise ValueError(f"has an entry called {name!r}; names of tensors must be strings")
    if not isinstance(tensor, torch.Tensor):
        raise ValueError(
            f"{name!r} is a {type(tensor).__name__}, not a tensor: pack the state_dict alone"
        )
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_nested:
        raise ValueError(f"{name!r} is a sparse, quantized or nested tensor: make it dense first")
    if tensor.is_meta:
        raise ValueError(f"{name!r} is on the meta device and has no values: load it on the CPU")
    if _type_of(tensor) not in BY_NAME:
        raise ValueError(f"{name!r} has type {_type_of(tensor)}; known are {', '.join(BY_NAME)}")


def _type_of(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _bits(tensor: Tensor) -> np.ndarray:
    """The elements of a tensor as unsigned integers."""
    import torch

    flat = tensor.detach().cpu().resolve_neg().contiguous().reshape(-1)
    return flat.view(torch.uint8).numpy().view(BY_NAME[_type_of(tensor)].unsigned)


def _torch_load(path: str | os.PathLike) -> Any:
    import torch

    try:
        mapped = zipfile.is_zipfile(path)
        with warnings.catch_warnings(action="ignore"):  # of the file's age, before the same error
            return torch.load(path, map_location="cpu", weights_only=True, mmap=mapped)
    except Exception as error:  # a damaged file raises whatever its bytes lead to
        if type(error).__name__ == "UnpicklingError":
            raise ValueError(
                "holds more than tensors (code, which may be hostile, or unknown classes): load "
                "it where you trust it, and save its state_dict alone"
            ) from None
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"is no file that torch.save wrote, or damaged ({reason})") from None


def _safetensors(path: str | os.PathLike) -> Checkpoint:
    """The tensors of a safetensors file, in the order of their bytes."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy"):
            pass  # the library has checked lengths, types and offsets
    except SafetensorError as error:
        raise ValueError(f"is neither a safetensors file nor one of torch.save ({error})") from None
    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(size))
    metadata = entries.pop("__metadata__", None) or {}
    order = sorted(entries, key=lambda name: entries[name]["data_offsets"])
    sources = tuple(_source(path, name, entries[name], 8 + size) for name in order)
    return Checkpoint(sources, tuple(order), metadata=metadata)


def _source(path: str | os.PathLike, name: str, entry: Mapping[str, Any], start: int) -> Source:
    if entry["dtype"] not in BY_CODE:
        raise ValueError(f"{name!r} has type {entry['dtype']}; known are {', '.join(BY_CODE)}")
    kind, shape = BY_CODE[entry["dtype"]], tuple(entry["shape"])
    read = partial(_read, path, name, kind, prod(shape), start + entry["data_offsets"][0])
    return Source(name, shape, kind, read)


def _read(path: str | os.PathLike, name: str, kind: Kind, count: int, place: int) -> np.ndarray:
    bits = np.fromfile(path, kind.unsigned.newbyteorder("<"), count, offset=place)
    if len(bits) != count:
        raise ValueError(f"{os.fspath(path)!r}: ended within {name!r}; it changed while being read")
    return bits.astype(kind.unsigned, copy=False)
