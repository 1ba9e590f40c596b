"""ONNX forms of recurrent layers: one ONNX operator for each of their layers."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...graph.ir import PARAMETER, Ref
from ...graph.recurrent import GATES
from .forms import form
from .moves import slice_
from .writer import Writer

# The order of ONNX's gates: torch has input, forget, cell, output for LSTM, reset, update, new for
# GRU; ONNX has input, output, forget, cell and update, reset, new.
_LSTM, _GRU = (0, 3, 1, 2), (1, 0, 2)


def _lstm_gates(value: Tensor) -> Tensor:
    return _reordered(value, _LSTM)


def _gru_gates(value: Tensor) -> Tensor:
    return _reordered(value, _GRU)


def _one_gate(value: Tensor) -> Tensor:
    return value[None].contiguous()


def _reordered(value: Tensor, order: tuple[int, ...]) -> Tensor:
    parts = value.unflatten(0, (len(order), -1))
    return parts[list(order)].flatten(0, 1)[None].contiguous()


_CHANGES = {"lstm": _lstm_gates, "gru": _gru_gates, "rnn_tanh": _one_gate, "rnn_relu": _one_gate}
_KINDS = {
    "lstm": ("LSTM", {}),
    "gru": ("GRU", {"linear_before_reset": 1}),
    "rnn_tanh": ("RNN", {"act": "Tanh"}),
    "rnn_relu": ("RNN", {"act": "Relu"}),
}


@form("lstm")
def lstm(w: Writer, **arguments: Any) -> tuple[str, ...]:
    return _layers(w, "lstm", **arguments)


@form("gru")
def gru(w: Writer, **arguments: Any) -> tuple[str, ...]:
    return _layers(w, "gru", **arguments)


@form("rnn_tanh")
def rnn_tanh(w: Writer, **arguments: Any) -> tuple[str, ...]:
    return _layers(w, "rnn_tanh", **arguments)


@form("rnn_relu")
def rnn_relu(w: Writer, **arguments: Any) -> tuple[str, ...]:
    return _layers(w, "rnn_relu", **arguments)


def _layers(
    w: Writer, kind: str, input: Ref, hx: Any, params: tuple[Ref, ...], has_biases: bool,
    num_layers: int, dropout: float, bidirectional: bool, batch_first: bool,
) -> tuple[str, ...]:  # fmt: skip
    directions, each = 1 + bidirectional, 4 if has_biases else 2
    if len(w.shape(input)) != 3:
        raise ValueError("takes inputs without a batch axis, which cannot be exported")
    if len(params) != each * directions * num_layers:
        raise ValueError("projects its hidden state, which cannot be exported")
    states = [w(ref) for ref in (hx if isinstance(hx, tuple) else (hx,))]
    x = w(input)
    x = w.op("Transpose", x, perm=[1, 0, 2]) if batch_first else x
    ends: list[tuple[str, ...]] = []
    for layer in range(num_layers):
        first = layer * directions
        starts = [
            state if num_layers == 1 else slice_(w, state, 0, first, first + directions)
            for state in states
        ]
        own = params[each * first : each * (first + directions)]
        cells = [own[i : i + each] for i in range(0, len(own), each)]
        x, *last = _layer(w, kind, x, cells, starts)
        ends.append(tuple(last))
    x = w.op("Transpose", x, perm=[1, 0, 2]) if batch_first else x
    last = [
        parts[0] if num_layers == 1 else w.op("Concat", *parts, axis=0)
        for parts in zip(*ends, strict=True)
    ]
    return (x, *last)


def _layer(
    w: Writer, kind: str, x: str, cells: list[tuple[Ref, ...]], starts: list[str]
) -> tuple[str, ...]:
    """One layer, both directions: its outputs (time, batch, units), and its last states."""
    onnx_kind, attributes = _KINDS[kind]
    attributes = dict(attributes)
    hidden = w.shape(cells[0][1])[1]
    weights = [_packed(w, kind, [cell[i] for cell in cells]) for i in (0, 1)]
    bias = ""
    if len(cells[0]) == 4:
        halves = [_packed(w, kind, [cell[i] for cell in cells]) for i in (2, 3)]
        bias = w.op("Concat", *halves, axis=1)
    if "act" in attributes:
        attributes["activations"] = [attributes.pop("act")] * len(cells)
    direction = "bidirectional" if len(cells) == 2 else "forward"
    results = w.op(
        onnx_kind, x, *weights, bias, "", *starts, results=1 + len(starts), hidden_size=hidden,
        direction=direction, **attributes,
    )  # fmt: skip
    outputs = w.op("Transpose", results[0], perm=[0, 2, 1, 3])  # time, batch, direction, units
    return (w.op("Reshape", outputs, w.ints(0, 0, len(cells) * hidden)), *results[1:])


def _packed(w: Writer, kind: str, parts: list[Ref]) -> str:
    """A parameter of both directions with ONNX's order of gates, behind an axis of directions."""
    change = _CHANGES[kind]
    names = []
    for ref in parts:
        value = w.shapes.static(ref)
        if not isinstance(value, Tensor):
            raise ValueError("has weights that depend on the inputs, which cannot be exported")
        assert value.shape[0] % GATES[kind] == 0
        if ref.node.operator == PARAMETER:
            names.append(w.weight(ref, change)[0])
        else:
            names.append(w.constant(change(value.detach())))
    return names[0] if len(names) == 1 else w.op("Concat", *names, axis=0)
