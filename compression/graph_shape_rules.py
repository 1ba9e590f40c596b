"""What the rules of `graph_shapes` have in common."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import prod
from typing import Any

MAX_RESULTS = 1024  # of one operator
MAX_ELEMENTS = 1 << 31  # of one value, at two examples

Shape = tuple[int, ...]
Values = Mapping[str, Any]  # arguments by name: shapes for tensors, ints for sizes, else attributes
Rule = Callable[[Values], tuple[Any, int]]  # gives the shape or number, and the multiply-adds


def is_shape(value: Any) -> bool:
    """Whether an argument is a tensor's shape; a number among them is a computed size."""
    return isinstance(value, tuple)


def need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def broadcast(*shapes: Shape) -> Shape:
    """The shape of an elementwise result."""
    rank = max(map(len, shapes), default=0)
    result = []
    for axis in range(rank):
        sizes = {s[axis - rank + len(s)] for s in shapes if axis - rank + len(s) >= 0}
        sizes.discard(1)
        need(len(sizes) < 2, f"shapes {shapes} do not go together")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def axis_of(dim: int, rank: int) -> int:
    need(-max(rank, 1) <= dim < max(rank, 1), f"there is no axis {dim}")
    return dim % max(rank, 1)


def resized(shape: Shape, dim: int, size: int) -> Shape:
    axis = axis_of(dim, len(shape))
    return (*shape[:axis], size, *shape[axis + 1 :])


def need_vector(v: Values, size: int, *names: str) -> None:
    for name in names:
        given = v.get(name)
        need(given is None or prod(given) == size, f"{name} has shape {given}, not ({size},)")
