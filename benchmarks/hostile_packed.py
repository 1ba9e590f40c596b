"""Hostile packed checkpoints for the soak: see `hostile`."""

import zlib
from random import Random

import numpy as np
import torch
from bitsback.compression import codec
from bitsback.compression.packed.checkpoint import of_tensors
from bitsback.compression.packed.planes import deflate
from bitsback.compression.packed.writer import encode
from bitsback.compression.wire import read_varint, varint
from hostile import changed, repaired, stream

SOURCES = 10  # packed files of a block
SHAPES = ((3, 4), (7,), (), (20, 9), (8, 3, 3, 3), (0, 4), (90, 60))
DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.bool)


def sources(seed: int, block: int) -> list[bytes]:
    """Packed files as a writer makes them, with and without loss, in both profiles."""
    chance = Random(f"{seed} packed {block}")
    return [_packed(chance) for _ in range(SOURCES)]


def _packed(chance: Random) -> bytes:
    numbers = np.random.default_rng(chance.getrandbits(32))
    tensors = {}
    for number in range(chance.randint(1, 6)):
        values = torch.from_numpy(np.asarray(numbers.laplace(size=chance.choice(SHAPES))))
        tensors[f"layer.{number}"] = values.to(chance.choice(DTYPES))
    loss = chance.choice([None, 0.05, 0.3, 1.0])
    return b"".join(encode(of_tensors(tensors), loss, coder=chance.choice(["small", "fast"])).parts)


def hostile(chance: Random, files: list[bytes]) -> tuple[str, bytes]:
    """What kind of input it is, and its bytes."""
    data, kind = chance.choice(files)[: -codec.CHECKSUM], chance.random()
    if kind < 0.05:
        return "packed unchanged", repaired(data)
    if kind < 0.5:
        return "packed bytes", repaired(changed(data, chance))
    version, header, body = _parts(data)
    if kind < 0.75:
        header = changed(header, chance)
    elif kind < 0.9:
        body = body[: chance.randrange(len(body) + 1)] + stream(chance)
    else:
        version = chance.choice([codec.PACKED, codec.PACKED_FAST])
        _, _, body = _parts(chance.choice(files)[: -codec.CHECKSUM])
    deflated = deflate(header)
    front = codec.MAGIC + bytes([version]) + varint(len(header)) + varint(len(deflated))
    return "packed parts", repaired(front + deflated + body)


def _parts(data: bytes) -> tuple[int, bytes, bytes]:
    """The version, the inflated header and the bytes behind it."""
    place = len(codec.MAGIC) + 1

    def take(count: int) -> bytes:
        nonlocal place
        place += count
        return data[place - count : place]

    read_varint(take, 1 << 23, 4, "")
    header = zlib.decompress(take(read_varint(take, 1 << 23, 4, "")), -zlib.MAX_WBITS)
    return data[len(codec.MAGIC)], header, data[place:]
