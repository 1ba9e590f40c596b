"""Factorised points: ranks, starts, what is trained, and who stays full."""

import pyro
import pytest
import torch
from bitsback.guides import ELBO, LowRank, PointMass, RandomProjection
from bitsback.models import Gaussian
from pyro.infer import SVI
from torch import nn

X, Y = torch.randn(12, 1, 6, 6), torch.arange(12) % 3
KINDS = {
    "low-rank": lambda model: LowRank(model, 1.0, ranks={"0.weight": 3, "3.weight": 4}),
    "random-projection": lambda model: RandomProjection(model, rank=4),
}


def make(kind, net=None):
    net = net or nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(128, 10), nn.ReLU(), nn.Linear(10, 3)
    )
    model = Gaussian(net, 12)
    return model, kind(model)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_products_are_the_points(kind):
    _, guide = make(kind)
    posterior = guide.posterior()
    assert set(posterior.rewrites) == {"0.weight", "3.weight"}
    for name, factors in posterior.rewrites.items():
        weight = posterior.weights[name]
        assert (factors.left @ factors.right).reshape(weight.loc.shape).equal(weight.loc)
        assert torch.linalg.matrix_rank(weight.loc.flatten(1)) == factors.left.shape[1]
        assert not weight.stddev.any() and weight.log_alpha is None
        assert guide.median()[name].equal(weight.loc)


def test_low_rank_starts_at_the_nearest_of_its_rank():
    model, guide = make(KINDS["low-rank"])
    for name, rank in (("0.weight", 3), ("3.weight", 4)):
        start = model.initial_weights()[name].flatten(1)
        rest = (start - guide.median()[name].flatten(1)).square().sum()
        expected = torch.linalg.svdvals(start)[rank:].square().sum()
        torch.testing.assert_close(rest, expected)


@pytest.mark.parametrize("energy", [0.5, 0.9])
def test_the_rank_is_the_smallest_that_holds_the_energy(energy):
    model, guide = make(lambda model: LowRank(model, energy=energy))
    for name, factors in guide.posterior().rewrites.items():
        squares = torch.linalg.svdvals(model.initial_weights()[name].flatten(1)).square()
        rank = factors.left.shape[1]
        assert squares[:rank].sum() >= energy * squares.sum() > squares[: rank - 1].sum()


def test_a_layer_that_would_not_shrink_stays_full():
    """8 x 9 with rank 4: 4 (8 + 9) < 72 <= 5 (8 + 9)."""
    for rank, shrinks in ((4, True), (5, False)):
        model, guide = make(lambda m, rank=rank: LowRank(m, ranks={"0.weight": rank}))
        assert ("0.weight" in guide.posterior().rewrites) == shrinks
    full = guide.median()["0.weight"]
    assert full.equal(model.initial_weights()["0.weight"])


def test_who_stays_full():
    shared = nn.Linear(20, 20)
    grouped = nn.Conv1d(20, 20, 5, groups=2, padding=2)
    net = nn.Sequential(nn.Linear(30, 20), shared, shared, nn.Unflatten(1, (20, 1)), grouped)
    _, guide = make(lambda model: RandomProjection(model, rank=2), net)
    assert set(guide.posterior().rewrites) == {"0.weight"}
    model = Gaussian(nn.Linear(30, 20), 4, latent=["weight", "bias"])
    assert set(RandomProjection(model, rank=2).posterior().rewrites) == {"weight"}


def train(model, guide):
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 1e-2}), ELBO())
    for _ in range(3):
        svi.step(X, Y)


def test_random_signs_are_fixed_and_reproducible():
    model, guide = make(KINDS["random-projection"])
    _, again = make(KINDS["random-projection"])
    _, other = make(lambda model: RandomProjection(model, rank=4, seed=1))
    before = guide.posterior().rewrites
    train(model, guide)
    for name, factors in guide.posterior().rewrites.items():
        assert factors.right.equal(before[name].right)
        assert factors.right.equal(again.posterior().rewrites[name].right)
        assert not factors.right.equal(other.posterior().rewrites[name].right)
        assert not factors.left.equal(before[name].left)
        assert factors.right.abs().unique().tolist() == [0.5]  # 1 / sqrt(4)
        assert factors.grid.codebook[factors.grid.codes].equal(factors.right)


def test_low_rank_trains_both_factors():
    model, guide = make(KINDS["low-rank"])
    before = guide.posterior().rewrites
    train(model, guide)
    for name, factors in guide.posterior().rewrites.items():
        assert not factors.left.equal(before[name].left)
        assert not factors.right.equal(before[name].right)


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_the_kl_is_that_of_the_products(kind):
    model, guide = make(kind)
    kl = ELBO().terms(model, guide, X, Y).total_kl
    point = PointMass(model)
    point.start_from(guide.posterior())
    torch.testing.assert_close(kl, ELBO().terms(model, point, X, Y).total_kl)


def test_bad_options():
    for options, message in (
        ({"energy": 0.0}, r"must be within \(0, 1\]"),
        ({"ranks": {"9.weight": 1}}, "'9.weight' is no weight with a prior; they are: 0.weight"),
        ({"ranks": {"0.weight": 0}}, "the rank of '0.weight' must be at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            make(lambda model, options=options: LowRank(model, **options))
    with pytest.raises(ValueError, match="rank must be at least 1"):
        make(lambda model: RandomProjection(model, rank=0))
    _, guide = make(KINDS["low-rank"])
    with pytest.raises(ValueError, match="LowRank cannot start from"):
        guide.start_from(guide.posterior())


def test_ranks_of_random_projections_follow_from_the_layer():
    net = nn.Sequential(nn.Linear(64, 100), nn.ReLU(), nn.Linear(100, 10))
    rewrites = RandomProjection(Gaussian(net, 6)).posterior().rewrites
    assert rewrites.keys() == {"0.weight"}  # 0.9 x 100 x 10 / 110 is 8: the outputs' stays full
    assert rewrites["0.weight"].left.shape == (100, 35)
