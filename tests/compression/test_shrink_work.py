"""Integers at a price, judged or not, and their files."""

import pytest
import torch
from bitsback.compression.judge import Judge
from bitsback.compression.rounding import with_weights
from bitsback.compression.shrink_work import FIRST_LOSS, Work
from bitsback.graph import trace
from torch import nn


def work(judged=True, steps=1):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 30), nn.ReLU(), nn.Linear(30, 4)).eval().requires_grad_(False)
    x = torch.randn(80, steps, 6)
    judge = Judge(net, x, None, "categorical", 5.0) if judged else None
    return Work(trace(net, x[:2]), x, "categorical", -1, 0, None, judge)


def test_a_finished_trial_is_what_was_judged():
    found = work()
    trial = found.judged(found.trial(1e-4))
    data, network, rise = found.finish(trial, None)
    assert rise.error == pytest.approx(trial.rise.error, abs=1.3)  # one prediction, by rounding
    small, x = with_weights(found.net, trial.codes), found.x
    assert torch.allclose(network(x), small(x), atol=1e-4)
    assert len(data) <= len(found.encoded(small, trial.codes)[0])


def test_dead_units_stay_if_the_network_would_fit_no_more(monkeypatch):
    found = work()
    trial = found.judged(found.trial(1e-3))
    whole = len(found.finish(trial, None)[0])
    monkeypatch.setattr(Judge, "fits", lambda self, rise: False)
    assert len(found.finish(trial, None)[0]) >= whole


def test_the_first_price_is_for_all_predictions_of_an_example():
    count = 6 * 30 + 30 * 4
    assert work(judged=False).first_rate() == pytest.approx(2 * 0.693147 * FIRST_LOSS / count)
    assert work(steps=5).first_rate() == pytest.approx(5 * work().first_rate())
