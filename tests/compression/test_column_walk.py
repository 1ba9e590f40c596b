"""The compiled loops against the loops over columns."""

import pytest
import torch
from bitsback.compression import rate_distortion
from bitsback.compression.column_walk import chosen
from bitsback.compression.price_of_integers import Prices
from bitsback.compression.rate_distortion import descend, feedback

pytest.importorskip("numba")
STEP = 0.5


def problem(rows, columns, groups):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(groups, 300, columns, generator=generator, dtype=torch.float64)
    x = x + 2 * x[:, :, :1]
    weight = torch.randn(groups, rows, columns, generator=generator, dtype=torch.float64)
    zero, other = torch.rand(2, groups * rows, columns, generator=generator, dtype=torch.float64)
    magnitude = torch.cat([torch.zeros(1), 1 + torch.arange(16.0)]).double()
    return weight, x.mT @ x / 300, Prices(zero, 1 + other, magnitude)


@pytest.mark.parametrize("rate", [0.0, 0.1])
@pytest.mark.parametrize("shape", [(7, 130, 1), (5, 20, 3), (1, 64, 1)])
def test_both_choose_the_same_integers(rate, shape, monkeypatch):
    weight, second, prices = problem(*shape)
    rows, _, groups = shape
    importance = torch.linspace(0.5, 2, rows * groups).double().view(groups, rows)
    found = {}
    for least in (0, 10**9):
        monkeypatch.setattr(rate_distortion, "COMPILED_FROM", least)
        first = feedback(weight, second, importance, STEP, rate, prices)
        found[least] = first, descend(first, weight, second, importance, STEP, rate, prices)
    for one, other in zip(*found.values(), strict=True):
        assert torch.equal(one, other)
    assert found[0][1].count_nonzero()


def test_a_choice_is_the_best_of_its_neighbours():
    magnitude = torch.tensor([0.0, 1, 3, 4]).numpy()
    for place in (-7.6, -1.4, -0.2, 0.0, 0.4, 0.9, 2.5, 5.2):

        def cost(n, place=place):
            size = abs(n)
            bits = magnitude[min(size, 3)] + max(size - 3, 0) * (magnitude[3] - magnitude[2])
            return 0.7 * (n - place) ** 2 + 0.3 * (1.5 + bits if n else 0.2)

        found = chosen(place, 0.7, 0.2, 1.5, magnitude, 0.3)
        assert cost(found) == pytest.approx(min(cost(n) for n in range(-9, 10)))
