import ast
import warnings

import bitsback
import numpy as np
import pytest
import torch
from bitsback.diagnostics import as_chains, draw, inference_data, load, save, to_arviz
from bitsback.diagnostics.loo import leave_one_out
from pyro.infer import MCMC, NUTS
from pyro.infer.autoguide import AutoNormal
from torch import nn

from ..project import parse, sources
from .problem import D, N, Regression


def array(data, group, name):
    return np.asarray(data[group][name].values)


def trained(kind):
    problem = Regression()
    if kind == "mcmc":
        kernel = NUTS(problem.model, jit_compile=False)
        source = MCMC(kernel, num_samples=20, warmup_steps=10, disable_progbar=True)
        source.run(problem.x, problem.y)
    elif kind == "auto":
        source = AutoNormal(problem.model)
        source(problem.x, problem.y)
    else:
        source = problem.mean_field()
    return problem, source


@pytest.mark.parametrize("kind", ["ours", "auto", "mcmc"])
def test_any_trained_pair_there_and_back(kind, tmp_path):
    problem, source = trained(kind)
    data = to_arviz(problem.model, source, problem.x, problem.y, num_samples=20)
    save(data, tmp_path / "draws.nc")
    again = load(tmp_path / "draws.nc")
    for found in (data, again):
        weight = array(found, "posterior", "weight")
        assert weight.shape == (1, 20, 1, D)
        assert array(found, "log_likelihood", "y").shape == (1, 20, N)
        assert found["log_likelihood"]["y"].dims[-1] == "example"
        assert array(found, "posterior_predictive", "y").shape == (1, 20, N)
        np.testing.assert_array_equal(array(found, "observed_data", "y"), problem.y[:, 0])
        log_joint = problem.log_joint(torch.tensor(weight[0]))
        np.testing.assert_allclose(array(found, "sample_stats", "log_p")[0], log_joint)
        assert ("log_q" in found["sample_stats"]) == (kind != "mcmc")
        assert ("diverging" in found["sample_stats"]) == (kind == "mcmc")
        assert found.attrs["inference"] == ("mcmc" if kind == "mcmc" else "svi")
        assert found.attrs["method"] == "Gaussian"
        assert found.attrs["guide"] == type(source).__name__
    np.testing.assert_array_equal(
        array(data, "posterior", "weight"), array(again, "posterior", "weight")
    )


def test_arviz_reads_it():
    import arviz

    problem, source = trained("ours")
    data = to_arviz(problem.model, source, problem.x, problem.y, num_samples=200)
    plain = leave_one_out(draw_of(data), corrected=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # large k-hats: this guide is not the posterior
        result = arviz.loo(data)
    elpd = result.elpd_loo if hasattr(result, "elpd_loo") else result.elpd
    assert float(elpd) == pytest.approx(plain.elpd, abs=0.05)


def draw_of(data):
    """Draws again from what was kept."""
    return bitsback.diagnostics.Draws(
        values={},
        log_likelihood=torch.tensor(array(data, "log_likelihood", "y")[0]),
        log_prior=None,
        log_q=torch.tensor(array(data, "sample_stats", "log_q")[0]),
    )


def test_chains_stay_apart():
    problem = Regression()
    w = torch.randn(6, 1, D, dtype=torch.float64)
    draws = draw(problem.model, {"weight": w}, problem.x, problem.y)
    two = bitsback.diagnostics.Draws(**{**vars(draws), "chains": 2})
    found = array(inference_data(two, problem.y), "posterior", "weight")
    np.testing.assert_array_equal(found, w.reshape(2, 3, 1, D))


def test_diverging_draws_of_nuts_are_marked():
    problem, source = trained("mcmc")
    source._diagnostics[0]["divergences"] = [3, 19]
    data = to_arviz(problem.model, source, problem.x, problem.y)
    assert np.flatnonzero(array(data, "sample_stats", "diverging")[0]).tolist() == [3, 19]


def test_restarts_are_chains_and_rhat_sees_that_they_differ():
    import arviz

    problem = Regression()
    shifted = problem.mean_field()
    with torch.no_grad():
        shifted.get_parameter("loc.weight").add_(1.0)
    guides = (problem.mean_field(), problem.mean_field(), shifted)
    runs = [draw(problem.model, guide, problem.x, problem.y, 100) for guide in guides]
    for some, agree in ((runs[:2], True), (runs, False)):
        data = inference_data(as_chains(some), problem.y)
        weight = array(data, "posterior", "weight")
        np.testing.assert_array_equal(weight[-1], some[-1].values["weight"])
        assert array(data, "sample_stats", "log_q").shape == (len(some), 100)
        rhat = arviz.rhat(data)
        rhat = rhat.get("posterior", rhat)
        assert (float(rhat["weight"].max()) < 1.1) == agree
    with pytest.raises(ValueError, match="same number of draws"):
        as_chains([runs[0], draw(problem.model, guides[0], problem.x, problem.y, 5)])


def test_attributes_say_tau0_and_why_there_is_no_ratio(tmp_path):
    problem = Regression()
    model = bitsback.models.LogUniform(nn.Linear(D, 1).double(), N, likelihood="normal")
    model.tau0 = 1e-5
    guide = bitsback.guides.MeanFieldNormal(model)
    save(to_arviz(model, guide, problem.x, problem.y, 5), tmp_path / "draws.nc")
    data = load(tmp_path / "draws.nc")
    assert data.attrs["tau0"] == 1e-5
    assert "improper" in data.attrs["no_log_ratio"]
    assert "log_p" not in data["sample_stats"] and "log_q" in data["sample_stats"]


def test_a_file_that_is_none(tmp_path):
    with pytest.raises(OSError, match=r"none\.nc"):
        load(tmp_path / "none.nc")
    (tmp_path / "text.nc").write_text("text")
    with pytest.raises((OSError, ValueError)):
        load(tmp_path / "text.nc")


def test_one_file_knows_arviz_and_only_when_called():
    """Its import takes seconds and prints; only who asks for it should wait."""
    for path in sources():
        tree = parse(path)
        inside = {
            id(node)
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.Import | ast.ImportFrom):
                names = [getattr(node, "module", None), *(alias.name for alias in node.names)]
                if any(name and name.split(".")[0] == "arviz" for name in names):
                    assert path.name == "arviz_data.py" and id(node) in inside, path


def of(net, prior="Gaussian", shape=(20, 4), latent=None, **options):
    """ArviZ's container of a pair as it starts, and its model."""
    x = torch.randn(shape)
    y = torch.arange(shape[0]) % 3
    model = getattr(bitsback.models, prior)(net, shape[0], latent=latent)
    kind = "MeanFieldNormal" if prior == "Gaussian" else prior
    guide = getattr(bitsback.guides, kind)(model)
    return to_arviz(model, guide, x, y, num_samples=20, **options), model


def test_axes_are_named_by_their_layer():
    conv, dense = nn.Conv1d(2, 4, 3), nn.Linear(8, 3)
    net = nn.Sequential(conv, nn.ReLU(), nn.Flatten(), dense)
    data, _ = of(net, shape=(20, 2, 4))
    assert data["posterior"]["0.weight"].dims[2:] == (
        "0.weight_out", "0.weight_in", "0.weight_kernel"
    )  # fmt: skip
    assert data["posterior"]["3.weight"].dims[2:] == ("3.weight_out", "3.weight_in")


def test_the_horseshoes_scales_are_in_the_posterior_along_their_axes():
    data, _ = of(nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3)), "Horseshoe")
    posterior = data["posterior"]
    z, s = posterior["2.weight.local"], posterior["2.weight.global"]
    assert z.dims[2:] == ("2.weight_in",) and s.shape == (1, 20, 1)
    factors = (posterior[f"2.weight.local.{kind}"].values for kind in ("gamma", "inverse_gamma"))
    np.testing.assert_allclose(z.values, np.sqrt(np.prod(list(factors), 0)), rtol=1e-5)
    assert (z.attrs["units"], s.attrs["units"]) == ("1", "the weight's")
    scaled = posterior["2.weight.base"].values * (z.values * s.values)[:, :, None]
    np.testing.assert_allclose(posterior["2.weight"].values, scaled, rtol=1e-5)


def test_units_are_attributes_and_outlive_a_file(tmp_path):
    data, _ = of(nn.Sequential(nn.Linear(4, 3)))
    save(data, tmp_path / "draws.nc")
    for found in (data, load(tmp_path / "draws.nc")):
        assert found["sample_stats"]["log_q"].attrs["units"] == "nats"
        assert found["log_likelihood"]["y"].attrs["units"] == "nats"
        assert found["posterior"]["0.weight"].attrs["units"] == "the weight's"
        assert found["posterior"]["0.weight"].attrs["site"] == "0.weight"


class Named(nn.Module):
    """Latent parameters by the names of ArviZ's own axes and variables, and of one another's."""

    names = ("chain", "draw", "example", "sample", "chain_", "sum", "sum_dim_0")

    def __init__(self):
        super().__init__()
        for name in self.names:
            setattr(self, name, nn.Parameter(torch.randn(4, 3)))

    def forward(self, x):
        return sum(x @ getattr(self, name) for name in self.names)


def test_no_site_is_lost_for_its_name(tmp_path):
    slashed = nn.Sequential()
    slashed.add_module("a/b", nn.Linear(4, 4))
    slashed.add_module("a_b", nn.Linear(4, 3))
    for net, latent in ((Named(), Named.names), (slashed, None)):
        data, model = of(net, latent=latent)
        save(data, tmp_path / "draws.nc")
        kept = load(tmp_path / "draws.nc")["posterior"]
        sites = {str(kept[name].attrs["site"]): name for name in kept.data_vars}
        assert set(sites) == set(model.weight_names)
        for site, name in sites.items():
            np.testing.assert_array_equal(kept[name].values, data["posterior"][name].values)
            assert kept[name].shape[2:] == model.initial_weights()[site].shape


def test_pseudo_chains_are_the_same_draws_cut():
    torch.manual_seed(0)
    whole, _ = of(nn.Sequential(nn.Linear(4, 3)))
    torch.manual_seed(0)
    cut, _ = of(nn.Sequential(nn.Linear(4, 3)), pseudo_chains=4)
    values = array(whole, "posterior", "0.weight")
    np.testing.assert_array_equal(array(cut, "posterior", "0.weight"), values.reshape(4, 5, 3, 4))
    assert array(cut, "sample_stats", "log_q").shape == (4, 5)
    assert cut.attrs["pseudo_chains"] == 4
    with pytest.raises(ValueError, match="20 draws cannot be cut into 3"):
        of(nn.Sequential(nn.Linear(4, 3)), pseudo_chains=3)
    problem, source = trained("mcmc")
    with pytest.raises(ValueError, match="have their own"):
        to_arviz(problem.model, source, problem.x, problem.y, pseudo_chains=4)
