"""What a run says of its network's integer form: its own test error, and where the two differ."""

from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from ..compression.integer import accumulators, to_integer
from ..compression.integer_layers import IntegerInput, IntegerNetwork, Requantise
from ..compression.layer_graph import graph_of
from ..graph.values import Values
from ..training.evaluation import BATCH, evaluate


def input_grid(data: Any) -> IntegerInput:
    """The codes of a data set's images: one for each of its grey levels, so that none is lost."""
    return IntegerInput(Fraction(1, data.levels), high=data.levels)


def integer_figures(network: nn.Module, data: Any) -> dict[str, Any]:
    """Plain numbers for JSON: the integer network's score on the test part, and disagreement there.

    `codes_differ` of `codes` outputs of quantised ReLUs are other integers than in the float pass,
    by at most `codes_differ_by`, and `predictions_differ` of `predictions` are other classes.
    `input_error` is the largest change of an input by its code. Of each of the `layers`, `bound` is
    what no accumulator exceeds, and `fraction` the bits that it has below a product of codes.

    :param network: decoded, on the CPU in eval mode.
    :returns: only `obstacle`, why not, for a network that has no integer form.
    """
    if data.levels is None or data.likelihood != "categorical":
        return {"obstacle": "inputs are no multiples of a step, or labels no classes"}
    inputs = input_grid(data)
    try:
        whole = to_integer(network, inputs, tuple(data.test.x.shape[1:]))
    except ValueError as error:
        return {"obstacle": str(error)}
    score = evaluate(whole, data.test)
    layers = {
        name: {"bound": layer.bound, "fraction": layer.fraction}
        for name, layer in accumulators(whole).items()
    }
    return {
        "obstacle": None,
        "test_error": score.error,
        "test_nll": score.nll,
        **disagreement(network, whole, data.test.x),
        "input_error": inputs.error(data.test.x),
        "accumulator_bits": 32,
        "layers": layers,
    }


@torch.no_grad()
def disagreement(network: nn.Module, whole: IntegerNetwork, x: Tensor) -> dict[str, int]:
    """How far the codes and predictions of a network and of its integer form differ on inputs.

    :param whole: `to_integer(network)`.
    """
    counts = dict.fromkeys(("codes", "codes_differ", "codes_differ_by"), 0)
    differ = 0
    for batch in x.split(BATCH):
        (floats, logits), (integers, of_integers) = _by_float(network, batch), _codes(whole, batch)
        for a, b in zip(floats, integers, strict=True):
            apart = (a - b).abs()
            counts["codes"] += a.numel()
            counts["codes_differ"] += int((apart > 0).sum())
            counts["codes_differ_by"] = max(counts["codes_differ_by"], int(apart.max()))
        differ += int((logits.argmax(1) != of_integers.argmax(1)).sum())
    return {**counts, "predictions": len(x), "predictions_differ": differ}


def _by_float(network: nn.Module, x: Tensor) -> tuple[list[Tensor], Tensor]:
    """Codes of the quantised ReLUs in order, as the float pass has them, and the logits."""
    graph = graph_of(network, tuple(x.shape[1:]))
    values, codes = Values(graph, [x]), []
    for node in graph.graph.operators:
        if node.operator == "quantised_relu":
            step, bits = node.arguments["step"], node.arguments["bits"]
            scaled = torch.round(values[node.arguments["input"]] / step)
            codes.append(scaled.clamp(0, 2**bits - 1).int())
    (logits,) = graph.graph.output_refs()
    return codes, values[logits]


def _codes(whole: IntegerNetwork, x: Tensor) -> tuple[list[Tensor], Tensor]:
    found = whole.outputs(x)
    layers = whole.named_children()
    codes = [found[name] for name, layer in layers if isinstance(layer, Requantise)]
    return codes, found["logits"]
