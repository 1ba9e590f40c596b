"""Whether a smaller network still predicts as well: against labels, or against the original."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..common.labels import check_labels
from .one_output import OneOutput
from .scores import Rise, Scores, check_data, chunks, least_rise, rise, scores, spread_of

FEWEST_HELD_OUT = 8
HELD_OUT = 0.2  # of the calibration inputs, if there is no validation data


@dataclass
class Judge:
    """The original network's scores on examples, to hold others against.

    :param net: the original, in eval mode on the CPU.
    :param x: inputs of the examples.
    :param y: labels; None: what the original predicts. The rise in error is then the share of
        predictions that differ, for "normal" the mean squared error over the outputs' variance.
    :param likelihood: see `scores`.
    :param max_drop: the rise in error that is allowed, percentage points.
    """

    net: nn.Module
    x: Tensor
    y: Tensor | None
    likelihood: str
    max_drop: float
    labelled: bool = field(init=False)
    reference: Scores = field(init=False)

    def __post_init__(self) -> None:
        self.labelled = self.y is not None
        output = _outputs(self.net, self.x)
        if not output.isfinite().all():
            raise ValueError("the network gives NaN or infinity on the inputs that judge it")
        if self.y is None:
            self.y = predictions(output, self.likelihood)
        else:
            check_labels(self.y, self.likelihood, output[:2], "validation")
            check_data(self.x, self.y, self.likelihood)
        self.spread = spread_of(self.y, self.likelihood)
        self.reference = self._scores(self.net)

    def _scores(self, net: nn.Module) -> Scores:
        return scores(OneOutput(net), self.x, self.y, self.likelihood, self.spread)

    def rise(self, net: nn.Module) -> Rise:
        """A network's rise in error and NLL over the original, paired."""
        return rise(self._scores(net), self.reference)

    @property
    def allowed(self) -> float:
        """`max_drop`, but one example at least, if it is more than 0; see `Trial.allowed_error`."""
        return max(self.max_drop, least_rise(self.y, self.likelihood) * (self.max_drop > 0))

    def fits(self, found: Rise) -> bool:
        """Whether a rise in error is allowed: never where outputs are NaN, which argmax hides."""
        return math.isfinite(found.nll) and found.error <= self.allowed + 1e-9

    def report(self, found: Rise) -> dict:
        """What was judged, as plain numbers."""
        if self.labelled:
            what = "error against the labels"
        elif self.likelihood == "normal":
            what = "squared error against the original network's outputs, over their variance"
        else:
            what = "disagreement with the original network's predictions"
        return {
            "judged_by": what,
            "examples": len(self.x),
            "error_before": float(self.reference.error.mean()),
            "rise": vars(found),
            "max_drop": self.max_drop,
            "allowed_drop": self.allowed,
            "within_max_drop": self.fits(found),
        }


@torch.no_grad()
def _outputs(net: nn.Module, x: Tensor) -> Tensor:
    one = OneOutput(net)
    return torch.cat([one(part) for part in chunks(x)])


def predictions(output: Tensor, likelihood: str) -> Tensor:
    """The labels that a network itself predicts: classes (axis 1), flags, or the outputs."""
    if likelihood == "categorical":
        return output.argmax(1)
    return (output > 0).to(output.dtype) if likelihood == "bernoulli" else output


def likelihood_of(net: nn.Module, x: Tensor, y: Tensor | None) -> str:
    """What a network's outputs and the labels look like: "categorical" or "normal".

    Categorical: one output of shape (n, classes), at least two of them, with whole labels if any.
    """
    with torch.no_grad():
        output = net(x[:2])
    whole = y is None or not (y.is_floating_point() or y.is_complex())
    if not isinstance(output, Tensor) or output.dim() < 2 or output.shape[1] < 2:
        return "normal"
    if y is None:
        return "categorical" if output.dim() == 2 else "normal"
    return "categorical" if whole else "normal"


def split_off(x: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Calibration inputs, and those held out to judge by: a fifth, chosen at random.

    :raises ValueError: there are too few to hold any out.
    """
    count = max(round(HELD_OUT * len(x)), FEWEST_HELD_OUT)
    if len(x) < 2 * FEWEST_HELD_OUT:
        raise ValueError(
            f"{len(x)} calibration inputs are too few to hold some out as judges: give at least "
            f"{2 * FEWEST_HELD_OUT}, or validation data, or target_bytes"
        )
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    return x[order[count:]], x[order[:count]]
