"""Magnitude pruning: schedules, masks that hold, scores, and rounds in a captured step."""

import math

import pyro
import pytest
import torch
from bitsback.compression.masks import mask
from bitsback.guides import ELBO, MagnitudePruned
from bitsback.models import Gaussian
from bitsback.training import Options, fit, noise_library
from pyro.infer import SVI
from torch import nn

X, Y = torch.randn(40, 40), torch.arange(40) % 3
WEIGHTS = 40 * 50 + 50 * 30


def make(**options):
    net = nn.Sequential(nn.Linear(40, 50), nn.Tanh(), nn.Linear(50, 30))
    with torch.no_grad():
        net[2].weight.mul_(10)  # a layer of larger weights
    model = Gaussian(net, 40)
    return model, MagnitudePruned(model, **options)


def train(model, guide, steps=5):
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), ELBO())
    for _ in range(steps):
        svi.step(X, Y)


def zeros(guide) -> dict[str, torch.Tensor]:
    return {name: weight.loc == 0 for name, weight in guide.posterior().weights.items()}


@pytest.mark.parametrize("rounds", [1, 3])
def test_the_shares_left_fall_geometrically(rounds):
    """ceil(weights * 0.1^((k + 1) / K)) of them are left in round k."""
    model, guide = make(kept=0.1, rounds=rounds)
    before = zeros(guide)
    assert not any(z.any() for z in before.values())
    for k in range(rounds):
        guide.before_round(k)
        now = zeros(guide)
        left = sum(int((~z).sum()) for z in now.values())
        assert left == math.ceil(WEIGHTS * 0.1 ** ((k + 1) / rounds))
        train(model, guide)
        after = zeros(guide)
        assert all(after[name].equal(now[name]) for name in now)  # they stay zero
        assert all((after[name] | ~before[name]).all() for name in now)  # and never come back
        before = after


def test_the_largest_are_left():
    """But for the 40 + 50 that the first layer keeps, whose weights are ten times smaller."""
    _, guide = make(kept=0.25, per_layer=False)
    before = {name: w.loc.abs() for name, w in guide.posterior().weights.items()}
    guide.before_round(0)
    after = {name: w.loc.abs() for name, w in guide.posterior().weights.items()}
    for name, count in (("0.weight", 90), ("2.weight", WEIGHTS // 4 - 90)):
        left = after[name][after[name] > 0]
        expected = before[name].flatten().topk(count).values.sort().values
        assert left.sort().values.equal(expected)


@pytest.mark.parametrize("per_layer", [True, False])
def test_small_networks_keep_a_weight_for_each_input_and_output(per_layer):
    model = Gaussian(nn.Sequential(nn.Conv2d(2, 3, 3), nn.Flatten(), nn.Linear(12, 2)), 40)
    guide = MagnitudePruned(model, kept=0.01, rounds=2, per_layer=per_layer)
    for k in range(2):
        guide.before_round(k)
    left = {name: int(w.loc.count_nonzero()) for name, w in guide.posterior().weights.items()}
    assert left == {"0.weight": 2 + 3, "2.weight": 12 + 2}


def test_a_layer_smaller_than_its_inputs_and_outputs_is_kept_whole():
    model = Gaussian(nn.Sequential(nn.Linear(1, 4), nn.Tanh(), nn.Linear(4, 1)), 40)
    guide = MagnitudePruned(model, kept=0.01)
    guide.before_round(0)
    assert not any(pruned.any() for pruned in zeros(guide).values())


def test_per_layer_means_relative_to_the_layer():
    """Ten times larger weights keep all that is left, unless sizes are those within the layer."""
    shares = []
    for per_layer in (False, True):
        _, guide = make(kept=1 / 3, per_layer=per_layer)
        guide.before_round(0)
        shares.append(zeros(guide)["0.weight"].float().mean().item())
    assert shares[0] > 0.9 and 0.5 < shares[1] < 0.8


@pytest.mark.parametrize("per_layer", [True, False])
def test_the_score_prunes_by_size(per_layer):
    """A threshold t prunes |w| < rms exp(-t / 2), whoever holds it against the score."""
    _, guide = make(kept=0.5, per_layer=per_layer)
    guide.before_round(0)
    posterior = guide.posterior()
    left = {name: w.loc[w.loc != 0] for name, w in posterior.weights.items()}
    every = torch.cat([w.flatten() for w in left.values()])
    for name, weight in posterior.weights.items():
        rms = (left[name] if per_layer else every).square().mean().sqrt()
        for t in (-1.0, 0.0, 1.0):
            expected = weight.loc.abs() > rms * math.exp(-t / 2)
            assert mask(weight, t).equal(expected)
        assert weight.inclusion.equal((weight.loc != 0).float()) and not weight.stddev.any()
        assert weight.log_alpha[weight.loc == 0].eq(math.inf).all()


def test_the_state_dict_holds_the_masks():
    _, guide = make(kept=0.2)
    guide.before_round(0)
    _, other = make(kept=0.2)
    other.load_state_dict(guide.state_dict())
    ours, theirs = guide.posterior().weights, other.posterior().weights
    assert all(ours[name].loc.equal(theirs[name].loc) for name in ours)
    assert all(ours[name].inclusion.equal(theirs[name].inclusion) for name in ours)


@pytest.mark.skipif(not noise_library.available(), reason="needs a C++ compiler")
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
def test_a_later_round_captures_its_own_masks():
    results = {}
    for last in ("eager", "compiled"):
        torch.manual_seed(0)
        model, guide = make(kept=0.2, rounds=2)
        for k, step in enumerate(("eager", last)):
            guide.before_round(k)
            fit(model, guide, (X, Y), options=Options(3, 20, 0.02, step=step))
        results[last] = guide.posterior().weights
    for name, weight in results["eager"].items():
        assert (weight.loc == 0).equal(results["compiled"][name].loc == 0)
        torch.testing.assert_close(weight.loc, results["compiled"][name].loc, atol=1e-5, rtol=1e-4)


def test_bad_options():
    for options in ({"kept": 0.0}, {"kept": 1.5}, {"rounds": 0}):
        with pytest.raises(ValueError, match="must be"):
            make(**options)
