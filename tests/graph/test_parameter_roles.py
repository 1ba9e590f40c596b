"""What each tensor of a graph is to compression."""

import torch
from bitsback.graph import roles, trace
from torch import nn


def test_vectors_that_are_buffers_are_stored_as_they_are():
    class Standardized(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("stddev", torch.tensor([1e-4, 1.0, 1e4]))
            self.register_buffer("table", torch.randn(4, 2))
            self.fc = nn.Linear(3, 2)
            self.scale = nn.Parameter(torch.ones(2))

        def forward(self, x):
            return self.fc(x / self.stddev) * self.scale + self.table.sum(0)[:2] * self.table[0]

    network = trace(Standardized(), torch.randn(4, 3), fold=False)
    assert roles(network) == {
        "stddev": "raw",
        "table": "weight",
        "fc.weight": "weight",
        "fc.bias": "vector",
        "scale": "vector",
    }


class Divided(nn.Module):
    """Divides by frozen parameters: a vector, a matrix, and one computed from a vector."""

    def __init__(self) -> None:
        super().__init__()
        sizes = torch.logspace(-6, 3, 8)
        self.vector = nn.Parameter(sizes, requires_grad=False)
        self.matrix = nn.Parameter(sizes.reshape(2, 4), requires_grad=False)
        self.variance = nn.Parameter(sizes.square(), requires_grad=False)
        self.scale, self.temperature = nn.Parameter(torch.ones(8)), nn.Parameter(torch.ones(1))
        self.fc = nn.Linear(8, 3)

    def forward(self, x):
        x = x / self.vector + x * (self.variance + 1e-9).rsqrt() * self.scale
        x = x + (x.reshape(-1, 2, 4) / self.matrix).flatten(1)
        return self.fc(x) / self.temperature


def test_what_a_network_divides_by_is_stored_as_it_is():
    found = roles(trace(Divided(), torch.randn(4, 8), fold=False))
    assert [found[name] for name in ("vector", "matrix", "variance")] == ["raw"] * 3
    assert [found[name] for name in ("scale", "temperature")] == ["vector"] * 2
