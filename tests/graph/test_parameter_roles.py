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
