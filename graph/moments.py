"""Second moments of what a network's weights multiply, over calibration inputs.

A layer's output is a weight's matrix W (see `products.as_matrix`) times an input vector x, at each
position of an example (each pixel of a convolution, each step of a sequence). Another matrix W + D
changes the outputs of one unit by D_u x, D_u its row. The squared change, summed over the positions
of an example and averaged over examples, is D_u A D_u^T with

    A = mean over examples of (sum over positions of x x^T),

which is what this module computes. It needs no labels and no gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .evaluate import computed
from .examples import arguments_of, batch_of
from .ir import INPUT, PARAMETER, Node, Ref
from .network import GraphNetwork, parameters_of
from .uses import Use, Uses

_STRIP = 128  # columns of a factor that are computed at a time
WIDEST = 16_384  # columns of a full factor; of wider weights the diagonal is found
_MOST_PIECES = 16  # groups that slices of a weight's rows may make


@dataclass(frozen=True)
class InputMoments:
    """The second moment of the input vectors of one weight.

    :param inputs: A of the module's docstring, in the network's precision: shape
        (groups, columns, columns). Or its diagonal, (groups, columns): of embeddings, whose
        vectors are one-hot (how often each row is looked up), and of more columns than `WIDEST`.
    :param transposed: which axis of the weight holds the units: `as_matrix(weight, groups,
        transposed)` has the columns of `inputs`.
    """

    inputs: Tensor
    transposed: bool

    @property
    def groups(self) -> int:
        """Groups of the weight's matrix."""
        return self.inputs.shape[0]


@dataclass(frozen=True)
class Moments:
    """What `input_moments` found.

    :param weights: by name in the graph.
    :param missing: of the weights asked for, those without, each with the reason.
    :param examples: how many the moments are over.
    """

    weights: dict[str, InputMoments]
    missing: dict[str, str]
    examples: int


@torch.no_grad()
def input_moments(
    network: GraphNetwork, batches: Iterable[Any], names: Collection[str] | None = None
) -> Moments:
    """The second moments of the inputs of a network's weights.

    The network runs in eval mode, operator by operator. Products are summed in float64, from
    blocks of at most `products.LARGEST` numbers. The moments of a wide layer are larger than its
    weight (columns^2 numbers of 8 bytes while they are summed), so that for a large network it
    saves memory to ask for a few weights at a time: the run ends at the last operator that uses
    one of them. A weight that is used more than once has the sum over its uses. A weight of which
    operators use slices of rows (attention layers of torch) has one group for each.

    A weight that is looked up as well as multiplied (tied embeddings) has the matrix of the
    product. The lookups add the mean count of a row to the diagonal, which is the nearest moment
    that all rows share.

    :param network: a traced network; not changed.
    :param batches: inputs as they are passed (see `trace`), on the network's device; axis 0 of
        each tensor is the batch.
    :param names: parameters of the graph; None: all weights (see `roles`).
    :raises ValueError: no inputs, inputs of another shape than the network was traced with, NaN
        or infinity in what a weight is multiplied by, or an unknown name.

    >>> net = trace(nn.Linear(3, 2), torch.randn(4, 3))
    >>> input_moments(net, [torch.ones(5, 3)]).weights["weight"].inputs
    tensor([[[1., 1., 1.],
             [1., 1., 1.],
             [1., 1., 1.]]])
    """
    uses = Uses(network, names)
    tensors = dict(parameters_of(network))
    sums = {name: _Sum(tensors[name]) for name in uses.readers}
    examples = 0
    for batch in batches:
        inputs, count = inputs_of(network, batch)
        examples += count
        for node, value in walk(network, inputs, uses.nodes):
            for use in uses.of(node, value):
                # What does not depend on the inputs is computed once for all examples.
                sums[use.name].add(use, count if node in uses.static else 1)
    if not examples:
        raise ValueError("no calibration inputs: give at least one batch of one example")
    missing = uses.missing()
    found: dict[str, InputMoments] = {}
    for name in [name for name in uses.readers if name not in missing]:
        moments = sums.pop(name).moments(examples, tensors[name].dtype)
        if moments is None:
            missing[name] = "it is used as several matrices: by rows and by columns, or in pieces"
            continue
        if not moments.inputs.isfinite().all():
            raise ValueError(
                f"{name!r} is multiplied by NaN or infinity: give calibration inputs, and weights, "
                "that are finite"
            )
        found[name] = moments
    return Moments(found, missing, examples)


def inputs_of(network: GraphNetwork, batch: Any) -> tuple[list[Tensor], int]:
    """A batch in the order of the graph's inputs, and how many examples it holds.

    :raises ValueError: it does not fit what the network was traced with.
    """
    args, kwargs = arguments_of(batch)
    try:
        return network._plan.inputs(args, kwargs), batch_of((args, kwargs))
    except TypeError as error:
        raise ValueError(f"calibration inputs: {error}") from None


def walk(
    network: GraphNetwork,
    inputs: list[Tensor],
    wanted: Collection[Node],
    compute: Callable[..., Any] = computed,
) -> Iterator[tuple[Node, Callable[[Any], Any]]]:
    """Compute a network in eval mode, stopping at each wanted node once it is computed.

    A value is dropped after its last reader. The run ends behind the last wanted node.

    :param compute: what gives an operator's value, as `evaluate.computed` does.
    :returns: the node, and the values of it and of what it takes, by `Ref`; numbers as they are.
    """
    nodes = network.graph.nodes
    end = max((i for i, node in enumerate(nodes) if node in wanted), default=-1) + 1
    last = {ref.node: i for i, node in enumerate(nodes[:end]) for ref in node.refs()}
    tensors, given = dict(parameters_of(network)), iter(inputs)
    device = inputs[0].device if inputs else torch.device("cpu")
    values: dict[Node, Any] = {}

    def value(what: Any) -> Any:
        if not isinstance(what, Ref):
            return what
        found = values[what.node]
        return found[what.index] if isinstance(found, tuple | list) else found

    for i, node in enumerate(nodes[:end]):
        if node.operator == INPUT:
            values[node] = next(given)
        elif node.operator == PARAMETER:
            values[node] = tensors[node.name].detach()
        else:
            values[node] = compute(node, values, device)
        if node in wanted:
            yield node, value
        for source in {ref.node for ref in node.refs()} | {node}:
            if last.get(source, i) <= i:
                values.pop(source, None)


class _Sum:
    """The sum of the second moments of one weight, use by use.

    :param weight: counts for its first axis.
    """

    def __init__(self, weight: Tensor) -> None:
        self._rows = weight.shape[0] if weight.dim() else 1
        # By groups, axis of the units and rows of the weight; and the counts of lookups.
        self._products: dict[tuple[int, bool, range | None], Tensor] = {}
        self._counts: Tensor | None = None

    def add(self, use: Use, times: int) -> None:
        product = use.product
        for block in product.blocks():
            if product.lookup:
                counts = torch.bincount(block, minlength=self._rows).double() * times
                self._counts = counts if self._counts is None else self._counts + counts
                continue
            key, width = (product.groups, product.transposed, use.rows), block.shape[2]
            if key not in self._products:
                self._products[key] = empty_factor(product.groups, width, block)
            add_squares(self._products[key], block, times)

    def moments(self, examples: int, dtype: torch.dtype) -> InputMoments | None:
        """The mean over examples; None where the uses have no matrix in common."""
        if not self._products:
            return InputMoments((self._counts / examples).to(dtype)[None], transposed=True)
        views = {(groups, transposed) for groups, transposed, _ in self._products}
        if len(views) > 1:
            return None
        _, transposed = views.pop()
        total = self._joined()
        if total is None:
            return None
        diagonal = total.diagonal(dim1=1, dim2=2) if total.dim() == 3 else total
        if self._counts is not None:
            if len(total) > 1:
                return None
            diagonal += self._counts if transposed else self._counts.mean()
        mirror(total)
        return InputMoments(total.div_(examples).to(dtype), transposed)

    def _joined(self) -> Tensor | None:
        """One sum for each group of rows; None for too many of them."""
        products = list(self._products.items())
        if all(rows is None for (*_, rows), _ in products):
            return products[0][1]
        ends = [rows or range(self._rows) for (*_, rows), _ in products]
        size = math.gcd(self._rows, *(n for rows in ends for n in (rows.start, rows.stop)))
        if products[0][0][0] > 1 or self._rows // size > _MOST_PIECES:
            return None
        total = products[0][1].new_zeros(self._rows // size, *products[0][1].shape[1:])
        for rows, (_, one) in zip(ends, products, strict=True):
            total[rows.start // size : rows.stop // size] += one
        return total


def empty_factor(groups: int, width: int, like: Tensor) -> Tensor:
    """Float64 zeros for the second moment of vectors of that width, or for its diagonal."""
    sizes = (width, width) if width <= WIDEST else (width,)
    return like.new_zeros(groups, *sizes, dtype=torch.float64)


def add_squares(total: Tensor, block: Tensor, times: int = 1) -> None:
    """Add x x^T of vectors (groups, n, width) to what is on and above the diagonal; in place."""
    block = block if block.dtype == torch.float64 else block.float()
    width = block.shape[2]
    if total.dim() == 2:
        total += block.square().sum(1).double() * times
        return
    for start in range(0, width, _STRIP):
        end = min(start + _STRIP, width)
        product = block[:, :, start:end].mT @ block[:, :, start:]
        total[:, start:end, start:] += product * times if times > 1 else product


def mirror(total: Tensor) -> None:
    """Copy what is above the diagonal to below it; in place."""
    width = total.shape[1] if total.dim() == 3 else 0
    for start in range(0, width, _STRIP):
        end = min(start + _STRIP, width)
        total[:, end:, start:end] = total[:, start:end, end:].mT
        corner = total[:, start:end, start:end]
        corner.copy_(corner.triu() + corner.triu(1).mT)
