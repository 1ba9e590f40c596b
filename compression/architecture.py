"""What a compressed file says of a network besides its numbers: layers, names, shapes.

Sequences (nn.Sequential, nested too) of the layers in `layers.KINDS` are described completely, so
that a file rebuilds them by itself. Any other module is described by its tensors: a file of it is
loaded into a module that the user has made. Torch is imported only where a network is built.

As bytes: flags (1 by its tensors, 2 label, 4 ties, 8 not float32), the label, the dtype's number,
the network (see `nodes`), the ties. Since version 2 of the file format reference networks have a
shorter form (see `short_form`). Each architecture has one form only in each version; `from_bytes`
refuses any other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from .errors import CorruptFile
from .layers import Layer
from .layers_fit import check_fit
from .limits import MAX_NAME, MAX_TENSORS, check_name, check_shape, check_total
from .nodes import (
    DTYPES,
    FLOATS,
    Chain,
    TensorSpec,
    node_bytes,
    read_node,
    read_specs,
    specs_bytes,
    walk,
)
from .short_form import FIRST, LARGEST, read_short_form, short_form
from .wire import Reader, text, varint

if TYPE_CHECKING:
    from torch import Tensor, nn

_OPAQUE, _LABEL, _TIES, _DTYPE = 1, 2, 4, 8


@dataclass(frozen=True)
class Architecture:
    """A network without its numbers. Exactly one of `root` and `listed` is given.

    :param root: the layers of a network that can be rebuilt, or None.
    :param listed: every state_dict entry of any other network, tied ones included.
    :param ties: pairs (name, earlier name) of entries that are one and the same tensor.
    :param label: a short name of the network, such as "lenet-300-100".
    :param dtype: of a rebuilt network's floating-point tensors.
    """

    root: Layer | Chain | None
    listed: tuple[TensorSpec, ...] = ()
    ties: tuple[tuple[str, str], ...] = ()
    label: str | None = None
    dtype: str = "float32"

    def tensors(self) -> list[TensorSpec]:
        """The tensors that a file holds, in state_dict order; tied ones once."""
        tied = {name for name, _ in self.ties}
        return [spec for spec in self.entries() if spec.name not in tied]

    def build(self) -> nn.Module:
        """A new network of this architecture on the CPU, in eval mode, all tensors zero.

        :raises ValueError: the architecture knows the network's tensors only.
        :raises CorruptFile: torch refuses to make a layer with its options.
        """
        if self.root is None:
            raise ValueError(
                "this network's layers are not described, only its tensors: "
                "make the network yourself and pass it as into="
            )
        from .rebuild import blank

        net = blank(self.root, self.dtype)
        for name, original in self.ties:
            _set_tensor(net, name, _get_tensor(net, original))
        return net

    def swapped(self) -> frozenset[str]:
        """The tensors whose axis 1 the coder takes for the output units: none."""
        return frozenset()

    def lenders(self) -> dict[str, tuple[int, ...] | None]:
        """The weights whose units are the columns of others: always those of the weight before."""
        return {}

    def check(self, tensors: Mapping[str, object]) -> None:
        """Raise CorruptFile if tensors do not fit each other; nothing to check here."""

    def version(self) -> int:
        """The first version of the file format that has its shortest form."""
        short = self._short_form()
        return 1 if short is None else short[0]

    def _short_form(self) -> tuple[int, bytes] | None:
        if self.ties or self.dtype != "float32":
            return None
        return short_form(self.root, self.label)

    def to_bytes(self, version: int | None = None) -> bytes:
        """The architecture as bytes, as the module's docstring says.

        :param version: of the file format; None: that of `version()`.
        :raises ValueError: for a later version than 1 and a network without a short form in it.
        """
        if version != 1:
            short = self._short_form()
            if short is not None and version in (None, short[0]):
                return short[1]
            if version is not None:
                raise ValueError("it is no reference network, and its file of another version")
        flags = _OPAQUE * (self.root is None) | _LABEL * (self.label is not None)
        flags |= _TIES * bool(self.ties) | _DTYPE * (self.dtype != "float32")
        out = varint(flags) + (text(self.label) if self.label is not None else b"")
        if self.dtype != "float32":
            out += varint(DTYPES.index(self.dtype))
        out += specs_bytes(self.listed) if self.root is None else node_bytes(self.root)
        if self.ties:
            place = {spec.name: i for i, spec in enumerate(self.entries())}
            out += varint(len(self.ties))
            out += b"".join(varint(place[a]) + varint(place[b]) for a, b in self.ties)
        return out

    @staticmethod
    def from_bytes(data: bytes, version: int | None = None) -> Architecture:
        """The inverse of `to_bytes`, for untrusted bytes.

        :param version: of the file format, as there.
        :raises CorruptFile: not an architecture within the limits above.
        """
        try:
            architecture = _read(Reader(data))
            if architecture.to_bytes(version) != bytes(data):
                raise ValueError("it is not written in its shortest form")
            check_architecture(architecture)
            if architecture.root is not None:
                check_fit(architecture.root)
        except CorruptFile:
            raise
        except ValueError as error:
            raise CorruptFile(f"the architecture in the file makes no sense: {error}") from None
        return architecture

    def entries(self) -> list[TensorSpec]:
        """All state_dict entries in order, tied ones included."""
        return list(self.listed) if self.root is None else list(walk(self.root, "", self.dtype))


def _get_tensor(net: nn.Module, name: str) -> Tensor:
    path, _, leaf = name.rpartition(".")
    return getattr(net.get_submodule(path), leaf)


def _set_tensor(net: nn.Module, name: str, tensor: Tensor) -> None:
    path, _, leaf = name.rpartition(".")
    setattr(net.get_submodule(path), leaf, tensor)


def _read(reader: Reader) -> Architecture:
    flags = reader.varint(LARGEST)
    if flags >= FIRST:
        root, label = read_short_form(reader, flags)
        reader.end()
        return Architecture(root, label=label)
    label = reader.text(MAX_NAME) if flags & _LABEL else None
    dtype = DTYPES[reader.varint(len(FLOATS) - 1)] if flags & _DTYPE else "float32"
    opaque = flags & _OPAQUE
    architecture = Architecture(
        None if opaque else read_node(reader),
        tuple(read_specs(reader)) if opaque else (),
        label=label,
        dtype=dtype,
    )
    ties = []
    if flags & _TIES:
        names = [spec.name for spec in architecture.entries()]
        for _ in range(reader.varint(len(names))):
            ties.append(tuple(names[reader.varint(len(names) - 1)] for _ in range(2)))
    reader.end()
    return Architecture(architecture.root, architecture.listed, tuple(ties), label, dtype)


def check_architecture(architecture: Architecture) -> None:
    """Raise ValueError if the architecture is beyond the limits or contradicts itself."""
    entries = architecture.entries()
    specs = {spec.name: spec for spec in entries}
    order = {name: i for i, name in enumerate(specs)}
    if len(entries) > MAX_TENSORS or len(specs) < len(entries):
        raise ValueError(f"there are more than {MAX_TENSORS} tensors, or two of one name")
    for spec in entries:
        check_name(spec.name)
        check_shape(spec.name, spec.shape)
        if (spec.role == "mask") != (spec.dtype == "bool" and spec.role != "raw"):
            raise ValueError(f"{spec.name!r} cannot be {spec.dtype} and a {spec.role}")
        if spec.role in ("weight", "bias") and spec.dtype not in FLOATS:
            raise ValueError(f"{spec.name!r} cannot be {spec.dtype} and a {spec.role}")
    check_total(math.prod(s.shape) * np.dtype(s.dtype).itemsize for s in entries)
    tied = {name for name, _ in architecture.ties}
    for name, original in architecture.ties:
        same = specs[name] == replace(specs[original], name=name)
        if not same or order[original] >= order[name] or original in tied:
            raise ValueError(f"{name!r} cannot be the same tensor as {original!r}")
    if len(tied) < len(architecture.ties):
        raise ValueError("a tensor is said twice to be the same as another")


def __getattr__(name: str) -> object:
    """`describe`, by the name that published scripts import; it needs torch."""
    if name == "describe":
        from .describe import describe

        return describe
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
