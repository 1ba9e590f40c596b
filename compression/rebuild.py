"""Whether a described network can be rebuilt, and its modules without memory or random numbers."""

from collections.abc import Iterator
from functools import lru_cache

import torch
from torch import nn

from .layers import BY_CLASS, BY_NUMBER, Layer
from .limits import check_growth
from .nodes import Chain, build_node
from .option_limits import growth_of
from .select import Select

_KEEP_WIDTH = ("relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softplus", "hardtanh", "mish")
_KEEP_WIDTH += ("hardswish", "softmax", "identity", "ln", "bn")


def check_builds(root: Layer | Chain) -> None:
    """Refuse a network with layers that torch does not make of their options.

    :raises ValueError: names the layer.
    """
    for path, layer in _leaves(root, ""):
        if wrong := _wrong(layer.kind.number, tuple(layer.options.items())):
            raise ValueError(f"layer {path!r}: {wrong}")


@lru_cache(maxsize=1024)  # networks repeat their layers, and torch takes its time to make one
def _wrong(kind: int, options: tuple) -> str:
    """Why torch does not make a layer of these options; "" if it does."""
    try:
        with torch.device("meta"):  # one at a time: thousands would take megabytes
            Layer(BY_NUMBER[kind], dict(options)).build()
    except Exception as error:  # torch's constructors raise what they like
        return str(error) or type(error).__name__
    return ""


def check_fit(root: Layer | Chain) -> None:
    """Refuse layers that do not fit each other, or that together make an input too large.

    :raises ValueError: names the layer.
    """
    grown = {1: 0, 2: 0}
    width = None  # of the last axis, where the layers so far say it
    for path, layer in _leaves(root, ""):
        try:
            if growth := growth_of(layer.options):
                grown[len(growth)] += max(growth)
                check_growth(len(growth), grown[len(growth)])
            width = _width_after(layer, width)
        except ValueError as error:
            raise ValueError(f"layer {path!r}: {error}") from None


def blank(root: Layer | Chain, dtype: str) -> nn.Module:
    """A new network on the CPU in eval mode, all its tensors zero.

    Without `to_empty`, which imports sympy: half of the time that a small file takes to load.
    """
    with torch.device("meta"):  # no memory, no random numbers for initial weights
        net = build_node(root)
    for module in net.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is not None:
                    tensors[name] = _zeros(tensor, getattr(torch, dtype))
    return net.eval()


def _zeros(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    dtype = dtype if tensor.is_floating_point() else tensor.dtype
    zeros = torch.zeros(tensor.shape, dtype=dtype, device="cpu")
    return nn.Parameter(zeros) if isinstance(tensor, nn.Parameter) else zeros


def _leaves(node: Layer | Chain, path: str) -> Iterator[tuple[str, Layer]]:
    if isinstance(node, Layer):
        yield path, node
        return
    for name, child in zip(node.names, node.children, strict=True):
        yield from _leaves(child, f"{path}.{name}" if path else name)


def _width_after(layer: Layer, width: int | None) -> int | None:
    """The length of the last axis behind a layer, given that before it; None if unknown."""
    if layer.kind is BY_CLASS[nn.Linear]:
        wanted, behind = layer.options["in_features"], layer.options["out_features"]
    elif layer.kind is BY_CLASS[Select]:
        wanted, behind = layer.options["of"], None
    else:
        keeps = layer.kind.stem in _KEEP_WIDTH or layer.kind in _ELEMENTWISE
        return width if keeps else None
    if width not in (None, wanted):
        raise ValueError(f"it takes {wanted} inputs, the layer before gives {width}")
    return behind


_ELEMENTWISE = (BY_CLASS[nn.Dropout], BY_CLASS[nn.AlphaDropout])
