"""An exported model against its network, in onnxruntime."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ...graph import GraphNetwork
from ...graph.ir import map_leaves
from ..integer_layers import IntegerInput
from .shapes import Shapes

BATCHES = (1, 3)
#: Largest difference of an output, as a share of the largest output: of arithmetic in another
#: order (or so many units in the last place, for half precision), and of networks whose ReLUs or
#: inputs are quantised, where a value on the edge between two codes may get the other one.
TOLERANCE, TOLERANCE_OF_CODES, LAST_PLACES = 1e-4, 0.1, 16


class ExportMismatch(ValueError):
    """onnxruntime computes something else than the network."""


def check(
    data: bytes, network: GraphNetwork, shapes: Shapes, names: list[str],
    quantised: IntegerInput | None,
) -> bool:  # fmt: skip
    """Run a model at batches of 1 and 3 random examples and compare its outputs.

    onnxruntime runs it under basic optimisation, which computes what the model says. Its extended
    optimisation, the default, joins DequantizeLinear and MatMul into an operator that rounds
    activations to 8 bits.

    :returns: False if onnxruntime is not installed, so that nothing was compared.
    :raises ExportMismatch: an output differs by more than the tolerance, or cannot be computed.
    """
    try:
        import onnxruntime
    except ImportError:
        return False
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.intra_op_num_threads = torch.get_num_threads()
    try:
        session = onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has no common class of errors
        raise ExportMismatch(f"onnxruntime refuses the model: {_line(error)}") from None
    coded = quantised is not None or any(n.operator == "quantised_relu" for n in network.graph)
    for batch in BATCHES:
        inputs = examples(network, shapes, batch, quantised)
        expected = _outputs(network, inputs)
        given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
        read = {value.name for value in session.get_inputs()}
        try:
            found = session.run(None, {k: v for k, v in given.items() if k in read})
        except Exception as error:
            raise ExportMismatch(f"onnxruntime cannot run the model: {_line(error)}") from None
        for value, array, output in zip(expected, found, session.get_outputs(), strict=True):
            _compare(output.name, value.detach().numpy(), array, batch, coded)
    return True


def examples(
    network: GraphNetwork, shapes: Shapes, batch: int, quantised: IntegerInput | None
) -> list[Tensor]:
    """Random inputs: normal ones, codes times their step, or numbers below all tables' sizes."""
    generator = torch.Generator().manual_seed(batch)
    made = []
    for like in shapes.inputs(batch):
        if like.dtype.is_floating_point and quantised is not None:
            codes = torch.randint(0, quantised.high + 1, like.shape, generator=generator)
            made.append((codes * float(quantised.step)).to(like.dtype))
        elif like.dtype.is_floating_point:
            made.append(torch.randn(like.shape, generator=generator).to(like.dtype))
        else:
            most = 2 if like.dtype == torch.bool else _rows(network, shapes)
            made.append(torch.randint(0, most, like.shape, generator=generator).to(like.dtype))
    return made


def _rows(network: GraphNetwork, shapes: Shapes) -> int:
    """Rows of the smallest embedding, which integer inputs must be below."""
    tables = [n.arguments["weight"] for n in network.graph if n.operator == "embedding"]
    return min((shapes.shape(ref)[0] or 1 for ref in tables), default=2)


def _outputs(network: GraphNetwork, inputs: list[Tensor]) -> list[Tensor]:
    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            result = network.compute(inputs, {})
    finally:
        network.train(training)
    found: list[Tensor] = []
    map_leaves(result, lambda leaf: found.append(leaf) if isinstance(leaf, Tensor) else None)
    return found


def _compare(name: str, expected: np.ndarray, found: np.ndarray, batch: int, coded: bool) -> None:
    where = f"output {name!r} for a batch of {batch}"
    if expected.shape != found.shape:
        raise ExportMismatch(
            f"{where}: onnxruntime gives shape {found.shape}, the network {expected.shape}"
        )
    if not np.issubdtype(expected.dtype, np.floating):
        if not np.array_equal(expected, found):
            raise ExportMismatch(f"{where}: onnxruntime gives other integers than the network")
        return
    tolerance = max(TOLERANCE, LAST_PLACES * float(np.finfo(expected.dtype).eps))
    expected, found = expected.astype(np.float64), found.astype(np.float64)
    finite = np.isfinite(expected)
    same = np.array_equal(expected[~finite], found[~finite], equal_nan=True)
    apart = np.abs(expected[finite] - found[finite]).max(initial=0) if same else np.inf
    scale = max(np.abs(expected[finite]).max(initial=0), 1e-6)
    most = scale * (TOLERANCE_OF_CODES if coded else tolerance)
    if not apart <= most:
        raise ExportMismatch(
            f"{where}: onnxruntime and the network differ by {apart:.3g}, more than {most:.3g}"
        )


def _line(error: Exception) -> str:
    return str(error).strip().splitlines()[0][:300] if str(error).strip() else type(error).__name__
