"""The published coder, for like-for-like tables: sparse rows by relative index, then Huffman.

After Han, Mao and Dally, "Deep Compression" (2016), section 2 and 5: the nonzero weights of a
layer in order, each as the distance from the one before in 5 bits (dense) or 8 bits (conv), a
filler zero where the distance is longer; then one Huffman code for the values and one for the
distances, tables counted. Masks and biases, which that count leaves out, are stored plainly.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np

from .archive import Archive, Codebook, Quantised, Uniform
from .errors import CorruptFile

DENSE_INDEX_BITS = 5
CONV_INDEX_BITS = 8
LENGTH_BITS = 5  # of a code length in a table
MAX_LENGTH = 31
COUNT_BITS = 32


class BitStream:
    """Bits, the highest of each number first, being written, or read if `data` is given."""

    def __init__(self, data: bytes | None = None) -> None:
        self.decoding = data is not None
        self._data = bytes(data or b"")
        self._parts: list[str] = []
        self._place = 0

    def bits(self) -> float:
        """Bits written or read so far."""
        return float(self._place)

    def number(self, value: int, width: int) -> int:
        """Code an integer in `width` bits and return it."""
        if width == 0:
            return 0
        self._place += width
        if not self.decoding:
            self._parts.append(f"{int(value):0{width}b}")
            return int(value)
        if self._place > 8 * len(self._data):
            raise CorruptFile("the coded stream ends before its symbols do")
        octets = self._data[(self._place - width) // 8 : (self._place + 7) // 8]
        return int.from_bytes(octets, "big") >> -self._place % 8 & (1 << width) - 1

    def flags(self, values: Sequence[bool]) -> list[bool]:
        """Code a bit for each of `values` and return them."""
        number = int("".join("01"[value] for value in values) or "0", 2)
        digits = f"{self.number(number, len(values)):0{len(values)}b}" if values else ""
        return [digit == "1" for digit in digits]

    def left(self) -> int:
        """Bits still to be read."""
        return 8 * len(self._data) - self._place

    def finish(self) -> bytes:
        """End the stream being written: zeros up to a whole byte."""
        digits = "".join(self._parts)
        digits += "0" * (-len(digits) % 8)
        return bytes(int(digits[i : i + 8], 2) for i in range(0, len(digits), 8))

    def check_end(self) -> None:
        """Raise CorruptFile unless only the padding is left of the stream being read."""
        if self.left() >= 8 or self.number(0, self.left()):
            raise CorruptFile("the coded stream does not end where its symbols do")


def code_lengths(counts: Sequence[int]) -> list[int]:
    """Huffman code lengths, 0 for symbols that do not occur; 1 for a symbol that is alone."""
    counts = [int(count) for count in counts]
    used = [symbol for symbol, count in enumerate(counts) if count]
    lengths = [0] * len(counts)
    if len(used) == 1:
        lengths[used[0]] = 1
    if len(used) < 2:
        return lengths
    heap = [(counts[symbol], symbol, (symbol,)) for symbol in used]
    heapq.heapify(heap)
    while len(heap) > 1:
        first, tie, left = heapq.heappop(heap)
        second, _, right = heapq.heappop(heap)
        for symbol in (*left, *right):
            lengths[symbol] += 1
        heapq.heappush(heap, (first + second, tie, (*left, *right)))
    if max(lengths) > MAX_LENGTH:  # flatter counts give a flatter tree, hardly longer
        return code_lengths([(count + 1) // 2 for count in counts])
    return lengths


def canonical_codes(lengths: Sequence[int]) -> dict[int, str]:
    """The canonical prefix code of these lengths: by symbol, digits 0 and 1.

    :raises CorruptFile: there is no such code, or it wastes digits.
    """
    order = sorted((length, symbol) for symbol, length in enumerate(lengths) if length)
    if len(order) > 1 and sum(1 << (MAX_LENGTH - n) for n, _ in order) != 1 << MAX_LENGTH:
        raise CorruptFile("a Huffman table in the file is not a complete code")
    if len(order) == 1 and order[0][0] != 1:
        raise CorruptFile("a Huffman table in the file is not in its shortest form")
    codes: dict[int, str] = {}
    code = previous = 0
    for length, symbol in order:
        code <<= length - previous
        codes[symbol] = f"{code:0{length}b}"
        code, previous = code + 1, length
    return codes


class Published:
    """Codes the tensors of one archive through a BitStream, as `context.Model` does."""

    def __init__(
        self, stream: BitStream, charge: Callable[[str], None] = lambda part: None
    ) -> None:
        self._stream = stream
        self._charge = charge

    def finish(self) -> bytes:
        """End the stream being written; return its bytes."""
        return self._stream.finish()

    def mask(self, count: int, mask: np.ndarray | None = None) -> np.ndarray:
        """A bool array, shape (count,), a bit for each."""
        bits = np.zeros(count, dtype=bool) if mask is None else mask.reshape(-1)
        self._admit(count)
        numbers = (self._stream.number(int(bit), 1) for bit in bits)
        out = np.fromiter(numbers, dtype=bool, count=count)
        self._charge("masks")
        return out

    def octets(self, count: int, stride: int, data: bytes | None = None) -> bytes:
        """`count` bytes as they are."""
        self._admit(8 * count)
        source = data if data is not None else bytes(count)
        out = bytes(self._stream.number(octet, 8) for octet in source)
        self._charge("raw")
        return out

    def tensor(
        self, shape: tuple[int, ...], role: str, tensor: Quantised | None = None
    ) -> Quantised:
        """A tensor of role weight or bias."""
        grid, (low, high) = self._grid(tensor)
        self._charge("codebooks")
        size = int(np.prod(shape, dtype=object)) if shape else 1
        codes = tensor.codes.reshape(-1) if tensor is not None else None
        if role == "weight":
            index_bits = CONV_INDEX_BITS if len(shape) > 2 else DENSE_INDEX_BITS
            codes = self._sparse(size, codes, low, high, index_bits)
        else:
            codes = self._plain(size, codes, low, high)
        try:
            return Quantised(codes.reshape(shape), grid)
        except ValueError as error:
            raise CorruptFile(f"a tensor in the file makes no sense: {error}") from None

    def _admit(self, bits: int) -> None:
        if self._stream.decoding and bits > self._stream.left():
            raise CorruptFile("the coded stream ends before its symbols do")

    def _plain(self, size: int, codes: np.ndarray | None, low: int, high: int) -> np.ndarray:
        width = (high - low).bit_length()
        self._admit(size * width)
        source = codes if codes is not None else np.full(size, low, dtype=np.int32)
        if width:
            numbers = (self._stream.number(int(c) - low, width) + low for c in source)
            source = np.fromiter(numbers, dtype=np.int32, count=size)
        self._charge("biases")
        return source

    def _sparse(
        self, size: int, codes: np.ndarray | None, low: int, high: int, index_bits: int
    ) -> np.ndarray:
        gaps, symbols = entries(codes, index_bits) if codes is not None else ([], [])
        count = self._stream.number(len(gaps), COUNT_BITS)
        self._admit(2 * count)
        gap_codes = self._table(gaps, 1 << index_bits)
        self._charge("positions")
        value_codes = self._table([symbol - low for symbol in symbols], high - low + 1)
        self._charge("values")
        gaps = self._symbols(gaps, gap_codes, count)
        self._charge("positions")
        symbols = self._symbols([symbol - low for symbol in symbols], value_codes, count)
        self._charge("values")
        out = np.zeros(size, dtype=np.int32)
        places = np.cumsum(np.array(gaps, dtype=np.int64) + 1) - 1
        if count and places[-1] >= size:
            raise CorruptFile("a weight in the file lies outside its tensor")
        out[places] = np.array(symbols, dtype=np.int64) + low
        return out

    def _table(self, symbols: Sequence[int], alphabet: int) -> dict[int, str]:
        """Code a Huffman table: a bit for each symbol that occurs, and its code's length."""
        self._admit(alphabet)
        lengths = code_lengths(np.bincount(symbols, minlength=alphabet)) if len(symbols) else []
        lengths = lengths or [0] * alphabet
        used = self._stream.flags([length > 0 for length in lengths])
        lengths = [
            self._stream.number(length, LENGTH_BITS) if there else 0
            for length, there in zip(lengths, used, strict=True)
        ]
        return canonical_codes(lengths)

    def _symbols(self, symbols: Sequence[int], codes: dict[int, str], count: int) -> Sequence[int]:
        if not self._stream.decoding:
            for symbol in symbols:
                self._stream.number(int(codes[symbol], 2), len(codes[symbol]))
            return symbols
        meaning = {code: symbol for symbol, code in codes.items()}
        return [self._symbol(meaning) for _ in range(count)]

    def _symbol(self, meaning: dict[str, int]) -> int:
        digits = ""
        while len(digits) < MAX_LENGTH:
            digits += str(self._stream.number(0, 1))
            if digits in meaning:
                return meaning[digits]
        raise CorruptFile("a Huffman code in the file has no meaning")

    def _grid(self, tensor: Quantised | None) -> tuple[Uniform | Codebook, tuple[int, int]]:
        """A grid, 16 bits for each value, and the lowest and the highest code in use."""
        number = self._stream.number
        grid = tensor.grid if tensor is not None else None
        if isinstance(grid, Uniform) and grid.shifts:
            raise ValueError("the published coder has no steps of units: use coder='small'")
        try:
            if number(isinstance(grid, Codebook), 1):
                sides = (grid.positive, -grid.negative) if grid is not None else (None, None)
                positive, negative = (self._values(side) for side in sides)
                book = Codebook(-negative, positive)
                return book, book.bounds()
            codes = tensor.codes if tensor is not None else np.zeros(1, dtype=np.int32)
            step = self._value(grid.step if grid is not None else 0.0)
            low = -number(-int(codes.min(initial=0)), 17)
            return Uniform(float(step)), (low, number(int(codes.max(initial=0)), 17))
        except CorruptFile:
            raise
        except ValueError as error:
            raise CorruptFile(f"a grid in the file makes no sense: {error}") from None

    def _values(self, magnitudes: np.ndarray | None) -> np.ndarray:
        count = self._stream.number(len(magnitudes) if magnitudes is not None else 0, 17)
        self._admit(16 * count)
        known = magnitudes if magnitudes is not None else np.zeros(count, dtype=np.float32)
        return np.array([self._value(value) for value in known], dtype=np.float32)

    def _value(self, value: float) -> np.float32:
        pattern = int(np.float32(value).view(np.uint32)) >> 16
        return np.uint32(self._stream.number(pattern, 16) << 16).view(np.float32)


def entries(codes: np.ndarray, index_bits: int) -> tuple[list[int], list[int]]:
    """Pairs (distance - 1, code) of a flat tensor's nonzero codes, and of fillers (code 0)."""
    reach = 1 << index_bits
    gaps: list[int] = []
    symbols: list[int] = []
    last = -1
    for place in np.flatnonzero(codes).tolist():
        fillers, gap = divmod(place - last - 1, reach)
        gaps += [reach - 1] * fillers + [gap]
        symbols += [0] * fillers + [int(codes[place])]
        last = place
    return gaps, symbols


def published_bits(archive: Archive) -> dict[str, int]:
    """Bits of each weight tensor by the published count: Huffman codes of values and distances,
    and 32 bits for each value of the codebook. Tables, biases and shapes are left out there.
    """
    out = {}
    for name, tensor in archive.tensors.items():
        if not isinstance(tensor, Quantised):
            continue
        if tensor.codes.ndim < 2:
            continue
        index_bits = CONV_INDEX_BITS if tensor.codes.ndim > 2 else DENSE_INDEX_BITS
        gaps, symbols = entries(tensor.codes.reshape(-1), index_bits)
        total = 32 * len(np.unique([s for s in symbols if s]))
        for stream in (gaps, symbols):
            _, counts = np.unique(stream, return_counts=True)
            total += sum(n * k for n, k in zip(code_lengths(counts), counts.tolist(), strict=True))
        out[name] = int(total)
    return out
