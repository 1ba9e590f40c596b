"""Where the classes of logits are."""

import pytest
import torch
from bitsback.compression.class_axis import ClassesLast, class_axis
from torch import nn

N = 2


@pytest.mark.parametrize(
    ("output", "x", "labels", "axis"),
    [
        ((N, 5), (N, 3), None, -1),
        ((N, 9, 5), (N, 9), None, -1),  # tokens
        ((N, 9, 5), (N, 9, 4), None, -1),  # steps of a sequence
        ((N, 5, 8), (N, 3, 8), None, 1),  # channels along a line
        ((N, 5, 8, 9), (N, 3, 8, 9), None, 1),  # pixels
        ((N, 9, 5), (N, 3), None, -1),
        ((N, 5, 9), (N, 9), (N, 9), 1),  # labels say it
        ((N, 9, 5), (N, 5), (N, 9), -1),
        ((N, 9, 9), (N, 9), (N, 9), -1),
    ],
)
def test_it_is_the_last_one_or_that_of_channels(output, x, labels, axis):
    labels = labels and torch.Size(labels)
    assert class_axis(torch.zeros(output), torch.zeros(x), labels) == axis


def test_of_several_inputs_any_may_show_it():
    x = {"image": torch.zeros(N, 3, 8, 9), "token": torch.zeros(N, dtype=torch.int64)}
    assert class_axis(torch.zeros(N, 5, 8, 9), x, None) == 1


def test_classes_are_moved():
    net, x = nn.Conv1d(3, 5, 1), torch.randn(N, 3, 8)
    assert torch.equal(ClassesLast(net, 1)(x), net(x).movedim(1, -1))
