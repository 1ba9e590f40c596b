"""What candidates are held against: margins, parts of the validation data, BatchNorm statistics."""

import math

import pytest
import torch
from bitsback.compression import scores as scores_module
from bitsback.compression.reference import reference_of
from bitsback.compression.scores import Rise, rise, scores
from bitsback.compression.search import MOST
from bitsback.posterior import Posterior, WeightPosterior
from torch import nn


def trial_of(
    net, x, y, margin_nll=0.003, margin_error=0.2, training=None, likelihood="categorical"
):
    weights = {
        name: WeightPosterior(p.detach().clone(), torch.full_like(p, 0.01), torch.ones(()))
        for name, p in net.named_parameters()
        if name.endswith("weight") and p.dim() > 1
    }
    given = Posterior(weights)
    return reference_of(net, given, x, y, likelihood, margin_nll, margin_error, training)


def linear(count: int):
    torch.manual_seed(0)
    x, net = torch.randn(count, 4), nn.Linear(4, 3)
    return net, x, net(x).argmax(1)


@pytest.mark.parametrize(
    ("count", "margin", "allowed"),
    [(300, 0.2, 1 / 3), (300, 0.5, 0.5), (1000, 0.2, 0.2), (50, 0, 0)],
)
def test_a_margin_in_error_is_at_least_one_wrong_label(count, margin, allowed):
    trial = trial_of(*linear(count), margin_error=margin)
    assert trial.allowed_error == pytest.approx(allowed)
    assert trial.fits(Rise(0.0, 0.0, allowed, 0.0))
    assert not trial.fits(Rise(0.0, 0.0, allowed + 0.01, 5.0))


@pytest.mark.parametrize(
    ("margin", "stderr", "allowed"),
    [(0.003, 0.001, 0.003), (0.003, 0.007, 0.007), (0.003, 0.9, MOST * 0.003), (0.0, 0.9, 0.0)],
)
def test_a_margin_in_nll_is_at_least_a_standard_error_within_limits(margin, stderr, allowed):
    trial = trial_of(*linear(50), margin_nll=margin)
    at, above = (Rise(allowed + more, stderr, 0.0, 0.0) for more in (0.0, 1e-4))
    assert trial.allowed_nll(at) == allowed
    assert trial.fits(at) and not trial.fits(above)
    assert trial.fits(above, times=1.0, share=0.01) and (allowed == 0) == trial.fits(at, times=0.5)


def test_margins_of_real_labels_do_not_depend_on_their_unit():
    """Both networks, and a rise of the same share of the variance, in units 100 apart."""
    net, x, _ = linear(200)
    fits = []
    for unit in (1.0, 100.0):
        scaled = nn.Linear(4, 3)
        scaled.load_state_dict({name: unit * value for name, value in net.state_dict().items()})
        y = scaled(x).detach() + unit * 0.1
        trial = trial_of(scaled, x, y, margin_nll=0.5, margin_error=0.0, likelihood="normal")
        nll = 0.5 * trial.spread
        fits.append([trial.fits(Rise(share * nll, 0.0, 0.0, 0.0)) for share in (0.99, 1.01)])
        assert trial.spread == pytest.approx(
            unit**2 * float(net(x).detach().var(0).mean()), rel=0.02
        )
    assert fits == [[True, False]] * 2


def test_one_example_allows_nothing_for_its_standard_error():
    trial = trial_of(*linear(1), margin_error=200.0)
    assert not trial.fits(Rise(0.1, math.inf, 0.0, math.inf))


@pytest.mark.parametrize("count", [1024, 1025, 2500])
def test_the_rise_is_over_all_examples_unless_the_first_leave_no_doubt(count):
    """Whatever the number: the first part of the examples is held against the same part."""
    net, x, y = linear(count)
    trial = trial_of(net, x, y)
    near, far = nn.Linear(4, 3), nn.Linear(4, 3)
    near.load_state_dict({k: v + 1e-3 for k, v in net.state_dict().items()})
    whole = rise(scores(near, x, y), scores(net, x, y))
    assert trial.rise(near).nll == pytest.approx(whole.nll, rel=1e-9)
    far.load_state_dict({k: -v for k, v in net.state_dict().items()})
    first = len(scores_module.chunks(x)[0])
    part = rise(scores(far, x[:first], y[:first]), scores(net, x[:first], y[:first]))
    assert trial.rise(far).nll == pytest.approx(part.nll, rel=1e-9)
    assert (first < count) == (count > 1024)


def test_what_the_first_examples_miss_by_little_is_looked_at_in_full():
    """Five standard errors beyond the margin: the first half is harmed, the second is not."""
    torch.manual_seed(0)
    x = torch.randn(2048, 4)
    x[:1024, 0], x[1024:, 0] = 1.0, 0.0
    net = nn.Linear(4, 3)
    y = net(x).argmax(1)
    trial = trial_of(net, x, y, margin_nll=0.05, margin_error=100.0)
    other = nn.Linear(4, 3)
    other.load_state_dict(net.state_dict())
    with torch.no_grad():
        other.weight[:, 0] += torch.tensor([0.0, 0.15, -0.15])
    whole = rise(scores(other, x, y), scores(net, x, y))
    first = rise(scores(other, x[:1024], y[:1024]), scores(net, x[:1024], y[:1024]))
    assert first.nll != pytest.approx(whole.nll)
    assert trial.rise(other).nll == pytest.approx(whole.nll, rel=1e-9)


def normed():
    """A network with BatchNorm that knows its labels, and inputs."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, 3))
    x = torch.randn(400, 4)
    net(x)
    for _ in range(100):
        net(x)
    net.eval()
    net[3].weight.data.mul_(10)
    return net, x, net(x).argmax(1)


def test_statistics_of_other_weights_are_re_estimated():
    net, x, y = normed()
    right = net[1].running_mean.clone()
    net[1].running_mean += 3.0
    trial = trial_of(net, x, y, training=x)
    assert trial.recalibrates and trial.batch_norm.nll < 0
    torch.testing.assert_close(trial.net[1].running_mean, right, atol=1e-3, rtol=0)
    assert trial.reference.nll.equal(scores(trial.net, x, y).nll)
    trial.rise(net.eval())
    torch.testing.assert_close(net[1].running_mean, right, atol=1e-3, rtol=0)


def test_statistics_that_the_weights_were_trained_with_are_kept():
    """The weights behind the layer were fitted to statistics that no data have."""
    net, x, y = normed()
    net[1].running_mean += 3.0
    y = net(x).argmax(1)
    before = net[1].running_mean.clone()
    trial = trial_of(net, x, y, training=x)
    assert not trial.recalibrates and trial.batch_norm.nll > 0
    assert trial.net[1].running_mean.equal(before)
    assert trial.reference.nll.equal(scores(net, x, y).nll)
    trial.rise(net)
    assert net[1].running_mean.equal(before)
    kept = trial.prune(0.0, {name: torch.ones(p.shape, dtype=torch.bool) for name, p in
                             net.named_parameters() if p.dim() > 1})  # fmt: skip
    assert kept.rise.nll == pytest.approx(0.0, abs=1e-6)


def test_statistics_that_are_worse_by_less_than_the_margins_do_not_hold_candidates_back():
    net, x, y = normed()
    trial = trial_of(net, x, y, margin_nll=5.0, margin_error=100.0, training=2 * x + 1)
    assert trial.recalibrates and trial.batch_norm.nll > 0
    assert trial.reference.nll.equal(scores(net, x, y).nll)


def test_statistics_that_give_nan_are_re_estimated():
    net, x, y = normed()
    net[1].running_var.fill_(-1.0)
    trial = trial_of(net, x, y, training=x)
    assert trial.recalibrates and trial.reference.nll.isfinite().all()
    with pytest.raises(ValueError, match="NaN or infinity on validation"):
        trial_of(net, x, y)


def test_without_batch_norm_or_inputs_there_is_nothing_to_choose():
    net, x, y = linear(50)
    assert trial_of(net, x, y, training=x).batch_norm is None
    assert trial_of(*normed()).batch_norm is None
