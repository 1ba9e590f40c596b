"""What every guide promises, by slow oracles: Pyro's own bound, and draws.

A new pair plugs in as one line of `PAIRS`. The tests of a single guide hold what only it promises.
"""

import math

import pyro
import pytest
import torch
from bitsback import guides, models
from bitsback.guides import ELBO
from pyro import poutine
from pyro.infer import TraceMeanField_ELBO
from torch import nn

X, Y = torch.linspace(-1, 1, 24).reshape(6, 4), torch.arange(6) % 2
MIXTURE = {"components": 5, "weight": 1.0, "zero_proportion": 0.5}
DRAWS, SIGMAS = 1_000, 5.5  # seeded: other seeds hardly ever fail


def dense():
    return nn.Sequential(nn.Linear(4, 3), nn.Tanh(), nn.Linear(3, 2))


def conv():
    layers = nn.Unflatten(1, (1, 4)), nn.Conv1d(1, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(9, 2)
    return nn.Sequential(*layers)


def pair(prior, guide, model_options=None, net=dense, **options):
    """Makes a model around a small network, and its guide."""

    def make():
        model = getattr(models, prior)(net(), 12, **(model_options or {}))
        return model, getattr(guides, guide)(model, **options)

    return make


def family(name, centred):
    return pair("Horseshoe", "HorseshoeFamily", {"tau0": 0.5, "centred": centred}, family=name)


def swag():
    """After a walk, so that there is a spread to draw from."""
    model, guide = pair("Gaussian", "SWAG", rank=3)()
    for _ in range(6):
        spread(guide, 0.1)
        guide.collect()
    return model, guide


def kronecker():
    model, guide = pair("Gaussian", "KroneckerLaplace", {"scale": 0.5})()
    guide.after_training(X)
    return model, guide


PAIRS = {
    "normal": pair("Gaussian", "MeanFieldNormal", init_scale=0.3),
    "normal, weights": pair(
        "Gaussian", "MeanFieldNormal", init_scale=0.3, local_reparameterization=False
    ),
    "log-uniform": pair("LogUniform", "MeanFieldNormal", init_scale=0.3),
    "rows": pair("Gaussian", "RowNormal", init_scale=0.3),
    "rows, conv": pair("Gaussian", "RowNormal", net=conv, init_scale=0.3),
    "point": pair("Gaussian", "PointMass"),
    "dropout": pair("Gaussian", "BernoulliDropout", p=0.6, first=0.1),
    "low rank": pair("Gaussian", "LowRank"),
    "random projection": pair("Gaussian", "RandomProjection", rank=1),
    "SWAG": swag,
    "Kronecker": kronecker,
    "gates of weights": pair(
        "HardConcrete", "HardConcreteGates", {"gates": "weights", "entropy": True},
        init_inclusion=0.7,
    ),
    "gates of units": pair(
        "HardConcrete", "HardConcreteGates", {"gates": "groups", "entropy": True},
        init_inclusion=0.7,
    ),
    "gates of units, conv": pair(
        "HardConcrete", "HardConcreteGates", {"gates": "groups", "entropy": True}, net=conv,
        init_inclusion=0.7,
    ),
    "normal-Jeffreys": pair("NormalJeffreys", "NormalJeffreys", init_scale=0.3),
    "normal-Jeffreys, conv": pair("NormalJeffreys", "NormalJeffreys", net=conv, init_scale=0.3),
    "horseshoe": pair("Horseshoe", "Horseshoe", {"tau0": 0.5}, init_scale=0.3),
    "log-normal": family("log-normal", False),
    "log-normal, centred": family("log-normal", True),
    "gamma": family("gamma", False),
    "gamma, centred": family("gamma", True),
    "shared points": pair("SoftSharing", "SharedPoints", {"mixture": MIXTURE}),
    "log-uniform mixture": pair("LogUniform", "MeanFieldNormal", {"mixture": MIXTURE}),
    "point mixture": pair("Gaussian", "PointMass", {"mixture": MIXTURE}),
    "normal-Jeffreys mixture": pair("NormalJeffreys", "NormalJeffreys", {"mixture": MIXTURE}),
    "horseshoe mixture": pair("Horseshoe", "Horseshoe", {"mixture": MIXTURE}),
}  # fmt: skip
# A mixture changes no draw of a weight. HorseshoeFamily has no quantiles, and the tests of its own
# compare its moments with far more draws.
DRAWN = [
    name for name in PAIRS
    if "mixture" not in name and not name.startswith(("shared", "log-normal", "gamma"))
]  # fmt: skip
every_pair = pytest.mark.parametrize("name", PAIRS)


@torch.no_grad()
def spread(guide, size=0.2):
    """The guide, at parameters that are not those it starts from."""
    for parameter in guide.parameters():
        parameter.add_(size * torch.randn_like(parameter))
    return guide


def loss_and_gradients(loss, model, guide):
    pyro.set_rng_seed(3)
    for parameter in (*model.parameters(), *guide.parameters()):
        parameter.grad = None
    value = loss.loss_and_grads(model, guide, X, Y)
    owners = {"model": model, "guide": guide}.items()
    return value, {f"{k}.{n}": p.grad for k, owner in owners for n, p in owner.named_parameters()}


@every_pair
def test_value_and_gradients_are_those_of_pyro(name):
    """With the same seed, and so with the same noise."""
    model, guide = PAIRS[name]()
    spread(guide)
    ours, gradients = loss_and_gradients(ELBO(), model, guide)
    theirs, expected = loss_and_gradients(TraceMeanField_ELBO(), model, guide)
    assert math.isfinite(ours) and ours == pytest.approx(theirs, rel=1e-5)
    assert any(g is not None and g.any() for g in gradients.values())
    for parameter, gradient in gradients.items():
        if gradient is None or expected[parameter] is None:
            assert gradient is expected[parameter], parameter
        else:
            torch.testing.assert_close(gradient, expected[parameter], rtol=1e-4, atol=1e-5)


def draws_of(model, guide):
    """Draws of the guide's sites, and of the weights that the model makes of them: by name."""
    sites, weights = [], []
    with torch.no_grad():
        for _ in range(DRAWS):
            trace = poutine.trace(guide).get_trace()
            sampled = {n: s["value"] for n, s in trace.nodes.items() if s["type"] == "sample"}
            made = poutine.condition(model.sample_weights, sampled)()
            weights.append({n: torch.clone(value) for n, value in made.items()})
            sites.append({n: torch.clone(value) for n, value in sampled.items()})
    return tuple(
        {name: torch.stack([draw[name] for draw in draws]) for name in draws[0]}
        for draws in (sites, weights)
    )


@pytest.mark.parametrize("name", DRAWN)
def test_moments_and_quantiles_are_those_of_draws(name):
    model, guide = PAIRS[name]()
    spread(guide).eval()
    sites, weights = draws_of(model, guide)
    posterior = guide.posterior()
    assert posterior.weights.keys() == weights.keys() == set(model.weight_names)
    for weight_name, weight in posterior.weights.items():
        found = weights[weight_name].double()
        centred = found - found.mean(0)
        variance = centred.square().mean(0)
        error = (variance / DRAWS).sqrt()
        assert ((found.mean(0) - weight.loc).abs() <= SIGMAS * error + 1e-5).all()
        error = ((centred.pow(4).mean(0) - variance.square()).clamp(min=0) / DRAWS).sqrt()
        gap = (variance - weight.stddev.double().square()).abs()
        assert (gap <= SIGMAS * error + 1e-5).all()
    levels = [0.1, 0.5, 0.9]
    for site, values in guide.quantiles(levels).items():
        found = sites[site].reshape(DRAWS, *values.shape[1:])
        slack = 1e-5 * (1 + values.abs())
        for level, value, near in zip(levels, values, slack, strict=True):
            error = SIGMAS * math.sqrt(level * (1 - level) / DRAWS)
            assert ((found < value - near).double().mean(0) <= level + error).all(), site
            assert ((found <= value + near).double().mean(0) >= level - error).all(), site


@every_pair
def test_a_posterior_is_a_detached_copy_and_a_state_dict_has_all_of_it(name):
    (model, guide), (other_model, other) = PAIRS[name](), PAIRS[name]()
    spread(guide)
    first = guide.posterior()
    kept = {k: w.loc.clone() for k, w in first.weights.items()}
    other_model.load_state_dict(model.state_dict())
    other.load_state_dict(guide.state_dict())
    again = other.posterior()
    spread(guide)
    for weight_name, weight in first.weights.items():
        tensors = [weight.loc, weight.stddev, weight.inclusion, weight.log_alpha]
        assert not any(t.requires_grad for t in tensors if t is not None)
        assert weight.loc.equal(kept[weight_name])
        assert weight.loc.equal(again.weights[weight_name].loc)
        assert weight.stddev.equal(again.weights[weight_name].stddev)
