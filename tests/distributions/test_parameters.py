"""Param statements for a module's own parameters, and what Pyro's store and files make of them."""

import gc
import math

import bitsback
import pyro
import pytest
import torch
from bitsback.distributions.parameters import state_parameters
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import nn


class Pair(nn.Module):
    """A quadratic with its minimum at 3, as a model without latent sites."""

    def __init__(self):
        super().__init__()
        self.point = nn.Parameter(torch.zeros(()))

    def forward(self):
        state_parameters("pair", self)
        pyro.sample("y", pyro.distributions.Normal(self.point, 1.0), obs=torch.tensor(3.0))


def nothing():
    """A guide without sites."""


@pytest.mark.parametrize("local", [False, True])
def test_svi_trains_each_module_apart(local):
    with pyro.settings.context(module_local_params=local):
        first, second = Pair(), Pair()
        svi = SVI(first, nothing, pyro.optim.SGD({"lr": 0.1}), Trace_ELBO())
        for _ in range(100):
            svi.step()
    assert first.point.item() == pytest.approx(3, abs=1e-3)
    assert second.point.item() == 0
    assert pyro.get_param_store()._params["pair.point"] is first.point


def test_sites_are_named_and_are_the_parameters():
    pair = Pair()
    nodes = poutine.trace(pair).get_trace().nodes
    assert nodes["pair.point"]["type"] == "param"
    assert nodes["pair.point"]["value"].unconstrained() is pair.point


def trained(rate, steps=3):
    """A pair of one layer after some steps, and its optimizer."""
    model = bitsback.models.Gaussian(nn.Linear(2, 1), 6, likelihood="normal")
    guide = bitsback.guides.MeanFieldNormal(model)
    optimizer = pyro.optim.Adam(rate)
    svi = SVI(model, guide, optimizer, TraceMeanField_ELBO())
    go_on(svi, steps)
    return model, guide, optimizer, svi


def go_on(svi, steps):
    x = torch.ones(6, 2)
    for _ in range(steps):
        svi.step(x, x[:, :1])


NAMES = {"guide.loc.weight", "guide.log_scale.weight", "net.bias"}


def test_rates_may_depend_on_the_parameters_names():
    seen = set()

    def rate(name):
        seen.add(name)
        return {"lr": 0.0 if "log_scale" in name else 0.1}

    _, guide, *_ = trained(rate)
    assert seen == NAMES
    assert guide.get_parameter("log_scale.weight").eq(math.log(0.0067)).all()


def test_a_run_goes_on_exactly_from_pyros_own_files(tmp_path):
    """The parameter store and the optimizer's state, as Pyro's tutorials keep them."""
    model, guide, optimizer, svi = trained({"lr": 0.1})
    assert set(optimizer.get_state()) == NAMES
    pyro.get_param_store().save(tmp_path / "store")
    optimizer.save(tmp_path / "optimizer")
    generator = torch.get_rng_state()
    go_on(svi, 2)
    pyro.clear_param_store()
    pyro.get_param_store().load(tmp_path / "store")
    other, again, second, svi = trained({"lr": 0.1}, steps=0)
    second.load(tmp_path / "optimizer")
    torch.set_rng_state(generator)
    go_on(svi, 2)
    for mine, theirs in ((other, model), (again, guide)):
        for name, value in theirs.state_dict().items():
            torch.testing.assert_close(mine.state_dict()[name], value, rtol=0, atol=0)


def test_what_was_loaded_is_what_a_posterior_is_made_of(tmp_path):
    model, guide, *_ = trained({"lr": 0.1})
    pyro.get_param_store().save(tmp_path / "store")
    pyro.clear_param_store()
    other, again, *_ = trained({"lr": 0.1}, steps=0)
    pyro.get_param_store().load(tmp_path / "store")
    loc = again.posterior().weights["weight"].loc
    torch.testing.assert_close(loc, guide.get_parameter("loc.weight").detach())
    torch.testing.assert_close(other.trained().bias, model.trained().bias)


def test_a_store_of_another_pair_is_refused(tmp_path):
    trained({"lr": 0.1})
    pyro.get_param_store().save(tmp_path / "store")
    pyro.clear_param_store()
    model = bitsback.models.Gaussian(nn.Linear(3, 1), 6, likelihood="normal")
    guide = bitsback.guides.MeanFieldNormal(model)
    pyro.get_param_store().load(tmp_path / "store")
    with pytest.raises(ValueError, match=r"'guide\.loc\.weight' of shape \(1, 2\).*\(1, 3\)"):
        guide.posterior()


def test_two_living_pairs_have_two_names_and_a_dead_one_leaves_its_own():
    first = trained({"lr": 0.1})
    second = trained({"lr": 0.1})
    go_on(first[3], 1)
    assert set(first[2].get_state()) == NAMES
    assert set(second[2].get_state()) == {f"{name}_2" for name in NAMES}
    del first
    gc.collect()
    third = trained({"lr": 0.1})
    assert set(third[2].get_state()) == NAMES
    assert len(pyro.get_param_store()) == 6
