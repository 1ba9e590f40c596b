"""Which BatchNorm statistics a network is compressed with whose graph folds them into layers."""

import copy
from dataclasses import dataclass, field

from torch import Tensor, nn

from .scores import Rise, batch_norms, calibrate, rise, scores
from .search import CALIBRATION


@dataclass
class Settled:
    """Called with a network: the network with BatchNorm statistics of the lower validation NLL.

    They are the given ones, or those re-estimated on training inputs.

    :param training: inputs, or None: the statistics are then the given ones.
    :param rise: of the network with re-estimated statistics; None without such layers or inputs.
    :param taken: whether the re-estimated ones were taken.
    """

    training: Tensor | None
    x: Tensor
    y: Tensor
    likelihood: str
    rise: Rise | None = field(init=False, default=None)
    taken: bool = field(init=False, default=False)

    def __call__(self, net: nn.Module) -> nn.Module:
        if self.training is None or not batch_norms(net):
            return net
        again = copy.deepcopy(net)
        calibrate(again, self.training[:CALIBRATION])
        given = scores(net, self.x, self.y, self.likelihood)
        self.rise = rise(scores(again, self.x, self.y, self.likelihood), given)
        self.taken = not bool(given.nll.isfinite().all()) or self.rise.nll < 0
        return again if self.taken else net
