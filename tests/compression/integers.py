"""Quantised networks for the tests of integer networks and of exported ones."""

from collections import OrderedDict

import torch
from bitsback.compression.archive import storable
from bitsback.compression.quantised_relu import QuantisedReLU
from torch import Tensor, nn


def step_of(largest: float, most: int) -> float:
    return float(storable(largest / most))


@torch.no_grad()
def on_grid(net: nn.Sequential, bits: int, x: Tensor, relu_bits: int | None = None) -> nn.Module:
    """The network with weights of so many bits, and its ReLUs quantised up to their largest."""
    made = []
    for layer in net:
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d):
            step = step_of(layer.weight.abs().max().item(), 2 ** (bits - 1) - 1)
            layer.weight.copy_((layer.weight / step).round() * step)
        elif type(layer) is nn.ReLU:
            width = relu_bits or bits
            layer = QuantisedReLU(step_of(layer(x).max().item(), 2**width - 1), width)
        made.append(layer)
        x = layer(x)
    return nn.Sequential(OrderedDict(zip(net._modules, made, strict=True))).eval()


def small_conv(seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(
        OrderedDict(
            conv1=nn.Conv2d(1, 6, 3, padding=1),
            relu1=nn.ReLU(),
            pool1=nn.MaxPool2d(2),
            conv2=nn.Conv2d(6, 8, 3, stride=2, groups=2),
            pool2=nn.MaxPool2d(2, stride=1, padding=1),
            relu2=nn.ReLU(),
            flatten=nn.Flatten(),
            fc1=nn.Linear(32, 12),
            relu3=nn.ReLU(),
            fc2=nn.Linear(12, 10),
        )
    )


def pixels(count: int = 64) -> Tensor:
    """Images of bytes over 255, `(count, 1, 8, 8)`."""
    generator = torch.Generator().manual_seed(5)
    return torch.randint(0, 256, (count, 1, 8, 8), generator=generator).float() / 255
