"""One tensor through the quantizer: it follows outputs, in slices too, and keeps to its grid."""

import pytest
import torch
from bitsback.compression import rate_tensor
from bitsback.compression.rate_tensor import RateTensor

ONE = torch.ones(1)


def moments(seed=0):
    torch.manual_seed(seed)
    x = torch.randn(500, 6) + torch.randn(500, 1)
    return x.T @ x / 500


def test_columns_follow_what_the_outputs_lack():
    """At a tiny price it is the least-squares weight, but for the damping."""
    second, weight, change = moments(), torch.randn(4, 6), torch.randn(4, 6)
    tensor = RateTensor(weight)
    tensor.follow(slice(None), second[None], (change @ second)[None], ONE, 1e-12)
    assert torch.allclose(tensor.value(), weight + change, atol=0.1)
    assert not torch.allclose(tensor.value(), weight, atol=0.5)
    values = torch.from_numpy(tensor.quantised().values())
    assert torch.equal(values, tensor.value())


@pytest.mark.parametrize(("shape", "groups", "transposed"), [
    ((6, 4), 1, False), ((8, 3, 3), 2, False), ((4, 6, 2, 2), 1, True),
])  # fmt: skip
def test_slices_of_whole_kernels_cover_a_weight(monkeypatch, shape, groups, transposed):
    monkeypatch.setattr(rate_tensor, "WIDE", 5)
    weight = torch.randn(shape)
    tensor = RateTensor(weight, groups, transposed)
    parts = tensor.slices()
    assert len(parts) > 1 or tensor.matrix.shape[2] <= 5 * tensor.taps
    for part in parts:
        ones = torch.ones(len(tensor.matrix), tensor.matrix[0, 0, part].numel())
        tensor.put(part, tensor.matrix[:, :, part], ones, ONE, 1e-10)
    assert torch.allclose(tensor.value(), weight, atol=1e-3)
    assert tensor.quantised().codes.shape == shape


def test_a_weight_of_zeros_and_inputs_of_zeros():
    tensor = RateTensor(torch.zeros(3, 4))
    tensor.put(slice(None), tensor.matrix, torch.zeros(1, 4, 4), ONE, 1e-3)
    assert not tensor.quantised().codes.any()


def test_units_have_an_importance_each_or_one_for_all():
    tensor = RateTensor(torch.randn(6, 2, 3), groups=2)
    each = torch.arange(1.0, 7.0)
    assert torch.equal(tensor._rows(each), each.view(2, 3))
    assert torch.equal(tensor._rows(torch.tensor([2.0, 4.0])), torch.tensor([[3.0]]))


def test_moments_of_few_vectors_are_damped_more():
    """The weight then stays nearer to what it was."""
    second, weight, change = moments(), torch.randn(4, 6), torch.randn(4, 6)
    moved = []
    for vectors in (10, 100, 10**6):
        tensor = RateTensor(weight)
        cross = (change @ second)[None]
        tensor.follow(slice(None), second[None], cross, ONE, 1e-12, vectors)
        moved.append(float((tensor.value() - weight).norm()))
    assert moved[0] < moved[1] < moved[2]
