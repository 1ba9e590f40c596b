"""The statistics of a graph section after its primer, read from a file of the package.

They are what `describe_graph.learn` makes of `graph_primer.PRIMER`, which is the definition. To
learn them anew takes longer than all else that `decode` does with a small file. So the integers
are stored in graph_primed.bin, which tests/compression/golden/make_primed.py writes.

The file is a zlib stream: a line of JSON, which has the contexts and the words, and three arrays of
little-endian int32: places, thetas and information.
"""

from __future__ import annotations

import json
import zlib
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from .graph_symbols import State

FILE = Path(__file__).with_name("graph_primed.bin")


@cache
def after_primer() -> State:
    """What a graph section knows before it begins: a few common networks."""
    return from_bytes(FILE.read_bytes())


def to_bytes(state: State) -> bytes:
    """The file that holds statistics."""
    text = json.dumps([_as_json(state.contexts), state.words], separators=(",", ":"))
    arrays = np.array([state.places, state.theta, state.seen], dtype="<i4")
    return zlib.compress(text.encode() + b"\n" + arrays.tobytes(), 9)


def from_bytes(data: bytes) -> State:
    """The inverse of `to_bytes`, for a file of the package: nothing is checked."""
    text, _, arrays = zlib.decompress(data).partition(b"\n")
    contexts, words = json.loads(text)
    places, theta, seen = np.frombuffer(arrays, dtype="<i4").reshape(3, -1).tolist()
    return State(_from_json(contexts), places, theta, seen, words)


def _as_json(value: Any) -> Any:
    """Tuples as lists, and bytes as an object with their characters."""
    if isinstance(value, list | tuple):
        return [_as_json(part) for part in value]
    return {"bytes": value.decode("latin-1")} if isinstance(value, bytes) else value


def _from_json(value: Any) -> Any:
    if isinstance(value, list):
        return tuple(map(_from_json, value))
    return value["bytes"].encode("latin-1") if isinstance(value, dict) else value
