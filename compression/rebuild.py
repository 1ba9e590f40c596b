"""The modules of a description, made without random numbers."""

import torch
from torch import nn

from .errors import CorruptFile
from .layers import Layer
from .nodes import Chain
from .torch_layers import build_layer


def blank(root: Layer | Chain, dtype: str) -> nn.Module:
    """A new network on the CPU in eval mode, all its tensors zero.

    Without `to_empty`, which imports sympy: half of the time that a small file takes to load.
    """
    with torch.device("meta"):  # no memory, no random numbers for initial weights
        net = _build(root, "")
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


def _build(node: Layer | Chain, path: str) -> nn.Module:
    """The modules below a node, with torch's initial weights."""
    if isinstance(node, Layer):
        try:
            return build_layer(node)
        except Exception as error:  # torch's constructors raise what they like
            raise CorruptFile(f"torch does not make layer {path!r}: {error}") from None
    net = nn.Sequential()
    for name, child in zip(node.names, node.children, strict=True):
        module = _build(child, f"{path}.{name}" if path else name)
        try:
            net.add_module(name, module)
        except KeyError as error:  # a newer torch may have an attribute of that name
            raise CorruptFile(f"torch has no layer called {name!r}: {error}") from None
    return net
