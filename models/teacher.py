"""A teacher's soft labels beside the true ones: distillation (Hinton, Vinyals and Dean 2015)."""

import torch
from torch import Tensor, nn
from torch.nn.functional import log_softmax, softmax

from ..common.examples import Inputs, call, tensors
from ..common.modules import copied


class Teacher:
    """A trained classifier, and what its logits say of another's.

    No module, so that it is in no state_dict and nothing trains it.

    :param net: the classifier; copied, in evaluation mode.
    :param alpha: its share of the likelihood, within (0, 1).
    :param temperature: what logits are divided by.
    :raises ValueError: for numbers out of range.
    """

    def __init__(self, net: nn.Module, alpha: float, temperature: float):
        if not 0 < alpha < 1:
            raise ValueError(f"alpha, the teacher's share, must be within (0, 1); got {alpha}")
        if not 0 < temperature < float("inf"):
            raise ValueError(f"temperature must be positive and finite; got {temperature}")
        self.net = copied(net).eval().requires_grad_(False)
        self.alpha, self.temperature = alpha, temperature

    @torch.no_grad()
    def soft(self, x: Inputs) -> Tensor:
        """The teacher's probabilities at temperature T, shape `(batch, classes)`."""
        like = tensors(x)[0]
        net = self.net.to(like if like.is_floating_point() else like.device)
        return softmax(call(net, x) / self.temperature, -1)

    def lesson(self, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
        """The labels, and the teacher's probabilities.

        :param y: labels, shape `(batch,)`, or, of a teacher that was asked before, each with the
            probabilities behind it: floats of shape `(batch, 1 + classes)`.
        """
        return (y, self.soft(x)) if y.dim() == 1 else (y[:, 0].long(), y[:, 1:])

    def __call__(self, soft: Tensor, output: Tensor) -> Tensor:
        """alpha T^2 sum_c p_c log q_c of each example, nats, shape `(batch,)`.

        q is the given logits' softmax at temperature T; T^2 keeps the gradient's size as T grows.

        :param soft: the teacher's probabilities p.
        :param output: logits, shape `(batch, classes)`.
        :raises ValueError: for probabilities of other classes.
        """
        if soft.shape != output.shape:
            raise ValueError(
                f"the teacher's probabilities have shape {tuple(soft.shape)}, the network's logits "
                f"{tuple(output.shape)}: give labels alone, or each with one for every class"
            )
        said = (soft * log_softmax(output / self.temperature, -1)).sum(-1)
        return self.alpha * self.temperature**2 * said
