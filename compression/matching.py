"""Function matching: a compressed network trained to predict as the one it was made from.

The free tensors of the compressed network descend on

    E_x KL(p(y | x, reference) || p(y | x, compressed)),

which needs inputs and no labels. The inputs are convex mixtures of pairs of training inputs: the
reference answers anywhere, and a network that must follow it between the examples too cannot grow
more sure than it by learning the examples' labels by heart, which is what descent on the labels'
own likelihood does (validation NLL rises while training NLL falls). Sources: Hinton, Vinyals and
Dean 2015 (distillation); Beyer et al. 2022, Knowledge distillation: a good teacher is patient and
consistent (mixtures).
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..common.examples import Inputs, count, each, passed, take
from ..common.labels import classes_last
from ..graph.depth import rate_for
from .scores import chunks

POOL = 100_000  # mixtures, drawn once
LARGEST = 2**25  # numbers of the reference's output on them that are kept
MIXED = 0.5  # the largest share of the second input of a pair
BATCH = 128
LONGEST = 1_500  # updates that anybody asks for
CHECKED = 2_048  # mixtures by which a descent is judged
SLOWER = 0.1  # of a learning rate that did not help


class Matching:
    """A pool of inputs and what the reference says of them.

    :param reference: the network to follow, in eval mode on the CPU; not changed.
    :param inputs: training inputs of n examples, on the CPU, as `common.examples.arguments`
        gives them. Only floating-point tensors are mixed; others are those of the first of a pair.
    :param likelihood: see `scores`.
    :param labels: the shape of labels, `(n, ...)`, which says where the outputs' classes are.
    :param share: of the updates asked for, how many are made.
    """

    def __init__(
        self, reference: nn.Module, inputs: Inputs, likelihood: str, labels: torch.Size = (0,),
        share: float = 1.0,
    ):  # fmt: skip
        self._share = share
        self._inputs, self._likelihood, self._labels = inputs, likelihood, labels
        with torch.no_grad():
            outputs = passed(reference, take(inputs, slice(1))).numel()
        size = max(min(POOL, self._updates(LONGEST) * BATCH, LARGEST // max(outputs, 1)), BATCH)
        generator = torch.Generator().manual_seed(0)
        self._pairs = torch.randint(count(inputs), (2, size), generator=generator)
        self._shares = MIXED * torch.rand(size, generator=generator)
        with torch.no_grad():
            parts = [
                passed(reference, self._mixtures(chosen)) for chosen in chunks(torch.arange(size))
            ]
        self._targets = self._means(torch.cat(parts))

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
                order = torch.cat([order, torch.randperm(len(self._shares), generator=generator)])
            chosen, order = order[:BATCH], order[BATCH:]
            optimizer.param_groups[0]["lr"] = rate * (1 - step / steps)
            call = partial(_call, net, tensors())
            output = passed(call, self._mixtures(chosen))
            optimizer.zero_grad()
            self._loss(output, self._targets[chosen]).backward()
            optimizer.step()

    @torch.no_grad()
    def _distance(self, net: nn.Module, tensors: dict[str, Tensor]) -> float:
        """The loss on the first of the pool."""
        parts = chunks(torch.arange(min(len(self._shares), CHECKED)))
        total = 0.0
        for chosen in parts:
            output = passed(partial(_call, net, tensors), self._mixtures(chosen))
            total += float(self._loss(output, self._targets[chosen])) * len(chosen)
        return total

    def _mixtures(self, chosen: Tensor) -> Inputs:
        one, other = (self._pairs[i][chosen] for i in (0, 1))

        def mixed(tensor: Tensor) -> Tensor:
            first = tensor[one]
            if not first.is_floating_point():
                return first
            share = self._shares[chosen].to(first.dtype).view(-1, *[1] * (first.dim() - 1))
            return torch.lerp(first, tensor[other], share)

        return each(self._inputs, mixed)

    def _means(self, output: Tensor) -> Tensor:
        """What the likelihood's distribution expects of the labels, from the network's output."""
        if self._likelihood == "categorical":
            return self._rows(output).softmax(-1)
        return output.sigmoid() if self._likelihood == "bernoulli" else output

    def _rows(self, output: Tensor) -> Tensor:
        """Logits of shape `(examples, labels of each, classes)`."""
        output = classes_last(output, torch.Size((len(output), *self._labels[1:])))
        return output.reshape(len(output), -1, output.shape[-1])

    def _loss(self, output: Tensor, means: Tensor) -> Tensor:
        """The divergence, up to a constant, in nats an example."""
        if self._likelihood == "categorical":
            rows = self._rows(output)
            loss = -(means * rows.log_softmax(-1)).sum()
        elif self._likelihood == "bernoulli":
            loss = functional.binary_cross_entropy_with_logits(output, means, reduction="sum")
        else:
            loss = 0.5 * (output - means).square().sum()
        return loss / len(output)


def _call(net: nn.Module, tensors: dict[str, Tensor], *args: Any, **kwargs: Any) -> Any:
    """The network's output with other tensors in the places of its own."""
    return torch.func.functional_call(net, tensors, args, kwargs)
