"""The judge, against errors and standard errors counted by hand."""

import math

import numpy as np
import pytest
import torch
from bitsback.compression.judge import Judge, likelihood_of, predictions, split_off
from torch import nn


class Table(nn.Module):
    """A network whose inputs are the numbers of its answers."""

    def __init__(self, answers) -> None:
        super().__init__()
        self.answers = torch.as_tensor(answers, dtype=torch.float32)

    def forward(self, x):
        return self.answers[x]


X = torch.arange(5)


def logits(*classes):
    return Table(3.0 * torch.eye(3)[list(classes)])


def test_the_rise_is_in_wrong_labels_where_there_are_labels():
    judge = Judge(logits(0, 1, 2, 0, 1), X, torch.tensor([0, 1, 2, 0, 0]), "categorical", 20.0)
    found = judge.rise(logits(0, 1, 0, 1, 0))  # two lost, one gained
    difference = np.array([0, 0, 100, 100, -100])
    assert found.error == pytest.approx(20)
    assert found.error_stderr == pytest.approx(difference.std(ddof=1) / math.sqrt(5))
    report = judge.report(found)
    assert report["judged_by"] == "error against the labels"
    assert report["error_before"] == pytest.approx(20)
    assert (report["examples"], report["within_max_drop"]) == (5, True)


def test_the_rise_to_expect():
    """Where labels are: one of five that changes from p = a to p = b raises by (a - b) / 5."""
    answers = [0, 1, 2, 0, 1]
    judge = Judge(logits(*answers), X, torch.tensor([0, 1, 2, 0, 0]), "categorical", 20.0)
    found = judge.rise(logits(0, 1, 0, 0, 1))
    p = torch.tensor([3.0 / judge.expected.temperature, 0, 0]).softmax(0)
    assert found.expected == pytest.approx(20 * float(p[0] - p[1]), rel=1e-5)
    glance = judge.glance(logits(0, 1, 0, 0, 1))
    assert glance.expected == pytest.approx(found.expected)
    assert Judge(logits(*answers), X, None, "categorical", 20.0).expected is None


def test_without_labels_it_is_disagreement():
    judge = Judge(logits(0, 1, 2, 0, 1), X, None, "categorical", 30.0)
    found = judge.rise(logits(0, 1, 0, 1, 1))
    assert found.error == pytest.approx(40)
    assert not judge.fits(found)
    report = judge.report(found)
    assert report["error_before"] == 0
    assert "disagreement" in report["judged_by"]


def test_flags_disagree_where_their_logits_have_other_signs():
    judge = Judge(Table([[1.0], [-1], [2], [-2], [3]]), X, None, "bernoulli", 0.0)
    assert judge.rise(Table([[9.0], [1], [2], [-2], [3]])).error == pytest.approx(20)


@pytest.mark.parametrize("labels", [None, torch.tensor([[1.0], [2], [3], [4], [7]])])
def test_a_regression_is_judged_by_squared_error_over_the_variance(labels):
    before = np.array([1.0, 2, 3, 4, 6])
    after = before + np.array([0, 0.5, 0, -0.5, 0])
    y = before if labels is None else labels.numpy()[:, 0]
    judge = Judge(Table(before[:, None]), X, labels, "normal", 1.0)
    found = judge.rise(Table(after[:, None]))
    difference = 100 * ((after - y) ** 2 - (before - y) ** 2) / y.var()
    assert found.error == pytest.approx(difference.mean(), rel=1e-5)
    assert found.error_stderr == pytest.approx(difference.std(ddof=1) / math.sqrt(5), rel=1e-5)
    assert ("labels" in judge.report(found)["judged_by"]) == (labels is not None)


@pytest.mark.parametrize(("max_drop", "allowed"), [(0.0, 0.0), (0.1, 20.0), (30.0, 30.0)])
def test_one_example_is_allowed_unless_nothing_is(max_drop, allowed):
    judge = Judge(logits(0, 1, 2, 0, 1), X, None, "categorical", max_drop)
    assert judge.allowed == pytest.approx(allowed)
    assert judge.fits(judge.rise(logits(0, 1, 2, 0, 0))) == (max_drop > 0)


def test_a_regression_has_no_example_to_allow():
    judge = Judge(Table([[1.0], [2], [3], [4], [5]]), X, None, "normal", 0.1)
    assert judge.allowed == pytest.approx(0.1)


def test_a_network_that_gives_nan_fits_nothing():
    judge = Judge(logits(0, 1, 2, 0, 1), X, None, "categorical", 100.0)
    assert not judge.fits(judge.rise(Table(torch.full((5, 3), math.nan))))
    with pytest.raises(ValueError, match="NaN or infinity on the inputs that judge it"):
        Judge(Table(torch.full((5, 3), math.nan)), X, None, "categorical", 1.0)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 1, 2, 3, 0], "validation labels run from 0 to 3"),
        ([0, 1, 2], "5 inputs and 3 labels"),
        ([0.5, 1, 2, 0, 1], "validation labels are .*not whole"),
    ],
)
def test_labels_that_do_not_fit_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        Judge(logits(0, 1, 2, 0, 1), X, torch.tensor(labels), "categorical", 1.0)


def test_what_a_network_predicts():
    output = torch.tensor([[1.0, -2.0], [-1.0, 3.0]])
    assert predictions(output, "categorical").tolist() == [0, 1]
    assert predictions(output, "bernoulli").tolist() == [[1, 0], [0, 1]]
    assert predictions(output, "normal") is output


@pytest.mark.parametrize(
    ("shape", "y", "likelihood"),
    [
        ((5, 3), None, "categorical"),
        ((5, 1), None, "normal"),
        ((5,), None, "normal"),
        ((5, 3, 4), None, "normal"),
        ((5, 3, 4), torch.zeros(5, 4).long(), "categorical"),
        ((5, 3), torch.zeros(5).long(), "categorical"),
        ((5, 3), torch.zeros(5, 3), "normal"),
    ],
)
def test_what_outputs_and_labels_look_like(shape, y, likelihood):
    assert likelihood_of(Table(torch.zeros(shape)), X, y) == likelihood


def test_several_outputs_look_like_a_regression():
    class Two(nn.Module):
        def forward(self, x):
            return torch.zeros(len(x), 3), torch.zeros(len(x), 2)

    assert likelihood_of(Two(), X, None) == "normal"


@pytest.mark.parametrize(("count", "held_out"), [(16, 8), (40, 8), (100, 20)])
def test_a_fifth_is_held_out_and_at_least_eight(count, held_out):
    kept, out = split_off(torch.arange(count), seed=3)
    assert len(out) == held_out
    assert sorted([*kept.tolist(), *out.tolist()]) == list(range(count))
    assert torch.equal(out, split_off(torch.arange(count), seed=3)[1])
    assert not torch.equal(out, split_off(torch.arange(count), seed=4)[1])


def test_too_few_to_hold_any_out():
    with pytest.raises(ValueError, match="15 calibration inputs are too few"):
        split_off(torch.arange(15), seed=0)


def test_a_glance_ends_when_nothing_can_fit_and_else_sees_all(monkeypatch):
    monkeypatch.setattr("bitsback.compression.judge.GLANCE", 50)
    x = torch.arange(400)
    judge = Judge(logits(*[0] * 400), x, None, "categorical", 1.0)
    seen = []

    class Counting(Table):
        def forward(self, places):
            seen.extend(places.tolist())
            return super().forward(places)

    answers = 3.0 * torch.eye(3)
    far = Counting(answers[torch.arange(400) % 3])
    assert not judge.fits(judge.glance(far))
    assert len(seen) == 50
    seen.clear()
    near = Counting(answers[(torch.arange(400) > 396).long()])
    assert vars(judge.glance(near)) == pytest.approx(vars(judge.rise(near)))
    assert sorted(seen[:400]) == x.tolist()


def test_the_excess_is_the_logarithm_of_the_ratio_and_its_sign_is_that_of_fits():
    judge = Judge(logits(0, 1, 2, 0, 1), X, None, "categorical", 30.0)
    assert judge.excess(judge.rise(logits(0, 1, 0, 1, 1))) == pytest.approx(math.log(40 / 30))
    one = judge.rise(logits(0, 1, 2, 0, 0))
    assert judge.excess(one) == pytest.approx(math.log(20 / 30))
    assert judge.excess(judge.rise(logits(0, 1, 2, 0, 1))) == -math.inf
    assert judge.excess(judge.rise(Table(torch.full((5, 3), math.nan)))) == math.inf
    strict = Judge(logits(0, 1, 2, 0, 1), X, None, "categorical", 0.0)
    assert strict.excess(one) == math.inf


@pytest.mark.parametrize("y", [None, torch.zeros(4, 6).long()])
def test_classes_of_pixels_are_on_axis_1(y):
    class Pixels(nn.Module):
        def forward(self, x):
            return torch.cat([x, -x], 1)

    x = torch.randn(4, 1, 6)
    judge = Judge(Pixels(), x, y, "categorical", 1.0)
    assert judge.axis == 1
    assert judge.y.shape == (4, 6)
    assert likelihood_of(Pixels(), x, torch.zeros(4, 6).long()) == "categorical"
