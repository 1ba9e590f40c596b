"""Whether a smaller network still predicts as well: against labels, or against the original."""

import math
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..common.examples import Inputs, count, passed, take
from ..common.labels import check_labels
from .class_axis import ClassesLast, class_axis
from .expected_rise import LARGEST, ExpectedRise, JudgedRise, Recorded
from .one_output import OneOutput
from .scores import Rise, Scores, check_data, chunks, least_rise, rise, scores, spread_of

FEWEST_HELD_OUT = 8
HELD_OUT = 0.2  # of the calibration inputs, if there is no validation data
SIZE = 64  # examples evaluated at a time
GLANCE = 512  # examples between two looks at whether a network can still fit
SURE = 3.0  # standard errors beyond what is allowed at which it cannot


@dataclass
class Judge:
    """The original network's scores on examples, to hold others against.

    :param net: the original, in eval mode on the CPU.
    :param x: inputs of the examples, as `common.examples.arguments` gives them.
    :param y: labels; None: what the original predicts. The rise in error is then the share of
        predictions that differ, for "normal" the mean squared error over the outputs' variance.
    :param likelihood: see `scores`.
    :param max_drop: the rise in error that is allowed, percentage points.
    """

    net: nn.Module
    x: Inputs
    y: Tensor | None
    likelihood: str
    max_drop: float
    labelled: bool = field(init=False)
    reference: Scores = field(init=False)
    expected: ExpectedRise | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self.labelled = self.y is not None
        output = _outputs(self.net, self.x)
        if not output.isfinite().all():
            raise ValueError("the network gives NaN or infinity on the inputs that judge it")
        self.axis = -1
        if self.likelihood == "categorical":
            self.axis = class_axis(output, self.x, self.y.shape if self.labelled else None)
        if not self.labelled:
            self.y = predictions(output, self.likelihood, self.axis)
        else:
            check_labels(self.y, self.likelihood, output[:2], "validation")
            check_data(self.x, self.y, self.likelihood)
        self.spread = spread_of(self.y, self.likelihood)
        self.reference, _ = self._scores(self.net, slice(None))
        if self.likelihood == "categorical" and self.labelled and output.numel() <= LARGEST:
            self.expected = ExpectedRise(output.movedim(self.axis, -1), self.y)

    def _scores(self, net: nn.Module, part: slice) -> tuple[Scores, Tensor | None]:
        """Of some examples, with the rise to expect of each."""
        one = ClassesLast(net, self.axis) if self.axis != -1 else OneOutput(net)
        x, y = take(self.x, part), self.y[part]
        if self.expected is None:
            return scores(one, x, y, self.likelihood, self.spread, SIZE), None
        recorded = Recorded(one)
        found = scores(recorded, x, y, self.likelihood, self.spread, SIZE)
        return found, self.expected.of(recorded.predicted(), part)

    def rise(self, net: nn.Module) -> JudgedRise:
        """A network's rise in error and NLL over the original, paired."""
        found, expected = self._scores(net, slice(None))
        return _judged(found, self.reference, [expected])

    def glance(self, net: nn.Module) -> JudgedRise:
        """As `rise`, but of the first of every few examples if they show that it cannot fit.

        What fits has been judged on all examples.
        """
        parts = max(math.ceil(len(self.y) / GLANCE), 1)
        seen = before = None
        expected: list[Tensor | None] = []
        for first in range(parts):
            part = slice(first, None, parts)
            (new, one), old = self._scores(net, part), self.reference.take(part)
            seen, before = (new, old) if seen is None else (seen.join(new), before.join(old))
            expected.append(one)
            found = _judged(seen, before, expected)
            least = least_rise(self.y[: len(seen.error)], self.likelihood)
            if not found.error - SURE * max(found.error_stderr, least) <= self.allowed:
                break
        return found

    @property
    def allowed(self) -> float:
        """`max_drop`, but one example at least, if it is more than 0; see `Trial.allowed_error`."""
        return max(self.max_drop, least_rise(self.y, self.likelihood) * (self.max_drop > 0))

    def fits(self, found: Rise) -> bool:
        """Whether a rise in error is allowed: never where outputs are NaN, which argmax hides."""
        return math.isfinite(found.nll) and found.error <= self.allowed + 1e-9

    def excess(self, found: JudgedRise) -> float:
        """How far a rise in error is beyond what is allowed: log of their ratio; <= 0 if it fits.

        A rise of less than half its standard error counts for as much. Infinite where there is no
        ratio.
        """
        fits = self.fits(found)
        least = found.error_stderr / 2 if math.isfinite(found.error_stderr) else 0.0
        error = max(found.error, least)
        if not (self.allowed > 0 and error > 0 and math.isfinite(found.nll + error)):
            return -math.inf if fits else math.inf
        ratio = math.log(error / self.allowed)
        return min(ratio, 0.0) if fits else max(ratio, 1e-9)

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
            "examples": len(self.y),
            "error_before": float(self.reference.error.mean()),
            "rise": vars(found),
            "max_drop": self.max_drop,
            "allowed_drop": self.allowed,
            "within_max_drop": self.fits(found),
        }


def _judged(new: Scores, old: Scores, expected: list[Tensor | None]) -> JudgedRise:
    mean = None if expected[0] is None else float(torch.cat(expected).mean())
    return JudgedRise(*vars(rise(new, old)).values(), expected=mean)


@torch.no_grad()
def _outputs(net: nn.Module, x: Inputs) -> Tensor:
    one = OneOutput(net)
    return torch.cat([passed(one, part) for part in chunks(x, SIZE)])


def predictions(output: Tensor, likelihood: str, axis: int = -1) -> Tensor:
    """The labels that a network itself predicts: classes (on `axis`), flags, or the outputs."""
    if likelihood == "categorical":
        return output.argmax(axis)
    return (output > 0).to(output.dtype) if likelihood == "bernoulli" else output


def likelihood_of(net: nn.Module, x: Inputs, y: Tensor | None) -> str:
    """What a network's outputs and the labels look like: "categorical" or "normal".

    Categorical: one output of shape (n, classes), at least two of them, with whole labels if any.
    So are outputs (n, steps, classes) of token inputs (n, steps), and (n, ..., classes) or
    (n, classes, ...) with whole labels. Without labels, outputs of the inputs' own shape (as an
    autoencoder has) are normal.
    """
    some = take(x, slice(2))
    with torch.no_grad():
        output = passed(net, some)
    if not isinstance(output, Tensor) or output.dim() < 2:
        return "normal"
    if y is not None:
        axis = class_axis(output, some, y.shape)
        whole = not (y.is_floating_point() or y.is_complex())
        return "categorical" if whole and output.shape[axis] > 1 else "normal"
    if output.dim() == 2:
        same = isinstance(some, Tensor) and some.shape == output.shape and some.is_floating_point()
        return "categorical" if output.shape[1] > 1 and not same else "normal"
    tokens = isinstance(x, Tensor) and not x.is_floating_point() and x.dim() > 1
    return "categorical" if tokens and output.shape[:-1] == some.shape else "normal"


def split_off(x: Inputs, seed: int) -> tuple[Inputs, Inputs]:
    """Calibration inputs, and those held out to judge by: a fifth, chosen at random.

    :raises ValueError: there are too few to hold any out.
    """
    examples = count(x)
    held_out = max(round(HELD_OUT * examples), FEWEST_HELD_OUT)
    if examples < 2 * FEWEST_HELD_OUT:
        raise ValueError(
            f"{examples} calibration inputs are too few to hold some out as judges: give at least "
            f"{2 * FEWEST_HELD_OUT}, or validation data, or target_bytes"
        )
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(seed))
    return take(x, order[held_out:]), take(x, order[:held_out])
