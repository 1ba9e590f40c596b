"""Networks that change tensors in place: followed where that is sure, else refused."""

import pytest
import torch
from bitsback.graph import Untraceable, trace
from torch.nn import functional as F

from .checks import assert_same
from .test_tracing import Net, X


# --- Changes in place: right, or refused ---
def _view_written(m, x):
    y = m.fc(x).clone()
    y[:, 0] = 1.0
    return y


def _view_read_later(m, x):
    y = m.fc(x)
    first = y[:, 0]
    y.add_(1)
    return first + y[:, 1]


def _clone_written(m, x):
    y = m.fc(x)
    z = y.clone().add_(1)
    return y, z


def _contiguous_written(m, x):
    y = m.fc(x)
    z = y.t().contiguous()
    z.mul_(2)
    return y, z.t()


def _reshape_written(m, x):
    y = m.fc(x)
    y.view(-1).relu_()
    return y


def _masked(m, x):
    y = m.fc(x)
    y[y < 0] = 0.5
    return y


def _accumulated(m, x):
    y = torch.zeros(x.shape[0], 3)
    for i in range(2):
        y += m.fc(x) * i
        y[:, i] *= 2
    return y


def _chain(m, x):
    y = F.relu(m.fc(x), inplace=True)
    y += 1
    y.clamp_(max=2)
    y.mul_(0.5).sub_(0.25)
    return y


def _old_value(m, x):
    y = m.fc(x)
    z = y * 1
    y.exp_()
    return z + y


def _copied(m, x):
    y = torch.empty(x.shape[0], 3)
    y.copy_(m.fc(x))
    z = torch.ones(x.shape[0], 3)
    z.zero_()
    return y + z


def _filled(m, x):
    y = m.fc(x)
    z = torch.ones_like(y)
    z.fill_(3)
    return y * z


def _transposed_written(m, x):
    y = m.fc(x)
    y.transpose(0, 1).add_(1)
    return y * 1


IN_PLACE = [
    _view_written, _view_read_later, _clone_written, _contiguous_written, _reshape_written, _masked,
    _accumulated, _chain, _old_value, _copied, _filled, _transposed_written,
]  # fmt: skip


@pytest.mark.parametrize("function", IN_PLACE, ids=lambda f: f.__name__)
def test_in_place(function):
    net = Net(function)
    network = trace(net, X)
    for count in (2, 5):
        x = torch.randn(count, 4)
        assert_same(network(x), net(x), 1e-5)


def test_inputs_changed_in_place():
    """Refused, or the caller's tensor stays as it is and the output is right."""
    net = Net(lambda m, x: m.fc(x.mul_(2)))
    x = torch.randn(3, 4)
    try:
        network = trace(net, x.clone())
    except Untraceable:
        return
    before = x.clone()
    expected = net(x.clone())
    assert_same(network(x), expected)
    assert torch.equal(x, before)
