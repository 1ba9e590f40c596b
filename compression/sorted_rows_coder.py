"""The range coder's side of sorted rows: a stream that is cut where an order stands for bytes.

A writer cannot choose an order before it knows the bytes that follow. So it parks the stream at
each tensor of sorted rows and goes on with a new stream. It writes the parked tensors last, from
the end of the file to its beginning. A reader goes forward: it reads the rows, sorts them, and
puts the bytes of their order in front of what follows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from . import sorted_rows
from .errors import CorruptFile
from .grids import GridCoder
from .limits import check_decisions
from .range_coder import Stream

MAX_HALVINGS = 16  # of the rows into groups
Run = Callable[[np.ndarray | None], np.ndarray]  # codes rows, or reads them if there are none


class SortedRowsCoder:
    """Codes weights whose rows are sorted; see `context.Model`.

    :param stream: of the model.
    :param numbers: codes the numbers of groups.
    :param groups: of each weight tensor in how many groups its rows are sorted, 0 for none, if
        the stream is being written.
    """

    def __init__(self, stream: Stream, numbers: GridCoder, groups: Iterable[int] = ()) -> None:
        self._stream = stream
        self._numbers = numbers
        self._given = iter(groups)
        self._parked: list[tuple[Stream, Run, np.ndarray, int]] = []
        #: Of each weight tensor so far, in how many groups its rows are sorted.
        self.groups: list[int] = []

    def code(self, run: Run, rows: int, columns: int, codes: np.ndarray | None) -> np.ndarray:
        """The integers of a weight tensor, int32, flat, which `run` codes in any order of rows."""
        size = self._size(rows, columns)
        if not size:
            return run(codes)
        if codes is None:
            return self._sorted(run(None).reshape(rows, columns), size).reshape(-1)
        table = codes.reshape(rows, columns)
        if not np.array_equal(table, table[sorted_rows.in_order(table, size)]):
            raise ValueError("the rows of a tensor are not sorted, as the archive says they are")
        self._parked.append((self._stream.park(), run, table, size))
        return codes.reshape(-1)

    def finish(self) -> bytes:
        """End the stream being written; return its bytes."""
        spent = self._stream.decisions()
        payload = self._stream.cut(last=True)
        for parked, run, rows, size in reversed(self._parked):
            place, payload = sorted_rows.hidden(payload, sorted_rows.orders(rows, size))
            self._stream.resume(parked)
            run(np.ascontiguousarray(sorted_rows.placed(rows, size, place)))
            spent += self._stream.decisions()
            payload = self._stream.cut() + payload
        check_decisions(spent, len(payload))
        return payload

    def _size(self, rows: int, columns: int) -> int:
        """The number of rows in a group of the tensor that comes next, 0 if it is not sorted."""
        groups = next(self._given, 0)
        if rows > 1 and columns:
            halvings = self._numbers.number("sorted", groups.bit_length(), MAX_HALVINGS)
            groups = 1 << halvings >> 1
        self.groups.append(groups)
        if not groups:
            return 0
        try:
            return sorted_rows.group_size(rows, groups)
        except ValueError as error:
            raise CorruptFile(f"a tensor in the file makes no sense: {error}") from None

    def _sorted(self, rows: np.ndarray, size: int) -> np.ndarray:
        """Rows as they were read in their sorted order, after the bytes are given back."""
        total, place = sorted_rows.orders(rows, size), sorted_rows.place_of(rows, size)
        count = int(total > 1)
        self._stream.replace_next(count, lambda data: sorted_rows.revealed(data, place, total))
        return np.ascontiguousarray(rows[sorted_rows.in_order(rows, size)])
