"""Dead units really removed: the same function from smaller layers.

Works on sequences of known layers (`architecture.describe` knows the layers); links between two
Linear or Conv layers through other kinds of layer, grouped convolutions and layers that share
tensors are left as they are. To a fixpoint:

1. An output unit or feature map that the next layer multiplies by zeros only is undone.
2. One whose own weights are all zero is a constant: it is carried through activations,
   BatchNorm (eval mode), pooling and flattening into the next layer's bias, and undone. Behind
   zero padding a constant is none at the borders, so there only a zero is undone.
3. An input feature of a Linear layer that is multiplied by zeros only, and that no unit before
   can be undone for, is left out by a `Select` before the layer, if that saves bits.
4. Biases that reach the next layer's sums as they are, with nothing but pooling and flattening
   between, are folded into its biases and left out, if it has any, and no more units: what each of
   many units would have to be told then is cheaper to tell once.

The outputs of the last layer stay. Every layer keeps at least one unit. The result equals the
original up to the float rounding of the folded biases.
"""

import copy
import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from .chain import BATCH_NORMS, Layer, constants, layers_of, leaves_of, passes_on, tied_modules
from .select import Select

SELECT_BITS = 48  # what a Select costs in a file besides its choice: its layer, a length, a flush


@dataclass(frozen=True)
class Reduction:
    """A smaller network, and where its weights come from.

    :param net: computes what the original computes; shares no tensor with it.
    :param kept: for each Linear and Conv weight of a sequence, by its name (the same in both
        networks): the indices of the outputs and of the inputs that were kept, both long.
    """

    net: nn.Module
    kept: dict[str, tuple[Tensor, Tensor]]


def remove_units(net: nn.Module) -> Reduction:
    """The network without its dead units, in eval mode. The original is not touched."""
    if type(net).forward is not nn.Sequential.forward:
        return Reduction(copy.deepcopy(net).eval(), {})
    leaves = list(leaves_of(net))
    layers, undone = layers_of(leaves, tied_modules(net))
    changed = True
    while changed:
        changed = any(_drop_units(*pair) for pair in pairwise(layers))
    for pair in pairwise(layers):
        _fold_biases(*pair)
    new, before, kept = {}, {}, {}
    for layer in layers:
        if layer.tied:
            continue
        columns = _read_columns(layer)
        if columns is not None:
            before[layer.path] = Select(columns[layer.columns])
            layer.columns = columns
        new[layer.path] = _reduced(layer)
        new.update(_reduced_norms(layer))
        outputs = layer.units.nonzero()[:, 0]
        kept[f"{layer.path}.weight".lstrip(".")] = (outputs, layer.inputs[layer.columns])
    return Reduction(_rebuild(net, "", new, before, undone, {}).eval(), kept)


def _drop_units(layer: Layer, after: Layer) -> bool:
    """Drop units of `layer` by rules 1 and 2; whether there were any."""
    count = int(layer.units.sum())
    if not layer.positions or count == 1:
        return False
    read = after.weight[after.units].ne(0).any(2).any(0).reshape(-1, layer.positions).any(1)
    varies = layer.weight[:, layer.columns].ne(0).flatten(1).any(1)
    value, exact = constants(layer, after)
    drop = layer.units & (~read | (~varies & exact))
    if int(drop.sum()) == count:
        drop[layer.units.nonzero()[0]] = False
    fold = (drop & read).repeat_interleave(layer.positions)
    if fold.any():
        after.bias += after.weight[:, fold].double().sum(2) @ value.flatten()[fold]
    layer.units &= ~drop
    after.columns &= layer.units.repeat_interleave(layer.positions)
    return bool(drop.any())


def _fold_biases(layer: Layer, after: Layer) -> None:
    """Rule 4."""
    fewer = after.units.sum() <= layer.units.sum()
    if after.module.bias is None or not fewer or not passes_on(layer, after):
        return
    added = layer.bias.repeat_interleave(layer.positions)[after.columns]
    after.bias += after.weight[:, after.columns].double().sum(2) @ added
    layer.bias, layer.biased = torch.zeros_like(layer.bias), False


def _read_columns(layer: Layer) -> Tensor | None:
    """Rule 3: the inputs of a Linear layer that a Select should let through; None for all."""
    weight = layer.weight[layer.units]
    read = layer.columns & weight.ne(0).any(2).any(0)
    if type(layer.module) is not nn.Linear or bool((read == layer.columns).all()):
        return None
    if not read.any():
        read[(layer.columns & (layer.inputs >= 0)).nonzero()[0]] = True
    before, after, ones = (
        int(layer.columns.sum()),
        int(read.sum()),
        int(weight[:, read].ne(0).sum()),
    )
    saved = _bits(len(weight) * before, ones) - _bits(len(weight) * after, ones)
    pays = saved > _bits(before, after) + SELECT_BITS
    return read if pays or layer.selected else None


def _bits(count: int, ones: int) -> float:
    """The entropy [bits] of `ones` among `count` symbols, taken as independent."""
    p = ones / count
    return 0.0 if p in (0, 1) else -count * (p * math.log2(p) + (1 - p) * math.log2(1 - p))


def _reduced(layer: Layer) -> nn.Module:
    """The module at its new size."""
    module = copy.deepcopy(layer.module)
    weight = layer.weight[layer.units][:, layer.columns]
    weight = weight.reshape(*weight.shape[:2], *module.weight.shape[2:]).clone()
    bias = layer.bias[layer.units].to(weight.dtype)
    outputs, inputs = weight.shape[:2]
    module.weight = nn.Parameter(weight, module.weight.requires_grad)
    if layer.biased and (module.bias is not None or bias.any()):
        module.bias = nn.Parameter(bias)
    else:
        module.bias = None
    if isinstance(module, nn.Linear):
        module.out_features, module.in_features = outputs, inputs
    else:
        module.out_channels, module.in_channels = outputs, inputs * module.groups
    return module


def _reduced_norms(layer: Layer) -> dict[str, nn.Module]:
    """The BatchNorms after a layer, by path, at their new size."""
    norms, alive = {}, layer.units
    for path, module in layer.after if layer.positions else ():
        if isinstance(module, nn.Flatten):
            alive = layer.units.repeat_interleave(layer.positions)
        elif isinstance(module, BATCH_NORMS):
            norms[path] = norm = copy.deepcopy(module)
            norm.num_features = int(alive.sum())
            for name, tensor in (*module._parameters.items(), *module._buffers.items()):
                if tensor is not None and tensor.ndim:
                    part = tensor.detach()[alive].clone()
                    setattr(norm, name, nn.Parameter(part) if name in norm._parameters else part)
    return norms


def _rebuild(
    module: nn.Module,
    path: str,
    new: dict[str, nn.Module],
    before: dict[str, Select],
    undone: set[str],
    memo: dict[int, nn.Module],
) -> nn.Module:
    """The network with new layers, and with the Selects before them; shared modules stay shared."""
    if id(module) in memo:
        return memo[id(module)]
    if type(module).forward is not nn.Sequential.forward:
        memo[id(module)] = new[path] if path in new else copy.deepcopy(module, memo)
        return memo[id(module)]
    net, number = nn.Sequential(), 0
    paths = {name: f"{path}.{name}".lstrip(".") for name in module._modules}
    taken = {name for name, at in paths.items() if at not in undone}
    for name, child in module._modules.items():
        at = paths[name]
        if at in undone:
            continue
        if at in before:
            number += 1
            while (free := "select" if number == 1 else f"select{number}") in taken:
                number += 1
            net.add_module(free, before[at])
        net.add_module(name, _rebuild(child, at, new, before, undone, memo))
    memo[id(module)] = net
    return net
