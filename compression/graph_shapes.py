"""The shape of every value of a graph, by one rule for each operator, without computing anything.

A reader of a file works shapes out while it reads the graph: they say what the next parameter can
look like, and they bound the memory and the time that the network would take. The rules are plain
Python, so that they are the same in every version of torch and take no time to load. The batch has
`BATCH` examples. A size that depends on the batch is a number.
"""

from __future__ import annotations

from math import prod
from typing import Any

from ..graph.table import OPERATORS
from .graph_shape_layers import BY_FAMILY
from .graph_shape_layers import RULES as LAYERS
from .graph_shape_moves import RULES as MOVES
from .graph_shape_rules import MAX_ELEMENTS, Values

BATCH = 2
MAX_DIMS = 8
MAX_WORK = 1 << 46  # multiply-adds of one run of the network, at `BATCH` examples
MAX_SIZE = 1 << 40  # of a number that is computed from sizes

_BY_NAME = LAYERS | MOVES


def result_of(operator: str, given: Values) -> tuple[Any, int]:
    """What an operator gives: a shape, a number, or a list of shapes; and its multiply-adds.

    :raises ValueError: the operator cannot take these, or its results are beyond the limits.
    """
    row = OPERATORS[operator]
    rule = _BY_NAME.get(operator) or BY_FAMILY.get(row.family)
    if rule is None:
        raise ValueError(f"the file has no rule for the shapes of operator {operator}")
    try:
        result, work = rule(given)
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        raise ValueError(f"operator {operator} cannot take what it is given: {error}") from None
    for shape in result if isinstance(result, list) else [result]:
        _check(operator, shape)
    return result, work


def _check(operator: str, shape: Any) -> None:
    if isinstance(shape, int):
        if abs(shape) > MAX_SIZE:
            raise ValueError(f"a size that operator {operator} computes is too large")
        return
    if len(shape) > MAX_DIMS or min(shape, default=0) < 0 or prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"operator {operator} gives a value of shape {shape}")
