"""The best constant, the network given, and when a file or a posterior is said to be worse."""

import math

import pytest
import torch
from bitsback.compression.scores import Scores, scores, spread_of
from bitsback.compression.verdict import constant_scores, given_scores, start_scores, verdict
from torch import nn
from torch.nn.utils import prune

Y = torch.tensor([0, 0, 0, 1, 2, 0])
MARGINS = (0.01, 1.0)


class Constant(nn.Module):
    """Outputs that do not look at the inputs."""

    def __init__(self, output: torch.Tensor):
        super().__init__()
        self.output = nn.Parameter(output)

    def forward(self, x):
        return self.output.expand(len(x), *self.output.shape)


LABELS = {
    "classes": ("categorical", Y, (3,)),
    "sequences": ("categorical", torch.randint(0, 3, (40, 2)), (2, 3)),
    "bits": ("bernoulli", (torch.rand(40, 4) < torch.tensor([0.1, 0.4, 0.7, 0.9])).float(), (4,)),
    "values": ("normal", 3 * torch.randn(40, 2) + torch.tensor([5.0, -1.0]), (2,)),
}


@pytest.mark.parametrize("kind", LABELS)
def test_the_constant_is_what_descent_finds(kind):
    likelihood, y, shape = LABELS[kind]
    net = Constant(torch.zeros(shape, dtype=torch.float64))
    x = torch.zeros(len(y), 1)
    optimizer = torch.optim.LBFGS(net.parameters(), max_iter=500, tolerance_grad=1e-10)

    def loss():
        optimizer.zero_grad()
        with torch.enable_grad():
            from bitsback.compression.scores import score

            value = score(net(x), y, likelihood, spread_of(y, likelihood))[0].mean()
            value.backward()
        return value

    for _ in range(5):
        optimizer.step(loss)
    found = scores(net, x, y, likelihood)
    nll, error = constant_scores(y, likelihood)
    assert nll == pytest.approx(found.nll.mean().item(), rel=1e-4)
    assert error == pytest.approx(found.error.mean().item(), rel=1e-4)


def test_constants_by_hand():
    nll = -(4 * math.log(4 / 6) + 2 * math.log(1 / 6)) / 6
    assert constant_scores(Y, "categorical") == (pytest.approx(nll), pytest.approx(100 / 3))
    assert constant_scores(torch.ones(5, 2), "bernoulli") == (0.0, 0.0)
    flat = torch.full((5, 2), 3.0)
    assert constant_scores(flat, "normal") == (pytest.approx(math.log(2 * math.pi)), 0.0)


def test_the_network_given_is_scored_in_eval_mode_and_left_alone():
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3)).train()
    x = torch.randn(6, 3)
    one, two = (given_scores(net, x, Y, "categorical") for _ in range(2))
    assert one.nll.equal(two.nll) and net.training and net[0].training
    with torch.no_grad():
        net[1].bias[0] = math.nan
    assert given_scores(net, x, Y, "categorical") is None


def test_a_network_pruned_by_torch_is_scored_as_it_is():
    """Its weight is computed by a hook, which `copy.deepcopy` does not take."""
    net, x = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), torch.randn(6, 3)
    prune.random_unstructured(net[0], "weight", 0.5)
    expected = scores(net.eval(), x, Y, "categorical")
    net(x)  # with a gradient
    assert given_scores(net, x, Y, "categorical").nll.equal(expected.nll)
    assert start_scores(net, x, Y, "categorical", x).nll.mean() <= expected.nll.mean()


def test_statistics_of_the_training_since_are_not_held_against_the_network_given():
    torch.manual_seed(0)
    net, x = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 3)), torch.randn(300, 3)
    for _ in range(60):
        net(x)
    y = net.eval()(x).argmax(1)
    before = given_scores(net, x, y, "categorical")
    assert start_scores(net, x, y, "categorical", 5 * x).nll.equal(before.nll)  # if it is lower
    net[1].running_mean.add_(5.0)
    worse, state = given_scores(net, x, y, "categorical"), net[1].running_mean.clone()
    found = start_scores(net, x, y, "categorical", x)
    assert found.nll.mean() < worse.nll.mean() - 0.1
    assert found.nll.mean() == pytest.approx(before.nll.mean().item(), rel=0.01)
    assert net[1].running_mean.equal(state)
    net[1].running_var.fill_(-1.0)
    again = start_scores(net, x, y, "categorical", x)
    assert again.nll.mean() == pytest.approx(before.nll.mean().item(), rel=0.01)
    net[0].weight.data.fill_(math.nan)
    assert start_scores(net, x, y, "categorical", x) is None


def made(nll, error=(0.0,)) -> Scores:
    count = 100
    values = [torch.tensor(v, dtype=torch.float64).repeat(count // len(v)) for v in (nll, error)]
    return Scores(*values)


LABELS_OF_100 = torch.arange(100) % 2  # the best constant: log 2 nats, 50 %
HALF, GOOD = math.log(2), made((0.1,))


def judged(file: Scores, means: Scores, given: Scores | None) -> dict:
    return verdict(file, means, given, LABELS_OF_100, "categorical", MARGINS)


def test_a_good_file_has_no_warnings():
    found = judged(made((0.12,), (0, 2)), made((0.11,)), GOOD)
    assert found["beats_constant"] and found["warnings"] == []
    assert found["constant"] == {"nll": pytest.approx(HALF), "error": 50.0}
    assert found["posterior_rise"]["nll"] == pytest.approx(0.01)
    assert found["rise_over_given"]["nll"] == pytest.approx(0.02)
    assert found["rise_over_given"]["error"] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("means", "worse"),
    [
        (made((0.12,)), True),  # beyond the margin, for sure
        (made((0.109,)), False),  # within it, for sure
        (made((0.0, 0.24)), False),  # beyond it by chance: 0.02 +- 0.012
        (made((0.0, 0.26)), True),  # 0.03 +- 0.013
        (made((0.1,), (0.0, 0.0, 0.0, 0.0, 100.0)), True),
        (made((0.1,), (0.9,)), False),
        (made((0.05,), (0.0, 4.0)), True),  # 2 +- 0.2 points: in error alone
    ],
)
def test_a_posterior_that_is_clearly_worse_is_warned_of(means, worse):
    found = judged(means, means, GOOD)
    assert len(found["warnings"]) == worse
    if worse:
        assert "posterior means are worse than the network given" in found["warnings"][0]


@pytest.mark.parametrize(
    ("file", "given", "beats"),
    [
        (made((HALF + 0.01,)), GOOD, False),
        (made((HALF,)), GOOD, False),  # what constant outputs give at best
        (made((HALF - 0.01,)), GOOD, True),
        (made((0.2,), (0.0, 100.0)), GOOD, False),  # by error alone
        (made((0.2,), (0.0, 98.0)), GOOD, True),
        (made((0.9,)), made((0.8,)), True),  # neither was the network given
        (made((0.9,), (60.0,)), made((0.8,), (10.0,)), False),
        (made((0.9,)), None, False),
    ],
)
def test_a_file_must_beat_a_constant_where_the_network_given_does(file, given, beats):
    found = judged(file, file, given)
    assert found["beats_constant"] == beats
    assert any("no better than a constant" in line for line in found["warnings"]) != beats


def test_without_a_network_given_nothing_is_said_of_it():
    found = judged(GOOD, GOOD, None)
    assert found["posterior_rise"] is found["rise_over_given"] is None
    assert found["beats_constant"] and not found["warnings"]
