"""Compress a network that somebody else trained, from their class and their checkpoint.

The script first plays the other people: it trains a small residual network, and keeps it in a file
with the epoch and with the names that DataParallel gives. Then it compresses what is in the file.
The data are torch Datasets. The same from a shell, in the script's folder:

    bitsback compress --model somebody_elses_network.py:ResNet --weights theirs.pt \
        --data somebody_elses_network.py:datasets --epochs 10 --effort 1
"""

import bitsback
import torch
from bitsback.training.state_dict import load_weights
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


class ResNet(nn.Module):
    """A stem, one residual block with BatchNorm, and a linear head, for 8 x 8 images."""

    def __init__(self, width: int = 8):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(1, width, 3, 2, 1, bias=False), nn.BatchNorm2d(width))
        self.block = nn.Sequential(
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width), nn.ReLU(),
            nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width),
        )  # fmt: skip
        self.head = nn.Linear(width * 4, 10)

    def forward(self, x):
        x = self.stem(x).relu()
        x = (x + self.block(x)).relu()
        return self.head(nn.functional.avg_pool2d(x, 2).flatten(1))


def datasets() -> dict[str, TensorDataset]:
    """The parts by name, as `--data` takes them."""
    data = bitsback.load_data("digits")
    return {name: TensorDataset(part.x, part.y) for name, part in data.parts.items()}


def their_training() -> None:
    """Ten epochs of Adam; the checkpoint has what training scripts keep."""
    net = ResNet()
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _epoch in range(10):
        for x, y in DataLoader(datasets()["train"], 64, shuffle=True):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
    names = {f"module.{name}": tensor for name, tensor in net.state_dict().items()}
    torch.save({"epoch": 10, "state_dict": names}, "theirs.pt")


def main() -> None:
    net, parts = ResNet(), datasets()
    load_weights("theirs.pt", net, print)
    result = bitsback.compress_network(
        net, parts["train"], parts["validation"], epochs=10, effort=1, margin_error=1.0
    )
    x, y = parts["test"].tensors
    wrong = (result.network(x).argmax(1) != y).float().mean().item()
    print(
        f"{len(result.data)} bytes, ratio {result.report['ratio']:.1f}, error {100 * wrong:.1f} %"
    )
    assert wrong < 0.15 and result.report["ratio"] > 3 and result.report["untraced"] is None


if __name__ == "__main__":
    torch.manual_seed(0)
    torch.set_num_threads(1)
    their_training()
    main()
