"""Retraining moves what it may, keeps what it must, and comes nearer to the reference."""

import numpy as np
import pytest
import torch
from bitsback.compression.matching import Matching
from bitsback.compression.quantise import shared
from bitsback.compression.refine import refine_codebooks, retrain_survivors
from bitsback.compression.rounding import with_weights
from bitsback.compression.uniform import uniform
from bitsback.compression.weights import Weights
from torch import nn


@pytest.fixture(scope="module", params=[torch.float32, torch.float64], ids=str)
def case(request):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 12), nn.Tanh(), nn.Linear(12, 3)).to(request.param).eval()
    net.requires_grad_(False)
    x = torch.randn(500, 8, dtype=request.param)
    return net, x, Matching(net, x, "categorical")


def state_of(net):
    state = net.state_dict()
    weights = {n: state[n].double().numpy() for n in ("0.weight", "2.weight")}
    biases = {n: state[n].double().numpy() for n in ("0.bias", "2.bias")}
    return weights, biases


def divergence(net, x, tensors) -> float:
    with torch.no_grad():
        reference = net(x).log_softmax(1)
        tensors = {name: value.to(x.dtype) for name, value in tensors.items()}
        output = torch.func.functional_call(net, tensors, (x,)).log_softmax(1)
    return float((reference.exp() * (reference - output)).sum(1).mean())


def test_survivors_come_nearer_and_the_others_stay_zero(case):
    net, x, matching = case
    weights, biases = state_of(net)
    kept = {name: np.abs(w) > np.median(np.abs(w)) for name, w in weights.items()}
    pruned = {name: torch.from_numpy(w * kept[name]) for name, w in weights.items()}
    better = retrain_survivors(net, kept, biases, matching)
    assert better.keys() == {*weights, *biases}
    assert all((better[name][~torch.from_numpy(kept[name])] == 0).all() for name in weights)
    assert divergence(net, x, better) < 0.5 * divergence(net, x, pruned)
    again = retrain_survivors(net, kept, biases, matching)
    assert all(torch.equal(value, again[name]) for name, value in better.items())


def test_codebooks_come_nearer_and_shares_stay(case):
    net, x, matching = case
    weights, biases = state_of(net)
    codes = {
        name: shared(Weights(w, np.ones_like(w), np.abs(w) > 0.05), 3)
        for name, w in weights.items()
    }
    better, moved = refine_codebooks(net, codes, biases, matching)
    before = {name: torch.from_numpy(c.values()) for name, c in codes.items()}
    after = {name: torch.from_numpy(c.values()) for name, c in better.items()}
    after |= {name: torch.from_numpy(b) for name, b in moved.items()}
    assert divergence(net, x, after) < 0.8 * divergence(net, x, before)
    for name, old in codes.items():
        new = better[name]
        assert ((new.codes == 0) == (old.codes == 0)).all()
        pairs = set(zip(old.codes.ravel(), new.codes.ravel(), strict=True))
        assert len(pairs) == len(np.unique(old.codes))  # what was shared still is


def test_uniform_grids_stay(case):
    net, _, matching = case
    weights, biases = state_of(net)
    codes = {n: uniform(Weights(w, np.full_like(w, 0.1), w == w)) for n, w in weights.items()}
    better, moved = refine_codebooks(with_weights(net, codes), codes, biases, matching)
    assert all(better[name] is tensor for name, tensor in codes.items())
    assert any(not np.array_equal(moved[name], biases[name]) for name in biases)


def test_nothing_to_move():
    net = nn.Linear(4, 2, bias=False).eval()
    codes = {"weight": uniform(Weights(np.zeros((2, 4)), np.ones((2, 4)), np.ones((2, 4), bool)))}
    matching = Matching(net, torch.randn(50, 4), "normal")
    assert refine_codebooks(net, codes, {}, matching) == (codes, {})


class Watched:
    """A matching that looks at the tensors once all free ones have been moved."""

    def descend(self, net, tensors, free, steps, rate):
        with torch.no_grad():
            for tensor in free:
                tensor.add_(1.0)
        self.seen = {name: value.detach().clone() for name, value in tensors().items()}


def test_pruned_weights_are_zero_while_the_others_are_trained():
    """Not at the end alone: the others would make up for what is not there."""
    values = np.array([[0.5, 0.0, -0.5], [0.5, 1.0, 0.0]])
    weights = Weights(values, np.ones_like(values), values != 0)
    net, matching = nn.Linear(3, 2), Watched()
    codes = {"weight": shared(weights, 3)}
    refine_codebooks(net, codes, {"bias": np.zeros(2)}, matching)
    expected = torch.from_numpy(np.where(values != 0, values + 1, 0)).float()
    assert matching.seen["weight"].equal(expected) and matching.seen["bias"].eq(1).all()
    retrain_survivors(net, {"weight": values != 0}, {"bias": np.zeros(2)}, matching)
    assert (matching.seen["weight"].numpy()[values == 0] == 0).all()
    assert (matching.seen["weight"].numpy()[values != 0] != 0).all()
