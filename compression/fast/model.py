"""What the codec uses for a network in the profile `fast`: two streams, and the model of both.

The integers of weights go through a `FastStream`. All else (grids, biases, masks, raw tensors of
up to 64 KiB) is little, and goes through the range coder of the profile `small`.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

import numpy as np

from ..archive import Quantised
from ..context import Model
from ..errors import CorruptFile
from ..range_coder import Stream
from ..wire import read_varint, varint
from .coder import FastStream


class TwoStreams:
    """Both streams, being written, or read if `data` is given.

    As bytes: a varint, the bytes of the range coder's stream; that stream; the fast stream.
    """

    kinds = (Stream, FastStream)

    def __init__(self, data: bytes | None = None) -> None:
        self.decoding = data is not None
        small, fast = self.kinds
        if data is None:
            self.small, self.fast = small(), fast()
            return
        file = BytesIO(data)

        def take(count: int) -> bytes:
            if len(found := file.read(count)) < count:
                raise CorruptFile("the coded stream ends before its symbols do")
            return found

        length = read_varint(take, len(data), 5, "the length of a stream in the file")
        self.small, self.fast = small(take(length)), fast(file.read())

    def bits(self) -> float:
        """Information coded so far, in bits. For reports only: a float."""
        return self.small.bits() + self.fast.bits()

    def finish(self) -> bytes:
        """End the streams being written; return their bytes."""
        small = self.small.finish()
        return varint(len(small)) + small + self.fast.finish()

    def check_end(self) -> None:
        """Raise CorruptFile unless both streams being read end here."""
        self.small.check_end()
        self.fast.check_end()


class FastModel(Model):
    """Codes the tensors of one archive; see `context.Model`."""

    def __init__(self, streams: TwoStreams, charge: Callable[[str], None]) -> None:
        super().__init__(streams.small, charge)
        self._streams = streams

    def finish(self) -> bytes:
        """End the streams being written; return their bytes."""
        return self._streams.finish()

    def tensor(
        self, shape: tuple[int, ...], role: str, tensor: Quantised | None = None
    ) -> Quantised:
        """A tensor of role weight or bias."""
        if role != "weight":
            return super().tensor(shape, role, tensor)
        grid, _ = self._grids.code(shape[0] if len(shape) > 1 else 1, tensor)
        self._charge("codebooks")
        codes: np.ndarray | None = None if tensor is None else tensor.codes
        codes = self._streams.fast.code(codes, shape)
        self._charge("values")
        try:
            return Quantised(codes.reshape(shape), grid, owned=True)
        except ValueError as error:
            raise CorruptFile(f"a tensor in the file makes no sense: {error}") from None
