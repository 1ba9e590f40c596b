"""After training: the integers of a sweep, and steps and biases that fit them better."""

import io

import pytest
import torch
from bitsback.methods.polish import _moved, polish
from bitsback.training import Options, fit
from bitsback.training.augment import shifted
from rich.console import Console
from torch.nn.functional import cross_entropy

from ..training.nets import data, pair, same, state

QUIET = Console(file=io.StringIO())


@pytest.fixture
def run():
    """A function: polishes a fresh pair; the pair, and the epochs."""

    def polished(epochs: int = 200):
        model, guide = pair(method="rate")
        options = Options(epochs, 10, 0.01)
        return model, guide, polish(model, guide, data(), data(), options, QUIET, "train", 9)

    return polished


def test_steps_and_biases_at_the_integers_of_the_sweep(run, monkeypatch):
    monkeypatch.setattr("bitsback.methods.polish.ROUNDS", {9: 1})
    model, guide, history = run()
    other, swept = pair(method="rate")
    assert swept.descend(*data()) > 0
    assert [epoch.number for epoch in history] == list(range(1, 11))  # a twentieth
    assert history[0].lr < 1e-3 and history[-1].lr < 1e-4
    for name, level in swept.levels().items():
        assert guide.levels()[name].equal(level * model.mask(name))  # units that died meanwhile
        assert not model.step(name).equal(other.step(name))
    x, y = data()
    with torch.no_grad():
        before, after = (
            cross_entropy(m.output(x, g.median()), y) for m, g in ((other, swept), (model, guide))
        )
    assert after < before


def test_a_second_sweep_finds_more_at_the_steps_of_the_first_round(run, monkeypatch):
    """As by hand: the pair of one round, swept again and tuned again, on images moved elsewhere."""
    monkeypatch.setattr("bitsback.methods.polish.ROUNDS", {9: 1})
    model, guide, _ = run()
    assert guide.descend(*data()) > 0
    guide.hold()
    short = Options(10, 10, 1e-3, lr_schedule="linear", step="eager")
    fit(model, guide, data(), validation=data(), options=short, console=QUIET)
    guide.release()
    monkeypatch.setattr("bitsback.methods.polish.ROUNDS", {9: 2})
    assert same(state(model, guide), state(*run()[:2]))


def test_each_round_sweeps_over_images_moved_elsewhere():
    """As they are where training did not move them."""
    images = torch.arange(50.0).view(2, 1, 5, 5)
    one, two = (_moved(images, Options(1, 1, 0.1, shift=1, seed=3), n) for n in (0, 1))
    assert one.equal(shifted(images, 1, 3)) and two.equal(shifted(images, 1, 4))
    assert not one.equal(two)
    assert _moved(images, Options(1, 1, 0.1), 1) is images


def test_the_same_twice(run):
    assert same(state(*run()[:2]), state(*run()[:2]))


def test_at_least_one_epoch(run):
    assert len(run(epochs=3)[2]) == 1


def test_with_little_effort_there_is_none():
    model, guide = pair(method="rate")
    before = state(model, guide)
    assert polish(model, guide, data(), data(), Options(9, 10, 0.1), QUIET, "train", 4) == []
    assert same(state(model, guide), before)
