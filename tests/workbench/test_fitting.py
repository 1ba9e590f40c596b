"""Scores, and networks that do not fit their data."""

import math

import pytest
import torch
from bitsback.compression.select import Select
from bitsback.training.errors import CheckFailed
from bitsback.training.evaluation import Split, evaluate
from bitsback.workbench.data import Dataset, load_data
from bitsback.workbench.fitting import check_fits
from torch import nn


class Fixed(nn.Module):
    """A classifier whose logits are the images themselves."""

    def forward(self, x):
        return x


def data(x, y) -> Dataset:
    split = Split(torch.as_tensor(x), torch.as_tensor(y))
    return Dataset("tiny", split, split, split, classes=3, input_shape=(3,))


def test_score_by_hand():
    logits = torch.tensor([[0.8, 0.1, 0.1], [0.2, 0.5, 0.3]]).log()
    score = evaluate(Fixed(), Split(logits, torch.tensor([0, 2])))
    assert score.error == 50
    assert score.nll == pytest.approx(-(math.log(0.8) + math.log(0.3)) / 2, rel=1e-6)
    assert score.nll_bits == pytest.approx(-(math.log2(0.8) + math.log2(0.3)), rel=1e-6)


def test_mode_is_kept_and_dropout_off():
    net = nn.Sequential(nn.Dropout(0.5), nn.Linear(3, 3)).train()
    split = Split(torch.ones(2500, 3), torch.zeros(2500, dtype=torch.int64))
    assert evaluate(net, split) == evaluate(net, split)
    assert net.training and net[0].training
    net[0].eval()
    evaluate(net, split)
    assert net.training and not net[0].training


def test_no_single_example_is_left_over():
    sizes = []

    class Seen(Fixed):
        def forward(self, x):
            sizes.append(len(x))
            return x

    evaluate(Seen(), Split(torch.rand(1001, 3), torch.zeros(1001, dtype=torch.int64)))
    assert sizes == [501, 500]


def test_infinite_output():
    x = torch.tensor([[0.0, 1.0, math.nan]])
    with pytest.raises(CheckFailed, match="not finite"):
        evaluate(Fixed(), Split(x, torch.tensor([0])))


def test_network_that_does_not_fit():
    x = torch.zeros(4, 3)
    check_fits(nn.Linear(3, 3), data(x, [0, 1, 2, 0]), "net")
    with pytest.raises(ValueError, match=r"f\.bb does not take the 3 inputs of tiny"):
        check_fits(nn.Linear(5, 3), data(x, [0, 1, 2, 0]), "f.bb")
    with pytest.raises(ValueError, match=r"outputs of shape \(2,\).*tiny has 3 classes"):
        check_fits(nn.Linear(3, 2), data(x, [0, 1, 2, 0]), "net")


@pytest.mark.parametrize(
    "layer",
    [nn.Conv2d(1, 100_000, 1), nn.Conv2d(1, 1, 3, padding=2000), nn.Upsample(scale_factor=999)],
)
def test_what_computes_too_much_is_refused_before_it_takes_memory(layer):
    """Each output would be of 20 MB to 6 GB for an input."""
    digits = load_data("digits")
    with pytest.raises(ValueError, match=r"net: it computes more than 4,194,304 numbers"):
        check_fits(nn.Sequential(layer, nn.Flatten()), digits, "net")


def test_large_outputs_make_batches_smaller():
    digits = load_data("digits")
    net = nn.Sequential(nn.Conv2d(1, 3000, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    net.append(nn.Linear(3000, 10))
    batch = check_fits(net, digits, "net")
    assert batch == (1 << 25) // (3000 * 64)
    small = nn.Sequential(nn.Flatten(), Select(torch.arange(64) > 3), nn.Linear(60, 10))
    assert check_fits(small, digits, "net") == 1000
    assert evaluate(net, digits.test, batch).error == evaluate(net, digits.test).error


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_low_precision_is_told_what_to_do(dtype):
    x, y = torch.randn(4, 3), torch.zeros(4, dtype=torch.int64)
    match = r"'weight' in b?float16, and the data are float32: call net.float\(\) first"
    with pytest.raises(ValueError, match=match):
        check_fits(nn.Linear(3, 3).to(dtype), data(x, y), "the network")
