"""Networks and files: `network` from an archive, `save` and `load`; and the codec's functions.

A file is written whole or not at all. Torch is imported only where a network is built.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .archive import Archive, Quantised
from .codec import CODERS, decode, encode, inspect
from .errors import CorruptFile

if TYPE_CHECKING:
    from torch import nn

    from .architecture import Architecture

__all__ = ["CODERS", "decode", "encode", "inspect", "load", "network", "save"]


def network(archive: Archive, into: nn.Module | None = None) -> nn.Module:
    """The network of an archive, a plain module on the CPU in eval mode.

    :param into: a network of the same tensors to fill (in place, and returned), for archives of
        modules that cannot be rebuilt from a description.
    :raises ValueError: `into` is needed, or has other tensors.
    """
    import torch

    from .ties import check_into

    net = archive.architecture.build() if into is None else into
    state = net.state_dict()
    if into is not None:
        _check_same(archive.architecture, state)
        check_into(archive.architecture.ties, net.state_dict(keep_vars=True))
    with torch.no_grad():
        for spec in archive.architecture.tensors():
            tensor = archive.tensors[spec.name]
            array = tensor.values() if isinstance(tensor, Quantised) else tensor
            state[spec.name].copy_(torch.from_numpy(np.array(array)).reshape(spec.shape))
    return net.eval()


def _check_same(architecture: Architecture, state: dict) -> None:
    """Raise ValueError unless a state_dict has exactly the described tensors."""
    expected = {spec.name: tuple(spec.shape) for spec in architecture.tensors()}
    tied = {name for name, _ in architecture.ties}
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys() - tied)
    if missing or extra:
        raise ValueError(
            f"the network passed as into= is not the one in the file: it lacks {missing or 'none'} "
            f"and has {extra or 'none'} beyond it; make it as it was made before compression"
        )
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise ValueError(
                f"{name!r} of the network passed as into= has shape {tuple(state[name].shape)}, "
                f"in the file it has {shape}; make it as it was made before compression"
            )


def save(data: bytes, path: str | os.PathLike) -> None:
    """Write a file whole or not at all: whatever happens, `path` holds the old or the new bytes.

    :raises OSError: of the kind that occurred, its message naming the path and what to do.
    """
    path = Path(path)
    temporary = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())  # mkstemp gives a private file
        os.replace(temporary, path)
        temporary = None
        _sync_folder(path.parent)
    except OSError as error:
        reason = error.strerror or str(error)
        message = f"cannot write {str(path)!r} ({reason}); choose another place with --out"
        raise type(error)(error.errno, message) from None
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def load(path: str | os.PathLike, into: nn.Module | None = None) -> nn.Module:
    """The network in a file; see `network`.

    :raises CorruptFile: the file is damaged, or of a newer format (UnsupportedVersion).
    """
    data = Path(path).read_bytes()
    try:
        archive = decode(data)
    except CorruptFile as error:
        raise type(error)(f"{os.fspath(path)!r}: {error}") from None
    return network(archive, into)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder last through a power failure, where the system can."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
