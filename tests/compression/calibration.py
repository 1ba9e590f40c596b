"""What tests of calibrated quantization share: networks, inputs, and the loss of integers."""

import torch
from bitsback.compression.describe import describe
from bitsback.compression.rounding import with_weights
from bitsback.compression.sequential import Calibrated
from bitsback.graph import trace
from torch import nn

COARSE, FINE = 3e-3, 1e-10


def calibrated(net, x, likelihood="normal"):
    traced = trace(net.eval().requires_grad_(False), x[:2])
    specs = describe(traced).tensors()
    weights, vectors = ([s.name for s in specs if s.role == role] for role in ("weight", "bias"))
    return Calibrated(traced, x, weights, vectors, likelihood)


def correlated(n, columns):
    return torch.randn(n, columns) + 2 * torch.randn(n, 1) + 1


def loss(found, codes, x):
    with torch.no_grad():
        small = with_weights(found.network, codes)
        return float((small(x) - found.network(x)).square().mean())


def perceptron():
    return nn.Sequential(
        nn.Linear(8, 30), nn.ReLU(), nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3)
    )
