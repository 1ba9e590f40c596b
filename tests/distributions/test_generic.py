"""What Pyro asks of every distribution: shapes, expand, supports, copies (after Pyro's own tests).

One table for all densities of the project and for the guides' own distributions.
"""

import copy
import pickle
import zlib

import bitsback
import pytest
import torch
from bitsback.distributions import (
    BopsPrice,
    ChainPrior,
    Gamma,
    GateChain,
    GatePrior,
    GaussianMixture,
    HardConcrete,
    InverseGamma,
    KroneckerNormal,
    Lattice,
    LogUniform,
    Rounded,
    RowMultivariateNormal,
    ScaleMixture,
    WidthCoupling,
)
from bitsback.guides.dropout import DroppedPoint
from bitsback.guides.hard_concrete import _LocalGate, _LocalPoint
from bitsback.guides.lazy_scales import LocalScaleLogNormal, LocalScaleNormal
from bitsback.guides.local_reparameterization import LocalNormal
from bitsback.guides.row_normal import LocalRowNormal
from pyro.distributions.torch_distribution import ExpandedDistribution, TorchDistributionMixin

V, M = torch.tensor([0.3, -1.2, 0.7]), torch.tensor([[0.2, -0.5, 0.4], [1.0, -0.1, 0.6]])
SIDES = torch.tensor([[0.3], [0.4], [0.3]]).log().neg().expand(3, 3)
MAGNITUDE = -torch.tensor([1.0, 0.5, 0.25, 0.125]).log()
ROW = (M, M.abs().log(), 0.3 * torch.ones(2, 3, 3))

SAMPLED = {
    "Gamma": lambda: Gamma(V.abs(), 1 + V.abs()),
    "InverseGamma": lambda: InverseGamma(V.abs(), 1 + V.abs()),
    "GateChain": lambda: GateChain(M, 1),
    "GaussianMixture": lambda: GaussianMixture(V, V.abs().log(), V.log_softmax(0), (2,)),
    "GaussianMixture, scalar": lambda: GaussianMixture(V, V.abs().log(), V.log_softmax(0)),
    "HardConcrete": lambda: HardConcrete(M),
    "HardConcrete, concrete": lambda: HardConcrete(M, "concrete"),
    "HardConcrete, straight-through": lambda: HardConcrete(M, "straight-through"),
    "KroneckerNormal": lambda: KroneckerNormal(M, M.abs()[None]),
    "Lattice": lambda: Lattice(torch.tensor(0.1), SIDES, MAGNITUDE),
    "Rounded": lambda: Rounded(10 * M, torch.tensor(0.1)),
    "RowMultivariateNormal": lambda: RowMultivariateNormal(*ROW),
    "ScaleMixture": lambda: ScaleMixture(0.5, 1.0, 0.1, (2, 3)),
    "LocalNormal": lambda: LocalNormal(M, M.abs().log(), lazy=False),
    "LocalScaleNormal": lambda: LocalScaleNormal(V, V.abs().log(), lazy=False),
    "LocalScaleLogNormal": lambda: LocalScaleLogNormal(V, V.abs().log(), lazy=False),
    "LocalRowNormal": lambda: LocalRowNormal(*ROW, lazy=False),
    "LocalGate": lambda: _LocalGate(M, "hard-concrete", lazy=False),
}
# Draws of these stay lazy, or there are none; a value of the support stands in for one.
UNSAMPLED = {
    "BopsPrice": (lambda: BopsPrice(torch.tensor(2.0)), torch.tensor(0.5)),
    "ChainPrior": (lambda: ChainPrior(V[0], V[:2], 1), torch.tensor([1.0, 0.0, 0.5])),
    "GatePrior": (lambda: GatePrior(M), torch.tensor([[1.0, 0.0, 0.5]] * 2)),
    "LogUniform": (lambda: LogUniform((2, 3)), M),
    "WidthCoupling": (lambda: WidthCoupling(V[0], (2, 4, 8)), torch.full((3, 3), 1 / 9)),
    "LocalNormal, lazy": (lambda: LocalNormal(M, M.abs().log()), M),
    "LocalScaleNormal, lazy": (lambda: LocalScaleNormal(V, V.abs().log()), V),
    "LocalScaleLogNormal, lazy": (lambda: LocalScaleLogNormal(V, V.abs().log()), V.abs()),
    "LocalRowNormal, lazy": (lambda: LocalRowNormal(*ROW), M),
    "LocalGate, lazy": (lambda: _LocalGate(M, "hard-concrete", lazy=True), M.abs().clamp(max=1)),
    "LocalPoint": (lambda: _LocalPoint(M, event_dim=2), M),
    "DroppedPoint": (lambda: DroppedPoint(M, 0.3), M),
}
ONE_BATCH = {"BopsPrice", "ChainPrior", "WidthCoupling"}  # of a whole network or tensor
ALL = SAMPLED | {name: make for name, (make, _) in UNSAMPLED.items()}


def value_of(name, d, sample_shape=()):
    torch.manual_seed(zlib.crc32(name.encode()))
    if name in SAMPLED:
        return d.sample(torch.Size(sample_shape))
    return UNSAMPLED[name][1].expand(torch.Size((*sample_shape, *d.batch_shape, *d.event_shape)))


def test_the_table_has_them_all():
    named = {name.partition(",")[0] for name in ALL}
    public = {
        name for name in bitsback.distributions.__all__
        if isinstance(getattr(bitsback.distributions, name), type)
    }  # fmt: skip
    assert public <= named


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("sample_shape", [(), (4,), (4, 2)])
def test_shapes(name, sample_shape):
    d = ALL[name]()
    value = value_of(name, d, sample_shape)
    assert value.shape == (*sample_shape, *d.batch_shape, *d.event_shape)
    assert d.shape(sample_shape) == value.shape
    assert d.log_prob(value).shape == (*sample_shape, *d.batch_shape)
    assert not torch.isnan(d.log_prob(value)).any()


@pytest.mark.parametrize("name", ALL)
def test_values_are_in_the_support(name):
    d = ALL[name]()
    inside = d.support.check(value_of(name, d, (4,)))
    assert inside.shape == (4, *d.batch_shape) and inside.all()
    assert d.support.event_dim == len(d.event_shape)


@pytest.mark.parametrize("name", sorted(set(ALL) - ONE_BATCH))
@pytest.mark.parametrize("new", [(), (2,), (3, 1, 2)])
def test_expand(name, new):
    d = ALL[name]()
    shape = torch.Size((*new, *d.batch_shape))
    e = d.expand(shape)
    assert type(e) in (type(d), ExpandedDistribution)
    assert e.batch_shape == shape and e.event_shape == d.event_shape
    value = value_of(name, e)
    assert value.shape == (*shape, *d.event_shape)
    torch.testing.assert_close(e.log_prob(value), d.log_prob(value).expand(shape))
    twice = e.expand((5, *shape))
    assert twice.batch_shape == (5, *shape) and type(twice) is type(e)
    assert d.expand_by((2,)).batch_shape == (2, *d.batch_shape)


@pytest.mark.parametrize("name", sorted(ONE_BATCH))
def test_what_is_of_one_network_says_so(name):
    d = ALL[name]()
    assert d.expand(d.batch_shape).batch_shape == d.batch_shape
    with pytest.raises(NotImplementedError, match="no batch"):
        d.expand((2,))


@pytest.mark.parametrize("name", ALL)
def test_events_and_masks(name):
    d = ALL[name]()
    for wrapped in (d.to_event(len(d.batch_shape)), d.mask(False), d.mask(True)):
        value = value_of(name, d, (3,))
        assert wrapped.log_prob(value).shape == (3, *wrapped.batch_shape)


@pytest.mark.parametrize("name", SAMPLED)
def test_moments_have_the_shape_of_a_draw_and_are_those_of_draws(name):
    d = SAMPLED[name]()
    try:
        mean, variance = d.mean, d.variance
    except NotImplementedError:
        return
    assert mean.shape == variance.shape == d.shape()
    if name != "InverseGamma":  # of heavy tails
        draws = d.sample(torch.Size((20_000,)))
        error = (draws.mean(0) - mean).abs()
        assert (error <= 5 * (variance / 20_000).sqrt() + 1e-6).all()


@pytest.mark.parametrize("name", ALL)
def test_methods_are_methods(name):
    """A field must not hide what every distribution has."""
    d = ALL[name]()
    for method in ("entropy", "log_prob", "sample", "rsample", "expand", "cdf", "icdf"):
        assert callable(getattr(d, method)), method
    assert isinstance(d, TorchDistributionMixin) and repr(d)


@pytest.mark.parametrize("name", ALL)
def test_copies(name):
    d = ALL[name]()
    value = value_of(name, d)
    for again in (copy.deepcopy(d), pickle.loads(pickle.dumps(d))):
        torch.testing.assert_close(again.log_prob(value), d.log_prob(value))


@pytest.mark.parametrize("name", sorted(n for n in ALL if ALL[n]().batch_shape))
def test_a_value_is_broadcast_against_the_batch(name):
    d = ALL[name]()
    one = value_of(name, d)[(0,) * len(d.batch_shape)]
    torch.testing.assert_close(d.log_prob(one), d.log_prob(one.expand(d.shape())))
