"""Labels that fit an output, and those that no likelihood can mean."""

import pytest
import torch
from bitsback.common.labels import check_labels, classes_last
from torch.nn.functional import cross_entropy


def test_classes_lie_last_or_behind_the_examples():
    y = torch.randint(0, 3, (4, 5))
    last, first = torch.randn(4, 5, 3), torch.randn(4, 3, 5)
    assert classes_last(last, y.shape) is last
    moved = classes_last(first, y.shape)
    assert moved.shape == (4, 5, 3)
    ours = cross_entropy(moved.reshape(-1, 3), y.flatten())
    torch.testing.assert_close(ours, cross_entropy(first, y))
    square = torch.randn(4, 3, 3)
    assert classes_last(square, torch.Size((4, 3))) is square  # both fit: the last axis


@pytest.mark.parametrize("dtype", [torch.int64, torch.int32, torch.uint8, torch.bool])
def test_whole_numbers_of_any_type(dtype):
    check_labels(torch.tensor([0, 1, 1]).to(dtype), "categorical", torch.zeros(2, 2))
    check_labels(torch.tensor([0, 1, 1]).to(dtype)[:, None], "bernoulli", torch.zeros(2, 1))


@pytest.mark.parametrize(
    ("y", "kind", "output", "message"),
    [
        (torch.tensor([0.0, 1.0]), "categorical", (2, 3), r"are float32: .*give labels.long\(\)"),
        (torch.tensor([0.4, 1.0]), "categorical", (2, 3), "float32 and not whole.*'normal'"),
        (torch.eye(3), "categorical", (2, 3), r"as one-hot labels have.*argmax\(-1\)"),
        (torch.tensor([0, -100]), "categorical", (2, 3), "from -100 to 0.*leave out examples"),
        (torch.tensor([0, 3]), "categorical", (2, 3), r"from 0 to 3, .*3 outputs.*in 0\.\.2"),
        (torch.tensor([[0], [1]]), "categorical", (2, 3), r"shape \(2, 1\), .*\(2,\): reshape"),
        (torch.tensor([0, 1]), "categorical", (2,), r"logits of shape \(n, classes\).*bernoulli"),
        (torch.tensor([[0.5]]), "bernoulli", (1, 1), r"must be 0 or 1; they span 0.5\.\.0.5"),
        (torch.tensor([0.0, 1.0]), "bernoulli", (2, 1), r"labels of shape \(2, 1\): reshape"),
        (torch.zeros(2, 1).cfloat(), "normal", (2, 1), "are complex64: give real numbers"),
    ],
)
def test_labels_that_mean_nothing(y, kind, output, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y, kind, torch.zeros(output))
