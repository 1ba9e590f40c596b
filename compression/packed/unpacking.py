"""`unpack`: the tensors of a packed file, in memory or as a safetensors file or a state_dict."""

import os
from typing import BinaryIO

import numpy as np
import torch
from torch import Tensor, nn

from ..atomic import write_atomic_by
from .header import Item
from .reader import PackedReader
from .safetensors_file import write_safetensors
from .writer import Progress

TORCH_SUFFIXES = (".pt", ".pth")


def unpack(path: str | os.PathLike[str]) -> dict[str, Tensor]:
    """The tensors of a file that `pack` wrote, by name, in their order, on the CPU.

    Names that were one tensor are one tensor again.

    >>> net.load_state_dict(bitsback.unpack("net.bb"))

    :param path: a file of `pack`.
    :raises CorruptFile: the file is damaged, or of a newer format (UnsupportedVersion).
    :raises ValueError: the file is a compressed network: `bitsback.load` reads those. Either
        message names the file.
    :raises OSError: the file cannot be read.
    """
    with open(path, "rb") as file:
        return _named(path, lambda: _tensors(PackedReader(file)))


def unpack_to(
    path: str | os.PathLike[str],
    out: str | os.PathLike[str],
    progress: Progress = lambda done, total, name: None,
) -> dict[str, int]:
    """Write the tensors of a packed file to `out`, whole or not at all.

    :param out: a state_dict of torch.save if it ends in .pt or .pth, else a safetensors file. The
        latter holds one tensor at a time in memory, and the packed file's metadata.
    :param progress: as for `pack`.
    :returns: the number of `tensors`, and the `bytes` of their elements.
    :raises CorruptFile, ValueError, OSError: as `unpack`.
    """
    with open(path, "rb") as file:
        reader = _named(path, lambda: PackedReader(file))
        if os.fspath(out).endswith(TORCH_SUFFIXES):

            def write(target: BinaryIO) -> None:
                torch.save(_named(path, lambda: _tensors(reader, progress)), target)
        else:

            def write(target: BinaryIO) -> None:
                _named(path, lambda: write_safetensors(target, reader, progress))

        write_atomic_by(out, write)
    sizes = [item.size for item in reader.header.items]
    return {"tensors": len(reader.header.order), "bytes": sum(sizes)}


def fill(data: bytes, into: nn.Module) -> nn.Module:
    """Load a packed checkpoint into a network, which is returned in eval mode.

    :raises CorruptFile: the file is damaged.
    :raises ValueError: the network has other tensors.
    """
    tensors = _tensors(PackedReader(data))
    try:
        into.load_state_dict(tensors)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(
            f"the network passed as into= is not the one in the file: {reason}"
        ) from None
    return into.eval()


def _tensors(
    reader: PackedReader, progress: Progress = lambda done, total, name: None
) -> dict[str, Tensor]:
    total, done = sum(item.size for item in reader.header.items), 0
    found = {}
    for item, bits, _ in reader.tensors():
        progress(done, total, item.name)
        found[item.name] = _tensor(item, bits)
        done += item.size
    first = dict(reader.header.ties)
    return {name: found[first.get(name, name)] for name in reader.header.order}


def _tensor(item: Item, bits: np.ndarray) -> Tensor:
    flat = torch.from_numpy(bits.view(np.uint8))
    return flat.view(getattr(torch, item.kind.name)).reshape(item.shape)


def _named(path: str | os.PathLike[str], read):
    """What `read` returns; its errors name the file."""
    try:
        return read()
    except ValueError as error:
        raise type(error)(f"{os.fspath(path)!r}: {error}") from None
