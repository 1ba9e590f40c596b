"""--target-bytes, --target-bops: a dual variable moves beta until what was asked for is met."""

import math
from typing import Any

from torch import nn

from ..compression.compress import compress
from .data import Split
from .options import Options

MEASUREMENTS = 75  # of the file over a training
# Of log beta, for each unit of log(bytes / target). Not less later on: as the learning rate falls,
# pruned weights no longer come back, and the file shrinks at a beta that held it before.
GAIN = 2.0
LARGEST_MOVE = 0.5  # of log beta at once


class Target:
    """Called after each epoch of `fit`: ascends the dual of "at most so many bytes".

    log beta rises by steps of log(bytes / target), bytes those of the file that the integers would
    make as they are; from the end of the KL's warm-up on, about `MEASUREMENTS` times. beta is in
    the model's state_dict, so that a resumed run goes on as it was.

    :param wanted: bytes of the file.
    :param options: of the training.
    :param compression: options of `compress`.
    """

    def __init__(
        self, wanted: int, model: nn.Module, guide: nn.Module, validation: Split,
        options: Options, compression: dict[str, Any],
    ):  # fmt: skip
        self.wanted, self.model, self.guide = wanted, model, guide
        self.validation = (validation.x, validation.y)
        self.first = math.ceil(options.kl_warmup[1])
        self.every = max(1, (options.epochs - self.first) // MEASUREMENTS)
        self.compression = compression

    def bytes(self) -> int:
        """The size of the file as things stand, biases not retrained."""
        net = self.model.trained().cpu()
        result = compress(
            net, self.guide.posterior(), validation=self.validation, **self.compression
        )
        return len(result.data)

    def __call__(self, epoch: int) -> None:
        if epoch < self.first or (epoch - self.first) % self.every:
            return
        move = GAIN * math.log(self.bytes() / self.wanted)
        self.model.beta.mul_(math.exp(min(max(move, -LARGEST_MOVE), LARGEST_MOVE)))


# Of beta, for each unit of log(BOPs / target): at once, and what stays of it an epoch. Adam moves
# gates at one speed whatever their price, so that the sign counts most and has to turn at once.
BOPS_GAIN, BOPS_STAYS = 4.0, 0.05
LARGEST_MISS = 10.0  # as a factor below the target


class BopsTarget:
    """Called after each epoch of `fit`: ascends the dual of "so many BOPs, no more, no fewer".

    beta, the factor of all prices, is `level` + BOPS_GAIN log(BOPs / target), where `level` rises
    by BOPS_STAYS log(BOPs / target) an epoch; BOPs are those of the gates by which compression
    goes. A closed gate that the labels hardly miss opens again only where beta is below 0. Both are
    in the model's state_dict, so that a resumed run goes on as it was.

    :param wanted: BOPs over those of the network at 32 bits, within (0, 1).
    """

    def __init__(self, wanted: float, model: nn.Module, guide: nn.Module, options: Options):
        self.wanted, self.model, self.guide = wanted, model, guide
        self.first = math.ceil(options.kl_warmup[1])

    def __call__(self, epoch: int) -> None:
        if epoch < self.first:
            return
        found = sum(self.guide.bops().values()).item()  # 0 if a layer's units are all closed
        miss = math.log(max(found, self.wanted / LARGEST_MISS) / self.wanted)
        self.model.level.add_(BOPS_STAYS * miss)
        self.model.beta.copy_(self.model.level + BOPS_GAIN * miss)
