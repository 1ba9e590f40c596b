"""Normals with Kronecker eigenvectors against the full covariance matrix."""

import pytest
import torch
from bitsback.distributions.kronecker_normal import KroneckerNormal
from torch.distributions import Independent, MultivariateNormal, Normal, kl_divergence

F64 = torch.float64
SHAPES = {
    "matrix": ((3, 4), 1, False),
    "kernel": ((3, 2, 2), 1, False),
    "groups": ((4, 2, 2), 2, False),
    "transposed": ((4, 3), 1, True),
    "transposed groups": ((4, 2, 1, 2), 2, True),
}


def orthogonal(groups: int, size: int) -> torch.Tensor:
    return torch.linalg.qr(torch.randn(groups, size, size, dtype=F64)).Q.contiguous()


def matrix_of(value: torch.Tensor, groups: int, transposed: bool) -> torch.Tensor:
    """(groups, units, columns), written out again."""
    parts = []
    for block in value.chunk(groups):
        rows = block.transpose(0, 1) if transposed else block
        parts.append(rows.reshape(len(rows), -1))
    return torch.stack(parts)


def case(kind: str, left: bool = True, right: bool = True):
    """q, and the same as a normal over the flattened tensor."""
    shape, groups, transposed = SHAPES[kind]
    loc = torch.randn(shape, dtype=F64)
    places = matrix_of(torch.arange(loc.numel()).reshape(shape), groups, transposed)
    precision = torch.rand(places.shape, dtype=F64) + 0.5
    one = orthogonal(groups, places.shape[1]) if left else None
    two = orthogonal(groups, places.shape[2]) if right else None
    q = KroneckerNormal(loc, precision, one, two, transposed)
    full = torch.zeros(loc.numel(), loc.numel(), dtype=F64)
    for g, place in enumerate(places):
        a = one[g] if left else torch.eye(places.shape[1], dtype=F64)
        b = two[g] if right else torch.eye(places.shape[2], dtype=F64)
        basis = torch.kron(a, b)
        at = place.flatten()
        full[at[:, None], at] = basis @ precision[g].flatten().diag() @ basis.T
    return q, MultivariateNormal(loc.flatten(), precision_matrix=full)


@pytest.mark.parametrize("kind", SHAPES)
def test_density_and_moments_are_those_of_the_full_normal(kind):
    q, full = case(kind)
    value = torch.randn(2, 5, *q.event_shape, dtype=F64)
    torch.testing.assert_close(q.log_prob(value), full.log_prob(value.flatten(2)))
    torch.testing.assert_close(q.log_prob(value[0, 0]), full.log_prob(value[0, 0].flatten()))
    torch.testing.assert_close(q.variance.flatten(), full.variance)
    torch.testing.assert_close(q.entropy(), full.entropy())
    assert torch.equal(q.mean, q.loc) and q.event_shape == q.loc.shape


@pytest.mark.parametrize("kind", SHAPES)
def test_draws_have_the_covariance(kind, monkeypatch):
    """The factor that makes draws of noise, squared, is the covariance."""
    q, full = case(kind)
    noise = torch.eye(q.loc.numel(), dtype=F64).reshape(-1, *q.precision.shape)
    monkeypatch.setattr(torch, "randn", lambda *args, **kwargs: noise)
    columns = (q.rsample((len(noise),)) - q.loc).flatten(1)
    torch.testing.assert_close(columns.T @ columns, full.covariance_matrix)


@pytest.mark.parametrize("left, right", [(False, True), (True, False), (False, False)])
def test_identities_may_be_left_out(left, right):
    q, full = case("kernel", left, right)
    value = torch.randn(3, *q.event_shape, dtype=F64)
    torch.testing.assert_close(q.log_prob(value), full.log_prob(value.flatten(1)))
    torch.testing.assert_close(q.variance.flatten(), full.variance)
    assert q.rsample().shape == q.event_shape and q.rsample((2, 3)).shape == (2, 3, 3, 2, 2)


@pytest.mark.parametrize("kind", SHAPES)
def test_kl_is_that_of_the_full_normal(kind):
    q, full = case(kind)
    loc, scale = torch.randn(q.event_shape, dtype=F64), torch.rand(q.event_shape, dtype=F64) + 0.5
    prior = Normal(loc, scale)
    dense = MultivariateNormal(loc.flatten(), scale.flatten().square().diag())
    found = kl_divergence(q, Independent(prior, loc.dim()))
    torch.testing.assert_close(found, kl_divergence(full, dense))


def test_no_kl_to_another_shape():
    q, _ = case("matrix")
    with pytest.raises(NotImplementedError):
        kl_divergence(q, Independent(Normal(torch.zeros(5, 3, 4), 1.0), 2))
