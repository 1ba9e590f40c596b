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
