"""Mixtures of inputs, what a reference network says of them, and how far another is from that.

The distance is E_x KL(p(y | x, reference) || p(y | x, other)) over convex mixtures x of pairs of
inputs. It needs no labels. The reference answers anywhere, and a network that must follow it
between the examples too cannot grow more sure than it by learning the examples by heart. Sources:
Hinton, Vinyals and Dean 2015 (distillation); Beyer et al. 2022, Knowledge distillation: a good
teacher is patient and consistent (mixtures).
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from ..common.examples import Inputs, count, each, passed
from ..common.labels import classes_last

MIXED = 0.5  # the largest share of the second input of a pair


@dataclass(frozen=True)
class Pairs:
    """Which inputs are mixed.

    :param places: of both, shape (2, n).
    :param shares: of the second ones, shape (n,).
    """

    places: Tensor
    shares: Tensor

    def __len__(self) -> int:
        return len(self.shares)

    def take(self, chosen: Tensor | slice) -> "Pairs":
        return Pairs(self.places[:, chosen], self.shares[chosen])


class Mixtures:
    """Mixtures of pairs of inputs, and the predictions of a reference.

    :param reference: the network to follow, in eval mode on the CPU; not changed.
    :param inputs: of n examples, on the CPU, as `common.examples.arguments` gives them. Only
        floating-point tensors are mixed; others are those of the first of a pair.
    :param likelihood: see `scores`.
    :param labels: the shape of labels, `(n, ...)`, which says where the outputs' classes are.
    """

    def __init__(
        self, reference: nn.Module, inputs: Inputs, likelihood: str, labels: torch.Size
    ) -> None:
        self._reference, self._inputs = reference, inputs
        self._likelihood, self._labels = likelihood, labels

    def draw(self, number: int, generator: torch.Generator) -> Pairs:
        """Random pairs and shares."""
        places = torch.randint(count(self._inputs), (2, number), generator=generator)
        return Pairs(places, MIXED * torch.rand(number, generator=generator))

    def of(self, pairs: Pairs) -> Inputs:
        """The mixtures."""
        one, other = pairs.places

        def mixed(tensor: Tensor) -> Tensor:
            first = tensor[one]
            if not first.is_floating_point():
                return first
            share = pairs.shares.to(first.dtype).view(-1, *[1] * (first.dim() - 1))
            return torch.lerp(first, tensor[other], share)

        return each(self._inputs, mixed)

    @torch.no_grad()
    def targets(self, x: Inputs) -> Tensor:
        """What the likelihood's distribution expects of the labels, by the reference."""
        output = passed(self._reference, x)
        if self._likelihood == "categorical":
            return self._rows(output).softmax(-1)
        return output.sigmoid() if self._likelihood == "bernoulli" else output

    def _rows(self, output: Tensor) -> Tensor:
        """Logits of shape `(examples, labels of each, classes)`."""
        output = classes_last(output, torch.Size((len(output), *self._labels[1:])))
        return output.reshape(len(output), -1, output.shape[-1])

    def loss(self, output: Tensor, targets: Tensor) -> Tensor:
        """KL(reference || output) for these targets, in nats an example."""
        if self._likelihood == "categorical":
            rows = self._rows(output)
            loss = (torch.xlogy(targets, targets) - targets * rows.log_softmax(-1)).sum()
        elif self._likelihood == "bernoulli":
            loss = functional.binary_cross_entropy_with_logits(output, targets, reduction="sum")
            loss = (
                loss + (torch.xlogy(targets, targets) + torch.xlogy(1 - targets, 1 - targets)).sum()
            )
        else:
            loss = 0.5 * (output - targets).square().sum()
        return loss / len(output)
