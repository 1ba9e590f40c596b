"""A network as it is and as it is quantized so far, operator by operator, from the same inputs.

See sequential.py, whose layers it quantizes. The inputs go through in parts: an operator runs on
one part after the other, so that only what is kept grows with the number of examples.
"""

from __future__ import annotations

import math
from collections import ChainMap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from ..graph import Node, Ref
from ..graph.evaluate import computed, static_nodes
from ..graph.ir import INPUT, PARAMETER
from ..graph.products import Product
from ..graph.table import OPERATORS
from .archive import Quantised
from .layer_moments import moments_with
from .layers_in_turn import Layer
from .rate_distortion import step_for
from .rate_tensor import RateTensor
from .sensitivity import unit_axis
from .uniform import bias

if TYPE_CHECKING:
    from .sequential import Calibrated

FEWEST_BITS, MOST_BITS = 4, 16  # of biases that are fitted
_CPU = torch.device("cpu")


def side_by_side(
    calibrated: Calibrated, codes: dict[str, Quantised], rate: float
) -> dict[str, Quantised]:
    """All codes, those of the layers included.

    :param codes: of the tensors that are quantized before.
    :param rate: what a bit is worth; see `sequential.Calibrated.quantised`.
    """
    return _SideBySide(calibrated, codes, rate).run()


@dataclass
class _Part:
    """Some examples on their way: what operators give, as they are and as they are so far.

    What does not depend on the inputs is the same for all parts.
    """

    inputs: Iterator[Tensor]
    given: ChainMap[Node, Any]
    small: ChainMap[Node, Any]


class _SideBySide:
    def __init__(self, calibrated: Calibrated, codes: dict[str, Quantised], rate: float) -> None:
        self._of, self._codes, self._rate = calibrated, dict(codes), rate
        self._given: dict[Node, Any] = {}  # of static nodes
        self._small: dict[Node, Any] = {}
        self._static = static_nodes(calibrated.network.graph)
        self._parts = [
            _Part(iter(inputs), ChainMap({}, self._given), ChainMap({}, self._small))
            for inputs in calibrated.inputs
        ]

    @torch.no_grad()
    def run(self) -> dict[str, Quantised]:
        nodes = self._of.network.graph.nodes
        last = {ref.node: i for i, node in enumerate(nodes) for ref in node.refs()}
        end = max((i for i, node in enumerate(nodes) if node in self._of.layers), default=-1)
        for i, node in enumerate(nodes[: end + 1]):
            self._step(node)
            for source in {ref.node for ref in node.refs()} | {node}:
                if last.get(source, i) <= i:
                    self._forget(source)
        return self._codes

    def _step(self, node: Node) -> None:
        if node.operator == PARAMETER:
            given = self._given[node] = self._of.tensors[node.name]
            coded = self._codes.get(node.name)
            self._small[node] = given if coded is None else _tensor(coded, given)
        elif node in self._static:
            for values in (self._given, self._small):
                values[node] = computed(node, values, _CPU)
        elif node.operator == INPUT:
            for part in self._parts:
                part.given[node] = part.small[node] = next(part.inputs)
        else:
            for part in self._parts:
                self._compute(node, part.given)
            if node in self._of.layers:
                self._fit(node, self._of.layers[node])
            else:
                for part in self._parts:
                    self._compute(node, part.small)

    def _compute(self, node: Node, values: ChainMap[Node, Any]) -> None:
        values[node] = self._of.maps.kept(computed(node, values, _CPU), node, values)

    def _forget(self, node: Node) -> None:
        for values in (self._given, self._small):
            values.pop(node, None)
        for part in self._parts:
            for values in (part.given, part.small):
                values.maps[0].pop(node, None)

    def _fit(self, node: Node, layer: Layer) -> None:
        """Quantize a layer, and leave what it then gives."""
        weight = next(ref.node for ref in node.refs() if ref.node.name == layer.weight)
        self._small[weight] = self._given[weight]
        if layer.bias is not None:
            self._small[layer.bias] = self._given[layer.bias]
        product = _product(node, weight, self._parts[0])
        tensor = RateTensor(self._given[weight], product.groups, product.transposed)
        units = tensor.matrix.shape[:2].numel()
        vectors = sum(part.given[node].numel() for part in self._parts) // units
        for columns in tensor.slices():
            moments = self._moments(node, layer, tensor, columns, vectors)
            if not all(found.isfinite().all() for found in moments):
                raise ValueError(
                    f"the layer of {layer.weight!r} is given NaN or infinity once parameters "
                    "before it are quantized; keep constants that the network divides by as "
                    "buffers (register_buffer), which files hold as floats"
                )
            importance = self._of.importance[layer.weight]
            tensor.follow(columns, *moments, importance, self._rate, vectors)
            self._small[weight] = tensor.value().to(self._given[weight].dtype)
        self._codes[layer.weight] = tensor.quantised()
        for part in self._parts:
            self._compute(node, part.small)
        if layer.bias is not None:
            self._fit_bias(node, layer)

    def _moments(
        self, node: Node, layer: Layer, tensor: RateTensor, columns: slice, vectors: int
    ) -> tuple[Tensor, Tensor]:
        """Of a layer's inputs, and with what its outputs lack: see `layer_moments`."""
        weight = next(ref.node for ref in node.refs() if ref.node.name == layer.weight)
        centred = layer.bias is not None
        # If the whole float weight is there, what it gives follows from the moments alone.
        whole = centred and columns.stop - columns.start == tensor.matrix.shape[2]

        def pairs() -> Iterator[tuple[Product, Tensor]]:
            for part in self._parts:
                product, rest = _product(node, weight, part), _target(part, node, layer)
                if not whole:
                    rest = rest - computed(node, part.small, _CPU)
                yield product, product.outputs(rest)

        float_weight = tensor.matrix if whole else None
        return moments_with(pairs(), vectors, columns, centred, self._of.examples, float_weight)

    def _fit_bias(self, node: Node, layer: Layer) -> None:
        """Let a bias take up the mean of what its layer's outputs lack."""
        total, count = 0.0, 0
        for part in self._parts:
            rest = _target(part, node, layer) - part.small[node]
            axis = unit_axis(node) % rest.dim()
            total = total + rest.double().sum([d for d in range(rest.dim()) if d != axis])
            count += rest.numel() // rest.shape[axis]
        given = self._given[layer.bias]
        weigh = float(self._of.importance[layer.weight].mean()) * count / self._of.examples
        values = (given + total / count).double().numpy()
        bits = _bias_bits(float(abs(values).max()), weigh, self._rate)
        self._codes[layer.bias.name] = coded = bias(values, bits)
        new = self._small[layer.bias] = _tensor(coded, given)
        sizes = [1] * axis + [-1] + [1] * (rest.dim() - 1 - axis)
        for part in self._parts:
            part.small[node] += (new - given).view(sizes)


def _product(node: Node, weight: Node, part: _Part) -> Product:
    """What a layer multiplies its weight by in the quantized network."""

    def value(what: Any) -> Any:
        if not isinstance(what, Ref):
            return what
        found = part.small[what.node]
        return found[what.index] if isinstance(found, tuple | list) else found

    products = OPERATORS[node.operator].products(node, value)
    return next(product for product in products if product.weight.node is weight)


def _target(part: _Part, node: Node, layer: Layer) -> Tensor:
    """What a layer's outputs are to follow."""
    target, other = part.given[node], layer.shortcut
    if other is None or other.node not in part.small or other.node not in part.given:
        return target
    given, small = part.given[other.node], part.small[other.node]
    if not isinstance(given, Tensor) or given.shape != target.shape:
        return target
    return target + (given - small)


def _tensor(coded: Quantised, like: Tensor) -> Tensor:
    return torch.from_numpy(coded.values()).to(like.dtype)


def _bias_bits(largest: float, weigh: float, rate: float) -> int:
    """Bits of a bias, by the step that `rate_distortion.step_for` gives an input that is always 1.

    :param weigh: s of the outputs, summed over an example's positions.
    """
    step = step_for(torch.ones(1, 1), torch.tensor([weigh]), rate)
    bits = 1 + math.ceil(math.log2(max(largest / step, 1)))
    return min(max(bits, FEWEST_BITS), MOST_BITS)
