"""Kronecker factors of the Fisher information of a network's weights, by their eigenvectors."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise

import pyro
import torch
from pyro.distributions import Distribution
from torch import Tensor, nn

from ..common import examples
from ..graph import Untraceable, input_moments, output_moments, parameters_of, trace
from ..posterior import Curvature
from .curvature import fisher_diagonal, labels_and_shares

BATCH = 64  # examples whose gradients are taken at a time

Likelihood = Callable[[Tensor], Distribution]


@dataclass(frozen=True)
class Factors:
    """A (x) G of one weight, by A = right diag(right_values) right^T and G likewise from left.

    :param left_values: eigenvalues of G, shape (groups, units).
    :param right_values: eigenvalues of A, shape (groups, columns).
    :param left: eigenvectors in columns, shape (groups, units, units); None: G is diagonal.
    :param right: the same of A.
    :param transposed: as in `posterior.Curvature`.
    """

    left_values: Tensor
    right_values: Tensor
    left: Tensor | None
    right: Tensor | None
    transposed: bool

    def values(self) -> Tensor:
        """The eigenvalues of A (x) G, in nats an example, shape (groups, units, columns)."""
        return self.left_values[:, :, None] * self.right_values[:, None, :]

    def curvature(self) -> Curvature:
        """The factors themselves."""
        outputs = _composed(self.left, self.left_values)
        return Curvature(_composed(self.right, self.right_values), outputs, self.transposed)


def find_factors(
    net: nn.Module, likelihood: Likelihood, weights: Mapping[str, Tensor], x: examples.Inputs
) -> tuple[dict[str, Factors], dict[str, Tensor], dict[str, str]]:
    """The factors of each weight; of those without, the diagonal of the Fisher information.

    The expectation over labels is as in `curvature.fisher_diagonal`.

    :param net: in eval mode, with the weights in it; not changed.
    :param likelihood: from the output, `(n, ...)`, to a distribution of batch shape `(n,)`.
    :param weights: the values to differentiate at, by parameter name of `net`.
    :param x: examples.
    :returns: factors by name; diagonals by name, in nats an example over weight units squared; and
        why those have no factors.
    :raises ValueError: for a network that cannot be traced, and for inputs that do not fit.
    """
    network = _traced(net, x)
    known = {name for name, _ in parameters_of(network)}
    names = [name for name in weights if name in known]
    reasons = {name: "no output depends on it" for name in weights if name not in known}

    def batches():
        for start, end in pairwise(examples.bounds(examples.count(x), BATCH)):
            yield examples.take(x, slice(start, end))

    def scores(output: Tensor) -> list[Tensor]:
        p = likelihood(output)
        return [
            (share.sqrt() * p.log_prob(y)).sum()
            for y, share in labels_and_shares(likelihood, output.detach())
        ]

    inputs = input_moments(network, batches(), names)
    with pyro.validation_enabled(False), torch.random.fork_rng():
        torch.manual_seed(0)
        outputs, missing = output_moments(network, batches(), scores, inputs.weights)
    reasons |= inputs.missing | missing
    factors = {}
    for name, second in outputs.items():
        moments = inputs.weights[name]
        left_values, left = _eigen(second)
        right_values, right = _eigen(moments.inputs)
        factors[name] = Factors(left_values, right_values, left, right, moments.transposed)
    rest = {name: value for name, value in weights.items() if name in reasons}
    return factors, _diagonals(net, likelihood, rest, x, reasons), reasons


def _traced(net: nn.Module, x: examples.Inputs):
    """The network's graph, with its own parameters."""
    try:
        return trace(net, examples.take(x, slice(0, 2)), fold=False)
    except Untraceable as error:
        raise ValueError(
            f"KroneckerLaplace reads the network's graph, which cannot be traced ({error}): use "
            "guides.DiagonalLaplace"
        ) from None


def _diagonals(
    net: nn.Module,
    likelihood: Likelihood,
    weights: Mapping[str, Tensor],
    x: examples.Inputs,
    reasons: Mapping[str, str],
) -> dict[str, Tensor]:
    if not weights:
        return {}
    if not isinstance(x, Tensor):
        name = next(iter(weights))
        raise ValueError(
            f"{name!r} has no Kronecker factors ({reasons[name]}), and the diagonal of its Fisher "
            "information is known for networks of one input tensor only: leave it out of the "
            "model's `latent`"
        )
    return fisher_diagonal(net, likelihood, weights, x)


def _eigen(factor: Tensor) -> tuple[Tensor, Tensor | None]:
    """Eigenvalues, not below 0, and eigenvectors; None for those of a diagonal."""
    if factor.dim() == 2:
        return factor, None
    values, vectors = torch.linalg.eigh(factor.double())
    return values.clamp(min=0).to(factor.dtype), vectors.to(factor.dtype)


def _composed(vectors: Tensor | None, values: Tensor) -> Tensor:
    return values if vectors is None else (vectors * values[:, None, :]) @ vectors.mT
