"""A tensor as integers on one step, strip by strip, each strip a stream of the range coder.

A strip is a few whole rows (output units), or a part of a row that is longer than a strip.
"""

from collections.abc import Iterator
from math import prod

import numpy as np

from ..archive import Quantised
from ..c_library import USED_FROM
from ..context import Model
from ..nodes import TensorSpec
from ..range_coder import Stream
from ..wire import varint
from .bounded import Body
from .dtypes import Kind, from_floats

STRIP = 1 << 20  # elements at a time
ELEMENTS_PER_BYTE = 4_096  # of a strip, so that few bytes never take long


def strips(shape: tuple[int, ...], most: int = STRIP) -> Iterator[tuple[int, tuple[int, ...]]]:
    """Where each strip of a tensor begins among its elements, and the shape of the strip.

    :param most: elements of a strip.
    """
    count = prod(shape)
    row = count // shape[0] if len(shape) > 1 and count else most + 1
    if row > most:
        for first in range(0, count, most):
            yield first, (min(most, count - first),)
        return
    rows = max(most // row, 1)
    for first in range(0, shape[0], rows):
        yield first * row, (min(rows, shape[0] - first), *shape[1:])


def encode_integers(tensor: Quantised) -> bytes:
    """One strip.

    :raises ValueError: so many equal integers that their stream is too short for a reader.
    """
    stream = Stream()
    Model(stream).tensor(tensor.codes.shape, "weight", tensor)
    data = stream.finish()
    if tensor.codes.size > ELEMENTS_PER_BYTE * len(data):
        raise ValueError("the strip is too empty for its size")
    return varint(len(data)) + data


def decode_integers(body: Body, shape: tuple[int, ...], kind: Kind) -> np.ndarray:
    """The bits of a strip of this shape: unsigned integers, flat.

    :raises CorruptFile: the strip is damaged.
    """
    data = body.strip(prod(shape), ELEMENTS_PER_BYTE)
    tensor = _decode_in_c(data, shape) or _decode(data, shape)
    return from_floats(tensor.values().reshape(-1), kind)


def _decode(data: bytes, shape: tuple[int, ...]) -> Quantised:
    stream = Stream(data)
    tensor = Model(stream).tensor(shape, "weight")
    stream.check_end()
    return tensor


def _decode_in_c(data: bytes, shape: tuple[int, ...]) -> Quantised | None:
    """None where the decoder in C is of no use."""
    if prod(shape) < USED_FROM:
        return None
    from ..c_decoder import decode_stream
    from ..coded import Coded

    coded = [Coded(TensorSpec("strip", shape, "weight", "float32"))]
    found = decode_stream(coded, data, 0, False, prod(shape))
    return None if found is None else found[0][0]
