"""Layers of torch.nn from their descriptions in `layers`, and descriptions from layers."""

from typing import Any

import torch
from torch import nn

from .layers import KINDS, SELECT, Kind, Layer
from .option_limits import check_options
from .quantised_relu import QuantisedReLU
from .select import Select

_OWN = {"Select": Select, "QuantisedReLU": QuantisedReLU}
CLASSES = {kind.number: _OWN.get(kind.name) or getattr(nn, kind.name) for kind in KINDS}
BY_CLASS = {CLASSES[kind.number]: kind for kind in KINDS}


def build_layer(layer: Layer) -> nn.Module:
    """The layer, with torch's initial weights."""
    if layer.kind is SELECT:
        return Select(torch.zeros(layer.options["of"], dtype=torch.bool))
    given = {
        name: value[0] if _all_equal(value) and name != "normalized_shape" else value
        for name, value in layer.options.items()
        if value is not None or name == "momentum"
    }
    return CLASSES[layer.kind.number](**given)


def describe_layer(module: nn.Module) -> Layer:
    """The description of one layer; ValueError if it has none that would rebuild it exactly."""
    kind = BY_CLASS.get(type(module))
    if kind is None or "forward" in vars(module) or _hooked(module):
        raise ValueError(f"{type(module).__name__} is not a layer that a file can rebuild")
    options = {o.name: o.type.check(_value(module, o.name)) for o in kind.options}
    if "stride" in options and options["stride"] == options["kernel_size"] and _is_pool(kind):
        options["stride"] = None
    check_options(options)
    layer = Layer(kind, options)
    own = [(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()]
    if own != [(name, shape) for name, shape, _ in layer.tensors()] or _unusual(module):
        raise ValueError(f"{type(module).__name__} has tensors or options that are not described")
    return layer


def _value(module: nn.Module, name: str) -> Any:
    """The value of a constructor argument."""
    if name == "bias":
        return module.bias is not None
    if name == "of":
        return module.kept.numel()
    return getattr(module, name)


def _hooked(module: nn.Module) -> bool:
    """Whether hooks (weight normalisation of the old kind, say) take part in the layer."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _unusual(module: nn.Module) -> bool:
    """Whether an option that is not described differs from its default."""
    return bool(
        getattr(module, "return_indices", False) or getattr(module, "divisor_override", None)
    )


def _is_pool(kind: Kind) -> bool:
    return kind.stem == "pool"


def _all_equal(value: Any) -> bool:
    return isinstance(value, tuple) and len(set(value)) == 1
