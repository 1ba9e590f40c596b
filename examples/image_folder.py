"""Compress a small residual network, with a folder of images for each class as the data.

The script writes images/CLASS/NUMBER.png, trains, and compresses. The same from a shell, in its
folder:

    bitsback compress --model image_folder.py:Net --data images --shift 1 --pretrain-epochs 20 \
        --epochs 25 --effort 1
"""

from pathlib import Path

import bitsback
import numpy as np
import torch
from bitsback.workbench.own_data import Source, read_data
from PIL import Image
from sklearn.datasets import load_digits
from torch import nn


class Net(nn.Module):
    """Two branches over the same input, added: a small residual network."""

    def __init__(self, classes: int = 3):
        super().__init__()
        self.first, self.second = (nn.Conv2d(n, 8, 3, padding=1) for n in (1, 8))
        self.head = nn.Linear(8 * 4 * 4, classes)

    def forward(self, x):
        x = self.first(x).relu()
        x = nn.functional.max_pool2d(x + self.second(x).relu(), 2)
        return self.head(x.flatten(1))


def write_images() -> None:
    """Scikit-learn's digits 0, 1 and 2, 60 of each, as PNG files of 8 x 8 pixels."""
    images, labels = load_digits(return_X_y=True)
    for digit, word in enumerate(("zero", "one", "two")):
        folder = Path("images", word)
        folder.mkdir(parents=True, exist_ok=True)
        for number, pixels in enumerate(images[labels == digit][:60]):
            Image.fromarray((pixels.reshape(8, 8) * 15).astype(np.uint8)).save(
                folder / f"{number}.png"
            )


def main() -> None:
    data = read_data(Source("images"))  # parts are split off: 1 in 6 for each
    train, validation = ((part.x, part.y) for part in (data.train, data.validation))
    result = bitsback.compress_network(
        Net(), train, validation, trained=False, shift=1, pretrain_epochs=20, epochs=25, effort=1
    )
    result.save("digits.bb")
    small = bitsback.load("digits.bb")  # needs neither Net nor Pyro
    wrong = (small(data.test.x).argmax(1) != data.test.y).float().mean().item()
    print(f"{len(result.data)} bytes, test error {100 * wrong:.1f} %")
    assert wrong < 0.3 and result.report["ratio"] > 4


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    write_images()
    main()
