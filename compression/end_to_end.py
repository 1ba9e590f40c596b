"""The integers of a whole network descend together towards the original's predictions.

The layers' integers were chosen one layer after the other (sequential.py). Those that are not 0,
and the biases, now change together to lower

    E_x KL(p(y | x, original) || p(y | x, file)) + price * bits,

over mixtures of the calibration inputs (mixtures.py). The network is computed with the integers,
and gradients pass through the rounding (straight-through estimator: Bengio, Léonard and Courville
2013). Between two integers the code length is a straight line, so that its slope can be followed.
An integer may become 0, a 0 stays. Adam's learning rate is a share of a step.

Thousands of examples have to pass, so this is for networks that compute little.
"""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..common.examples import Inputs, passed, take
from ..common.modes import gradients
from ..graph import GraphNetwork, parameters_of
from ..graph.depth import rate_for
from ..graph.examples import tensors_in
from ..graph.work import multiply_adds
from .archive import Quantised
from .class_axis import ClassesLast
from .free_integers import FreeIntegers
from .matching import with_tensors
from .mixtures import Mixtures, Pairs
from .one_output import OneOutput
from .scores import chunks

UPDATES, FEWEST = 1_000, 300  # at a price; a network that can have fewer has none
BATCH = 64  # predictions of an update, but at least `SMALLEST` examples
SMALLEST = 8
FEWEST_WEIGHTS = 10_000  # of a network: those of fewer gained nothing
MOST_WORK = 3e11  # multiply-adds of all updates at a price, about
OPERATOR_WORK = 3e6  # multiply-adds in whose time an operator is called, however little it computes
PASSES = 3  # an update takes as much as so many runs of the network
CHECKED = 2_048  # mixtures by which a descent is judged
RATE = 0.03  # learning rate of integers, in steps
VECTOR_RATE = 0.005  # of biases and scales, over the root mean square of their vector
DEARER = 8.0  # the price of a bit, over KL / bits before
# At higher prices the KL of layers by themselves rises about as 1 / bits to this power (2.2 to 3.0
# on a LeNet-300-100 for Fashion-MNIST). A descent helps if it is nearer than that in as many bits.
POWER = 2.5
REFITTED = 200  # updates between two looks at the code lengths


class EndToEnd:
    """A traced network, mixtures of its inputs, and the predictions to follow.

    :param network: in eval mode, on the CPU; not changed.
    :param x: calibration inputs, as `common.examples.arguments` gives them.
    :param weights: the names of the weights that are integers.
    :param vectors: those of biases and scales.
    :param likelihood: see `sensitivity.sensitivities`, like `axis`.
    """

    def __init__(
        self,
        network: GraphNetwork,
        x: Inputs,
        weights: list[str],
        vectors: list[str],
        likelihood: str,
        axis: int = -1,
    ) -> None:
        self._weights, self._vectors = weights, vectors
        self._net = _predictions(network, x, likelihood, axis)
        path = next(path for path, part in self._net.named_modules() if part is network)
        self._prefix = f"{path}."
        tensors = dict(parameters_of(network))
        self._dtypes = {name: tensor.dtype for name, tensor in tensors.items()}
        some = take(x, slice(2))
        with torch.no_grad():
            shape = passed(self._net, some).shape
        labels = shape[:-1] if likelihood == "categorical" else shape[:1]
        self._batch = max(BATCH // labels[1:].numel(), SMALLEST)
        self._rates = RATE, VECTOR_RATE * rate_for(network)
        self._mixtures = Mixtures(self._net, x, likelihood, labels)
        #: How many updates there are at a price; 0 for a small network, or one that computes much.
        self.updates = 0
        if sum(tensors[name].numel() for name in weights) >= FEWEST_WEIGHTS:
            calls = OPERATOR_WORK * max(len(network.graph.operators), 1)
            work = max(self._batch * multiply_adds(network, some), calls)
            updates = min(UPDATES, int(MOST_WORK / (PASSES * work)))
            self.updates = updates if updates >= FEWEST else 0

    @gradients()
    def descended(self, codes: dict[str, Quantised]) -> dict[str, Quantised]:
        """Codes of a lower KL + price * bits, or the same codes if that did not help.

        :param codes: by name, those of other tensors among them.
        """
        if not self.updates:
            return codes
        free = FreeIntegers(
            {name: codes[name] for name in self._weights},
            {name: codes[name] for name in self._vectors if codes[name].codes.any()},
        )
        drawn = self._mixtures.draw(CHECKED, torch.Generator().manual_seed(0))
        checks = [drawn.take(part) for part in chunks(torch.arange(CHECKED))]
        some = checks[0].take(slice(2))
        if not (free.integers.numel() and self._loss(free, some).requires_grad):
            return codes
        distance, bits = self._distance(free, checks), float(free.bits().detach())
        if not 0 < distance < math.inf:
            return codes
        price = DEARER * distance / bits
        self._descend(free, price)
        free.refit()
        nearer = self._distance(free, checks) / distance
        fewer = float(free.bits().detach()) / bits
        return codes | free.codes() if nearer * fewer**POWER < 1 else codes

    def _descend(self, free: FreeIntegers, price: float) -> None:
        values = [free.integers, free.vectors]
        groups = [{"params": [v], "lr": r} for v, r in zip(values, self._rates, strict=True)]
        optimizer = torch.optim.Adam(groups)
        generator = torch.Generator().manual_seed(1)
        for update in range(self.updates):
            if update and update % REFITTED == 0:
                free.refit()
            for group, rate in zip(optimizer.param_groups, self._rates, strict=True):
                group["lr"] = rate * (1 - update / self.updates)
            drawn = self._mixtures.draw(self._batch, generator)
            loss = self._loss(free, drawn) + price * free.bits()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def _loss(self, free: FreeIntegers, drawn: Pairs) -> Tensor:
        tensors = {
            self._prefix + name: value.to(self._dtypes[name]) for name, value in free.tensors()
        }
        x = self._mixtures.of(drawn)
        output = passed(partial(with_tensors, self._net, tensors), x)
        return self._mixtures.loss(output, self._mixtures.targets(x))

    @torch.no_grad()
    def _distance(self, free: FreeIntegers, checks: list[Pairs]) -> float:
        """The KL of the mixtures that are checked."""
        return sum(float(self._loss(free, part)) * len(part) for part in checks) / CHECKED


class _InUnits(nn.Module):
    """A network with each of its outputs over a number."""

    def __init__(self, net: nn.Module, units: list[float]) -> None:
        super().__init__()
        self.net, self._units = net, units

    def forward(self, *args: Any, **kwargs: Any) -> tuple[Tensor, ...]:
        parts = tensors_in(self.net(*args, **kwargs))
        return tuple(part / unit for part, unit in zip(parts, self._units, strict=True))


def _predictions(network: GraphNetwork, x: Inputs, likelihood: str, axis: int) -> nn.Module:
    """The network with one output: logits, classes last; or numbers of a standard deviation of 1.

    As in `sensitivity`, that is the unit in which errors of the outputs are counted.
    """
    if likelihood != "normal":
        return ClassesLast(network, axis) if axis != -1 else OneOutput(network)
    with torch.no_grad():
        outputs = list(tensors_in(passed(network, x)))
    return OneOutput(_InUnits(network, [float(part.std()) + 1e-12 for part in outputs]))
