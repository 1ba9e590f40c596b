"""Probabilities where logits are meant, by the operator that made them or by their values."""

import pytest
import torch
from bitsback.common.heads import check_output

X = torch.randn(4, 3, requires_grad=True)


@pytest.mark.parametrize(
    ("output", "kind", "message"),
    [
        (lambda x: x.softmax(-1), "categorical", "ends in Softmax, .* takes logits: leave"),
        (lambda x: x.sigmoid(), "bernoulli", "ends in Sigmoid"),
        (lambda x: x.sigmoid().squeeze().reshape(3, 4).T[1:], "bernoulli", "ends in Sigmoid"),
        (torch.nn.functional.logsigmoid, "bernoulli", "ends in LogSigmoid"),
        (lambda x: x.exp() / x.exp().sum(1, True), "categorical", "probabilities that sum to 1"),
        (lambda x: (x,), "normal", "gives a tuple, but likelihood 'normal' reads one tensor"),
        (lambda x: {"y": x}, "categorical", "gives a dict"),
    ],
)
def test_refused(output, kind, message):
    with pytest.raises(ValueError, match=message):
        check_output(output(X), kind)


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        (lambda x: x, "categorical"),
        (lambda x: x.log_softmax(-1), "categorical"),  # normalized logits are logits
        (lambda x: x.sigmoid() * 4, "bernoulli"),
        (lambda x: x.sigmoid(), "normal"),
        (lambda x: x[:, :1].softmax(-1) * x, "categorical"),
    ],
)
def test_taken(output, kind):
    check_output(output(X), kind)
