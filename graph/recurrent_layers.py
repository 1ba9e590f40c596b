"""A recurrent operator of several layers and directions as one operator for each.

torch asks for one hidden size in all layers and directions of a call. Split up, each has hidden
units of its own, and can lose its own. That is done where the first states are zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .exported import stem_of
from .ir import Ref

if TYPE_CHECKING:
    from .converter import Converter


def split_recurrent(self: Converter, exported: Any, arguments: dict) -> bool:
    """Add the operators of each layer and direction; False if there is nothing to split."""
    directions, layers = 1 + arguments["bidirectional"], arguments["num_layers"]
    states = arguments["hx"] if isinstance(arguments["hx"], tuple) else (arguments["hx"],)
    each = len(arguments["params"]) // (directions * layers)
    expected = 4 if arguments["has_biases"] else 2
    zeros = all(ref.node.operator == "full" and ref.node.arguments["value"] == 0 for ref in states)
    if directions * layers == 1 or each != expected or not zeros:
        return False
    time = 1 if arguments["batch_first"] else 0
    value, params, last = arguments["input"], iter(_chunks(arguments["params"], each)), []
    for layer in range(layers):
        if layer and arguments["dropout"]:
            value = self.insert(exported, "dropout", input=value, p=float(arguments["dropout"]))
        outputs = []
        for direction in range(directions):
            source = _turned(self, exported, value, time) if direction else value
            starts = tuple(_one_state(self, exported, ref) for ref in states)
            node = _one_layer(self, exported, arguments, source, starts, next(params))
            output = Ref(node)
            outputs.append(_turned(self, exported, output, time) if direction else output)
            last.append([Ref(node, 1 + i) for i in range(len(states))])
        value = outputs[0]
        if directions == 2:
            value = self.insert(exported, "cat", tensors=tuple(outputs), dim=2)
    ends = [_joined(self, exported, parts) for parts in zip(*last, strict=True)]
    self.stand_for(exported, value, *ends)
    return True


def _chunks(params: tuple[Ref, ...], each: int) -> list[tuple[Ref, ...]]:
    return [params[i : i + each] for i in range(0, len(params), each)]


def _one_state(self: Converter, exported: Any, ref: Ref) -> Ref:
    """Zeros for one layer and direction; a node of its own, so that units stay apart."""
    given = dict(ref.node.arguments)
    given["size"] = (1, *given["size"][1:])
    return self.insert(exported, "full", **given)


def _turned(self: Converter, exported: Any, ref: Ref, time: int) -> Ref:
    return self.insert(exported, "flip", input=ref, dims=(time,))


def _one_layer(
    self: Converter, exported: Any, arguments: dict, source: Ref, starts: tuple, params: tuple
) -> Any:
    name = stem_of(exported)
    given = {
        "input": source, "hx": starts if name == "lstm" else starts[0], "params": params,
        "has_biases": arguments["has_biases"], "num_layers": 1, "dropout": 0.0,
        "bidirectional": False, "batch_first": arguments["batch_first"],
    }  # fmt: skip
    return self.insert(exported, name, **given).node


def _joined(self: Converter, exported: Any, parts: tuple[Ref, ...]) -> Ref:
    """The last states of all layers and directions; their parts can be taken without it."""
    whole = self.insert(exported, "cat", tensors=parts, dim=0)
    self.pieces[whole] = parts
    return whole
