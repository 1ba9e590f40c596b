"""Compress a perceptron for a table of numbers, with a class or a number as the label.

The script writes two tables. In wine.csv the label is the kind of a wine, as a word. In
diabetes.csv it is the progress of a disease, as a number. Then it trains, and compresses. The same
from a shell, in its folder:

    bitsback compress --model table.py:build --data wine.csv --target kind --method rate \
        --beta 0.05 --epochs 50 --effort 1
    bitsback compress --model table.py:build --model-args '{"columns": 10, "outputs": 1}' \
        --data diabetes.csv --target progress --likelihood normal --method rate \
        --beta 0.05 --epochs 50 --effort 1

Few examples have few bits of labels, so a bit of the file must not count much: beta is small.
"""

import csv

import bitsback
import numpy as np
import torch
from sklearn.datasets import load_diabetes, load_wine
from torch import nn


def build(columns: int = 12, outputs: int = 3) -> nn.Module:
    """BatchNorm scales the columns, so that none counts more than another."""
    scale = nn.BatchNorm1d(columns)
    return nn.Sequential(scale, nn.Linear(columns, 24), nn.ReLU(), nn.Linear(24, outputs))


def wines() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Scikit-learn's wines without alcohol: names and values of 12 columns, and the kind."""
    wine = load_wine()
    return wine.feature_names[1:], wine.data[:, 1:].astype(np.float32), wine.target


def patients() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Scikit-learn's diabetes: 10 columns, and the progress in its standard deviations."""
    found = load_diabetes()
    progress = (found.target - found.target.mean()) / found.target.std()
    return found.feature_names, found.data.astype(np.float32), progress.astype(np.float32)


def write_table(name: str, label: str, names: list[str], x: np.ndarray, labels: list) -> None:
    with open(name, "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow([label, *names])
        rows.writerows([value, *row] for value, row in zip(labels, x.tolist(), strict=True))


def kinds() -> None:
    names, x, kind = wines()
    write_table("wine.csv", "kind", names, x, [f"kind-{k}" for k in kind])
    result = bitsback.compress_network(
        build(), (torch.from_numpy(x), torch.from_numpy(kind)), method="rate", trained=False,
        beta=0.05, epochs=50, effort=1,
    )  # fmt: skip
    error = result.report["validation"]["error"]
    print(f"wine: {len(result.data)} bytes, validation error {error:.1f} %")
    assert error < 40 and result.report["beats_constant"] and result.report["ratio"] > 4


def progress() -> None:
    names, x, labels = patients()
    write_table("diabetes.csv", "progress", names, x, labels.tolist())
    result = bitsback.compress_network(
        build(10, 1), (torch.from_numpy(x), torch.from_numpy(labels)[:, None]), method="rate",
        likelihood="normal", trained=False, beta=0.05, epochs=50, effort=1,
    )  # fmt: skip
    error = result.report["validation"]["error"]
    print(f"diabetes: {len(result.data)} bytes, squared error {error:.0f} % of the variance")
    assert error < 75 and result.report["beats_constant"] and result.report["ratio"] > 4


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    kinds()
    progress()
