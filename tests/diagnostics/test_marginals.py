"""Scales made of their factors, intervals, and ranks against draws whose law is known."""

import bitsback
import pytest
import torch
from bitsback.diagnostics import Draws, distance_to_uniform, draw, intervals, ranks, scales
from torch import nn


def of(**values) -> Draws:
    count = len(next(iter(values.values())))
    return Draws(values, torch.zeros(count, 1), None, None)


def test_scales_of_the_horseshoe_are_those_of_the_weights():
    """w = z s base."""
    model = bitsback.models.Horseshoe(nn.Linear(3, 2), 5, tau0=0.1)
    guide = bitsback.guides.Horseshoe(model)
    draws = draw(model, guide, torch.randn(5, 3), torch.tensor([0, 1, 0, 1, 1]), 7)
    found = scales(draws)
    assert found.keys() == {"weight.global", "weight.local"}
    scale = found["weight.global"] * found["weight.local"]  # (7, 1) (7, 3)
    torch.testing.assert_close(scale[:, None] * draws.values["weight.base"], draws.values["weight"])


def test_scales_by_name_and_none():
    values = {"a.scale": torch.ones(4, 2), "a.gate": torch.zeros(4, 2), "a.base": torch.ones(4)}
    assert scales(of(**values)).keys() == {"a.scale", "a.gate"}


def test_intervals_are_quantiles():
    values = torch.arange(101.0)[:, None, None] * torch.tensor([[1.0, 2.0]])
    expected = torch.tensor([[3.0, 6.0], [50.0, 100.0], [97.0, 194.0]]).double()
    torch.testing.assert_close(intervals(values), expected)
    torch.testing.assert_close(intervals(values, 0.5)[0], torch.tensor([25.0, 50.0]).double())


def test_ranks_by_hand():
    found = ranks(of(w=torch.tensor([[0.0], [2.5], [9.0]])), of(w=torch.tensor([[1.0], [2], [3]])))
    assert found["w"][:, 0].tolist() == pytest.approx([0, 2 / 3, 1])


@pytest.mark.parametrize(("stddev", "uniform"), [(1.0, True), (0.5, False), (2.0, False)])
def test_ranks_tell_a_wrong_width(stddev, uniform):
    torch.manual_seed(0)
    reference = of(w=torch.randn(20_000, 2, 3))
    found = ranks(of(w=stddev * torch.randn(500, 2, 3), other=torch.zeros(500)), reference)
    assert found.keys() == {"w"} and found["w"].shape == (500, 2, 3)
    distance, limit = distance_to_uniform(found["w"])
    assert (distance < limit) == uniform
    inner = ((found["w"] > 0.25) & (found["w"] < 0.75)).double().mean()
    assert inner == pytest.approx({1.0: 0.5, 0.5: 0.82, 2.0: 0.26}[stddev], abs=0.04)
