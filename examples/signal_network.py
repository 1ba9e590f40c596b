"""Compress a one-dimensional convolutional network for signals in an npz file.

The script writes signals.npz, trains, and compresses. The same from a shell, in its folder, with an
ONNX model at the end:

    bitsback compress --model signal_network.py:build --data signals.npz --method rate --epochs 20 \
        --pretrain-epochs 20 --effort 1 --out signals.bb
    bitsback evaluate signals.bb --data signals.npz
    bitsback export signals.bb --to onnx --out signals.onnx
"""

import bitsback
import numpy as np
import torch
from torch import nn


def build(classes: int = 3) -> nn.Module:
    """Two convolutions over 64 samples, and the mean over time."""
    return nn.Sequential(
        nn.Conv1d(1, 8, 7, stride=2), nn.ReLU(), nn.Conv1d(8, 16, 5, stride=2), nn.ReLU(),
        nn.AdaptiveAvgPool1d(1), nn.Flatten(), nn.Linear(16, classes),
    )  # fmt: skip


def write_signals() -> None:
    """Sines, squares and sawtooths of random frequency and phase, with noise: 200 of each."""
    random = np.random.RandomState(0)
    y = np.arange(600) % 3
    cycles = random.uniform(2, 5, (600, 1)) * np.linspace(0, 1, 64) + random.uniform(0, 1, (600, 1))
    waves = np.sin(2 * np.pi * cycles), np.sign(np.sin(2 * np.pi * cycles)), 2 * (cycles % 1) - 1
    x = np.choose(y[:, None], waves) + 0.1 * random.standard_normal((600, 64))
    np.savez("signals.npz", x_train=x[:, None].astype(np.float32), y_train=y)


def main() -> None:
    file = np.load("signals.npz")
    x, y = torch.from_numpy(file["x_train"]), torch.from_numpy(file["y_train"])
    result = bitsback.compress_network(
        build(), (x[:400], y[:400]), (x[400:500], y[400:500]), "rate", trained=False,
        pretrain_epochs=20, epochs=20, effort=1,
    )  # fmt: skip
    wrong = (result.network(x[500:]).argmax(1) != y[500:]).float().mean().item()
    print(
        f"{len(result.data)} bytes, ratio {result.report['ratio']:.1f}, error {100 * wrong:.1f} %"
    )
    assert wrong < 0.4 and result.report["ratio"] > 2


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    write_signals()
    main()
