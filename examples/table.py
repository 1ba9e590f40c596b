"""A table and a perceptron: twelve columns of numbers, and the class as a word.

The script writes wine.csv, trains, and compresses. The same from a shell, in its folder:

    bitsback compress --model table.py:build --data wine.csv --target kind --method rate \
        --beta 0.05 --epochs 50 --effort 1

With 124 examples the labels hold few bits, so that a bit of the weights has to be cheap (--beta).
"""

import csv

import bitsback
import numpy as np
import torch
from sklearn.datasets import load_wine
from torch import nn


def build(outputs: int = 3) -> nn.Module:
    """12 columns in. BatchNorm scales them, so that no column counts more than another."""
    return nn.Sequential(nn.BatchNorm1d(12), nn.Linear(12, 24), nn.ReLU(), nn.Linear(24, outputs))


def columns() -> tuple[list[str], np.ndarray, np.ndarray]:
    """Scikit-learn's wines without alcohol: names and values of 12 columns, and the kind."""
    wine = load_wine()
    return wine.feature_names[1:], wine.data[:, 1:].astype(np.float32), wine.target


def write_table() -> None:
    names, x, kinds = columns()
    with open("wine.csv", "w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["kind", *names])
        rows.writerows([f"kind-{k}", *row] for k, row in zip(kinds, x.tolist(), strict=True))


def main() -> None:
    _, x, kinds = columns()
    result = bitsback.compress_network(
        build(), (torch.from_numpy(x), torch.from_numpy(kinds)), method="rate", trained=False,
        beta=0.05, epochs=50, effort=1,
    )  # fmt: skip
    error = result.report["validation"]["error"]
    print(f"{len(result.data)} bytes, validation error {error:.1f} %")
    assert error < 40 and result.report["beats_constant"] and result.report["ratio"] > 4


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    write_table()
    main()
