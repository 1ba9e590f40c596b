"""Files of a few traced networks, from which the soak makes hostile ones."""

from functools import cache
from random import Random

import torch
from bitsback import trace
from bitsback.compression.describe import describe
from hostile import FORMS, File, filled, written
from torch import Tensor, nn

SOURCES = 10  # files for each block of inputs


class Residual(nn.Module):
    """Convolutions with BatchNorm around a shortcut, then two branches joined."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU())
        self.second = nn.Conv2d(6, 6, 3, padding=1, groups=6)
        self.left, self.right = nn.Conv2d(6, 4, 1), nn.Conv2d(6, 5, 3, padding=1)
        self.head = nn.Linear(9, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        x = torch.relu(x + self.second(x))
        x = torch.cat([self.left(x), nn.functional.max_pool2d(self.right(x), 3, 1, 1)], 1)
        return self.head(x.mean((2, 3)))


class Recurrent(nn.Module):
    """An embedding, an LSTM and its last state."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding = nn.Embedding(12, 5)
        self.lstm = nn.LSTM(5, 7, batch_first=True)
        self.head = nn.Linear(7, 4)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.embedding(x))[0][:, -1])


class Attention(nn.Module):
    """A transformer layer and a mean over positions."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(8, 2, 12, dropout=0.0, batch_first=True)
        self.head = nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.layer(x).mean(1))


@cache
def networks() -> tuple:
    """Descriptions of the networks, traced once."""
    torch.manual_seed(0)
    words = torch.randint(12, (2, 5))
    dense = nn.Sequential(nn.Flatten(), nn.Linear(64, 9), nn.ReLU(), nn.Linear(9, 4))
    given = (
        (Residual(), torch.randn(2, 1, 8, 8)),
        (Recurrent(), words),
        (Attention(), torch.randn(2, 5, 8)),
        (dense, torch.randn(2, 1, 8, 8)),
    )
    return tuple(describe(trace(net.eval(), x)) for net, x in given)


def sources(seed: int, block: int) -> list[File]:
    """Files of the networks with made-up numbers."""
    chance = Random(f"{seed} graphs {block}")
    found = []
    while len(found) < SOURCES:
        archive = filled(chance.choice(networks()), chance, shifts=False)
        try:
            found.append(written(archive, chance.choice(FORMS), chance))
        except ValueError:  # sorted rows of a weight that is coded with its axes swapped
            continue
    return found
