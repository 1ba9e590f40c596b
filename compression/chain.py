"""A sequential network as a row of Linear and Conv layers: what feeds what, with which constant.

Two neighbours are linked if each unit of one is known to feed certain inputs of the other and
nothing else: through activations, BatchNorm, pooling and flattening, but through no other layer,
and not if a tensor of theirs is shared or a convolution is grouped.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor, nn

from .quantised_relu import QuantisedReLU
from .select import Select

CONVS = (nn.Conv1d, nn.Conv2d)
_WEIGHTED = (nn.Linear, *CONVS)
BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d)
_MAX_POOLS = (nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d)
_MEAN_POOLS = (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AvgPool1d, nn.AvgPool2d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)
_ELEMENTWISE = (
    nn.Identity, nn.ReLU, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Tanh, nn.Sigmoid,
    nn.Softplus, nn.Hardtanh, nn.ReLU6, nn.Mish, nn.Hardswish,
    QuantisedReLU,
)  # fmt: skip


@dataclass
class Layer:
    """A Linear or Conv layer on the way: all at the original size, with what is alive.

    :param weight: shape (outputs, inputs, kernel entries); the last is 1 for Linear.
    :param inputs: the index of each input in the weight as it came; -1 where a Select that was
        there before had left it out.
    :param selected: whether there was such a Select.
    :param units: which outputs are alive, bool; `columns` the same of the inputs.
    :param tied: shares a tensor with another layer.
    :param bias: float64, the constants of removed units folded in; zeros if `biased` is False.
    :param after: (path, layer) of what stands between this layer and the next one.
    :param positions: how many inputs of the next layer one of our units feeds; 0: not linked.
    """

    path: str
    module: nn.Module
    weight: Tensor
    inputs: Tensor
    selected: bool
    bias: Tensor
    units: Tensor
    columns: Tensor
    tied: bool
    after: list[tuple[str, nn.Module]] = field(default_factory=list)
    positions: int = 0
    biased: bool = True


def leaves_of(module: nn.Module, path: str = "") -> Iterator[tuple[str, nn.Module]]:
    """(path, layer) of every layer in the order of computation, nested sequences opened."""
    if type(module).forward is not nn.Sequential.forward:
        yield path, module
        return
    for name, child in module._modules.items():
        yield from leaves_of(child, f"{path}.{name}" if path else name)


def tied_modules(net: nn.Module) -> set[int]:
    """The ids of modules one of whose tensors is met twice in the network."""
    owners: dict[int, list[int]] = {}
    for _, module in net.named_modules(remove_duplicate=False):
        for tensor in (*module.parameters(recurse=False), *module.buffers(recurse=False)):
            owners.setdefault(tensor.data_ptr(), []).append(id(module))
    return {owner for met in owners.values() if len(met) > 1 for owner in met}


def layers_of(leaves: list[tuple[str, nn.Module]], tied: set[int]) -> tuple[list[Layer], set[str]]:
    """The Linear and Conv layers in order, and the paths of the Selects that they undo."""
    layers: list[Layer] = []
    undone: set[str] = set()
    before: tuple[str, nn.Module] = ("", nn.Identity())
    for path, module in leaves:
        if isinstance(module, _WEIGHTED):
            undo = type(module) is nn.Linear and isinstance(before[1], Select)
            undo = undo and not tied & {id(module), id(before[1])}
            if undo:
                undone.add(before[0])
                if layers:
                    layers[-1].after.pop()
            layers.append(_layer(path, module, before[1] if undo else None, id(module) in tied))
            if len(layers) > 1:
                layers[-2].positions = _positions(layers[-2], layers[-1], tied)
        elif layers:
            layers[-1].after.append((path, module))
        before = (path, module)
    return layers, undone


def _layer(path: str, module: nn.Module, select: Select | None, tied: bool) -> Layer:
    """A layer at its original size; a Select before it is undone with zero columns."""
    weight = module.weight.detach()
    weight = weight.reshape(*weight.shape[:2], -1)
    inputs = torch.arange(weight.shape[1], device=weight.device)
    if select is not None:
        wide = weight.new_zeros(weight.shape[0], select.kept.numel(), 1)
        wide[:, select.kept] = weight
        inputs = torch.full_like(wide[0, :, 0], -1, dtype=torch.long)
        inputs[select.kept] = torch.arange(weight.shape[1], device=weight.device)
        weight = wide
    bias = weight.new_zeros(weight.shape[0], dtype=torch.float64)
    if module.bias is not None:
        bias += module.bias.detach()
    alive = [torch.ones(n, dtype=torch.bool, device=weight.device) for n in weight.shape[:2]]
    return Layer(path, module, weight, inputs, select is not None, bias, *alive, tied)


def _positions(layer: Layer, after: Layer, tied: set[int]) -> int:
    """How many inputs of the next layer each unit of `layer` feeds; 0 if it cannot be told."""
    units, inputs = layer.weight.shape[0], after.weight.shape[1]
    between = [module for _, module in layer.after]
    flat = sum(isinstance(module, nn.Flatten) for module in between)
    conv, conv_after = isinstance(layer.module, CONVS), isinstance(after.module, CONVS)
    known = (nn.Flatten, *BATCH_NORMS, *_DROPOUTS, *_ELEMENTWISE)
    known += (*_MAX_POOLS, *_MEAN_POOLS) if conv else ()
    if (
        any(id(module) in tied for module in (layer.module, after.module, *between))
        or any(getattr(m, "groups", 1) > 1 for m in (layer.module, after.module))
        or not all(type(module) in known for module in between)
        or any(getattr(m, "divisor_override", None) for m in between)
        or any(isinstance(m, nn.Flatten) and (m.start_dim, m.end_dim) != (1, -1) for m in between)
        or any(isinstance(m, BATCH_NORMS) and not m.track_running_stats for m in between)
        or (type(layer.module) is not type(after.module) and (conv_after or not flat))
        or (conv and (bool(flat) == conv_after or flat > 1))
        or inputs % units
        or (inputs != units and not (conv and flat))
    ):
        return 0
    size = units
    for module in between:
        size = inputs if isinstance(module, nn.Flatten) else size
        if isinstance(module, BATCH_NORMS) and module.num_features != size:
            return 0
    flattened = between[_first_flatten(between) :]
    if any(isinstance(module, (*_MAX_POOLS, *_MEAN_POOLS)) for module in flattened):
        return 0
    return inputs // units


def _first_flatten(between: list[nn.Module]) -> int:
    flat = [isinstance(module, nn.Flatten) for module in between]
    return flat.index(True) if any(flat) else len(between)


def constants(layer: Layer, after: Layer) -> tuple[Tensor, Tensor]:
    """What each unit gives the next layer if its own weights are all zero.

    :return: float64 of shape (units, positions), and whether that is exact, bool (units,).
    """
    value = layer.bias[:, None]
    exact = torch.ones_like(layer.units)
    for _, module in layer.after:
        if isinstance(module, nn.Flatten):
            value = value.expand(-1, layer.positions)
        elif isinstance(module, BATCH_NORMS):
            value = _normalise(module, value)
        elif isinstance(module, _ELEMENTWISE):
            value = module(value.clone())
        elif isinstance(module, nn.AvgPool1d | nn.AvgPool2d) and _pads(module.padding):
            exact &= value.eq(0).all(1) | (not module.count_include_pad)
    conv = after.module
    if isinstance(conv, CONVS) and conv.padding_mode == "zeros" and _pads_conv(conv):
        exact &= value.eq(0).all(1)
    return value.expand(-1, layer.positions), exact & value.isfinite().all(1)


def passes_on(layer: Layer, after: Layer) -> bool:
    """Whether a constant that is added to a unit reaches all that the unit feeds as it is.

    Maxima and means of what is moved by a constant are moved by it; an activation bends it, zero
    padding leaves it out. Biases say nothing then that those of the next layer could not.
    """
    unmoved = (nn.Identity, nn.Flatten, *_DROPOUTS, *_MAX_POOLS, *_MEAN_POOLS)
    if not layer.positions or not all(type(module) in unmoved for _, module in layer.after):
        return False
    return bool(constants(replace(layer, bias=torch.ones_like(layer.bias)), after)[1].all())


def _normalise(norm: nn.Module, value: Tensor) -> Tensor:
    """BatchNorm in eval mode on constants, float64 (units, positions)."""
    mean, var = norm.running_mean.double(), norm.running_var.double()
    scale = (var + norm.eps).rsqrt() * (1.0 if norm.weight is None else norm.weight.double())
    shift = -mean * scale + (0.0 if norm.bias is None else norm.bias.double())
    return value * scale.detach().reshape(len(value), -1) + shift.detach().reshape(len(value), -1)


def _pads(padding: int | tuple[int, ...]) -> bool:
    return any(padding) if isinstance(padding, tuple) else padding > 0


def _pads_conv(conv: nn.Module) -> bool:
    if isinstance(conv.padding, str):
        return conv.padding == "same" and any(size > 1 for size in conv.kernel_size)
    return _pads(conv.padding)
