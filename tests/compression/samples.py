"""Archives for the codec's tests, from arithmetic alone: the same on every machine and version."""

from collections import OrderedDict

import numpy as np
import torch
from bitsback.compression.architecture import describe
from bitsback.compression.archive import Archive, Codebook, Quantised, Uniform, storable
from bitsback.compression.select import Select
from torch import nn


def noise(count: int, seed: int) -> np.ndarray:
    """Integers 0..65535 that look random: a linear congruential generator. int64, (count,)."""
    out, state = np.empty(count, dtype=np.int64), seed * 2654435761 + 12345
    for k in range(count):
        state = (state * 6364136223846793005 + 1442695040888963407) % (1 << 64)
        out[k] = state >> 48
    return out


def sparse(shape: tuple[int, ...], percent: int, levels: int, seed: int) -> np.ndarray:
    """Codes of which so many percent are not zero, up to `levels` on either side."""
    size = int(np.prod(shape, dtype=int))
    there = noise(size, seed) % 100 < percent
    codes = 1 + noise(size, seed + 1) % levels
    signs = 1 - 2 * (noise(size, seed + 2) % 2)
    return (there * codes * signs).reshape(shape)


def codebook(negative: int, positive: int) -> Codebook:
    """So many values on either side."""
    return Codebook(
        -storable(0.1 + 0.05 * np.arange(negative)), storable(0.07 + 0.04 * np.arange(positive))
    )


def archive(net: nn.Module, percent: int = 30, label: str | None = None) -> Archive:
    """An archive of made-up numbers for a network; its own values where they are stored raw."""
    architecture = describe(net, label)
    state = net.state_dict()
    tensors = {}
    for seed, spec in enumerate(architecture.tensors()):
        if spec.role == "weight":
            tensors[spec.name] = Quantised(sparse(spec.shape, percent, 4, seed), codebook(4, 5))
        elif spec.role == "bias":
            codes = sparse(spec.shape, 90, 20, seed)
            tensors[spec.name] = Quantised(codes, Uniform(float(storable(0.01))))
        else:
            tensors[spec.name] = state[spec.name].numpy()
    return Archive(architecture, tensors)


def dense_net() -> nn.Module:
    """Choice of inputs, two dense layers, a BatchNorm."""
    kept = noise(25, 3) % 3 > 0
    return nn.Sequential(
        Select(torch.from_numpy(kept)),
        nn.Linear(int(kept.sum()), 6),
        nn.BatchNorm1d(6),
        nn.ReLU(),
        nn.Linear(6, 3),
    )


def conv_net() -> nn.Module:
    """Two convolutions and a dense layer after them."""
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        nn.ReLU(),
        nn.Conv2d(4, 6, 3),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(24, 3),
    )


def folded_net() -> nn.Module:
    """What is left of network lenet-5-caffe, its first layer without biases: format version 3."""
    layers = {"conv1": nn.Conv2d(1, 3, 5, bias=False), "pool1": nn.MaxPool2d(2)}
    layers |= {"conv2": nn.Conv2d(3, 2, 5), "pool2": nn.MaxPool2d(2)}
    layers |= {"flatten": nn.Flatten(), "fc1": nn.Linear(32, 4), "relu1": nn.ReLU()}
    return nn.Sequential(OrderedDict(layers | {"fc2": nn.Linear(4, 10)}))


def short_net() -> nn.Module:
    """What is left of network digits-mlp, which has a short form: 3 inputs, 4 and 3 units."""
    layers = {"flatten": nn.Flatten(), "select": Select(torch.arange(64) % 30 == 1)}
    layers |= {"fc1": nn.Linear(3, 4), "relu1": nn.ReLU(), "fc2": nn.Linear(4, 3)}
    layers |= {"relu2": nn.ReLU(), "fc3": nn.Linear(3, 10)}
    return nn.Sequential(OrderedDict(layers))
