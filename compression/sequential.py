"""Rate-distortion quantization of a whole network, one layer after the other, from inputs alone.

The network runs operator by operator, twice: as it is, and with the layers so far quantized. So
each layer meets the inputs x that it will have in the file, and follows what the original computes
from the original's inputs. With t the outputs to follow and y those of the float weights W at x,

    W' = W + cov(t - y, x) A^-1,    A = cov(x, x) + damping,

is the damped least-squares weight for t (asymmetric calibration, as in GPTAQ: Li et al. 2025). It
is quantized under A, and the bias takes up the mean of what is left of t - y. Without a bias of its
own, second moments stand in for covariances. Where a layer is only added to a shortcut, t includes
the error of the shortcut.

Weights that no single product uses (shared or recurrent ones, slices of a weight) are quantized
before, under the moments of the original's inputs; those without moments under an identity matrix.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..graph import GraphNetwork, Node, Ref, parameters_of
from ..graph.evaluate import computed, static_nodes
from ..graph.ir import INPUT, PARAMETER
from ..graph.moments import InputMoments, input_moments
from ..graph.products import Product, embedding
from ..graph.table import OPERATORS
from ..graph.uses import Uses
from .archive import Quantised
from .rate_distortion import step_for
from .rate_tensor import RateTensor
from .scores import chunks
from .sensitivity import BATCH, sensitivities
from .uniform import bias

VECTORS = 40  # input vectors for each column that covariances are taken over, if there are as many
FEWEST = 8_192  # of them
VECTOR_BITS = 12  # of scales, and of biases that are not fitted
FEWEST_BITS, MOST_BITS = 4, 16  # of biases that are
_CPU = torch.device("cpu")
STEADY = 1e-4  # of the mean square of inputs: their least variance, where some are constant


@dataclass(frozen=True)
class Layer:
    """An operator that multiplies a weight which nothing else uses.

    :param weight: the name of the weight.
    :param bias: the parameter node that is added to the outputs, if nothing else uses it.
    :param shortcut: what the outputs are added to, if nothing else reads them.
    """

    weight: str
    bias: Node | None
    shortcut: Ref | None


class Calibrated:
    """A traced network, and of its calibration inputs all that no price of a bit changes.

    :param network: in eval mode, on the CPU; not changed.
    :param x: calibration inputs, shape (n, ...).
    :param weights: the names of the weights to quantize.
    :param vectors: the names of biases and scales, which are rounded to `VECTOR_BITS` bits.
    :param likelihood: see `sensitivity.sensitivities`, like `seed`.
    """

    def __init__(
        self,
        network: GraphNetwork,
        x: Tensor,
        weights: list[str],
        vectors: list[str],
        likelihood: str,
        seed: int = 0,
    ) -> None:
        self.network, self.x, self.weights, self.vectors = network, x, weights, vectors
        self.tensors = {name: t.detach() for name, t in parameters_of(network)}
        uses = Uses(network, weights)
        self.layers = _layers(network, uses, set(vectors))
        own = {layer.weight for layer in self.layers.values()}
        others = [name for name in weights if name not in own]
        #: Of the weights that are quantized before all layers, the moments of their inputs.
        self.moments: dict[str, InputMoments] = {}
        if others:
            self.moments = input_moments(network, chunks(x, BATCH), others).weights
        found = sensitivities(network, x, uses.nodes, likelihood, seed)
        readers = {name: [n for n in uses.readers[name] if n in found] for name in weights}
        #: s of `sensitivity` by weight; the mean over the operators of a weight of several.
        self.importance = {
            name: sum(found[n] for n in nodes) / len(nodes)
            for name, nodes in readers.items()
            if nodes
        }
        #: Weights that are quantized without regard to what they are multiplied by.
        self.blind = [name for name in others if name not in self.moments]

    def quantised(self, rate: float) -> dict[str, Quantised]:
        """Weights, biases and scales at a price of a bit, by name.

        :param rate: what a bit is worth in nats of KL(original || quantized) an example, by the
            estimate of `sensitivity`.
        """
        codes = round_vectors(self.tensors, self.vectors)
        for name, moments in self.moments.items():
            tensor = RateTensor(self.tensors[name], moments.groups, moments.transposed)
            every = slice(None)
            tensor.put(every, tensor.matrix, moments.inputs, self.importance[name], rate)
            codes[name] = tensor.quantised()
        codes |= without_inputs({name: self.tensors[name] for name in self.blind}, rate)
        return _Streams(self, codes, rate).run()


def round_vectors(tensors: dict[str, Tensor], names: list[str]) -> dict[str, Quantised]:
    """Biases and scales on `VECTOR_BITS` bits."""
    return {name: bias(tensors[name].double().numpy(), VECTOR_BITS) for name in names}


def without_inputs(tensors: dict[str, Tensor], rate: float) -> dict[str, Quantised]:
    """Weights under identity matrices, with a dead zone by rate-distortion.

    :param rate: what a bit is worth in 1/2 of the relative squared error, the mean over all
        weights of the tensors, each relative to the mean square of its tensor.
    """
    total, codes = sum(t.numel() for t in tensors.values()), {}
    for name, weight in tensors.items():
        tensor = RateTensor(weight)
        square = float(weight.double().square().mean()) or 1.0
        ones = torch.ones(tensor.matrix.shape[::2])
        tensor.put(slice(None), tensor.matrix, ones, 1 / (square * total), rate)
        codes[name] = tensor.quantised()
    return codes


def _layers(network: GraphNetwork, uses: Uses, vectors: set[str]) -> dict[Node, Layer]:
    """The operators whose weight can be fitted when the run comes to them."""
    users, found = network.graph.users(), {}
    static = static_nodes(network.graph)
    for name, readers in uses.readers.items():
        node = readers[0] if len(readers) == 1 else None
        if node is None or node not in uses.nodes or node in static:
            continue
        refs = [ref for ref in node.refs() if ref.node.operator == PARAMETER]
        if name not in {ref.node.name for ref in refs}:
            continue  # it comes by way of another operator
        row = OPERATORS[node.operator]
        if row.results != 1 or row.products is embedding:
            continue
        added = node.arguments.get("bias")
        own = isinstance(added, Ref) and added.node.name in vectors and len(users[added.node]) == 1
        found[node] = Layer(name, added.node if own else None, _shortcut(node, users))
    return found


def _shortcut(node: Node, users: dict[Node, list[Node]]) -> Ref | None:
    readers = users[node]
    if len(readers) != 1 or readers[0].operator != "add":
        return None
    others = [ref for ref in readers[0].refs() if ref.node is not node]
    return others[0] if len(others) == 1 else None


class _Streams:
    """The network as it is and as it is quantized so far, operator by operator.

    :param codes: of the tensors that are quantized before.
    """

    def __init__(self, calibrated: Calibrated, codes: dict[str, Quantised], rate: float) -> None:
        self._of, self._codes, self._rate = calibrated, dict(codes), rate
        self._given: dict[Node, Any] = {}
        self._small: dict[Node, Any] = {}

    @torch.no_grad()
    def run(self) -> dict[str, Quantised]:
        """All codes, those of the layers included."""
        nodes = self._of.network.graph.nodes
        last = {ref.node: i for i, node in enumerate(nodes) for ref in node.refs()}
        end = max((i for i, node in enumerate(nodes) if node in self._of.layers), default=-1)
        for i, node in enumerate(nodes[: end + 1]):
            self._step(node)
            for source in {ref.node for ref in node.refs()} | {node}:
                if last.get(source, i) <= i:
                    self._given.pop(source, None)
                    self._small.pop(source, None)
        return self._codes

    def _step(self, node: Node) -> None:
        if node.operator == INPUT:
            self._given[node] = self._small[node] = self._of.x
        elif node.operator == PARAMETER:
            given = self._given[node] = self._of.tensors[node.name]
            coded = self._codes.get(node.name)
            self._small[node] = given if coded is None else _tensor(coded, given)
        else:
            self._given[node] = computed(node, self._given, _CPU)
            if node in self._of.layers:
                self._fit(node, self._of.layers[node])
            else:
                self._small[node] = computed(node, self._small, _CPU)

    def _fit(self, node: Node, layer: Layer) -> None:
        """Quantize a layer, and leave what it then gives."""
        target = self._target(node, layer)
        weight = next(ref.node for ref in node.refs() if ref.node.name == layer.weight)
        self._small[weight] = self._given[weight]
        if layer.bias is not None:
            self._small[layer.bias] = self._given[layer.bias]
        first = self._product(node, weight)
        tensor = RateTensor(self._given[weight], first.groups, first.transposed)
        for part in tensor.slices():
            rest = target - computed(node, self._small, _CPU)
            product, centred = self._product(node, weight), layer.bias is not None
            moments = _moments(product, rest, part, centred, len(self._of.x))
            tensor.follow(part, *moments, self._of.importance[layer.weight], self._rate)
            self._small[weight] = tensor.value().to(target.dtype)
        self._codes[layer.weight] = tensor.quantised()
        output = computed(node, self._small, _CPU)
        if layer.bias is not None:
            rest = first.outputs(target - output)
            positions = rest.shape[1] / len(self._of.x)
            values = (self._given[layer.bias] + rest.mean(1).flatten()).double().numpy()
            weigh = self._of.importance[layer.weight] * positions
            bits = _bias_bits(float(abs(values).max()), weigh, self._rate)
            self._codes[layer.bias.name] = coded = bias(values, bits)
            self._small[layer.bias] = _tensor(coded, self._given[layer.bias])
            output = computed(node, self._small, _CPU)
        self._small[node] = output

    def _product(self, node: Node, weight: Node) -> Product:
        def value(what: Any) -> Any:
            if not isinstance(what, Ref):
                return what
            found = self._small[what.node]
            return found[what.index] if isinstance(found, tuple | list) else found

        products = OPERATORS[node.operator].products(node, value)
        return next(product for product in products if product.weight.node is weight)

    def _target(self, node: Node, layer: Layer) -> Tensor:
        """What the layer's outputs are to follow."""
        target, other = self._given[node], layer.shortcut
        if other is None or other.node not in self._small or other.node not in self._given:
            return target
        given, small = self._given[other.node], self._small[other.node]
        if not isinstance(given, Tensor) or given.shape != target.shape:
            return target
        return target + (given - small)


def _tensor(coded: Quantised, like: Tensor) -> Tensor:
    return torch.from_numpy(coded.values()).to(like.dtype)


def _moments(
    product: Product, rest: Tensor, part: slice, centred: bool, examples: int
) -> tuple[Tensor, Tensor]:
    """A of the input vectors, and their moments with what is left to follow.

    Both are means over examples of sums over positions.

    :param rest: t - y, of the operator's outputs.
    :param part: the columns of interest.
    :param centred: covariances, as a bias takes up the means.
    :returns: shapes (groups, columns, columns) and (groups, units, columns), float32.
    """
    rest = product.outputs(rest)
    total, first, count = rest.shape[1], 0, 0
    sums: list[Any] = [0.0] * 4
    stride = None
    for block in product.blocks():
        x = block[:, :, part]
        if stride is None:
            stride = _stride(total, x.shape[2])
        r = rest[:, first : first + x.shape[1]][:, ::stride]
        x = x[:, ::stride]
        first, count = first + block.shape[1], count + x.shape[1]
        new = x.sum(1), r.sum(1), x.mT @ x, r.mT @ x
        sums = [old + value.double() for old, value in zip(sums, new, strict=True)]
    mean, mean_rest, second, cross = (value / count for value in sums)
    if centred:
        least = STEADY * second.diagonal(dim1=1, dim2=2).mean(1)
        second = second - mean[:, :, None] * mean[:, None]
        second.diagonal(dim1=1, dim2=2).add_(least[:, None])
        cross = cross - mean_rest[:, :, None] * mean[:, None]
    positions = total / examples
    return (positions * second).float(), (positions * cross).float()


def _bias_bits(largest: float, weigh: float, rate: float) -> int:
    """Bits of a bias, by the step that `rate_distortion.step_for` gives an input that is always 1.

    :param weigh: s of the outputs, summed over an example's positions.
    """
    step = step_for(torch.ones(1, 1), weigh, rate)
    bits = 1 + math.ceil(math.log2(max(largest / step, 1)))
    return min(max(bits, FEWEST_BITS), MOST_BITS)


def _stride(total: int, columns: int) -> int:
    """Of so many vectors every which one counts: odd, so that it meets every place of a map."""
    stride = max(total // max(VECTORS * columns, FEWEST), 1)
    return stride - (stride % 2 == 0)
