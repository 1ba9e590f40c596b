"""Which model each guide takes: made, it trains with it; else it says which models it takes."""

import bitsback
import pytest
import torch
from bitsback.guides.base import NetworkGuide
from bitsback.guides.pairs import latent_sites
from torch import nn

MODELS = (
    "BayesianBits", "Gaussian", "HardConcrete", "Horseshoe", "Laplace", "LogUniform",
    "NormalJeffreys", "Rate", "ScaleMixture", "SoftSharing",
)  # fmt: skip
GUIDES = [
    name for name in bitsback.guides.__all__
    if isinstance(kind := getattr(bitsback.guides, name), type)
    and issubclass(kind, NetworkGuide) and kind is not NetworkGuide
]  # fmt: skip
POINTS = {"BernoulliDropout", "LowRank", "MagnitudePruned", "PointMass", "RandomProjection"}
ON_WEIGHTS = POINTS | {"MeanFieldNormal", "SWAG"}
PAIRS = {
    "BayesianBits": {"GateChain"},
    "Gaussian": ON_WEIGHTS | {"DiagonalLaplace", "KroneckerLaplace", "RowNormal"},
    "HardConcrete": {"HardConcreteGates"},
    "Horseshoe": {"Horseshoe", "HorseshoeFamily"},
    "Laplace": ON_WEIGHTS | {"KroneckerLaplace"},
    "LogUniform": POINTS | {"MeanFieldNormal"},  # a point is refused when it is trained
    "NormalJeffreys": {"NormalJeffreys"},
    "Rate": {"Rounding"},
    "ScaleMixture": ON_WEIGHTS | {"KroneckerLaplace"},
    "SoftSharing": {"SharedPoints"},
}


def net():
    return nn.Sequential(nn.Linear(4, 5), nn.ReLU(), nn.Linear(5, 3))


@pytest.mark.parametrize("prior", MODELS)
def test_a_guide_is_made_for_the_models_it_takes_and_says_which(prior):
    model, made = getattr(bitsback.models, prior)(net(), 40), set()
    for name in GUIDES:
        try:
            getattr(bitsback.guides, name)(model)
            made.add(name)
        except ValueError as refused:
            assert len(str(refused).splitlines()) == 1
            assert "models." in str(refused) or "takes" in str(refused) or "use " in str(refused)
    assert made == PAIRS[prior]


def test_the_message_names_the_guide_the_model_and_the_way_out():
    with pytest.raises(ValueError, match=r"guides\.Horseshoe takes models\.Horseshoe.*Gaussian is"):
        bitsback.guides.Horseshoe(bitsback.models.Gaussian(net(), 40))
    with pytest.raises(ValueError, match=r"centred=False .guides\.HorseshoeFamily"):
        bitsback.guides.Horseshoe(bitsback.models.Horseshoe(net(), 40, centred=True))
    with pytest.raises(ValueError, match=r"MeanFieldNormal .*integers.*use guides\.Rounding"):
        bitsback.guides.MeanFieldNormal(bitsback.models.Rate(net(), 40))
    with pytest.raises(ValueError, match=r"takes a model of bitsback.models.*got Sequential"):
        bitsback.guides.MeanFieldNormal(net())


@pytest.mark.parametrize("prior", MODELS)
def test_looking_at_the_sites_draws_nothing(prior):
    model = getattr(bitsback.models, prior)(net(), 40)
    before = torch.get_rng_state()
    sites = latent_sites(model)
    assert torch.equal(before, torch.get_rng_state())
    assert any(site.startswith("2.weight") for site in sites)
    assert any(sites.values()) == (prior == "Rate")
