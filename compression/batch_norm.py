"""BatchNorm statistics: re-estimating them, and choosing between those and the given ones."""

from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from ..common.examples import Inputs, count, parts, passed, take
from ..common.modules import copied
from .scores import CHUNK, Rise, Scores, rise, scores

CALIBRATION = 5_000  # training inputs that BatchNorm statistics are re-estimated on


def batch_norms(net: nn.Module) -> list[nn.Module]:
    """The BatchNorm layers of a network that keep running statistics."""
    return [
        module
        for module in net.modules()
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats
    ]


@torch.no_grad()
def calibrate(net: nn.Module, x: Inputs) -> None:
    """Re-estimate the running statistics of a network's BatchNorms on inputs x, in place.

    The mean over chunks of equal weight, as the layers' own cumulative average; nothing else
    of the network changes, momentum and counters included.
    """
    norms = batch_norms(net)
    if not norms:
        return
    state = [(norm.momentum, norm.num_batches_tracked.clone()) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for chunk in parts(x, max(1, count(x) // CHUNK)):
        passed(net, chunk)
    for norm, (momentum, batches) in zip(norms, state, strict=True):
        norm.eval()
        norm.momentum = momentum
        norm.num_batches_tracked.copy_(batches)


@dataclass(frozen=True)
class Choice:
    """A network with given or re-estimated BatchNorm statistics, whichever has the lower NLL.

    :param net: the network that was chosen.
    :param scores: its scores on the validation examples.
    :param rise: of the network with re-estimated statistics over that with the given ones.
    :param re_estimated: whether `net` has the re-estimated ones.
    :param given_is_finite: whether the network with the given ones has finite NLLs.
    """

    net: nn.Module
    scores: Scores
    rise: Rise
    re_estimated: bool
    given_is_finite: bool


def choose(net: nn.Module, inputs: Inputs, x: Inputs, y: Tensor, likelihood: str) -> Choice:
    """Choose between a network's BatchNorm statistics and those of the training inputs.

    :param net: in eval mode; not changed.
    :param inputs: training inputs, of which the first `CALIBRATION` are used.
    :param x: validation inputs, of labels y.
    """
    again = copied(net)
    calibrate(again, take(inputs, slice(CALIBRATION)))
    given = scores(net, x, y, likelihood)
    found = scores(again, x, y, likelihood)
    rose, finite = rise(found, given), bool(given.nll.isfinite().all())
    if not finite or rose.nll < 0:
        return Choice(again, found, rose, True, finite)
    return Choice(net, given, rose, False, finite)


@dataclass
class Chooser:
    """`choose`, as a function of the network alone, which remembers what it found.

    :param training: inputs, or None: the given statistics then stay.
    :param choice: what was chosen; None without training inputs or BatchNorms.
    """

    training: Inputs | None
    x: Inputs
    y: Tensor
    likelihood: str
    choice: Choice | None = field(init=False, default=None)

    def __call__(self, net: nn.Module) -> nn.Module:
        if self.training is None or not batch_norms(net):
            return net
        self.choice = choose(net, self.training, self.x, self.y, self.likelihood)
        return self.choice.net
