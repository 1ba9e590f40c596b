"""Which function writes which operator: `FORMS`, by the name of the operator's row.

A form takes the writer and the operator's arguments by name, values as `Ref`s. It appends nodes and
returns the name of the result, or a tuple of names. Rows whose `onnx` trait names an ONNX operator
need none. What cannot be written raises ValueError with the end of a sentence about the operator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ...graph.ir import PARAMETER, Node, Ref

FORMS: dict[str, Callable[..., Any]] = {}


def form(*operators: str) -> Callable[[Callable], Callable]:
    """Make a function the form of these rows."""

    def register(function: Callable) -> Callable:
        for operator in operators:
            assert operator not in FORMS, operator
            FORMS[operator] = function
        return function

    return register


def module_of(node: Node) -> str:
    """The path of the module that an operator belongs to, as far as it is known.

    That is where it was called; of a decoded network, whose file does not say that, where its
    weight is.
    """
    weight = node.arguments.get("weight")
    if not node.scope and isinstance(weight, Ref) and weight.node.operator == PARAMETER:
        return weight.node.name.rpartition(".")[0]
    return node.scope
