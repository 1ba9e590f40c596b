"""Networks and files: `network` from an archive, `save` and `load`; and the codec's functions.

A file is written whole or not at all. Torch is imported only where a network is built.
"""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING

import numpy as np

from .archive import Archive, Quantised
from .codec import CODERS, GRAPHS, MAGIC, decode, encode, is_packed
from .errors import CorruptFile
from .inspection import inspect
from .limits import MAX_FILE

if TYPE_CHECKING:
    from torch import Tensor, nn

    from .architecture import Architecture

WITHOUT_INTO = "bitsback.load(file) without into= gives the file's own network"

__all__ = ["CODERS", "decode", "encode", "inspect", "load", "network", "read", "save"]


def network(archive: Archive, into: nn.Module | None = None) -> nn.Module:
    """The network of an archive, a plain module on the CPU in eval mode.

    :param into: a network of the same tensors to fill (in place, and returned), for archives of
        modules that cannot be rebuilt from a description. Where units were removed, its tensors
        become smaller, and a layer made without a bias may get one, if it then computes what the
        file's own network computes. So do the tensors behind weights that are computed from others
        (`torch.nn.utils.parametrize`, weight_norm, pruning masks); see `into.take`.
    :raises ValueError: `into` is needed, has other tensors, computes a weight in a way that cannot
        give the file's, or is on the meta device; then it is left as it was.
    :warns UserWarning: `into` is the network before compression removed units or folded tensors,
        and its class cannot do without them. The archive's own network is returned. Or `into` has
        tensors for which the file has no numbers; they stay as they are.
    """

    from .ties import check_into

    net = archive.architecture.build() if into is None else into
    state = net.state_dict()
    if into is not None:
        if _lost_units(archive.architecture, state):
            found = _taken(archive, into)
            if found is not None:
                return found
        _check_same(archive.architecture, state)
        check_into(archive.architecture, net.state_dict(keep_vars=True))
        return _filled_as_is(archive, into)
    _fill_all(archive, state)
    return net.eval()


def _fill_all(archive: Archive, state: dict[str, Tensor]) -> None:
    import torch

    with torch.no_grad():
        for spec in archive.architecture.tensors():
            _fill(state[spec.name], archive.tensors[spec.name])


def _filled_as_is(archive: Archive, into: nn.Module) -> nn.Module:
    """A network of the archive's names and sizes, filled in place.

    :returns: the archive's own network if the other computes something else with its numbers, and
        so is as it was: a function of a tensor, its exponential say, has the tensor's name.
    """
    from ..graph import GraphNetwork
    from .graph_architecture import GraphArchitecture

    state = into.state_dict()
    if isinstance(into, GraphNetwork) or not isinstance(archive.architecture, GraphArchitecture):
        _fill_all(archive, state)
        return into.eval()
    from .into import computes_as

    own, modes = network(archive), [(part, part.training) for part in into.modules()]
    before = {spec.name: state[spec.name].clone() for spec in archive.architecture.tensors()}
    _fill_all(archive, state)
    if computes_as(into.eval(), own):
        return into
    for name, value in before.items():
        state[name].copy_(value)
    for part, mode in modes:
        part.training = mode
    warnings.warn(
        "the network passed as into= computes something else with the numbers of the file, which "
        "holds a function of a tensor, an exponential say, by the tensor's name; the file's own "
        "network is returned, and the other is not changed: leave out into=",
        stacklevel=4,
    )
    return own


def _taken(archive: Archive, into: nn.Module) -> nn.Module | None:
    """A network that takes the tensors of a graph of other names or sizes.

    :returns: the archive's own network where `into` cannot do without what compression removed.
        None if the two are not one network.
    """
    from .into import take
    from .ties import check_into

    architecture = archive.architecture
    check_into(architecture, into.state_dict(keep_vars=True))
    own = network(archive)
    taken = take(into, own)
    if taken.reason:
        raise ValueError(f"{taken.reason}; {WITHOUT_INTO}")
    if taken.right and taken.left:
        warnings.warn(
            f"the file has no numbers for {', '.join(map(repr, taken.left))} of the network passed "
            "as into=, on which its outputs do not depend: they stay as they are",
            stacklevel=4,
        )
    if taken.right:
        return into
    if not _is_what_is_left(architecture, into.state_dict()):
        return None
    warnings.warn(
        "compression removed units, folded BatchNorms or joined tensors, and the class of the "
        "network passed as into= does not run, or computes something else, without them; the "
        "file's own network is returned, and the other is not changed: leave out into=",
        stacklevel=4,
    )
    return own


def _fill(target: Tensor, tensor: Quantised | np.ndarray) -> None:
    """Write a tensor of an archive into one of a network, of the same shape."""
    import torch

    if isinstance(tensor, Quantised):
        if target.dtype == torch.float32 and target.device.type == "cpu":
            tensor.write_to(target.numpy())  # without a copy of a large one
            return
        tensor = tensor.values()
    target.copy_(torch.from_numpy(np.array(tensor)))


def _lost_units(architecture: Architecture, state: dict) -> bool:
    """Whether a file of a graph has other names or shapes than a state_dict."""
    own = {name: tuple(getattr(value, "shape", ())) for name, value in state.items()}
    specs = {spec.name: tuple(spec.shape) for spec in architecture.tensors()}
    for name, original in architecture.ties:
        specs[name] = specs[original]
    return architecture.version() == GRAPHS and own != specs


def _is_what_is_left(architecture: Architecture, state: dict) -> bool:
    """Whether the network that a file describes may be what compression left of another."""
    shapes = {spec.name: tuple(spec.shape) for spec in architecture.tensors()}
    whole = {name: tuple(tensor.shape) for name, tensor in state.items() if name in shapes}
    added = {name.rpartition(".")[2] for name in shapes.keys() - whole.keys()}
    fits = all(
        len(shapes[name]) == len(shape)
        and all(a <= b for a, b in zip(shapes[name], shape, strict=True))
        for name, shape in whole.items()
    )
    return bool(whole) and fits and added <= {"bias", "kept"}


def _check_same(architecture: Architecture, state: dict) -> None:
    """Raise ValueError unless a state_dict has exactly the described tensors."""
    graph = architecture.version() == GRAPHS
    other = f", or leave out into=: {WITHOUT_INTO}" if graph else ""
    expected = {spec.name: tuple(spec.shape) for spec in architecture.tensors()}
    tied = {name for name, _ in architecture.ties}
    missing = sorted(expected.keys() - state.keys())
    extra = sorted(state.keys() - expected.keys() - tied)
    if missing or extra:
        raise ValueError(
            f"the network passed as into= is not the one in the file: it lacks {missing or 'none'} "
            f"and has {extra or 'none'} beyond it; make it as it was made before compression{other}"
        )
    meta = [name for name in sorted(expected) if state[name].is_meta]
    if meta:
        raise ValueError(
            f"the network passed as into= has {meta[0]!r} on the meta device, which holds no "
            "values; make it on the CPU"
        )
    computed = ", unless its code computes another tensor from it" if graph else ""
    for name, shape in expected.items():
        if tuple(state[name].shape) != shape:
            raise ValueError(
                f"{name!r} of the network passed as into= has shape {tuple(state[name].shape)}, "
                f"in the file it has {shape}{computed}; make it as it was made before "
                f"compression{other}"
            )


def save(data: bytes, path: str | os.PathLike[str]) -> None:
    """Write a file whole or not at all: whatever happens, `path` holds the old or the new bytes.

    :raises OSError: of the kind that occurred, its message naming the path and what to do.
    """
    from .atomic import write_atomic  # a reader does without it

    write_atomic(path, data)


def read(path: str | os.PathLike[str]) -> bytes:
    """The bytes of a compressed file; of any other file no more than its beginning is read.

    :raises CorruptFile: it does not begin as a compressed file, or is too large for one; the
        message does not name the path.
    :raises OSError: it cannot be read.
    :raises TypeError: `path` is no path, but the bytes of a file, say.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(
            f"expected the path of a compressed file, got {type(path).__name__}; the network in "
            "the bytes of a file is network(decode(data)), both from bitsback.compression.file"
        )
    with open(path, "rb") as file:
        status = os.fstat(file.fileno())
        start = file.read(len(MAGIC) + 1)
        if start[: len(MAGIC)] != MAGIC:
            what = "it is empty" if not start else f"its first bytes are {start.hex(' ')}"
            raise CorruptFile(f"not a bitsback file ({what})")
        if status.st_size > MAX_FILE:
            raise CorruptFile(f"{status.st_size} bytes are more than any bitsback file has")
        parts = [start]
        left = MAX_FILE + 1 - len(start)
        while left > 0 and (part := file.read(min(left, max(status.st_size, 1 << 16)))):
            parts.append(part)
            left -= len(part)
    return b"".join(parts)


def load(path: str | os.PathLike[str], into: nn.Module | None = None) -> nn.Module:
    """The network in a compressed file: a plain module on the CPU, in eval mode.

    A file is data. Reading one runs no code of its own, and a damaged one is refused.

    :param path: a file of `compress`, `shrink` or `pack`.
    :param into: a network to fill, in place, which is returned. It is needed for packed checkpoints
        and for networks that could not be traced. Of the others it may be the network before its
        compression: its layers then become smaller; see `network`.
    :raises CorruptFile: the file is damaged, or of a newer format (UnsupportedVersion).
    :raises ValueError: `into` is needed, or does not fit. Either message names the file.
    :raises TypeError: `path` is no path; the message says what to do with the bytes of a file.

    >>> net = bitsback.load("net.bb")
    >>> logits = net(x)
    """
    try:
        data = read(path)
        if is_packed(data) and into is not None:
            from .packed.unpacking import fill

            return fill(data, into)
        return network(decode(data), into)
    except ValueError as error:
        raise type(error)(f"{os.fspath(path)!r}: {error}") from None
