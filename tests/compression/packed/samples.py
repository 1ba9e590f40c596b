"""Checkpoints for the tests: every element type, with the bits that are easily lost."""

import io
from collections import OrderedDict

import numpy as np
import torch
from bitsback.compression.packed.checkpoint import of_tensors
from bitsback.compression.packed.dtypes import KINDS, Kind
from bitsback.compression.packed.reader import PackedReader
from bitsback.compression.packed.writer import encode
from torch import Tensor


def any_bits(kind: Kind, shape: tuple[int, ...], seed: int = 0) -> Tensor:
    """Every bit pattern is as likely, NaN payloads and denormals among them; bool: 0 or 1."""
    chance = np.random.default_rng(seed)
    count = int(np.prod(shape))
    octets = chance.integers(0, 2 if kind.name == "bool" else 256, count * kind.width, np.uint8)
    return torch.from_numpy(octets).view(getattr(torch, kind.name)).reshape(shape)


def all_types() -> dict[str, Tensor]:
    """A small and a large tensor of each type, and a scalar and an empty one."""
    found = {}
    for number, kind in enumerate(KINDS):
        found[f"small.{kind.name}"] = any_bits(kind, (3, 5), number)
        found[f"large.{kind.name}"] = any_bits(kind, (5, 1000), number)
    found["scalar"] = torch.tensor(7)
    found["empty"] = torch.empty(0, 3)
    return found


def weights(seed: int = 0) -> "OrderedDict[str, Tensor]":
    """A state_dict as training leaves one."""
    chance = torch.Generator().manual_seed(seed)
    found = OrderedDict()
    found["conv.weight"] = 0.1 * torch.randn(20, 30, 3, 3, generator=chance)
    found["bn.weight"] = torch.rand(20, generator=chance)
    found["bn.running_var"] = torch.rand(20, generator=chance) ** 8
    found["bn.num_batches_tracked"] = torch.tensor(1234)
    found["fc.weight"] = 0.3 * torch.randn(10, 500, generator=chance)
    found["fc.bias"] = torch.randn(10, generator=chance)
    return found


def packed(
    tensors: dict[str, Tensor], max_error: float | None = None, coder: str | None = None
) -> bytes:
    """The bytes of a packed file."""
    return b"".join(encode(of_tensors(tensors), max_error, coder=coder).parts)


def bits(tensor: Tensor) -> bytes:
    """The bytes of a tensor's elements."""
    return tensor.contiguous().reshape(-1).view(torch.uint8).numpy().tobytes()


def read(data: bytes) -> dict[str, bytes]:
    """The elements' bytes of each tensor in a packed file, by name; each is read to its end."""
    reader = PackedReader(io.BytesIO(data))
    return {item.name: bits.tobytes() for item, bits, _ in reader.tensors()}


def golden() -> dict[str, Tensor]:
    """Small tensors of each type, and large ones that take few bytes, one of them tied."""
    found = {f"small.{kind.name}": any_bits(kind, (3, 5), 1) for kind in KINDS}
    found["counts"] = torch.arange(5000).reshape(50, 100) % 300
    found["floats"] = (found["counts"] - 100).float() / 3
    found["noise"] = any_bits(KINDS[1], (4200,), 2)
    found["tied"] = found["floats"]
    return found
