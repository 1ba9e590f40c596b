"""Data of the user's own from files and factories."""

import numpy as np
import pytest
import torch
from bitsback.workbench.own_data import Source, read_data

X = np.linspace(-1, 1, 60 * 4, dtype=np.float32).reshape(60, 4)
Y = np.arange(60) % 3


def of(path, **options):
    return read_data(Source(str(path), **options))


def test_npz(tmp_path):
    path = tmp_path / "d.npz"
    np.savez(path, x_train=X, y_train=Y, x_test=X[:30], y_test=Y[:30])
    data = of(path)
    assert [len(part) for part in data.parts.values()] == [51, 9, 30]
    assert torch.equal(data.test.x, torch.from_numpy(X[:30])) and data.name == str(path)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X, "y": Y}, "d.npz: has no array x_train; it has x, y, and must have x_train"),
        ({"x_train": X}, "d.npz: has no array y_train"),
        ({"x_train": X, "y_train": Y, "x_val": X}, "d.npz: has no array y_val"),
        ({"x_train": X, "y_train": 3}, "d.npz: y_train is one number"),
        ({"x_train": X, "y_train": np.array([{}] * 60)}, "d.npz: y_train cannot be read"),
    ],
)
def test_npz_without_its_arrays(arrays, message, tmp_path):
    np.savez(tmp_path / "d.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        of(tmp_path / "d.npz")


def test_files_that_are_no_npz(tmp_path):
    path = tmp_path / "d.npz"
    for content in (b"", b"x" * 50, b"PK\x03\x04" + b"x" * 50):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"d\.npz: not a readable npz file"):
            of(path)
    with open(path, "wb") as file:
        np.save(file, X)
    with pytest.raises(ValueError, match="holds one array"):
        of(path)
    with pytest.raises(FileNotFoundError):
        of(tmp_path / "none.npz")


SOURCE = """
import torch
from torch.utils.data import DataLoader, TensorDataset

X, Y = torch.linspace(-1, 1, 240).reshape(60, 4), torch.arange(60) % 3

def tensors():
    return X, Y

def dataset():
    return TensorDataset(X, Y)

def loaders():
    return DataLoader(dataset(), 7, shuffle=True), DataLoader(dataset(), 7)

def named():
    return {"train": (X, Y), "test": dataset()}

def two_inputs():
    return (X[:, :1], X[:, 1:]), Y

def two_parts():
    return ({"a": X, "b": X}, Y), ({"a": X, "b": X}, Y)

def wrong():
    return {"training": (X, Y)}

def number():
    return 3

def triples():
    return TensorDataset(X, X, Y)
"""


def test_factories(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    found = {name: of(f"{path}:{name}") for name in ("tensors", "dataset", "loaders", "named")}
    assert torch.equal(found["tensors"].train.x, found["dataset"].train.x)
    assert [len(p) for p in found["loaders"].parts.values()] == [51, 60, 9]
    assert [len(p) for p in found["named"].parts.values()] == [51, 9, 60]
    one = of(f"{path}:two_inputs")
    assert [len(part) for part in one.parts.values()] == [45, 6, 9]
    assert [tensor.shape[1] for tensor in one.train.x] == [1, 3]
    assert [len(part) for part in of(f"{path}:two_parts").parts.values()] == [51, 60, 9]
    for name, message in (
        ("wrong", "must return parts train, validation, test.*it returned training"),
        ("number", "train: is a int; it must be a Dataset"),
        ("triples", r"train: cannot be read .*must give pairs \(inputs, labels\)"),
        ("none", "has no 'none'; it has tensors, dataset"),
    ):
        with pytest.raises(ValueError, match=message):
            of(f"{path}:{name}")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"data": "cifar"}, "unknown data set 'cifar'; known: digits, mnist, fashion-mnist, cif"),
        ({"data": "digits", "likelihood": "normal"}, "--likelihood normal: digits has classes"),
        ({"data": "d.npz", "likelihood": "poisson"}, "must be one of categorical, bernoulli"),
        ({"data": "d.npz", "target": "y"}, "--target: only tables"),
        ({"data": "d.npz", "crop": 8}, "--crop: only a folder of images has it, not d.npz"),
        ({"data": "digits", "crop": 0}, "--crop 0: must be within"),
        ({"data": "d.csv"}, "d.csv: name the column of the labels with --target COLUMN"),
    ],
)
def test_sources_that_make_no_sense(options, message):
    with pytest.raises(ValueError, match=message):
        read_data(Source(**options))


def test_reference_data_come_through():
    assert of("digits").classes == 10
