"""A strip of integers on one step in the profile `fast`: for tensors of large checkpoints.

A strip is a varint, its bytes; the upper half of the step, a float32, in 2 bytes, little-endian;
and a stream of `fast.coder`. Strips are whole rows, as those of `integers`, but larger.
"""

from math import prod

import numpy as np

from ..archive import Quantised, Uniform
from ..errors import CorruptFile
from ..fast.coder import FastStream
from ..limits import MAX_WEIGHTS_PER_BYTE
from ..wire import varint
from .bounded import Body
from .dtypes import Kind, from_floats

FAST_STRIP = 1 << 22  # elements at a time
STEP = 2  # bytes of a step


def encode_fast(tensor: Quantised) -> bytes:
    """One strip.

    :raises ValueError: so many equal integers that their stream is too short for a reader.
    """
    stream = FastStream()
    stream.code(tensor.codes, tensor.codes.shape)
    pattern = int(np.float32(tensor.grid.step).view(np.uint32)) >> 16
    data = pattern.to_bytes(STEP, "little") + stream.finish()
    if tensor.codes.size > MAX_WEIGHTS_PER_BYTE * len(data):
        raise ValueError("the strip is too empty for its size")
    return varint(len(data)) + data


def decode_fast(body: Body, shape: tuple[int, ...], kind: Kind) -> np.ndarray:
    """The bits of a strip of this shape: unsigned integers, flat.

    :raises CorruptFile: the strip is damaged.
    """
    data = body.strip(prod(shape), MAX_WEIGHTS_PER_BYTE)
    step = np.uint32(int.from_bytes(data[:STEP], "little") << 16).view(np.float32)
    stream = FastStream(data[STEP:])
    codes = stream.code(None, shape)
    stream.check_end()
    try:
        tensor = Quantised(codes, Uniform(float(step)), owned=True)
    except ValueError as error:
        raise CorruptFile(f"a tensor in the file makes no sense: {error}") from None
    return from_floats(tensor.values(), kind)
