"""The outputs of a network as one tensor, one row for each example."""

from dataclasses import dataclass

import pytest
import torch
from bitsback.compression.one_output import OneOutput
from torch import nn


class Gives(nn.Module):
    """A network of a fixed answer."""

    def __init__(self, answer) -> None:
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer


def test_one_tensor_stays_as_it_is():
    answer = torch.randn(5, 2, 3)
    assert OneOutput(Gives(answer))(None) is answer


def test_tuples_and_dictionaries_are_flattened_in_order():
    a, b, c = torch.randn(5, 2), torch.randn(5), torch.randn(5, 2, 2)
    found = OneOutput(Gives((a, {"b": b, "none": None}, [c])))(None)
    assert torch.equal(found, torch.cat([a, b[:, None], c.flatten(1)], 1))


def test_states_of_an_lstm_have_their_batch_on_axis_1():
    lstm, x = nn.LSTM(3, 4, num_layers=2, batch_first=True), torch.randn(5, 6, 3)
    with torch.no_grad():
        found, (output, (h, _)) = OneOutput(lstm)(x), lstm(x)
    assert found.shape == (5, 24 + 8 + 8)
    assert torch.equal(found[3, 24:32], h[:, 3].flatten())
    assert torch.equal(found[3, :24], output[3].flatten())


@pytest.mark.parametrize("other", [torch.tensor(1.0), torch.randn(4, 2)])
def test_an_output_without_an_axis_of_examples_is_refused(other):
    with pytest.raises(ValueError, match=r"beside one of .* examples: give every output an axis"):
        OneOutput(Gives((torch.randn(5, 2), other)))(None)


def test_a_dataclass_is_its_fields_and_no_tensors_are_refused():
    @dataclass
    class Answer:
        logits: torch.Tensor
        hidden: torch.Tensor

    a, b = torch.randn(5, 2), torch.randn(5, 3)
    assert torch.equal(OneOutput(Gives(Answer(a, b)))(None), torch.cat([a, b], 1))
    with pytest.raises(ValueError, match="returns no tensors but a NoneType: wrap it"):
        OneOutput(Gives(None))(None)
