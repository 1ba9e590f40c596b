"""What `shrink` refuses before any work, and the form in which it takes its data."""

import math

import numpy as np
import pytest
import torch
from bitsback.compression.shrink_inputs import check_calibration, check_options, check_validation
from torch import nn


def net():
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


@pytest.mark.parametrize("max_drop", [-0.1, math.nan, math.inf, None, "1", True])
def test_a_drop_is_a_number_of_points(max_drop):
    with pytest.raises(ValueError, match="max_drop must be a number of percentage points >= 0"):
        check_options(max_drop, None, None)


@pytest.mark.parametrize("target", [0, -3, 500.5, "500", True])
def test_a_target_is_a_whole_number_of_bytes(target):
    with pytest.raises(ValueError, match="target_bytes must be a whole number >= 1"):
        check_options(0.5, target, None)


def test_options_that_mean_something():
    check_options(0, None, None)
    check_options(np.float64(1), np.int64(500), "bernoulli")
    with pytest.raises(ValueError, match="unknown likelihood 'poisson'; known: categorical"):
        check_options(0.5, None, "poisson")


@pytest.mark.parametrize("given", [torch.float16, torch.float32, torch.float64])
@pytest.mark.parametrize("weights", [torch.float32, torch.float64])
def test_inputs_come_in_the_precision_of_the_weights(given, weights):
    x = torch.randn(20, 4, requires_grad=True).to(given)
    found = check_calibration(x, net().to(weights))
    assert found.dtype == weights
    assert not found.requires_grad
    assert torch.equal(found, x.detach().to(weights))


def test_whole_numbers_stay_whole():
    x = torch.randint(5, (20, 3))
    assert torch.equal(check_calibration(x, nn.Embedding(5, 2)), x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((9, 4)), "must be a tensor of shape .* not a ndarray"),
        (
            (torch.randn(9, 4), torch.randn(8, 4)),
            r"as many examples each; got first axes of \[9, 8",
        ),
        (torch.randn(0, 4), r"there are no calibration inputs: torch.float32 \(0, 4\)"),
        (torch.tensor(1.0), "there are no calibration inputs"),
        (torch.full((9, 4), math.inf), "hold NaN or infinity"),
        (torch.full((9, 4), 1e300, dtype=torch.float64), "hold NaN or infinity"),
        (torch.ones(9, 4), "all 9 calibration inputs are the same"),
        (torch.randn(9, 5), r"does not take calibration inputs torch.float32 \(9, 5\)"),
        (torch.randint(9, (9, 4)), "does not take calibration inputs torch.int64"),
    ],
)
def test_inputs_that_cannot_be_used_are_refused_in_one_line(x, message):
    with pytest.raises(ValueError, match=message) as caught:
        check_calibration(x, net())
    assert "\n" not in str(caught.value)


def test_the_network_is_left_in_its_modes():
    given = net()
    given[1].eval()
    before = given[1].running_mean.clone()
    check_calibration(torch.randn(9, 4), given)
    assert [module.training for module in given.modules()] == [True, True, False]
    assert torch.equal(given[1].running_mean, before)


def test_validation_is_a_pair_or_inputs_or_nothing():
    x, y = torch.randn(9, 4, dtype=torch.float64), torch.arange(9) % 3
    assert check_validation(None, x, net()) == (None, None)
    alone, none = check_validation(x, None, net())
    assert none is None
    assert alone.dtype == torch.float32
    alone, none = check_validation((x, None), None, net())
    assert none is None
    both = check_validation((x, y.numpy()), alone, net())
    assert torch.equal(both[0], alone)
    assert torch.equal(both[1], y)


@pytest.mark.parametrize("validation", [3, (1, 2, 3), (torch.randn(9, 4),)])
def test_other_validation_is_refused(validation):
    with pytest.raises(ValueError, match="validation data must be a pair"):
        check_validation(validation, None, net())


def test_validation_inputs_are_of_the_kind_of_the_calibration_inputs():
    free = nn.Sequential(nn.AdaptiveAvgPool1d(4), nn.Linear(4, 3))
    with pytest.raises(ValueError, match="both must be examples of the same kind"):
        check_validation(torch.randn(9, 2, 8), torch.randn(9, 2, 12), free)


class Casting(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.last = nn.Linear(4, 4).half(), nn.Linear(4, 3)

    def forward(self, x):
        return self.last(self.first(x.half()).float())


def test_a_forward_that_casts_is_told_what_to_do():
    match = r"'first.weight' is float16, .* does not run in float32.* call net.float\(\) first"
    with pytest.raises(ValueError, match=match):
        check_calibration(torch.randn(20, 4), Casting())
