"""How well a network predicts a part of a data set."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..common.examples import Inputs, call, each, take
from ..common.modes import evaluating
from ..compression.scores import chunks, score, spread_of
from .errors import CheckFailed

BATCH = 1_000  # fixed, so that the same network gives the same figures in every command


@dataclass(frozen=True)
class Split:
    """One part of a data set.

    :param x: images, float32 in [0, 1], shape `(N, channels, height, width)`; of a user's own
        data any inputs, `(N, ...)`, or a tuple or dict of such tensors.
    :param y: labels, int64, shape `(N,)`; of other likelihoods float32, `(N, ...)`.
    :param likelihood: "categorical", "bernoulli" or "normal"; what the labels are.
    """

    x: Inputs
    y: Tensor
    likelihood: str = "categorical"

    def __len__(self) -> int:
        return len(self.y)

    def example(self, device: str | torch.device = "cpu") -> Inputs:
        """The inputs of the first two examples, on a device, to trace a network with."""
        return each(take(self.x, slice(2)), lambda tensor: tensor.to(device))

    def to(self, device: str | torch.device) -> tuple[Inputs, Tensor]:
        """Inputs and labels on a device."""
        return each(self.x, lambda tensor: tensor.to(device)), self.y.to(device)


@dataclass(frozen=True)
class Score:
    """Predictions of a network on `n` examples.

    :param error: share of wrong predictions, in percent; of real-valued labels the squared error
        in percent of their mean square about their mean (see `compression.scores`).
    :param nll: mean negative log likelihood of the labels, in nats per example.
    :param n: number of examples.
    """

    error: float
    nll: float
    n: int

    @property
    def nll_bits(self) -> float:
        """Code length of all labels under the predictions, in bits."""
        return self.nll * self.n / math.log(2)


def evaluate(net: nn.Module, split: Split, batch: int = BATCH) -> Score:
    """Score a network in eval mode; its modules keep their own. Outputs are logits, or means.

    :param batch: inputs at a time.
    :raises CheckFailed: if an output is not finite.
    """
    outputs = predict(net, split.x, batch)
    if not bool(torch.isfinite(outputs).all()):
        raise CheckFailed("the network's outputs are not finite (NaN or Inf)")
    labels, spread = split.y.to(outputs.device), spread_of(split.y, split.likelihood)
    nll, error = score(outputs.double(), labels, split.likelihood, spread)
    return Score(error.mean().item(), nll.mean().item(), len(split))


def predict(net: nn.Module, x: Inputs, batch: int = BATCH) -> Tensor:
    """Outputs `(N, ...)` for the inputs `x`, `(N, ...)`, on the device of the network."""
    device = next((t.device for t in net.state_dict().values()), torch.device("cpu"))
    with evaluating(net), torch.no_grad():
        return torch.cat(
            [call(net, each(part, lambda t: t.to(device))) for part in chunks(x, batch)]
        )
