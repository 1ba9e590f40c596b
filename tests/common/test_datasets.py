"""Datasets and DataLoaders read into tensors once, in order."""

import pytest
import torch
from bitsback.common.datasets import in_memory
from torch.utils.data import (
    DataLoader,
    Dataset,
    IterableDataset,
    SubsetRandomSampler,
    TensorDataset,
)

X, Y = torch.arange(600.0).reshape(300, 2), torch.arange(300) % 3


def same(pair) -> bool:
    return torch.equal(pair[0], X) and torch.equal(pair[1], Y) and pair[1].dtype == torch.int64


class Numbers(Dataset):
    def __len__(self):
        return 300

    def __getitem__(self, at):
        return X[at], int(Y[at])


class Stream(IterableDataset):
    def __iter__(self):
        yield from ((X[at], Y[at]) for at in range(300))


@pytest.mark.parametrize(
    "data",
    [
        TensorDataset(X, Y),
        Numbers(),
        Stream(),
        DataLoader(Numbers(), 7),
        DataLoader(Numbers(), 7, shuffle=True, drop_last=True),
        DataLoader(Stream(), 7),
    ],
)
def test_all_examples_in_order(data):
    assert same(in_memory(data, "training"))


def test_what_is_in_memory_stays():
    pair = (X, Y)
    assert in_memory(pair, "training") is pair


def test_a_sampler_of_ones_own_is_kept():
    loader = DataLoader(Numbers(), 4, sampler=SubsetRandomSampler(range(10)))
    x, y = in_memory(loader, "training")
    assert len(x) == len(y) == 10 and set(x[:, 0].tolist()) == set(range(0, 20, 2))


def test_several_inputs():
    loader = DataLoader([({"a": X[at], "b": X[at, 0]}, Y[at]) for at in range(300)], 9)
    x, _ = in_memory(loader, "training")
    assert torch.equal(x["a"], X) and x["b"].shape == (300,)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (TensorDataset(X, X, Y), r"training data: must give pairs \(inputs, labels\), and give"),
        (DataLoader(Stream(), None), "training data: inputs and labels must be batches"),
        (TensorDataset(X[:0], Y[:0]), "training data: hold no examples"),
        (DataLoader([(X[:1, 0], 0), (X[0], 1)], 1), "examples do not make a batch .stack expects"),
    ],
)
def test_others_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        in_memory(data, "training")
