import bitsback
import pytest
import torch
from bitsback.diagnostics import khat, khat_by_site
from pyro.infer.autoguide import AutoDiagonalNormal, AutoNormal
from torch import nn

from .problem import D, N, Regression


def test_joint_khat_tells_good_guides_from_bad():
    problem = Regression()
    args = (problem.x, problem.y, 1000)
    assert khat(problem.model, problem.mean_field(widen=1.2), *args) < 0.5
    assert khat(problem.model, problem.mean_field(widen=0.3), *args) > 0.7


class TwoScales:
    """Two weights with independent posteriors; the guide of one is far too narrow."""

    def __init__(self):
        x, y = torch.randn(30, 1), torch.randn(30, 2)
        self.args = (x, y)
        net = Halves()
        self.model = bitsback.models.Gaussian(net, 30, likelihood="normal", scale=1.0)
        precision = (1 + x.square().sum()).item()
        mean = (x.T @ y)[0] / precision
        self.guide = bitsback.guides.MeanFieldNormal(self.model)
        with torch.no_grad():
            for k, (name, widen) in enumerate({"left": 1.0, "right": 0.2}.items()):
                self.guide.get_parameter(f"loc.{name}.weight").fill_(mean[k].item())
                log_scale = torch.tensor(widen / precision**0.5).log()
                self.guide.get_parameter(f"log_scale.{name}.weight").fill_(log_scale)


class Halves(nn.Module):
    def __init__(self):
        super().__init__()
        self.left, self.right = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False)

    def forward(self, x):
        return torch.cat([self.left(x), self.right(x)], 1)


def test_by_site_finds_the_bad_one():
    problem = TwoScales()
    found = khat_by_site(problem.model, problem.guide, *problem.args, num_samples=300, contexts=2)
    assert {name: len(values) for name, values in found.items()} == {
        "left.weight": 2,
        "right.weight": 2,
    }
    # In theory 1 - 0.2^2. The left ratios are one number up to rounding, whose tail says nothing.
    assert (found["right.weight"] > 0.6).all()


def test_sites_that_are_too_large_are_left_out():
    problem = Regression()
    args = (problem.model, problem.mean_field(), problem.x, problem.y, 20, 1)
    assert khat_by_site(*args, largest=D).keys() == {"weight"}
    assert khat_by_site(*args, largest=D - 1) == {}


def test_by_site_ratio_is_the_conditional():
    """Exact conditionals: all ratios of a site agree to rounding, whatever the other site is."""
    from bitsback.diagnostics.khat import _log_ratio
    from bitsback.diagnostics.traces import honest_trace

    problem = TwoScales()
    start = honest_trace(problem.guide, *problem.args)
    x, y = problem.args
    spread = {}
    for name in ("left.weight", "right.weight"):
        ratios = [
            _log_ratio(problem.model, problem.guide, start, name, x, y, batch_size=7).item()
            for _ in range(5)
        ]
        spread[name] = max(ratios) - min(ratios)
    assert spread["left.weight"] < 1e-4 and spread["right.weight"] > 0.1


def test_autoguides():
    """By site where the guide draws by site; else the one joint site, whose k-hat is the joint."""
    problem = Regression()
    for kind, site in ((AutoNormal, "weight_unconstrained"), (AutoDiagonalNormal, None)):
        guide = kind(problem.model, init_scale=0.5)
        guide(problem.x, problem.y)
        found = khat_by_site(problem.model, guide, problem.x, problem.y, 50, contexts=1)
        assert len(found) == 1 and (site is None or site in found)


def test_refusals():
    problem = Regression()
    args = (problem.x, problem.y, 30)
    with pytest.raises(ValueError, match="point"):
        khat_by_site(problem.model, bitsback.guides.PointMass(problem.model), *args)
    model = bitsback.models.LogUniform(nn.Linear(D, 1).double(), N, likelihood="normal")
    for check in (khat, khat_by_site):
        with pytest.raises(ValueError, match="improper"):
            check(model, bitsback.guides.MeanFieldNormal(model), *args)
