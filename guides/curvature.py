"""The diagonal of the Fisher information of a network's weights, example by example."""

from collections.abc import Callable, Mapping

import pyro
import torch
from pyro.distributions import Bernoulli, Categorical, Distribution, Normal
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

LARGEST = 2**25  # numbers of per-example gradients held at a time
EXACT = 32  # classes or outputs up to which the labels are summed over
DRAWS = 8  # labels of each example where they are drawn instead


def fisher_diagonal(
    net: nn.Module,
    likelihood: Callable[[Tensor], Distribution],
    weights: Mapping[str, Tensor],
    x: Tensor,
) -> dict[str, Tensor]:
    """E over examples x and over labels y ~ p(y | x, w) of (d log p(y | x, w) / dw)^2.

    For likelihoods in their natural parameters (categorical or Bernoulli logits, normal means)
    this is the diagonal of the generalised Gauss-Newton matrix too (Martens 2020, New insights on
    the natural gradient). The expectation over labels is exact for up to `EXACT` classes, and for
    up to so many Bernoulli outputs or normal ones of a fixed scale; else it is estimated from
    `DRAWS` labels an example, without bias and always the same ones.

    :param net: in eval mode: BatchNorm would otherwise mix examples.
    :param likelihood: from the output, `(n, ...)`, to a distribution of batch shape `(n,)`.
    :param weights: the values to differentiate at, by parameter name of `net`.
    :param x: examples, shape `(n, ...)`.
    :returns: for each weight a tensor of its shape, in nats per example over weight units squared.
    """

    def log_p(weights: Mapping[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        output = functional_call(net, dict(weights), (x[None],))
        return likelihood(output).log_prob(y[None]).sum()

    scores = vmap(grad(log_p), in_dims=(None, 0, 0))
    total = {name: torch.zeros_like(value) for name, value in weights.items()}
    chunk = max(1, LARGEST // sum(value.numel() for value in weights.values()))
    # Validation of values is control flow that depends on data, which vmap has not.
    with pyro.validation_enabled(False), torch.random.fork_rng():
        torch.manual_seed(0)
        for part in x.split(chunk):
            output = functional_call(net, dict(weights), (part,)).detach()
            for y, share in labels_and_shares(likelihood, output):
                for name, score in scores(weights, part, y).items():
                    total[name] += torch.tensordot(share, score.square(), dims=1)
    return {name: value / len(x) for name, value in total.items()}


def labels_and_shares(likelihood: Callable, output: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Labels `(n, ...)` and their shares `(n,)`: E (score)^2 is the sum of share * score^2."""
    p = likelihood(output.requires_grad_())
    base, ones = getattr(p, "base_dist", p), torch.ones_like(output.detach().flatten(1)[:, 0])
    with torch.no_grad():
        if isinstance(p, Categorical) and p.probs.shape[-1] <= EXACT:
            classes = range(p.probs.shape[-1])
            return [(torch.full_like(ones, c, dtype=torch.long), p.probs[:, c]) for c in classes]
        outputs = base.batch_shape.numel() // len(ones)
        if _elementwise(base) and outputs <= EXACT:
            # Scores of independent outputs are uncorrelated: one output at a time is one stddev
            # off its mean, the others give no score.
            steps = torch.eye(outputs, dtype=output.dtype, device=output.device)
            shape = (-1, *base.batch_shape[1:])
            return [(base.mean + base.stddev * s.reshape(shape), ones) for s in steps]
        return [(p.sample(), ones / DRAWS) for _ in range(DRAWS)]


def _elementwise(base: Distribution) -> bool:
    """Whether all that a distribution knows of the network is its mean."""
    fixed = isinstance(base, Normal) and not base.scale.requires_grad
    return fixed or isinstance(base, Bernoulli)
