"""The contract of a method, over the registry: a new line in METHODS is tested at once."""

import ast
import re

import bitsback
import pyro
import pytest
import torch
from bitsback.guides import ELBO
from bitsback.methods import METHODS, SWAP_ONLY
from bitsback.posterior import Posterior
from bitsback.training import Options
from bitsback.workbench.networks import NETWORKS
from pyro.infer import SVI, Predictive, TraceMeanField_ELBO
from sklearn.datasets import load_wine
from torch import nn

from ..project import ROOT

LOSSES = {"pyro": TraceMeanField_ELBO, "bitsback": ELBO}
X, Y = torch.linspace(-1, 1, 20 * 16).reshape(20, 1, 4, 4), torch.arange(20) % 3


def net() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 5), nn.ReLU(), nn.Linear(5, 3)
    )


def batch_normalised() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(),
        nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3),
    )  # fmt: skip


def perceptron() -> nn.Module:
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 8), nn.ReLU(), nn.Linear(8, 3))


NETS = {"conv": net, "batchnorm": batch_normalised, "mlp": perceptron}


def trained(name: str, loss=ELBO, steps: int = 2, make=net):
    model, guide = METHODS[name].pair(make(), num_data=20)
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 1e-2}), loss())
    losses = [svi.step(X, Y) for _ in range(steps)]
    assert all(torch.isfinite(torch.tensor(losses)))
    return model, guide


def classes(folder: str, base: str) -> set[str]:
    """Public classes of a folder that descend, within it, from `base`."""
    found: dict[str, set[str]] = {}
    for path in (ROOT / folder).glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef):
                found[node.name] = {b.id for b in node.bases if isinstance(b, ast.Name)}

    def descends(name: str) -> bool:
        return any(b == base or descends(b) for b in found.get(name, ()))

    return {name for name in found if descends(name) and name[0] != "_"}


def test_every_model_and_guide_is_in_a_method():
    """A file in models/ or guides/ without an entry would be a method nobody can run."""
    models = classes("models", "NetworkModel") - {"GroupedModel"}  # what three of them share
    assert models == {m.model for m in METHODS.values()}
    guides = {m.guide for m in METHODS.values()}
    assert classes("guides", "NetworkGuide") == guides | set(SWAP_ONLY)
    assert guides.isdisjoint(SWAP_ONLY)


@pytest.mark.parametrize("name", SWAP_ONLY)
def test_a_guide_for_swapping_is_shown_and_explained(name):
    """It has no entry and so none of the tests below: its own file of tests has them."""
    assert f"guides.{name}(" in (ROOT / "examples" / "swap_guides.py").read_text()
    assert f"`{name}`" in (ROOT / "docs" / "guides.md").read_text()
    assert hasattr(bitsback.guides, name)


@pytest.mark.parametrize("name", METHODS)
def test_entry(name):
    method = METHODS[name]
    assert method.name == name and re.fullmatch(r"[a-z0-9-]+", name)
    model = getattr(bitsback.models, method.model)
    assert hasattr(bitsback.guides, method.guide)
    assert method.proper == model.proper and method.prior and re.search(r"\d{4}|:|;", method.paper)


@pytest.mark.parametrize("name", METHODS)
def test_has_a_page(name):
    page = (ROOT / "docs" / "methods" / f"{name}.md").read_text()
    index = (ROOT / "docs" / "methods" / "README.md").read_text()
    assert f"({name}.md)" in index and METHODS[name].guide in page


@pytest.mark.parametrize("name", METHODS)
def test_settings_are_the_same_kind_for_every_network(name):
    """A network's own entry changes values, and adds none that nobody else has."""
    method = METHODS[name]
    for network, changed in method.networks.items():
        assert network in NETWORKS
        assert changed.keys() <= method.defaults.keys()
        assert method.settings(network) == {**method.defaults, **changed}
    assert method.settings("no such network") == dict(method.defaults)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("name", METHODS)
def test_trains_with_plain_svi(name, loss):
    model, guide = trained(name, LOSSES[loss])
    start = model.initial_weights()
    posterior = guide.posterior()
    assert isinstance(posterior, Posterior)
    assert posterior.weights.keys() == {"0.weight", "3.weight", "5.weight"}
    for key, weight in posterior.weights.items():
        assert weight.loc.shape == weight.stddev.shape == start[key].shape
        torch.broadcast_to(weight.inclusion, weight.loc.shape)
        tensors = [weight.loc, weight.stddev, weight.inclusion]
        if weight.log_alpha is not None:
            assert weight.log_alpha.shape == weight.loc.shape
            tensors.append(weight.log_alpha)
        assert all(t.isfinite().all() and not t.requires_grad for t in tensors)
        assert not weight.loc.equal(start[key])  # it moved
    for a, b in zip(model.trained().parameters(), net().parameters(), strict=True):
        assert a.shape == b.shape


@pytest.mark.parametrize("name", METHODS)
def test_the_guide_starts_at_the_network(name):
    """A product of two factors as near to it as the second lets it be; others but for rounding.

    Weights that are multiples of a step: at the nearest multiple.
    """
    network = net()
    _, guide = METHODS[name].pair(network, num_data=20)
    posterior = guide.posterior()
    rewrites = posterior.rewrites
    for key, value in guide.median().items():
        start = network.get_parameter(key).detach()
        grid = posterior.weights[key].grid if key not in rewrites else None
        if grid is not None and grid.step is not None:
            assert ((value - start).abs() <= 0.501 * grid.step).all()
            continue
        if key not in rewrites:
            torch.testing.assert_close(value, start, rtol=1e-5, atol=0)
            continue
        factors, rest = rewrites[key], (start - value).flatten(1)
        torch.testing.assert_close(factors.left @ factors.right, value.flatten(1))
        # What is left over is out of reach: orthogonal to all that `right` spans.
        torch.testing.assert_close(
            rest @ factors.right.T, torch.zeros_like(factors.left), rtol=0, atol=1e-5
        )


@pytest.mark.parametrize("name", METHODS)
def test_other_likelihoods(name):
    model, guide = METHODS[name].pair(nn.Linear(4, 2), num_data=20, likelihood="normal")
    assert ELBO().loss(model, guide, torch.ones(5, 4), torch.zeros(5, 2)) == pytest.approx(
        ELBO().loss(model, guide, torch.ones(5, 4), torch.zeros(5, 2)), rel=0.2
    )


CLOSED_FORM = [name for name in METHODS if METHODS[name].closed_form]


@pytest.mark.parametrize("name", CLOSED_FORM)
def test_its_constant_kl_is_the_same_twice(name):
    model, guide = trained(name)
    first, second = (ELBO().terms(model, guide, X, Y).total_kl for _ in range(2))
    assert first.equal(second)


@pytest.mark.parametrize("name", [name for name in METHODS if name not in CLOSED_FORM])
def test_its_estimated_kl_is_unbiased(name):
    """The mean of 400 estimates is E_q[log q - log p], by quadrature, to 5 standard errors.

    And the estimates differ: whoever has an exact KL is `closed_form`.
    """
    model, guide = trained(name)
    with torch.no_grad():
        kls = [ELBO().terms(model, guide, X, Y).total_kl for _ in range(400)]
    estimates = torch.stack(kls).double()
    nodes, exact = torch.linspace(-9, 9, 2001, dtype=torch.float64), 0.0
    share = torch.softmax(-0.5 * nodes.square(), 0)  # the trapezoidal rule's, the ends being 0
    for key, weight in guide.posterior().weights.items():
        q = torch.distributions.Normal(weight.loc.double(), weight.stddev.double())
        draws = q.loc + q.scale * nodes.reshape(-1, *[1] * q.loc.dim())
        values = q.log_prob(draws) - model.prior(key, weight.loc).log_prob(draws)
        exact += (share @ values.flatten(1)).sum().item()
    error = estimates.std().item() / 20
    assert 0 < error < 0.01 * exact
    assert abs(estimates.mean().item() - exact) < 5 * error


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("name", METHODS)
def test_compresses_and_loads(name, kind, tmp_path):
    model, guide = trained(name, make=NETS[kind])
    guide.after_training(X, Y)
    result = bitsback.compress(model.trained(), guide.posterior(), validation=(X, Y))
    path = tmp_path / "net.bb"
    result.save(path)
    small = bitsback.load(path)
    assert path.stat().st_size == len(result.data)
    assert small(X).shape == (20, 3) and small(X).equal(result.network(X))


@pytest.mark.parametrize("name", METHODS)
def test_medians_quantiles_and_draws(name):
    """Quantiles rise and begin at or below the median's site; Predictive stacks honest draws."""
    _model, guide = trained(name)
    levels = guide.quantiles([0.25, 0.5, 0.75])
    assert levels and guide.median().keys() == {"0.weight", "3.weight", "5.weight"}
    for low, middle, high in levels.values():
        assert (low <= middle).all() and (middle <= high).all()
    draws = Predictive(guide, num_samples=4)()
    latent = {name for name in draws if not name.startswith("mixture.")}
    assert {name.removesuffix(".center") for name in latent} >= levels.keys()
    for site, values in draws.items():
        assert len(values) == 4 and values.isfinite().all(), site


@pytest.mark.parametrize("name", METHODS)
def test_predictive_of_the_pair(name):
    """Labels of new inputs under the approximate posterior, with Pyro's own tool."""
    model, guide = trained(name)
    found = Predictive(model, guide=guide, num_samples=3, return_sites=("y", "5.weight"))(X)
    assert found["y"].shape == (3, 20) and found["5.weight"].shape[-2:] == (3, 5)


def test_the_l1_penalty_on_the_mean_loss_does_not_depend_on_the_number_of_examples():
    """Minus log of the Laplace density is |w| / scale: |w| / (num_data scale) on the mean loss."""
    for num_data in (100, 55_000):
        model, _ = METHODS["magnitude-l1"].pair(net(), num_data)
        assert 1 / (num_data * model.scale) == pytest.approx(1 / 5500)
    assert model.scale == pytest.approx(0.1)


@pytest.mark.parametrize("name", ["magnitude", "magnitude-l1"])
def test_a_fixed_share_fits_a_network_of_few_examples(name):
    """A Laplace prior of scale 0.1 left zeros here, and 58 % of validation errors."""
    torch.manual_seed(0)
    table = load_wine()
    x, order = torch.tensor(table.data, dtype=torch.float32), torch.randperm(178)
    x, y = ((x - x.mean(0)) / x.std(0))[order], torch.tensor(table.target)[order]
    given = nn.Sequential(nn.Linear(13, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
    given.append(nn.Linear(16, 3))
    optimizer = torch.optim.Adam(given.parameters(), 3e-3)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(given(x[:100]), y[:100]).backward()
        optimizer.step()
    model, guide = METHODS[name].pair(given, 100)
    guide.before_round(0)
    bitsback.fit(model, guide, (x[:100], y[:100]), options=Options(60, 50, 1e-2))
    weights = guide.posterior().weights
    assert all(
        w.loc.count_nonzero() >= min(w.loc.numel(), sum(w.loc.shape)) for w in weights.values()
    )
    means = model.trained()
    means.load_state_dict({k: w.loc for k, w in weights.items()}, strict=False)
    before, after = ((n(x[100:]).argmax(1) != y[100:]).float().mean() for n in (given, means))
    assert after <= before + 0.04


@pytest.mark.parametrize(
    ("examples", "batch"), [(1197, 64), (1000, 32), (124, 8), (20, 8), (9_999, 64), (50_000, 128)]
)
def test_small_data_of_ones_own_have_small_batches(examples, batch):
    """About 18 updates in an epoch, as of the reference network for digits."""
    method = METHODS["log-uniform"]
    assert method.settings("mine", examples)["batch_size"] == batch
    small = examples < 10_000
    assert method.settings("mine", examples)["epochs"] == (300 if small else 100)
    assert method.settings("lenet-300-100", examples) == method.settings("lenet-300-100")


def test_options_of_the_guide():
    """The share that magnitude pruning keeps is the guide's, and goes with a kept pair."""
    method = METHODS["magnitude"].configured({"kept": 0.5, "rounds": 2})
    _, guide = method.pair(net(), 20)
    assert guide.kept == 0.5 and guide.rounds == 2
    assert "kept" not in method.model_options and METHODS["magnitude"].guide_options["kept"] == 0.1
    with pytest.raises(ValueError, match=r"--kept 1\.5: must be above 0 and below 1"):
        METHODS["magnitude"].configured({"kept": 1.5})
