"""Copies of networks: ties, computed weights, precision, and which normalizations are frozen."""

import copy

import pytest
import torch
from bitsback.common.modules import (
    check_overlaps,
    copied,
    extra_states,
    float32_if_less,
    frozen_norms,
    shared_names,
)
from torch import nn
from torch.nn.utils import prune


def tied(by_memory: bool) -> nn.Sequential:
    net = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 2))
    net[1].weight = nn.Parameter(net[0].weight.data) if by_memory else net[0].weight
    return net


@pytest.mark.parametrize("by_memory", [False, True])
def test_ties_are_one_parameter_in_a_copy(by_memory):
    net = tied(by_memory)
    copy_of = copied(net)
    assert copy_of[0].weight is copy_of[1].weight is not net[0].weight
    assert copy_of[0].bias is not copy_of[1].bias and copy_of[0].weight.equal(net[0].weight)
    names = shared_names(dict(net.named_parameters(remove_duplicate=False)))
    assert names["0.weight"] == ["0.weight", "1.weight"] and names["2.bias"] == ["2.bias"]


def test_a_copy_of_weights_that_hooks_compute():
    net = nn.Sequential(nn.Linear(4, 3))
    prune.l1_unstructured(net[0], "weight", 0.5)
    x = torch.randn(5, 4)
    expected = net(x)
    with pytest.raises(RuntimeError):
        copy.deepcopy(net)
    assert torch.equal(copied(net)(x), expected)


def test_memory_shared_in_another_shape_is_refused():
    net = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 3))
    check_overlaps(dict(net.named_parameters()))
    net[1].weight = nn.Parameter(net[0].weight.data.T)
    with pytest.raises(ValueError, match=r"'1.weight' shares memory with '0.weight'"):
        check_overlaps(dict(net.named_parameters()))


def test_neighbours_in_one_buffer_share_nothing():
    flat = torch.zeros(12)
    check_overlaps({"a": flat[:6].view(2, 3), "b": flat[6:].view(3, 2)})


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_low_precision_becomes_float32_and_ties_stay(dtype):
    net = nn.Sequential(nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False), nn.BatchNorm1d(2))
    with torch.no_grad():
        net[0].weight = net[1].weight = nn.Parameter(net[0].weight.to(dtype))
    float32_if_less(net)
    assert net[0].weight is net[1].weight and net[0].weight.dtype == torch.float32
    assert net[2].num_batches_tracked.dtype == torch.int64
    assert float32_if_less(nn.Linear(2, 2).double()).weight.dtype == torch.float64


def test_frozen_norms():
    net = nn.Sequential(
        nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2, affine=False)), nn.BatchNorm1d(2)
    )
    assert frozen_norms(net) == ()
    net[0].requires_grad_(False)
    assert frozen_norms(net) == ("0.1",)  # without parameters of its own, in a frozen part
    net[1].requires_grad_(False)
    assert set(frozen_norms(net)) == {"0.1", "1"}


def test_extra_states():
    class Extra(nn.Linear):
        def get_extra_state(self):
            return {"scale": 2}

    assert extra_states(nn.Sequential(nn.Linear(1, 1), Extra(1, 1))) == ["1._extra_state"]
