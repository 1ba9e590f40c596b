"""Coded streams through the decoder in C (`c/bitsback.h`), for speed.

The Python decoder is the definition. Whatever C refuses, Python decodes again, so that the user
learns what is wrong in its words.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from .archive import Codebook, Quantised, Uniform
from .c_library import BUILT_FROM, library
from .coded import Coded
from .nodes import ROLES, TensorSpec
from .sorted_rows import MAX_ROWS

if TYPE_CHECKING:
    import ctypes

MOST_MEMORY = 1 << 30  # bytes beside the tensors
SPATIAL = 1 << 18  # columns up to which neighbours are looked at
UNIFORM, CODEBOOK, SHIFTED = range(3)
LENT_BY_LAST = -1
OK, CORRUPT, MEMORY = range(3)


Tensors = list["Quantised | np.ndarray"]


def decode_stream(
    tensors: Sequence[Coded], stream: bytes, coder: int, is_sorted: bool, decisions: int
) -> tuple[Tensors, list[int]] | None:
    """The tensors of a stream, and of each weight in how many groups its rows are sorted.

    Raw tensors are their bytes, uint8, shape (n,).

    :param tensors: those in the stream, in its order.
    :param coder: 0 the range coder, 1 Huffman, 2 the range coder with predictions.
    :param decisions: about how many there are in the stream.
    :returns: None if there is no library, or if the stream is damaged.
    """
    if (found := library(decisions >= BUILT_FROM)) is None:
        return None
    try:
        call = Call(tensors)
        if call.run(found, stream, coder, is_sorted) != OK:
            return None
        return call.results(), call.groups()
    except MemoryError:  # Python asks for less at a time
        return None


class Call:
    """The arguments of one call, as C has them, and the arrays that it fills.

    :param tensors: as for `decode_stream`.
    """

    def __init__(self, tensors: Sequence[Coded]) -> None:
        import ctypes

        from .c_structures import Grid, Tensor

        self._tensors = tensors
        self._kept = []  # what the structures point to
        self._table = (Tensor * len(tensors))(*map(self._row, tensors))
        self._grids = (Grid * len(tensors))()
        self.arrays = [_room(tensor.spec) for tensor in tensors]
        pointers = [array.ctypes.data for array in self.arrays]
        self._data = (ctypes.c_void_p * len(tensors))(*pointers)

    def _row(self, tensor: Coded):
        import ctypes

        from .c_structures import Tensor

        spec, row = tensor.spec, Tensor()
        lenders = tensor.lenders
        if lenders:
            row.lender = places = (ctypes.c_uint16 * len(lenders))(*lenders)
            self._kept.append(places)
        row.lenders = LENT_BY_LAST if lenders is None else len(lenders)
        row.axes, row.role, row.swapped = len(spec.shape), ROLES.index(spec.role), tensor.swapped
        row.item = tensor.item
        row.shape[: len(spec.shape)] = spec.shape
        return row

    def _memory(self) -> int:
        """Bytes that are nearly always enough."""
        return 1 << 18 | max(map(_scratch, self._tensors), default=0) + sum(
            4 * (len(t.lenders or ()) + 1) * max(t.spec.shape, default=1) for t in self._tensors
        )

    def run(self, found: ctypes.CDLL, stream: bytes, coder: int, is_sorted: bool) -> int:
        """Call the function until its memory is enough; its status.

        `needed` is then the memory that it took, in bytes.
        """
        status, size = MEMORY, self._memory()
        while status == MEMORY and size <= MOST_MEMORY:
            status, size = self._run(found, stream, coder, is_sorted, size), 4 * size
        return status

    def _run(
        self, found: ctypes.CDLL, stream: bytes, coder: int, is_sorted: bool, size: int
    ) -> int:
        import ctypes

        from .c_structures import Memory

        self._room = np.empty(size // 8 + 1, dtype=np.uint64)  # grids point into it
        memory = Memory(self._room.ctypes.data, self._room.nbytes, 0, 0)
        data = np.frombuffer(stream, dtype=np.uint8)
        status = found.bb_decode_stream(
            self._table, ctypes.c_uint32(len(self._tensors)), ctypes.c_void_p(data.ctypes.data),
            ctypes.c_size_t(len(data)), coder, int(is_sorted), self._data, self._grids,
            ctypes.byref(memory),
        )  # fmt: skip
        self.needed = memory.most
        return status

    def groups(self) -> list[int]:
        """Of each weight in how many groups its rows are sorted."""
        pairs = zip(self._tensors, self._grids, strict=True)
        return [grid.groups for tensor, grid in pairs if tensor.spec.role == "weight"]

    def results(self) -> Tensors:
        """The tensors that the call has filled in."""
        found: Tensors = []
        for tensor, array, grid in zip(self._tensors, self.arrays, self._grids, strict=True):
            shape = tensor.spec.shape
            if tensor.spec.role == "mask":
                found.append(array.view(bool).reshape(shape))
            elif tensor.spec.role == "raw":
                found.append(array)
            elif grid.swapped:
                turned = array.reshape(shape[1], shape[0], *shape[2:]).swapaxes(0, 1)
                found.append(Quantised(turned, _grid(grid, shape)))
            else:
                found.append(Quantised(array.reshape(shape), _grid(grid, shape)))
        return found


def _room(spec: TensorSpec) -> np.ndarray:
    """An array for a tensor, flat."""
    if spec.role == "raw":
        return np.empty(prod(spec.shape) * np.dtype(spec.dtype).itemsize, dtype=np.uint8)
    return np.empty(prod(spec.shape), dtype=np.uint8 if spec.role == "mask" else np.int32)


def _scratch(tensor: Coded) -> int:
    """About the bytes that a tensor takes while it is decoded."""
    shape = tensor.spec.shape
    count, rows = prod(shape), shape[tensor.swapped] if len(shape) > 1 else 1
    columns = count // max(rows, 1)
    each = 104 if columns <= SPATIAL else 24 * (rows > 1)
    return each * columns + 64 * min(rows, MAX_ROWS) + (4 * count if rows == 1 else 0)


def _grid(grid, shape: tuple[int, ...]) -> Uniform | Codebook:
    if grid.kind == CODEBOOK:
        return Codebook(
            -_magnitudes(grid.negative[: grid.negatives]),
            _magnitudes(grid.positive[: grid.positives]),
        )
    units = shape[0] if grid.kind == SHIFTED and len(shape) > 1 else 0
    shifts = tuple(grid.shifts[:units]) if units else ()
    return Uniform(float(_magnitudes([grid.step])[0]), shifts)


def _magnitudes(patterns: Sequence[int]) -> np.ndarray:
    """The float32 values of upper halves."""
    return (np.array(patterns, dtype=np.uint32) << 16).view(np.float32)
