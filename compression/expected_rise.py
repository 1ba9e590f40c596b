"""The rise in error that other predictions are expected to bring, whatever the labels happen to be.

Where a smaller network predicts class b instead of a, the error rises by one label if the label was
a, and falls by one if it was b: the expected rise is p(a | x) - p(b | x). Labels show the sum of
these only up to chance, whose standard error is about the root of the number of such places. The
original's own probabilities, tempered to fit the labels (Guo et al. 2017, On calibration of modern
neural networks), show it with far less noise.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .scores import Rise

OCTAVES, PER_OCTAVE = 4, 16  # of the temperatures that are tried, on either side of 1
LARGEST = 2**26  # probabilities that are kept


@dataclass(frozen=True)
class JudgedRise(Rise):
    """A rise, and the one to expect of such predictions [percentage points]; None: not known."""

    expected: float | None = None


class ExpectedRise:
    """What the original says of each class, in each place of each example.

    :param logits: the original's, shape (n, ..., classes).
    :param y: labels, shape (n, ...).
    """

    def __init__(self, logits: Tensor, y: Tensor) -> None:
        rows = logits.reshape(-1, logits.shape[-1]).float()
        #: What the logits are divided by.
        self.temperature = _temperature(rows, y.reshape(-1).long())
        self._p = (rows / self.temperature).softmax(1).view(*logits.shape)
        self._best = self._p.amax(-1)

    def of(self, predicted: Tensor, part: slice) -> Tensor:
        """The expected rise in error [%] of each example.

        :param predicted: classes, shape (examples of the part, ...).
        """
        own = self._p[part].gather(-1, predicted[..., None])[..., 0]
        return 100.0 * (self._best[part] - own).double().reshape(len(own), -1).mean(1)


def _temperature(rows: Tensor, y: Tensor) -> float:
    """That of the lowest NLL on the labels."""
    steps = OCTAVES * PER_OCTAVE
    tried = [2.0 ** (i / PER_OCTAVE) for i in range(-steps, steps + 1)]
    return min(tried, key=lambda t: float(functional.cross_entropy(rows / t, y)))


class Recorded(nn.Module):
    """A network of logits, classes last, that keeps what it predicts."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net, self._seen = net, []

    def forward(self, *args, **kwargs) -> Tensor:
        output = self.net(*args, **kwargs)
        self._seen.append(output.argmax(-1))
        return output

    def predicted(self) -> Tensor:
        """The classes of all examples so far."""
        return torch.cat(self._seen)
