"""What is not finite is named: data, site, gradient, parameter, and the step."""

import pytest
import torch
from bitsback.training.diagnose import NonFiniteError, check_data, check_state, name_culprit
from bitsback.training.steps import Pair
from torch import nn

from .nets import data, pair, plain, same, state, with_noise_and_buffers


@pytest.fixture
def trained():
    """A pair as modules, and its two halves."""
    model, guide = pair()
    return Pair(model, guide), model, guide


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_data(value, trained):
    x, y = data()
    x[5, 1] = x[9, 0] = value
    with pytest.raises(NonFiniteError, match="NaN or infinity in the inputs of example 5"):
        check_data(trained[0], x, y, 8)


def test_real_labels(trained):
    x, y = data()[0], torch.zeros(40, 3)
    y[7] = float("nan")
    with pytest.raises(NonFiniteError, match="in the labels of example 7"):
        check_data(trained[0], x, y, 8)


@pytest.mark.parametrize(
    ("x", "y", "message"),
    [
        (torch.zeros(4, 6), torch.zeros(3).long(), "4 inputs and 3 labels"),
        (torch.zeros(0, 6), torch.zeros(0).long(), "0 inputs and 0 labels"),
        (torch.zeros(4, 5), torch.zeros(4).long(), r"does not take inputs of shape \(5,\): mat1"),
        (torch.zeros(4, 6), torch.tensor([0, 1, 3, 2]), r"from 0 to 3, .*3 outputs.* in 0\.\.2"),
        (torch.zeros(4, 6), torch.tensor([0, 1, -1, 2]), "from -1 to 2"),
    ],
)
def test_data_that_do_not_fit(x, y, message, trained):
    with pytest.raises(ValueError, match=message):
        check_data(trained[0], x, y, 4)


def test_a_look_at_the_data_leaves_no_trace():
    model, guide = pair(with_noise_and_buffers())
    before, generator = state(model, guide), torch.get_rng_state()
    check_data(Pair(model, guide), *data(), 8)
    assert same(state(model, guide), before)
    assert torch.equal(torch.get_rng_state(), generator)
    assert model.net.training


def test_a_parameter(trained):
    both, _, guide = trained
    with torch.no_grad():
        guide.log_scale.fc2.weight[0, 0] = float("nan")
    message = "step 17: NaN or infinity in log_scale of site fc2.weight; try a lower learning rate"
    assert name_culprit(both, *data(), 1.0, 17).startswith(message)
    with pytest.raises(NonFiniteError, match=message):
        check_state(both, 17)


def test_a_point_parameter(trained):
    both, model, _ = trained
    with torch.no_grad():
        model.net.fc1.bias[0] = float("inf")
    assert "NaN or infinity in fc1.bias of the network" in name_culprit(both, *data(), 1.0, 0)


def test_a_buffer():
    model, guide = pair(with_noise_and_buffers())
    model.net.norm1.running_mean[0] = float("nan")
    with pytest.raises(NonFiniteError, match=r"step 3: .* in norm1.running_mean of the network"):
        check_state(Pair(model, guide), 3)


def test_a_scale_that_overflows(trained):
    """The parameter is finite, its exponential is not."""
    both, _, guide = trained
    with torch.no_grad():
        guide.log_scale.fc1.weight.fill_(100.0)
    check_state(both, 0)
    found = name_culprit(both, *data(), 1.0, 2)
    assert "step 2: the standard deviation of site fc1.weight is infinite" in found


def test_a_kl():
    model, guide = pair(method="gaussian")
    with torch.no_grad():
        guide.log_scale.fc1.weight.fill_(50.0)  # its square overflows
    found = name_culprit(Pair(model, guide), *data(), 1.0, 2)
    assert "step 2: the KL of site fc1.weight is nan" in found


def test_a_likelihood(trained):
    both, model, _ = trained
    with torch.no_grad():
        model.net.fc1.bias.fill_(3e38)
    found = name_culprit(both, *data(), 1.0, 2)
    assert "step 2: the expected log likelihood of site y is " in found


def test_a_gradient():
    class Root(nn.Module):
        def __init__(self):
            super().__init__()
            self.zero = nn.Parameter(torch.zeros(()))

        def forward(self, x):
            return x + 0 * torch.sqrt(self.zero)

    model, guide = pair(nn.Sequential(plain(), Root()))
    found = name_culprit(Pair(model, guide), *data(), 1.0, 5)
    assert "step 5: NaN or infinity in the gradient of 1.zero of the network" in found


def test_what_does_not_come_up_again(trained):
    assert "did not come up again" in name_culprit(trained[0], *data(), 1.0, 5)
