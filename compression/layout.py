"""The memory layout in which a CPU computes convolutions and pooling fastest: channels last."""

import torch
from torch import Tensor, nn

from ..graph import GraphNetwork


def channels_last(tensor: Tensor) -> Tensor:
    """The tensor with its channels last in memory, if it has the four axes of a 2-D kernel.

    Shape and values stay.
    """
    return tensor.to(memory_format=torch.channels_last) if tensor.dim() == 4 else tensor


def with_channels_last(net: nn.Module) -> nn.Module:
    """The network itself, its 2-D kernels with their channels last in memory.

    Kernels alone decide: a convolution gives its output in the layout of its kernel, and pooling
    keeps it. Only graphs are changed. The code of other networks may take a view that this layout
    does not have.
    """
    if isinstance(net, GraphNetwork):
        for parameter in net.parameters():
            parameter.data = channels_last(parameter.data)
    return net
