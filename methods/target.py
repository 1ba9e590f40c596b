"""Bytes, an error or bit operations asked for: a dual variable moves beta until they are met."""

import math
import warnings
from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import nn

from ..compression.compress import compress
from ..compression.verdict import WorseNetwork
from ..training.evaluation import Split, evaluate
from ..training.options import Options

MEASUREMENTS = 75  # of the file over a training
# Of log beta, for each unit of log(bytes / target). Not less later on: as the learning rate falls,
# pruned weights no longer come back, and the file shrinks at a beta that held it before.
GAIN = 2.0
# What to aim at, in sizes asked for: as the learning rate falls to 0, the file still shrinks.
ABOVE = 1.03
# As GAIN: the error answers to log beta much less than the bytes do, and is far noisier.
ERROR_GAIN = 0.5
LARGEST_MOVE = 0.5  # of log beta at once


class Target(ABC):
    """Called after each epoch of `fit`: moves log beta by `move`, within `LARGEST_MOVE`.

    From the end of the KL's warm-up on, about `MEASUREMENTS` times. beta is in the model's
    state_dict, so that a resumed run goes on as it was.

    :param options: of the training.
    """

    def __init__(self, model: nn.Module, guide: nn.Module, validation: Split, options: Options):
        self.model, self.guide, self.validation = model, guide, validation
        self.first = math.ceil(options.kl_warmup[1])
        self.last = options.epochs
        self.every = max(1, (options.epochs - self.first) // MEASUREMENTS)

    @abstractmethod
    def move(self) -> float:
        """By how much log beta should rise as things stand."""

    def __call__(self, epoch: int) -> None:
        if not self.first <= epoch < self.last or (epoch - self.first) % self.every:
            return  # after the last epoch there is nothing left to train with another beta
        move = min(max(self.move(), -LARGEST_MOVE), LARGEST_MOVE)
        self.model.beta.mul_(math.exp(move))


class TargetBytes(Target):
    """Ascends the dual of "at most so many bytes": by steps of log(bytes / (1.03 wanted)).

    :param wanted: bytes of the file.
    :param compression: options of `compress`.

    The other parameters are those of `Target`.
    """

    def __init__(
        self, wanted: int, model: nn.Module, guide: nn.Module, validation: Split,
        options: Options, compression: dict[str, Any],
    ):  # fmt: skip
        super().__init__(model, guide, validation, options)
        self.wanted, self.compression = wanted, compression

    def bytes(self) -> int:
        """The size of the file as things stand, biases not retrained."""
        net = self.model.trained().cpu()
        validation = (self.validation.x, self.validation.y)
        posterior = self.guide.posterior()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", WorseNetwork)  # training is not over
            result = compress(net, posterior, validation=validation, **self.compression)
        return len(result.data)

    def move(self) -> float:
        return GAIN * math.log(self.bytes() / (ABOVE * self.wanted))


class TargetError(Target):
    """Descends the dual of "at most so many percent wrong": by steps of log(wanted / error).

    One wrong example is added to both, so that no error has a logarithm.

    :param wanted: validation error of the rounded network, percent.

    The other parameters are those of `Target`.
    """

    def __init__(
        self, wanted: float, model: nn.Module, guide: nn.Module, validation: Split,
        options: Options,
    ):  # fmt: skip
        super().__init__(model, guide, validation, options)
        self.wanted = wanted

    @torch.no_grad()
    def error(self) -> float:
        """Validation error of the rounded network as things stand, percent."""
        net = self.model.trained().cpu().eval()
        state = net.state_dict()
        for name, weight in self.guide.posterior().weights.items():
            state[name].copy_(weight.loc)
        return evaluate(net, self.validation).error

    def move(self) -> float:
        one = 100 / len(self.validation)
        return ERROR_GAIN * math.log((self.wanted + one) / (self.error() + one))


# Of beta, for each unit of log(BOPs / target): at once, and what stays of it an epoch. Adam moves
# gates at one speed whatever their price, so that the sign counts most and has to turn at once.
BOPS_GAIN, BOPS_STAYS = 4.0, 0.05
LARGEST_MISS = 10.0  # as a factor below the target
DECIDE_AT = 0.75  # of the epochs: what is left adapts weights to gates that no longer move


class BopsTarget:
    """Called after each epoch of `fit`: ascends the dual of "so many BOPs, no more, no fewer".

    beta, the factor of all prices, is `level` + BOPS_GAIN log(BOPs / target), where `level` rises
    by BOPS_STAYS log(BOPs / target) an epoch; BOPs are those of the gates by which compression
    goes. A closed gate that the labels hardly miss opens again only where beta is below 0. Both are
    in the model's state_dict, so that a resumed run goes on as it was.

    After `DECIDE_AT` of the epochs `GateChain.meet` opens or closes each gate for good, and beta
    stays.

    :param wanted: BOPs over those of the network at 32 bits, within (0, 1).
    """

    def __init__(self, wanted: float, model: nn.Module, guide: nn.Module, options: Options):
        self.wanted, self.model, self.guide = wanted, model, guide
        self.first = math.ceil(options.kl_warmup[1])
        self.last = min(max(self.first, math.ceil(DECIDE_AT * options.epochs)), options.epochs)

    def __call__(self, epoch: int) -> None:
        if epoch == self.last:
            self.guide.meet(self.wanted)
        if not self.first <= epoch < self.last:
            return
        found = sum(self.guide.bops().values()).item()  # 0 if a layer's units are all closed
        miss = math.log(max(found, self.wanted / LARGEST_MISS) / self.wanted)
        self.model.level.add_(BOPS_STAYS * miss)
        self.model.beta.copy_(self.model.level + BOPS_GAIN * miss)
