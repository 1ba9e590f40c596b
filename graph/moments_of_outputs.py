"""Second moments of the gradients of a loss in the outputs of a network's weights.

Where g is the gradient in an output vector at one position of one example, and x the input vector
there, the gradient in the weight's matrix is the sum over positions of g x^T. Its second moment,
the Fisher information, is approximated by N * A (x) G for N examples, with

    A = mean over examples of (sum over positions of x x^T)     (`moments.input_moments`)
    G = mean over examples and positions of g g^T               (here).

This is exact up to three assumptions: gradients at different positions are uncorrelated, x and g
are independent, and all positions have the same moments. With T positions an example, the sum over
positions and examples of (x x^T) (x) (g g^T) is then N T times the product of the two means over
positions and examples, of which A has taken up the T. Grosse and Martens 2016, *A Kronecker-
factored approximate Fisher matrix for convolution layers* (KFC), scale the factors like this;
Eschenhagen et al. 2023, *Kronecker-Factored Approximate Curvature for Modern Neural Network
Architectures*, call it K-FAC-expand. With one position an example, what is left is that x and g are
independent: Martens and Grosse 2015, *Optimizing Neural Networks with Kronecker-factored
Approximate Curvature*.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from .evaluate import computed
from .ir import Node, Ref, map_leaves, map_refs
from .moments import InputMoments, add_squares, empty_factor, inputs_of, mirror, walk
from .network import GraphNetwork, parameters_of
from .operators import Family
from .products import Product
from .table import OPERATORS
from .uses import Use, Uses


def output_moments(
    network: GraphNetwork,
    batches: Iterable[Any],
    scores: Callable[[Any], list[Tensor]],
    inputs: Mapping[str, InputMoments],
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """G of the module's docstring for each weight, in eval mode.

    :param network: a traced network; not changed.
    :param batches: inputs as they are passed, on the network's device.
    :param scores: from the network's output to scalars, sums over examples. G is the sum of what
        their gradients g give: E_y g g^T is a sum over labels y of the gradients of
        sqrt(p(y)) log p(y).
    :param inputs: the moments of the inputs of the weights, which say what their matrices are.
    :returns: by name, shape (groups, units, units), or the diagonal (groups, units) of more units
        than `moments.WIDEST`; and of those without, the reason.
    :raises ValueError: as `input_moments`.
    """
    uses = Uses(network, list(inputs))
    tensors = dict(parameters_of(network))
    sums = {name: _Sum(len(tensors[name]), found.groups) for name, found in inputs.items()}
    excluded: dict[str, str] = {}
    with torch.inference_mode(False), torch.enable_grad():
        for batch in batches:
            run = _Run(network, inputs_of(network, batch)[0], uses)
            excluded |= run.excluded()
            for number, score in enumerate(scores(run.output)):
                for use, rows in run.gradients(score):
                    if use.name not in excluded:
                        sums[use.name].add(use, rows, count=number == 0)
    missing = uses.missing() | excluded
    found = {n: total.mean(tensors[n].dtype) for n, total in sums.items() if n not in missing}
    return found, missing


class _Run:
    """One batch, with what is needed to differentiate in the outputs of the weights.

    :ivar output: of the network, nested as it gives it.
    """

    def __init__(self, network: GraphNetwork, inputs: list[Tensor], uses: Uses) -> None:
        self._probes: dict[Node, Tensor] = {}
        self._at: list[tuple[Use, Tensor, Callable[[Tensor], Tensor]]] = []
        self._static: set[str] = set()
        given: dict[Ref, Tensor] = {}
        last = network.graph.output_refs()
        wanted = uses.nodes | {ref.node for ref in last}
        for node, value in walk(network, inputs, wanted, self._compute):
            if node in uses.nodes:
                result = self._probes.get(node, value(Ref(node)))
                if not result.requires_grad:
                    result.requires_grad_()
                for use in uses.of(node, value):
                    self._at.append((use, result, _rows_of(node, use.product, value)))
                    if node in uses.static:
                        self._static.add(use.name)
            given |= {ref: value(ref) for ref in last if ref.node is node}
        self.output = map_leaves(
            network.graph.outputs, lambda leaf: given[leaf] if isinstance(leaf, Ref) else leaf.value
        )

    def gradients(self, score: Tensor) -> Iterator[tuple[Use, Tensor]]:
        """The gradient of a scalar in the output vectors of each use: (groups, n, units)."""
        at = [result for _, result, _ in self._at]
        grads = torch.autograd.grad(score, at, retain_graph=True, allow_unused=True)
        for (use, result, rows), grad in zip(self._at, grads, strict=True):
            yield use, rows(torch.zeros_like(result) if grad is None else grad)

    def excluded(self) -> dict[str, str]:
        """The weights whose gradients are not those of one example each, and why."""
        looked_up: dict[str, set[bool]] = {}
        for use, *_ in self._at:
            looked_up.setdefault(use.name, set()).add(use.product.lookup)
        both = [name for name, kinds in looked_up.items() if len(kinds) > 1]
        return dict.fromkeys(both, "it is looked up as well as multiplied") | dict.fromkeys(
            self._static, "its inputs are the same for all examples"
        )

    def _compute(self, node: Node, values: dict[Node, Any], device: Any) -> Any:
        if OPERATORS[node.operator].family is not Family.RECURRENT or _is_many(node):
            return computed(node, values, device)
        result, self._probes[node] = _probed(node, values)
        return result


def _is_many(node: Node) -> bool:
    """Whether a recurrent operator has layers, directions or projections beside the first."""
    arguments = node.arguments
    each = 4 if arguments["has_biases"] else 2
    return len(arguments["params"]) != each


def _probed(node: Node, values: dict[Node, Any]) -> tuple[Any, Tensor]:
    """The results of a recurrent operator, and zeros that are added to its gates at each step.

    The zeros are further inputs, whose weights are the identity: the gradient in them is that in
    the gates before their activations, which the operator does not give.
    """

    def value(ref: Ref) -> Tensor:
        found = values[ref.node]
        return found[ref.index] if isinstance(found, tuple | list) else found

    given = {name: map_refs(what, value) for name, what in node.arguments.items()}
    x, (weight, *rest) = given["input"], given["params"]
    probe = x.new_zeros(*x.shape[:-1], len(weight), requires_grad=True)
    one = torch.eye(len(weight), dtype=weight.dtype, device=weight.device)
    given["input"] = torch.cat([x, probe], -1)
    given["params"] = (torch.cat([weight, one], 1), *rest)
    return OPERATORS[node.operator].call(*given.values()), probe


def _rows_of(node: Node, product: Product, value: Callable) -> Callable[[Tensor], Tensor]:
    """From a gradient to the gradients in a product's output vectors."""
    if product.outputs is not None:
        return product.outputs
    if node.operator != "gru" or product.weight == node.arguments["params"][0]:
        return lambda grad: grad.flatten(0, 1)[None]
    scale = _reset_gates(node, product, value)
    return lambda grad: (grad.flatten(0, 1) * scale)[None]


@torch.no_grad()
def _reset_gates(node: Node, loops: Product, value: Callable) -> Tensor:
    """What the gradients in a GRU's gates are multiplied by on the way to its loops' outputs.

    1, but the reset gate r in the block of the candidate, tanh(input part + r * loop part).
    """
    inputs, weights, *biases = (value(ref) for ref in node.arguments["params"])
    before = torch.cat([block[0] for block in loops.blocks()])
    size = weights.shape[1]
    x = value(node.arguments["input"]).flatten(0, 1)
    gate = x @ inputs[:size].T + before @ weights[:size].T + sum(b[:size] for b in biases)
    ones = torch.ones_like(gate)
    return torch.cat([ones, ones, gate.sigmoid()], 1)


class _Sum:
    """The sum of g g^T of one weight, use by use.

    :param rows: length of the weight's first axis.
    :param groups: of its rows.
    """

    def __init__(self, rows: int, groups: int) -> None:
        self._rows, self._groups = rows, groups
        self._total: Tensor | None = None
        self._count = torch.zeros(groups, dtype=torch.float64)

    def add(self, use: Use, vectors: Tensor, count: bool) -> None:
        """Add vectors of shape (groups, n, units), which are counted if `count`."""
        first = 0
        if use.product.groups != self._groups:  # the weight's groups are slices of its rows
            size = self._rows // self._groups
            first = use.rows.start // size if use.rows else 0
            vectors = vectors[0].unflatten(1, (-1, size)).transpose(0, 1)
        if self._total is None:
            self._total = empty_factor(self._groups, vectors.shape[2], vectors)
        end = first + len(vectors)
        add_squares(self._total[first:end], vectors)
        if count:
            self._count[first:end] += vectors.shape[1]

    def mean(self, dtype: torch.dtype) -> Tensor:
        mirror(self._total)
        count = self._count.to(self._total.device).clamp(min=1)
        return (self._total / count.reshape(-1, *[1] * (self._total.dim() - 1))).to(dtype)
