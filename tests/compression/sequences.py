"""Sequences of layers with dead units, traced: the matrix of tests of removal and order."""

import torch
from bitsback.graph import GraphNetwork, trace
from torch import nn


def sparsify(net: nn.Module, seed: int, dead: float = 0.5) -> nn.Module:
    """Zero random weights, whole rows and whole columns; random biases and statistics."""
    generator = torch.Generator().manual_seed(seed)
    for module in net.modules():
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            weight = module.weight.data
            for axis in (0, 1):
                keep = torch.rand(weight.shape[axis], generator=generator) > dead
                weight *= keep.reshape([-1 if i == axis else 1 for i in range(weight.ndim)])
            weight *= torch.rand(weight.shape, generator=generator) > 0.3
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean, module.running_var):
                tensor.data = torch.rand(tensor.shape, generator=generator, dtype=tensor.dtype)
    return net.double().eval()


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


def lenet5() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 20, 5), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(800, 60), nn.ReLU(), nn.Linear(60, 10),
    )  # fmt: skip


NETWORKS = {
    "mlp": (lambda: nn.Sequential(
        nn.Flatten(), nn.Linear(64, 40), nn.ReLU(), nn.Linear(40, 30), nn.Sigmoid(),
        nn.Linear(30, 5),
    ), (8, 8)),
    "mlp-no-bias": (lambda: nn.Sequential(
        nn.Linear(9, 20, bias=False), nn.Softplus(), nn.Dropout(0.5), nn.Linear(20, 5, bias=False)
    ), (9,)),
    "lenet-5-caffe": (lenet5, (1, 28, 28)),
    "batchnorm": (lambda: nn.Sequential(
        nn.Conv2d(2, 12, 3, padding=1), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 8, 3),
        nn.BatchNorm2d(8), nn.LeakyReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.BatchNorm1d(32),
        nn.Linear(32, 10), nn.BatchNorm1d(10), nn.Tanh(), nn.Linear(10, 3),
    ), (2, 6, 6)),
    "zero padding": (lambda: nn.Sequential(
        nn.Conv2d(2, 9, 3, padding=1), nn.ReLU(), nn.Conv2d(9, 9, 3, padding="same"), nn.ReLU(),
        nn.Conv2d(9, 4, 3, stride=2, padding=1, padding_mode="circular"),
        nn.AvgPool2d(2, padding=1), nn.Flatten(), nn.Linear(16, 3),
    ), (2, 5, 5)),
    "conv1d": (lambda: nn.Sequential(
        nn.Conv1d(3, 10, 3, stride=2), nn.ELU(), nn.Conv1d(10, 8, 2, dilation=2), nn.GELU(),
        nn.AdaptiveAvgPool1d(3), nn.Flatten(), nn.Linear(24, 7), nn.SiLU(), nn.Linear(7, 2),
    ), (3, 20)),
    "groups": (lambda: nn.Sequential(
        nn.Conv2d(2, 8, 3), nn.ReLU(), nn.Conv2d(8, 8, 3, groups=4), nn.ReLU(), nn.Conv2d(8, 6, 1),
        nn.Hardtanh(), nn.Conv2d(6, 6, 1), nn.AdaptiveMaxPool2d(1), nn.Flatten(), nn.Linear(6, 2),
    ), (2, 7, 7)),
    "nested": (lambda: nn.Sequential(
        nn.Sequential(nn.Conv2d(1, 6, 3), nn.ReLU()), nn.Sequential(nn.MaxPool2d(2), nn.Flatten()),
        nn.Sequential(nn.Linear(54, 20), nn.Sequential(nn.Tanh(), nn.Linear(20, 4))),
    ), (1, 8, 8)),
    "layer norm": (lambda: nn.Sequential(
        nn.Linear(30, 20), nn.LayerNorm(20), nn.Linear(20, 20), nn.ReLU(), nn.Linear(20, 4)
    ), (30,)),
    "pool behind flatten": (lambda: nn.Sequential(
        nn.Conv1d(2, 6, 3), nn.Flatten(), nn.MaxPool1d(3, 2, 1), nn.Linear(12, 3)
    ), (2, 6)),
}  # fmt: skip


def traced(net: nn.Module, shape: tuple[int, ...], fold: bool = False) -> GraphNetwork:
    """A network in float64 as a graph, BatchNorms as they are or taken in by their neighbours."""
    return trace(net.double().eval(), torch.zeros(2, *shape, dtype=torch.float64), fold)
