"""Scales that several weights share: sites, KL, moments, starts, and what pruning makes of them."""

import functools
import math

import bitsback
import pyro
import pytest
import torch
from bitsback import guides, models
from bitsback.distributions.log_uniform_kl import exact_kl
from bitsback.graph import GraphNetwork, remove_units, trace
from bitsback.guides import ELBO
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F

X, Y = torch.randn(12, 1, 5, 5, generator=torch.Generator().manual_seed(0)), torch.arange(12) % 3
OWNER, INNER = "stem.weight", "first.weight"
STREAM = (OWNER, "second.weight", "head.weight")
SIGMAS = 5  # of seeded draws: another seed fails with probability 6e-7 for each number compared


class Residual(nn.Module):
    """A stem and a block write a stream of 4 channels, a dense layer reads it."""

    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, bias=False)
        self.first = nn.Conv2d(4, 5, 3, padding=1, bias=False)
        self.second = nn.Conv2d(5, 4, 3, padding=1, bias=False)
        self.head = nn.Linear(4, 3)

    def forward(self, x):
        x = F.relu(self.stem(x))
        x = F.relu(x + self.second(F.relu(self.first(x))))
        return self.head(x.mean((2, 3)))


class Mixed(Residual):
    """The second layer is a transposed convolution, which needs an ordinary draw."""

    def __init__(self):
        super().__init__()
        self.second = nn.ConvTranspose2d(5, 4, 3, padding=1, bias=False)


@functools.cache  # models copy it
def traced(net: type[nn.Module] = Residual) -> GraphNetwork:
    torch.manual_seed(4)
    return trace(net().eval(), X[:2])


PAIRS = {
    "normal-jeffreys": (models.NormalJeffreys, {}, guides.NormalJeffreys, {}),
    "horseshoe": (models.Horseshoe, {"tau0": 0.1}, guides.Horseshoe, {}),
    "horseshoe, local": (models.Horseshoe, {"scales": "local", "slab": 2.0}, guides.Horseshoe, {}),
    "horseshoe family": (models.Horseshoe, {}, guides.HorseshoeFamily, {"family": "gamma"}),
    "horseshoe, centred": (models.Horseshoe, {"centred": True}, guides.HorseshoeFamily, {}),
    "hard-concrete": (models.HardConcrete, {}, guides.HardConcreteGates, {"init_inclusion": 0.7}),
}
PARTS = {
    "normal-jeffreys": ("scale",),
    "hard-concrete": ("gate",),
}
LOCAL = ("local.gamma", "local.inverse_gamma")


def make(name, net=Residual):
    model_class, model_options, guide_class, options = PAIRS[name]
    model = model_class(traced(net), len(X), **model_options)
    return model, guide_class(model, **options)


def scattered(guide):
    """Parameters of all sizes, so that every term counts."""
    with torch.no_grad():
        for parameter in guide.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return guide


@pytest.mark.parametrize("name", PAIRS)
def test_a_shared_scale_is_one_site_with_one_kl(name):
    model, guide = make(name)
    kl = ELBO().terms(model, guide, X, Y).kl
    for part in PARTS.get(name, LOCAL):
        found = {site.removesuffix(f".{part}") for site in kl if site.endswith(part)}
        assert found == {OWNER, INNER}
    own = {site.removesuffix(".global.gamma") for site in kl if site.endswith(".global.gamma")}
    assert not own or own == {*STREAM, INNER}
    parameters = [key for key, _ in guide.named_parameters()]
    assert len(parameters) == len(set(parameters))


@pytest.mark.parametrize(
    "name", ["normal-jeffreys", "horseshoe", "horseshoe, local", "horseshoe family"]
)
def test_the_kl_by_hand(name):
    """The sum over sites, each once, of closed forms or 40,000 draws."""
    model, guide = make(name)
    scattered(guide)
    terms = ELBO().terms(model, guide, X, Y)
    q = {k: n["fn"] for k, n in poutine.trace(guide).get_trace().nodes.items() if "fn" in n}
    total = 0.0
    if name == "normal-jeffreys":
        for owner in (OWNER, INNER):
            loc, log_scale = (
                guide.get_parameter(f"{k}.{owner}.scale") for k in ("loc", "log_scale")
            )
            total += exact_kl(loc, log_scale).sum().item()
    else:
        sites = {
            site: prior
            for weight in (*STREAM, INNER)
            for site, prior in model.factors(weight).items()
        }
        assert len(sites) == (4 if model.scales == "local" else 12)
        for site, prior in sites.items():
            x = q[site].base_dist.sample((40_000,)).double()
            total += (q[site].base_dist.log_prob(x) - prior.log_prob(x)).mean(0).sum().item()
    for weight in (*STREAM, INNER):
        base = q[f"{weight}.base"].base_dist
        total += kl_divergence(Normal(base.loc, base.scale), Normal(0.0, 1.0)).sum().item()
    tolerance = 1e-5 if name == "normal-jeffreys" else 3e-3
    assert terms.total_kl.item() == pytest.approx(total, rel=tolerance)


@pytest.mark.parametrize("net", [Residual, Mixed])
@pytest.mark.parametrize("name", PAIRS)
def test_stock_and_own_bounds_agree(name, net):
    model, guide = make(name, net)
    losses = []
    for loss in (ELBO(), TraceMeanField_ELBO()):
        pyro.set_rng_seed(1)
        losses.append(loss.loss(model, guide, X, Y))
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


def drawn(model, guide, count: int) -> dict[str, torch.Tensor]:
    """Draws of each weight, shape `(count, *weight.shape)`, float64: base times shared scales."""
    nodes = poutine.trace(guide).get_trace().nodes
    sites = {
        k: n["fn"].sample((count,)).double() for k, n in nodes.items() if n["type"] == "sample"
    }
    result = {}
    for name in model.weight_names:
        if getattr(model, "centred", False):
            result[name] = sites[f"{name}.centred"]
            continue
        if isinstance(model, models.Horseshoe):
            scale = math.prod(sites[site].sqrt() for site in model.factors(name))
            if model.slab is not None:
                scale = scale / (1 + (scale / model.slab).square()).sqrt()
        else:
            part = "gate" if isinstance(model, models.HardConcrete) else "scale"
            scale = sites[f"{OWNER if name in STREAM else INNER}.{part}"]
        shape = [1] * model.initial_weights()[name].dim()
        shape[1 if name == "head.weight" else 0] = -1
        result[name] = sites[f"{name}.base"] * scale.reshape(count, *shape)
    return result


@pytest.mark.parametrize("name", PAIRS)
def test_moments_are_those_of_draws(name):
    model, guide = make(name)
    if name != "hard-concrete":
        scattered(guide)
    posterior = guide.posterior()
    for weight, sample in drawn(model, guide, 20_000).items():
        found = posterior.weights[weight]
        stderr = sample.std(0) / math.sqrt(len(sample))
        assert ((sample.mean(0) - found.loc).abs() / stderr).max() < SIGMAS
        squares = (sample - found.loc).square()
        stderr = squares.std(0) / math.sqrt(len(sample))
        assert ((squares.mean(0) - found.stddev.square()).abs() / stderr).max() < SIGMAS
        assert found.groups[0].axis == (1 if weight == "head.weight" else 0)
        if name in PARTS and weight in STREAM:
            assert found.groups[0].score.equal(posterior.weights[OWNER].groups[0].score)


def test_draws_of_the_posterior_of_horseshoes_take_the_shared_sites():
    model, guide = make("horseshoe")
    found = guides.posterior_of(poutine.block(guide, hide=[]), model, num_samples=20)
    assert found.weights.keys() == {*STREAM, INNER}


@pytest.mark.parametrize("name", PAIRS)
def test_starts_at_the_networks_weights(name):
    """Centers and medians are each layer's own; z is the root mean square over all of them."""
    model, guide = make(name)
    initial = model.initial_weights()
    if name != "hard-concrete":
        for weight, value in guide.median().items():
            torch.testing.assert_close(value, initial[weight], rtol=0.05, atol=1e-6)
    rows = torch.cat(
        [initial[w].transpose(0, w.startswith("head") * 1).flatten(1) for w in STREAM], 1
    )
    size = rows.square().mean(1).sqrt()
    if name == "normal-jeffreys":
        torch.testing.assert_close(guide.get_buffer(f"unit.{OWNER}"), size)
    if name == "horseshoe, local":
        start = guide.composite(OWNER)[0].exp()
        torch.testing.assert_close(start, size)
        torch.testing.assert_close(guide.composite("head.weight")[0].exp(), size)


def test_an_open_gate_costs_all_weights_it_speaks_for():
    model, guide = make("hard-concrete")
    with torch.no_grad():
        for parameter in guide.gate.parameters():
            parameter.fill_(50.0)
    kl = ELBO().terms(model, guide, X, Y).kl
    count = sum(model.initial_weights()[weight].numel() for weight in STREAM)
    inclusion = guide.posterior().weights[OWNER].inclusion.mean().item()
    assert kl[f"{OWNER}.gate"].item() == pytest.approx(0.1 * count * inclusion, rel=1e-5)


@pytest.mark.parametrize("name", PAIRS)
def test_nothing_changes_where_nothing_is_shared(name):
    """A LeNet trains the same with a graph as without one: sites, parameters, loss, bit by bit."""
    torch.manual_seed(2)
    net = nn.Sequential(
        nn.Conv2d(1, 3, 2), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(12, 5), nn.ReLU(),
        nn.Linear(5, 3),
    )  # fmt: skip
    model_class, model_options, guide_class, options = PAIRS[name]
    found = []
    for each in (net, trace(net.eval(), X[:2])):
        model = model_class(each, len(X), **model_options)
        guide = guide_class(model, **options)
        pyro.set_rng_seed(3)
        terms = ELBO().terms(model, guide, X, Y)
        found.append(([*terms.kl], [k for k, _ in guide.named_parameters()], terms.loss.item()))
    assert found[0] == found[1]


@pytest.mark.parametrize("net", [Residual, Mixed])
@pytest.mark.parametrize("name", PAIRS)
def test_trains(name, net):
    model, guide = make(name, net)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.01}), ELBO())
    losses = [svi.step(X, Y) for _ in range(20)]
    assert sum(losses[-5:]) < sum(losses[:5])


def test_trace_elbo_takes_shared_scales():
    model, guide = make("horseshoe")
    assert math.isfinite(Trace_ELBO().loss(model, guide, X, Y))


@pytest.mark.parametrize("name", ["normal-jeffreys", "horseshoe, local", "hard-concrete"])
def test_a_pruned_channel_leaves_the_stream(name, tmp_path):
    """All its producers lose it, and the compressed network has no such channel."""
    model, guide = make(name)
    with torch.no_grad():
        if name == "normal-jeffreys":
            guide.get_parameter(f"log_scale.{OWNER}.scale")[1] = 3.0
        elif name == "hard-concrete":
            guide.get_parameter(f"gate.{OWNER}.gate")[1] = -50.0
        else:
            guide.get_parameter(f"loc.{OWNER}.local.gamma")[1] -= 40.0
    posterior = guide.posterior()
    means, trained = {}, model.trained()
    for weight in STREAM:
        scores = posterior.weights[weight].groups[0].score
        assert int(scores.argmax()) == 1
        shape = [1] * posterior.weights[weight].loc.dim()
        shape[posterior.weights[weight].groups[0].axis] = -1
        kept = torch.arange(4).ne(1).reshape(shape)
        means[weight] = posterior.weights[weight].loc * kept
    with torch.no_grad():
        for weight, value in means.items():
            trained.get_parameter(weight).copy_(value)
    reduced = remove_units(trained)
    assert reduced.network.get_parameter(OWNER).shape[0] == 3
    torch.testing.assert_close(reduced.network(X), trained(X))
    result = bitsback.compress(
        model.trained(), posterior, validation=(X, Y), prune="groups", margin_error=1.0,
        margin_nll=10.0,
    )  # fmt: skip
    (tmp_path / "net.bb").write_bytes(result.data)
    loaded = bitsback.load(tmp_path / "net.bb")
    shapes = {k: tuple(v.shape) for k, v in loaded.state_dict().items()}
    assert shapes[OWNER][0] <= 3 and shapes[INNER][1] == shapes[OWNER][0]
    assert shapes["head.weight"][1] == shapes["second.weight"][0] == shapes[OWNER][0]
