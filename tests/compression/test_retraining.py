"""Where the retraining of a search begins, and how long it takes."""

import numpy as np
import pytest
import torch
from bitsback.compression import retraining
from bitsback.compression.retraining import WARM, retrained, share_of, spread
from bitsback.compression.settings import Setting
from torch import nn

from .test_search import trial_of


def test_values_go_where_they_came_from():
    whole = np.arange(12.0).reshape(3, 4)
    kept = np.array([[True, False], [True, True]])
    values = np.array([[-1.0, -2.0], [-3.0, -4.0]])
    expected = whole.copy()
    expected[0, 1], expected[2, 1], expected[2, 3] = -1.0, -3.0, -4.0
    places = (np.array([0, 2]), np.array([1, 3]))
    np.testing.assert_array_equal(spread(values, whole, kept, places), expected)
    np.testing.assert_array_equal(spread(-whole, whole, whole > 20, None), whole)
    np.testing.assert_array_equal(spread(-whole, whole, whole > -1, (None, None)), -whole)


@pytest.fixture
def trial():
    torch.manual_seed(1)
    net = nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.randn(60, 4)
    return trial_of(net, x, net(x).argmax(1), training=x)


def test_the_second_setting_begins_where_the_first_ended(trial, monkeypatch):
    seen = []

    def moved(net, kept, biases, matching, share):
        state = net.state_dict()
        seen.append((share, {name: state[name].clone() for name in kept}))
        return {name: state[name] + 1.0 * torch.from_numpy(kept[name]) for name in kept} | {
            name: state[name] for name in biases
        }

    monkeypatch.setattr(retraining, "retrain_survivors", moved)
    masks = {
        name: torch.ones(w.values.shape, dtype=torch.bool) for name, w in trial.weights.items()
    }
    pruned = trial.prune(0.0, masks)
    codes = trial.quantise(pruned, Setting(clusters=4))
    for _ in range(2):
        retrained(trial, pruned, codes, share_of(trial, pruned))
    (first_share, first), (second_share, second) = seen
    assert (first_share, second_share) == (1.0, WARM)
    for name, value in first.items():
        nonzero = torch.from_numpy(codes[name].codes != 0)
        torch.testing.assert_close(second[name], value + nonzero)
    other = trial.prune(1.0, masks)
    assert share_of(trial, other) == 1.0
