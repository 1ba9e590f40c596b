"""Which layers can be pruned, quantized, made smaller, filed, computed in integers, exported.

Read off the operator table and the two registries of forms. Whether units of a layer can be removed
is tried: a few units of a small network are made dead, and the graph must remove some.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from bitsback.compression.deploy import export  # noqa: F401  fills the registry of ONNX forms
from bitsback.compression.deploy.forms import FORMS as ONNX_FORMS
from bitsback.compression.integer import FORMS as INTEGER_FORMS
from bitsback.graph import OPERATORS, remove_units, trace
from torch import Tensor, nn

YES, NO = "✓", "no"


class Of(nn.Module):
    """A module that takes its input several times, and of whose outputs the first is taken."""

    def __init__(self, module: nn.Module, inputs: int):
        super().__init__()
        self.module, self.inputs = module, inputs

    def forward(self, x: Tensor) -> Tensor:
        found = self.module(*[x] * self.inputs)
        return found[0] if isinstance(found, tuple) else found


@dataclass(frozen=True)
class Layer:
    """A row of the matrix.

    :param operators: the rows of the operator table that it is made of.
    :param make: a network with the layer at place 1, and inputs for it.
    :param dead: by the names of parameters, the places that are zero because units are dead.
    """

    operators: tuple[str, ...]
    make: Callable[[], tuple[nn.Sequential, Tensor]]
    dead: dict[str, object]


def _vectors(middle: nn.Module, width: int = 8) -> tuple[nn.Sequential, Tensor]:
    return nn.Sequential(nn.Linear(5, 8), middle, nn.Linear(width, 3)), torch.randn(3, 5)


def _images(middle: nn.Module) -> tuple[nn.Sequential, Tensor]:
    pool = nn.AdaptiveAvgPool2d(1)
    net = nn.Sequential(nn.Conv2d(2, 8, 3), middle, pool, nn.Flatten(), nn.Linear(8, 3))
    return net, torch.randn(3, 2, 8, 8)


def _steps(middle: nn.Module) -> tuple[nn.Sequential, Tensor]:
    return nn.Sequential(nn.Linear(5, 8), middle, nn.Linear(8, 3)), torch.randn(3, 4, 5)


def _tokens(first: nn.Module) -> tuple[nn.Sequential, Tensor]:
    return nn.Sequential(first, nn.Linear(8, 3)), torch.randint(9, (3, 4))


_ROW = {"1.weight": 0, "1.bias": 0}
_GATES = [0, 8, 16]  # unit 0 in the three gates of a GRU
_OF_GRU = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
_ONE_OF_NORM = {"0.weight": [0, 1], "0.bias": [0, 1], "1.weight": [0, 1], "1.bias": [0, 1]}

LAYERS = {
    "Linear": Layer(("linear",), lambda: _vectors(nn.Linear(8, 8)), _ROW),
    "Conv1d, 2d, 3d": Layer(
        ("conv1d", "conv2d", "conv3d"), lambda: _images(nn.Conv2d(8, 8, 3)), _ROW
    ),
    "ConvTranspose": Layer(
        ("conv_transpose1d", "conv_transpose2d", "conv_transpose3d"),
        lambda: _images(nn.ConvTranspose2d(8, 8, 3)),
        {"1.weight": (slice(None), 0), "1.bias": 0},
    ),
    "Embedding": Layer(
        ("embedding",), lambda: _tokens(nn.Embedding(9, 8)), {"0.weight": (slice(None), 0)}
    ),
    "MultiheadAttention": Layer(
        ("attention", "linear"),
        lambda: _steps(Of(nn.MultiheadAttention(8, 2, batch_first=True), 3)),
        {"1.module.in_proj_weight": slice(16, 20), "1.module.in_proj_bias": slice(16, 20)},
    ),
    "LSTM, GRU, RNN": Layer(
        ("lstm", "gru", "rnn_tanh", "rnn_relu"),
        lambda: _steps(Of(nn.GRU(8, 8, batch_first=True), 1)),
        {
            f"1.module.{name}_l0": _GATES
            for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        },
    ),
    "Bilinear": Layer(
        ("bilinear",),
        lambda: _vectors(Of(nn.Bilinear(8, 8, 8), 2)),
        {"1.module.weight": 0, "1.module.bias": 0},
    ),
    "BatchNorm": Layer(("batch_norm",), lambda: _images(nn.BatchNorm2d(8)), _ONE_OF_NORM),
    "GroupNorm, InstanceNorm": Layer(
        ("group_norm", "instance_norm"), lambda: _images(nn.GroupNorm(4, 8)), _ONE_OF_NORM
    ),
    "LayerNorm, RMSNorm": Layer(
        ("layer_norm", "rms_norm"), lambda: _vectors(nn.LayerNorm(8)), _ONE_OF_NORM
    ),
}


def loses_units(layer: Layer) -> bool:
    """Whether dead units of the layer are removed."""
    torch.manual_seed(0)
    net, x = layer.make()
    with torch.no_grad():
        for name, places in layer.dead.items():
            net.get_parameter(name)[places] = 0.0
    return remove_units(trace(net.eval(), x)).units > 0


def support() -> list[str]:
    """The support matrix, a line for each kind of layer."""
    lines = [
        "| layer | prune | quantize | reduce | file | integer | ONNX |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, layer in LAYERS.items():
        rows = [OPERATORS[operator] for operator in layer.operators]
        marks = (
            any(row.weights for row in rows),
            any(row.weights or row.vectors for row in rows),
            loses_units(layer),
            all(row.name in OPERATORS for row in rows),
            all(row.name in INTEGER_FORMS for row in rows),
            all(row.onnx or row.name in ONNX_FORMS for row in rows),
        )
        lines.append(f"| {name} | {' | '.join(YES if mark else NO for mark in marks)} |")
    return lines
