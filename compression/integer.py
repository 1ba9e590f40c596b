"""`to_integer`: a quantised network as one that computes in integers, from inputs to logits.

inputs      codes of at most 8 bits (`IntegerInput`)
weights     integers on the step that the tensor's values have in common
sums        int32; a bound is proven for each layer from its codes
bias        an integer on the accumulator's scale
ReLU        accumulator to code by an integer multiplier and a shift (`Requantise`)
BatchNorm   a multiplier, a shift and an integer bias for each channel (`IntegerAffine`)
addition    of both operands on the finer of their units, by a multiplier and a shift
means       sums, and the unit divided by their count
movements, maxima    on the integers, unchanged
logits      integers times one float scale

What each operator becomes is in `integer_forms` and `integer_moves`.
"""

from collections import OrderedDict
from typing import Any

from torch import Tensor, nn

from ..graph import Ref
from ..graph.ir import INPUT
from . import integer_forms, integer_moves  # noqa: F401  (they register their forms)
from .deploy.forms import module_of
from .deploy.shapes import Shapes, on_cpu
from .integer_layers import IntegerAccumulator, IntegerInput, IntegerNetwork, Rescale
from .integer_walk import FORMS, Meaning, Walk
from .layer_graph import graph_of, is_sequence, of_layers


def to_integer(
    network: nn.Module,
    inputs: IntegerInput | None = None,
    shape: tuple[int, ...] | None = None,
    example: Any = None,
) -> IntegerNetwork:
    """A network that computes what `network` does in integers, from floats in to floats out.

    Its numbers are a function of the network's alone: equal networks give equal ones. Modules are
    called by the paths of their weights, with "-" for ".", behind `inputs` and before `logits`;
    those without weights by their operators, and in a sequence of layers by the paths of the layers
    that they replace. Names that are taken get a number.

    Rounding is of inputs (halves to even), biases (to at most half a unit of the accumulator,
    halves to even), codes (see `Requantise`), and what BatchNorm and additions take (to half a unit
    of their sums).

    :param network: a graph, a sequence of layers as `bitsback.load` gives it, or any other module,
        which is traced; of operators that have an integer form. Weights on a uniform grid for each
        tensor, every layer of weights but the first behind a quantised ReLU.
    :param inputs: how inputs become codes; default: those in [0, 1] become 0..255, which for
        images of bytes over 255 loses nothing. Inputs on another grid need their own: inputs that
        are multiples of 1/16 are `IntegerInput(Fraction(1, 16), high=16)`.
    :param shape: of one input, without the batch: for a sequence of layers that pools by means
        over whole images.
    :param example: what `graph.trace` takes: for any other module.
    :returns: in eval mode, on the CPU. Logits are float64.
    :raises ValueError: the layer that has no integer form, by name, and why.

    >>> integer = bitsback.to_integer(bitsback.load("net.bb"))
    >>> classes = integer(x).argmax(1)
    """
    inputs = IntegerInput() if inputs is None else inputs
    told = shape is not None or not is_sequence(network)
    graph = on_cpu(graph_of(network, shape, example) if told else of_layers(network, ()))
    walk = Walk(graph, Shapes(graph) if told else None, is_sequence(network))
    for place, node in enumerate(n for n in graph.graph if n.operator == INPUT):
        reach = max(-inputs.low, inputs.high)
        layer = inputs if place == 0 else IntegerInput(inputs.step, inputs.low, inputs.high)
        walk.layer(Ref(node), "inputs", layer, (place,), Meaning(inputs.step, reach, True))
    for node in graph.graph.operators:
        where = f"layer {module_of(node)!r}" if module_of(node) else f"operator {node.operator}"
        try:
            walk.convert(node)
        except ValueError as error:
            raise ValueError(f"{where} {error}") from None
    result = graph.graph.outputs
    if not isinstance(result, Ref):
        raise ValueError("a network of several outputs has no integer form")
    name, meaning = walk.place(result)
    walk.layer(None, "logits", Rescale(meaning.scale), (name,), meaning)
    return IntegerNetwork(OrderedDict(walk.modules), walk.sources).eval()


def accumulators(network: nn.Module) -> dict[str, IntegerAccumulator]:
    """The layers of sums of an integer network, by name."""
    return {n: m for n, m in network.named_modules() if isinstance(m, IntegerAccumulator)}


def integer_tensors(network: nn.Module) -> dict[str, Tensor | int]:
    """All integers of an integer network by name, multipliers and shifts included."""
    found: dict[str, Tensor | int] = dict(network.state_dict())
    for name, module in network.named_modules():
        for key in ("multiplier", "shift", "most", "fraction", "bound"):
            if hasattr(module, key):
                found[f"{name}.{key}"] = getattr(module, key)
    return found


def has_integer_form(operator: str) -> bool:
    """Whether a row of the operator table has an integer form."""
    return operator in FORMS
