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

from ..common.examples import Inputs, count
from ..graph import GraphNetwork, Node, Ref, parameters_of
from ..graph.evaluate import computed, static_nodes
from ..graph.ir import INPUT, PARAMETER
from ..graph.moments import InputMoments, input_moments, inputs_of
from ..graph.products import Product, embedding
from ..graph.table import OPERATORS
from ..graph.uses import Uses
from .archive import Quantised, storable
from .layer_moments import moments_with
from .rate_distortion import step_for
from .rate_tensor import RateTensor
from .scores import chunks
from .sensitivity import BATCH, sensitivities, unit_axis
from .uniform import bias, rounded

VECTOR_BITS = 12  # of scales, and of biases that are not fitted
FEWEST_BITS, MOST_BITS = 4, 16  # of biases that are
_CPU = torch.device("cpu")


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
    :param x: calibration inputs, as `common.examples.arguments` gives them.
    :param weights: the names of the weights to quantize.
    :param vectors: the names of biases and scales, which are rounded to `VECTOR_BITS` bits.
    :param likelihood: see `sensitivity.sensitivities`, like `axis` and `seed`.
    """

    def __init__(
        self,
        network: GraphNetwork,
        x: Inputs,
        weights: list[str],
        vectors: list[str],
        likelihood: str,
        axis: int = -1,
        seed: int = 0,
    ) -> None:
        self.network, self.weights, self.vectors = network, weights, vectors
        self.inputs, self.examples = inputs_of(network, x)[0], count(x)
        self.tensors = {name: t.detach() for name, t in parameters_of(network)}
        uses = Uses(network, weights)
        self.layers = _layers(network, uses, set(vectors))
        own = {layer.weight for layer in self.layers.values()}
        others = [name for name in weights if name not in own]
        #: Of the weights that are quantized before all layers, the moments of their inputs.
        self.moments: dict[str, InputMoments] = {}
        if others:
            self.moments = input_moments(network, chunks(x, BATCH), others).weights
        found = sensitivities(network, x, uses.nodes, likelihood, axis, seed)
        readers = {name: [n for n in uses.readers[name] if n in found] for name in weights}
        #: s of `sensitivity` by weight; the mean over the operators of a weight of several.
        self.importance = {
            name: _mean([found[n] for n in nodes]) for name, nodes in readers.items() if nodes
        }
        #: Weights that are quantized without regard to what they are multiplied by.
        self.blind = [name for name in others if name not in self.moments]

    def quantised(self, rate: float) -> dict[str, Quantised]:
        """Weights, biases and scales at a price of a bit, by name.

        :param rate: what a bit is worth in nats of KL(original || quantized) an example, by the
            estimate of `sensitivity`.
        """
        codes = round_vectors(self.tensors, self.vectors)
        codes |= under_moments(self.tensors, self.moments, self.importance, rate)
        codes |= without_inputs({name: self.tensors[name] for name in self.blind}, rate)
        return _Streams(self, codes, rate).run()


def round_vectors(tensors: dict[str, Tensor], names: list[str]) -> dict[str, Quantised]:
    """Biases and scales on `VECTOR_BITS` bits."""
    return {name: bias(tensors[name].double().numpy(), VECTOR_BITS) for name in names}


def _mean(found: list[Tensor]) -> Tensor:
    """The mean by unit; that of all units where operators have others."""
    if len({len(one) for one in found}) > 1:
        found = [one.mean().view(1) for one in found]
    return torch.stack(found).mean(0)


def under_moments(
    tensors: dict[str, Tensor],
    moments: dict[str, InputMoments],
    importance: dict[str, Tensor],
    rate: float,
) -> dict[str, Quantised]:
    """Weights under the moments of what they are multiplied by, each weight tensor by itself.

    :param importance: s of `sensitivity` by name.
    :param rate: see `Calibrated.quantised`.
    """
    codes = {}
    for name, found in moments.items():
        tensor = RateTensor(tensors[name], found.groups, found.transposed)
        tensor.put(slice(None), tensor.matrix, found.inputs, importance[name], rate)
        codes[name] = tensor.quantised()
    return codes


def without_inputs(tensors: dict[str, Tensor], rate: float) -> dict[str, Quantised]:
    """Weights under identity matrices, with a dead zone by rate-distortion.

    A tensor of zeros and one other number, a causal mask say, keeps its numbers.

    :param rate: what a bit is worth in 1/2 of the relative squared error, the mean over all
        weights of the tensors, each relative to the mean square of its tensor.
    """
    total, codes = sum(t.numel() for t in tensors.values()), {}
    for name, weight in tensors.items():
        if (step := _step_of_mask(weight)) is not None:
            codes[name] = rounded(weight.double().numpy(), step)
            continue
        tensor = RateTensor(weight)
        square = float(weight.double().square().mean()) or 1.0
        ones = torch.ones(tensor.matrix.shape[::2])
        share = torch.tensor([1 / (square * total)])
        tensor.put(slice(None), tensor.matrix, ones, share, rate)
        codes[name] = tensor.quantised()
    return codes


def _step_of_mask(weight: Tensor) -> float | None:
    """The size of the one number beside 0 that a tensor holds, if a step can have it."""
    size = float(weight.abs().max())
    if size < 2.0**-100 or float(storable(size)) != size:
        return None
    other = weight[weight != 0]
    return size if bool((other == other[0]).all()) else None


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
        self._inputs = iter(calibrated.inputs)

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
            self._given[node] = self._small[node] = next(self._inputs)
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
        product = self._product(node, weight)
        tensor = RateTensor(self._given[weight], product.groups, product.transposed)
        vectors = target.numel() / tensor.matrix.shape[:2].numel()
        for part in tensor.slices():
            moments = self._moments(node, layer, tensor, part, target)
            if not all(found.isfinite().all() for found in moments):
                raise ValueError(
                    f"the layer of {layer.weight!r} is given NaN or infinity once parameters "
                    "before it are quantized; keep constants that the network divides by as "
                    "buffers (register_buffer), which files hold as floats"
                )
            tensor.follow(part, *moments, self._of.importance[layer.weight], self._rate, vectors)
            self._small[weight] = tensor.value().to(target.dtype)
        self._codes[layer.weight] = tensor.quantised()
        output = self._small[node] = computed(node, self._small, _CPU)
        if layer.bias is not None:
            self._fit_bias(node, layer, target - output)

    def _moments(
        self, node: Node, layer: Layer, tensor: RateTensor, part: slice, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Of a layer's inputs, and with what its outputs lack: see `layer_moments`."""
        weight = next(ref.node for ref in node.refs() if ref.node.name == layer.weight)
        product, centred = self._product(node, weight), layer.bias is not None
        if part.stop - part.start < tensor.matrix.shape[2] or not centred:
            rest = product.outputs(target - computed(node, self._small, _CPU))
            return moments_with(product, rest, part, centred, self._of.examples)
        # The whole float weight is there: what it gives follows from the moments alone.
        outputs = product.outputs(target)
        return moments_with(product, outputs, part, True, self._of.examples, tensor.matrix)

    def _fit_bias(self, node: Node, layer: Layer, rest: Tensor) -> None:
        """Let a bias take up the mean of what its layer's outputs lack."""
        axis = unit_axis(node) % rest.dim()
        given = self._given[layer.bias]
        mean = rest.mean([d for d in range(rest.dim()) if d != axis])
        positions = rest.numel() / len(mean) / self._of.examples
        values = (given + mean).double().numpy()
        weigh = float(self._of.importance[layer.weight].mean()) * positions
        bits = _bias_bits(float(abs(values).max()), weigh, self._rate)
        self._codes[layer.bias.name] = coded = bias(values, bits)
        new = self._small[layer.bias] = _tensor(coded, given)
        sizes = [1] * axis + [-1] + [1] * (rest.dim() - 1 - axis)
        self._small[node] += (new - given).view(sizes)

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


def _bias_bits(largest: float, weigh: float, rate: float) -> int:
    """Bits of a bias, by the step that `rate_distortion.step_for` gives an input that is always 1.

    :param weigh: s of the outputs, summed over an example's positions.
    """
    step = step_for(torch.ones(1, 1), torch.tensor([weigh]), rate)
    bits = 1 + math.ceil(math.log2(max(largest / step, 1)))
    return min(max(bits, FEWEST_BITS), MOST_BITS)
