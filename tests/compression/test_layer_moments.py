"""Moments of a layer's inputs, and with what its outputs lack."""

import pytest
import torch
from bitsback.compression import layer_moments
from bitsback.graph import Ref, trace
from bitsback.graph.products import Product
from bitsback.graph.table import OPERATORS
from torch import nn

from .calibration import correlated


@pytest.mark.parametrize("centred", [True, False])
def test_moments_are_covariances_if_a_bias_takes_up_the_means(centred):
    x, rest = correlated(50, 6), torch.randn(50, 3) + 1
    traced = trace(nn.Linear(6, 3).eval(), x[:2])
    node = next(node for node in traced.graph.operators if node.operator == "linear")
    values = {
        ref.node: dict(traced.named_parameters()).get(ref.node.name, x) for ref in node.refs()
    }
    product = next(iter(OPERATORS["linear"].products(
        node, lambda what: values[what.node] if isinstance(what, Ref) else what
    )))  # fmt: skip
    part = slice(1, 5)
    a, cross = layer_moments.moments_with([(product, rest[None])], 50, part, centred, 50)
    v = x[:, part]
    means = (v.mean(0), rest.mean(0)) if centred else (0, 0)
    second = (v - means[0]).T @ (v - means[0]) / 50
    if centred:
        second += layer_moments.STEADY * v.square().mean() * torch.eye(4)
    assert torch.allclose(a[0], second, atol=1e-5)
    assert torch.allclose(cross[0], (rest - means[1]).T @ (v - means[0]) / 50, atol=1e-5)


@pytest.mark.parametrize("total", [10, 8_192, 40_000, 10**6])
@pytest.mark.parametrize("columns", [1, 9, 576])
def test_of_many_vectors_an_odd_stride_keeps_enough(total, columns):
    stride = layer_moments._stride(total, columns)
    assert stride % 2 == 1
    assert total // stride >= min(total, max(layer_moments.VECTORS * columns, layer_moments.FEWEST))


def test_covariances_of_inputs_far_from_zero_are_those_of_inputs_near_it():
    x, rest = correlated(3_000, 12), torch.randn(3_000, 3)
    traced = trace(nn.Linear(12, 3).eval(), x[:2])
    node = next(node for node in traced.graph.operators if node.operator == "linear")
    found = []
    for shift in (0.0, 1_000.0):
        values = {ref.node: x + shift for ref in node.refs()}
        values |= {r.node: torch.zeros(3, 12) for r in node.refs() if r.node.operator != "input"}
        product = next(iter(OPERATORS["linear"].products(
            node, lambda what, values=values: values.get(getattr(what, "node", None), what)
        )))  # fmt: skip
        moments = layer_moments.moments_with(
            [(product, rest[None] + shift)], 3_000, slice(0, 12), True, 3_000
        )
        found.append([part.double() for part in moments])
    (near, cross), (far, cross_far) = found
    far = far - (far - near).diagonal(dim1=1, dim2=2).mean() * torch.eye(12)  # STEADY
    torch.testing.assert_close(far, near, atol=1e-2, rtol=0)
    torch.testing.assert_close(cross_far, cross, atol=1e-2, rtol=0)


def blocks_of(x, size):
    """x as the input vectors of a product, in blocks."""
    return Product(None, lambda: iter(x[None].split(size, 1)), None)


@pytest.mark.parametrize("sizes", [[1, 2, 97, 900], [1_000], [3] * 333 + [1]])
def test_parts_of_the_vectors_have_the_moments_of_the_whole(monkeypatch, sizes):
    monkeypatch.setattr(layer_moments, "FEWEST", 100)
    monkeypatch.setattr(layer_moments, "VECTORS", 1)
    x, rest = correlated(1_000, 6), torch.randn(1_000, 3)
    chosen = slice(None, None, 9)  # odd, and leaves at least 100
    whole = [(blocks_of(x[chosen], 50), rest[None, chosen])]
    in_parts = [
        (blocks_of(a, 4), b[None]) for a, b in zip(x.split(sizes), rest.split(sizes), strict=True)
    ]
    right = layer_moments.moments_with(whole, 112, slice(0, 6), True, 112)
    found = layer_moments.moments_with(in_parts, 1_000, slice(0, 6), True, 1_000)
    for a, b in zip(right, found, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)
