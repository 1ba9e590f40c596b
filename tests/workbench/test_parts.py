"""The user's own data: what labels may be, how parts are split off, what is refused and how."""

import numpy as np
import pytest
import torch
from bitsback.workbench.parts import Part, dataset

X = np.linspace(-1, 1, 60 * 4, dtype=np.float32).reshape(60, 4)
Y = np.arange(60) % 3


def part(x=X, y=Y, name="train") -> Part:
    return Part(x, y, f"d.npz: x_{name}", f"d.npz: y_{name}")


def test_missing_parts_are_split_off_each_class_alike():
    data = dataset("d", {"train": part()})
    assert [len(p) for p in data.parts.values()] == [45, 6, 9]
    for split in data.parts.values():
        assert len(set(split.y.bincount().tolist())) == 1
    rows = torch.cat([split.x for split in data.parts.values()])
    assert torch.equal(rows.sort(0).values, torch.from_numpy(X))  # every example once
    assert (data.classes, data.input_shape, data.levels) == (3, (4,), None)
    assert data.about == {"split_off": ["validation", "test"], "split_seed": 0}
    again = dataset("d", {"train": part()})
    assert torch.equal(again.test.x, data.test.x)


def test_parts_that_are_there_stay_whole():
    data = dataset("d", {"train": part(), "test": part(X[:9], Y[:9], "test")})
    assert [len(p) for p in data.parts.values()] == [51, 9, 9]
    assert data.about["split_off"] == ["validation"]


def test_kinds_of_inputs():
    pixels = (np.arange(60 * 4).reshape(60, 1, 2, 2)).astype(np.uint8)
    data = dataset("d", {"train": part(pixels)})
    assert data.levels == 255 and data.train.x.dtype == torch.float32
    assert torch.equal((data.train.x * 255).round() / 255, data.train.x)
    words = dataset("d", {"train": part(np.arange(240).reshape(60, 4))})
    assert words.train.x.dtype == torch.int64


@pytest.mark.parametrize(
    ("y", "likelihood", "shape"),
    [(Y % 2, "bernoulli", (9,)), (np.stack([Y % 2, Y > 1], 1), "bernoulli", (9, 2)),
     (Y * 0.5, "normal", (9,)), (X, "normal", (9, 4))],
)  # fmt: skip
def test_other_likelihoods(y, likelihood, shape):
    data = dataset("d", {"train": part(y=y)}, likelihood)
    assert data.likelihood == data.test.likelihood == likelihood
    assert data.train.y.dtype == torch.float32
    assert data.train.y.shape[1:] == shape[1:] and data.classes == max(shape[1:], default=1)


@pytest.mark.parametrize(
    ("y", "likelihood", "message"),
    [
        (Y * 1.0, None, r"d.npz: y_train: is float64 of shape \(60,\); say what the labels are"),
        (Y * 1.0, "categorical", "y_train: is float64; give whole numbers of classes"),
        (np.eye(3, dtype=int)[Y], "categorical", r"y_train: looks one-hot, shape \(60, 3\)"),
        (np.eye(3, dtype=int)[Y], None, "say what the labels are"),
        (Y - 1, None, r"y_train: holds -1 \(example 0\)"),
        (np.where(Y == 1, 7, Y), None, r"y_train: has no example of class 1, 3, 4, 5, 6 \(of 8\)"),
        (np.where(np.arange(60) == 5, 3, Y), None, "class 3 has too few examples to split off"),
        (Y, "bernoulli", r"takes labels of 0 and 1; these span 0..2"),
        (np.where(Y == 1, np.nan, 0), "normal", "y_train: NaN or infinity in example 1"),
        (Y[:50], None, "y_train: has 50 labels for the 60 inputs of d.npz: x_train"),
        (np.array(["a"] * 60), "categorical", "is <U1; labels must be numbers"),
    ],
)
def test_labels_that_make_no_sense(y, likelihood, message):
    with pytest.raises(ValueError, match=message):
        dataset("d", {"train": part(y=y)}, likelihood)


def test_inputs_that_make_no_sense():
    x = X.copy()
    x[7, 2] = np.inf
    with pytest.raises(ValueError, match="x_train: NaN or infinity in example 7"):
        dataset("d", {"train": part(x)})
    with pytest.raises(ValueError, match=r"x_test: examples have shape 3, those of d.npz: x_"):
        dataset("d", {"train": part(), "test": part(X[:, :3], name="test")})
    with pytest.raises(ValueError, match="x_train: is <U1; it must hold numbers"):
        dataset("d", {"train": part(np.array([["a"]] * 60))})


def test_a_class_that_a_part_does_not_have():
    few = part(X[:2], Y[:2], "test")
    with pytest.raises(ValueError, match=r"d.npz: y_test: has no example of class 2 \(of 3\)"):
        dataset("d", {"train": part(), "test": few})
    named = part(X[:4], np.array([0, 0, 1, 1]))
    with pytest.raises(ValueError, match=r"y_train: has no example of class cat \(of 3\)"):
        dataset("d", {"train": named, "test": part()}, classes=("ant", "bee", "cat"))
