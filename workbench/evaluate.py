"""How well a network predicts a part of a data set."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..common.modes import evaluating
from ..compression.scores import chunks, score
from .data import Dataset, Split
from .errors import CheckFailed
from .work import TooMuchWork, largest_output

BATCH = 1_000  # fixed, so that the same network gives the same figures in every command
LARGEST = 1 << 25  # numbers in an output of a batch, beyond which a batch is smaller


@dataclass(frozen=True)
class Score:
    """Predictions of a classifier on `n` examples.

    :param error: share of wrong predictions, in percent.
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
    """Score a classifier whose outputs are logits, in eval mode; its modules keep their own.

    :param batch: inputs at a time.
    :raises CheckFailed: if an output is not finite.
    """
    logits = predict(net, split.x, batch)
    if not bool(torch.isfinite(logits).all()):
        raise CheckFailed("the network's outputs are not finite (NaN or Inf)")
    nll, error = score(logits.double(), split.y.to(logits.device), "categorical")
    return Score(error.mean().item(), nll.mean().item(), len(split))


def predict(net: nn.Module, x: Tensor, batch: int = BATCH) -> Tensor:
    """Logits `(N, classes)` of the images `x`, `(N, ...)`, on the device of the network."""
    device = next((t.device for t in net.state_dict().values()), torch.device("cpu"))
    with evaluating(net), torch.no_grad():
        return torch.cat([net(part.to(device)) for part in chunks(x, batch)])


def check_fits(net: nn.Module, data: Dataset, what: str) -> int:
    """Refuse a network that cannot read the data set's images or has too few outputs for it.

    :param what: the network's name or its file, for the message.
    :returns: how many inputs at a time it takes in little memory, `BATCH` or fewer.
    :raises ValueError: with both shapes; or it computes too much for an input.
    """
    shape = " x ".join(str(n) for n in data.input_shape)
    try:
        largest = largest_output(net, data.train.x[:2])
        logits = predict(net, data.train.x[:2])
    except TooMuchWork as error:
        raise ValueError(f"{what}: {error}") from None
    except Exception as error:  # torch raises many kinds for inputs that do not fit
        raise ValueError(
            f"{what} does not take the {shape} images of {data.name} ({error}); "
            "choose other data or another network"
        ) from error
    if logits.ndim != 2 or logits.shape[1] != data.classes:
        raise ValueError(
            f"{what} gives outputs of shape {tuple(logits.shape[1:])} an image, but {data.name} "
            f"has {data.classes} classes; choose another --network or --data"
        )
    return min(BATCH, max(LARGEST // largest, 1))
