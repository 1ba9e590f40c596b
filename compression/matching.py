"""Function matching: a compressed network trained to predict as the one it was made from.

The free tensors of the compressed network descend on the divergence of its predictions from the
original's, over mixtures of training inputs (mixtures.py). Descent on the labels' own likelihood
would learn the examples by heart: validation NLL rises while training NLL falls.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..common.examples import Inputs, passed, take
from ..graph.depth import rate_for
from .mixtures import Mixtures
from .scores import chunks

POOL = 100_000  # mixtures, drawn once
LARGEST = 2**25  # numbers of the reference's output on them that are kept
BATCH = 128
LONGEST = 1_500  # updates that anybody asks for
CHECKED = 2_048  # mixtures by which a descent is judged
SLOWER = 0.1  # of a learning rate that did not help


class Matching:
    """A pool of inputs and what the reference says of them.

    :param reference: the network to follow, in eval mode on the CPU; not changed.
    :param inputs: training inputs: see `Mixtures`.
    :param likelihood: see `scores`.
    :param labels: the shape of labels, `(n, ...)`, which says where the outputs' classes are.
    :param share: of the updates asked for, how many are made.
    """

    def __init__(
        self, reference: nn.Module, inputs: Inputs, likelihood: str, labels: torch.Size = (0,),
        share: float = 1.0,
    ):  # fmt: skip
        self._share = share
        self._mixtures = Mixtures(reference, inputs, likelihood, labels)
        with torch.no_grad():
            outputs = passed(reference, take(inputs, slice(1))).numel()
        size = max(min(POOL, self._updates(LONGEST) * BATCH, LARGEST // max(outputs, 1)), BATCH)
        self._pool = self._mixtures.draw(size, torch.Generator().manual_seed(0))
        self._targets = torch.cat(
            [self._mixtures.targets(self._inputs(part)) for part in chunks(torch.arange(size))]
        )

    def _inputs(self, chosen: Tensor) -> Inputs:
        return self._mixtures.of(self._pool.take(chosen))

    def _updates(self, steps: int) -> int:
        return max(1, round(self._share * steps))

    def descend(
        self,
        net: nn.Module,
        tensors: Callable[[], dict[str, Tensor]],
        free: list[Tensor],
        steps: int,
        rate: float,
    ) -> None:
        """Train the tensors in `free`, in place, to predict as the reference does.

        Adam makes `steps` updates (or this object's share of them), and its learning rate falls to
        0. If the predictions are then no nearer to the reference's, the rate was too high: training
        starts again at `SLOWER` times the rate. If that does not help either, `free` is as before.

        :param net: the compressed network, in eval mode; not changed.
        :param tensors: its parameters by name, as functions of `free`; others stay as they are.
        :param rate: to begin with, for a shallow network; a deep one has less (`graph.depth`).
        """
        began = [value.detach().clone() for value in free]
        before = self._distance(net, tensors())
        for factor in (1.0, SLOWER):
            self._descend(net, tensors, free, self._updates(steps), factor * rate * rate_for(net))
            if self._distance(net, tensors()) < before:
                return
            with torch.no_grad():
                for value, start in zip(free, began, strict=True):
                    value.copy_(start)

    def _descend(
        self, net: nn.Module, tensors: Callable[[], dict[str, Tensor]], free: list[Tensor],
        steps: int, rate: float,
    ) -> None:  # fmt: skip
        optimizer = torch.optim.Adam(free, lr=rate)
        generator = torch.Generator().manual_seed(0)
        order = torch.empty(0, dtype=torch.int64)
        for step in range(steps):
            if len(order) < BATCH:
                order = torch.cat([order, torch.randperm(len(self._pool), generator=generator)])
            chosen, order = order[:BATCH], order[BATCH:]
            optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
            loss = self._loss(net, tensors(), chosen)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def _loss(self, net: nn.Module, tensors: dict[str, Tensor], chosen: Tensor) -> Tensor:
        output = passed(partial(with_tensors, net, tensors), self._inputs(chosen))
        return self._mixtures.loss(output, self._targets[chosen])

    @torch.no_grad()
    def _distance(self, net: nn.Module, tensors: dict[str, Tensor]) -> float:
        """The loss on the first of the pool."""
        parts = chunks(torch.arange(min(len(self._pool), CHECKED)))
        return sum(float(self._loss(net, tensors, part)) * len(part) for part in parts)


def with_tensors(net: nn.Module, tensors: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
    """The network's output with other tensors in the places of its own."""
    return torch.func.functional_call(net, tensors, args, kwargs)
