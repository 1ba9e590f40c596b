"""Inputs of several tensors, parts of data, and pairs that are none."""

import pytest
import torch
from bitsback.common.examples import (
    arguments,
    bounds,
    call,
    check_pair,
    chunks,
    count,
    inputs_on_cpu,
    on_cpu,
    parts,
    passed,
    take,
)
from torch import nn

X = torch.arange(6.0).reshape(3, 2)


class Both(nn.Module):
    def forward(self, left, right):
        return left - right


class Whole(nn.Module):
    def forward(self, batch):
        return batch["left"] - batch["right"] if isinstance(batch, dict) else batch[0] - batch[1]


@pytest.mark.parametrize("net", [Both(), Whole()])
@pytest.mark.parametrize("x", [(X, 2 * X), {"right": 2 * X, "left": X}], ids=["tuple", "dict"])
def test_a_network_gets_its_inputs_as_it_takes_them(net, x):
    assert torch.equal(call(net, x), -X)
    assert torch.equal(call(net, take(x, slice(1))), -X[:1])
    assert torch.equal(call(net, take(x, torch.tensor([2, 0]))), -X[[2, 0]])
    assert count(x) == 3


def test_unequal_lengths_are_refused():
    with pytest.raises(ValueError, match=r"of as many examples each; got first axes of \[3, 2\]"):
        count((X, X[:2]))
    with pytest.raises(ValueError, match="got ndarray"):
        count(X.numpy())


@pytest.mark.parametrize(
    ("size", "expected"), [(2, [0, 2, 4, 5]), (4, [0, 3, 5]), (5, [0, 5]), (9, [0, 5])]
)
def test_no_part_of_a_single_example(size, expected):
    """Of 5 examples; parts of two at most cannot help it."""
    assert bounds(5, size) == expected
    parts = list(chunks(torch.arange(5), torch.arange(5), size))
    assert torch.equal(torch.cat([x for x, _ in parts]), torch.arange(5))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([X], "training data must be a pair .* not a list"),
        (torch.utils.data.TensorDataset(X, X), "not a TensorDataset"),
        ((X, [1, 2, 3]), "training labels must be one tensor, not a list"),
        ((X, torch.zeros(2)), "3 inputs and 2 labels; give one label"),
        ((X[:0], X[:0]), "0 inputs and 0 labels; leave out an empty part"),
        ((X, torch.tensor(1)), "3 inputs and 0 labels"),
    ],
)
def test_what_is_no_pair(data, message):
    with pytest.raises(ValueError, match=message):
        check_pair(data, "training")


def test_on_cpu():
    net = nn.Linear(2, 2)
    x, y = on_cpu((X.numpy(), [0, 1, 0]), "validation", net)
    assert torch.equal(x, X) and y.tolist() == [0, 1, 0]
    assert on_cpu((X.bfloat16(), y), "validation", net)[0].dtype == torch.float32
    assert on_cpu((X.half(), y), "validation", net.half())[0].dtype == torch.float16
    (left, right), labels = on_cpu(((X.half(), X.numpy()), y), "validation", net.float())
    assert left.dtype == right.dtype == torch.float32 and labels is not None
    with pytest.raises(ValueError, match=r"validation data must be a pair .* it holds a object"):
        on_cpu((object(), y), "validation", net)


def test_inputs_on_cpu_keep_their_nesting():
    given = {"a": [X, X.int()], "b": None, "c": (X.bfloat16(), [1, 2, 3])}
    found = inputs_on_cpu(given, "training", Both())
    assert found["b"] is None and isinstance(found["a"], tuple)
    assert [t.dtype for t in (*found["a"], *found["c"])] == [
        torch.float32, torch.int32, torch.float32, torch.int64,
    ]  # fmt: skip


def test_arguments_are_inputs_as_a_call_takes_them():
    one, other = {"left": X, "right": 2 * X}, (X, 2 * X)
    assert arguments(Both(), one) is one and arguments(Both(), list(other)) == other
    assert arguments(Whole(), one) == (one,) and arguments(Whole(), other) == (other,)
    for net in (Both(), Whole()):
        for x in (one, other):
            given = arguments(net, x)
            assert count(given) == 3
            assert torch.equal(passed(net, take(given, slice(1))), -X[:1])


def test_parts_are_those_of_tensor_split():
    for number in (1, 2, 3):
        found = parts((X, X), number)
        expected = X.tensor_split(number)
        assert [len(a) for a, _ in found] == [len(part) for part in expected]
        assert all(torch.equal(a, e) for (a, _), e in zip(found, expected, strict=True))
