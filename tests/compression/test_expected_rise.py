"""The rise to expect, against labels drawn from known probabilities."""

import pytest
import torch
from bitsback.compression.expected_rise import ExpectedRise, Recorded
from torch import nn


def drawn(scale: float, shape=(40_000,)) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits that are too sure by a factor, and labels."""
    torch.manual_seed(0)
    logits = 2 * torch.randn(*shape, 4)
    y = torch.distributions.Categorical(logits=logits).sample()
    return scale * logits, y


@pytest.mark.parametrize("scale", [0.5, 1.0, 3.0])
def test_the_temperature_that_labels_show_is_found(scale):
    assert ExpectedRise(*drawn(scale)).temperature == pytest.approx(scale, rel=0.05)


@pytest.mark.parametrize("shape", [(40_000,), (8_000, 5)])
def test_it_is_the_rise_on_the_labels_up_to_chance(shape):
    logits, y = drawn(3.0, shape)
    other = (logits + 4 * torch.randn_like(logits)).argmax(-1)
    found = ExpectedRise(logits, y).of(other, slice(None))
    rise = 100.0 * ((other != y).double() - (logits.argmax(-1) != y).double())
    rise = rise.reshape(len(y), -1).mean(1)
    assert found.shape == y.shape[:1]
    stderr = float(rise.std()) / len(y) ** 0.5
    assert float(found.mean()) == pytest.approx(float(rise.mean()), abs=3 * stderr)
    assert float(found.std()) < 0.7 * float(rise.std())
    assert float(found.mean()) > 10 * stderr  # so that the comparison says something


def test_the_same_predictions_raise_nothing():
    logits, y = drawn(1.0, (50,))
    expected = ExpectedRise(logits, y)
    assert expected.of(logits.argmax(-1), slice(None)).tolist() == [0.0] * 50
    other = logits.argmin(-1)
    whole = expected.of(other, slice(None))
    assert torch.equal(expected.of(other[1::3], slice(1, None, 3)), whole[1::3])


def test_predictions_are_kept():
    torch.manual_seed(0)
    net, x = nn.Linear(3, 4), torch.randn(10, 3)
    recorded = Recorded(net)
    for part in x.split(4):
        assert torch.equal(recorded(part), net(part))
    assert torch.equal(recorded.predicted(), net(x).argmax(1))
