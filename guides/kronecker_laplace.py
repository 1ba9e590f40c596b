"""The Laplace approximation with a Kronecker-factored curvature of each weight tensor.

MacKay 1992, *A Practical Bayesian Framework for Backpropagation Networks*; Ritter, Botev and Barber
2018, *A Scalable Laplace Approximation for Neural Networks* (the factors, to each of which they add
a root of the prior's precision); Immer et al. 2021, *Scalable Marginal Likelihood Estimation for
Model Selection in Deep Learning* (the evidence; the precision is added to the eigenvalues of the
product, as here).
"""

from collections.abc import Iterable
from functools import partial

import pyro
import torch
from pyro.distributions import Distribution, Normal
from torch import Tensor, nn

from ..common import examples
from ..common.labels import check_labels
from ..distributions.kronecker_normal import KroneckerNormal
from ..distributions.parameters import state_parameters
from ..graph import as_matrix
from ..posterior import Posterior, WeightPosterior
from .base import normal_quantiles
from .kronecker_factors import BATCH, Factors, find_factors
from .laplace import EXAMPLES
from .laplace_evidence import best_scale
from .mean_field import PointMass
from .prior_precision import prior_precision

#: Kinds of buffers. "diagonal" is the Fisher information of weights without factors.
_KINDS = ("left_values", "right_values", "left", "right", "transposed", "diagonal")


class KroneckerLaplace(PointMass):
    """q(w) = N(loc, (N A (x) G + D)^-1) for each weight tensor, independently of the others.

    A is the second moment of the weight's inputs, G that of the gradients in its outputs (see
    `posterior.Curvature`), N the model's `num_data`, D the prior's precision (see
    `prior_precision`). N A (x) G is the Fisher information: labels y are those that the network
    itself predicts, not the data's, so that it is the generalised Gauss-Newton matrix for
    categorical, Bernoulli and normal likelihoods. D is added in the eigenbasis of A (x) G: exactly
    where it is the same for all weights of a tensor (`models.Gaussian`), else by its diagonal in
    that basis. Directions that no input reaches have the prior's precision, so that any number of
    inputs will do.

    loc is the network's weights, or trained as a `PointMass` is. Until `after_training` is called
    q is a point at loc; from then on a call of the guide draws from q.

    A weight without a matrix view (`without_factors` says which, and why) has the diagonal Fisher
    information, as in `DiagonalLaplace`.

    :param model: a model of `bitsback.models` with a proper prior whose latent sites are the
        weights themselves: Gaussian, Laplace, ScaleMixture.
    :raises ValueError: for an improper prior, for which there is no Laplace approximation.

    >>> model = models.Gaussian(net, num_data=len(x), scale=1.0)
    >>> guide = guides.KroneckerLaplace(model)
    >>> guide.after_training(x)  # seconds; labels are not needed
    >>> guide.log_evidence(x, y)  # nats
    """

    def __init__(self, model: nn.Module):
        super().__init__(model)
        if not model.proper:
            raise ValueError(
                f"KroneckerLaplace needs a proper prior, whose precision makes its normal one; "
                f"{type(model).__name__} has an improper prior: use models.Gaussian, say"
            )
        if model.mixture is not None:
            raise ValueError(
                "KroneckerLaplace takes priors that are known, and a mixture is learned: make the "
                "model without `mixture`"
            )
        self._model = [model]  # out of sight of nn.Module: its parameters are not the guide's
        self._forget()
        #: The weights of which only the diagonal is known, each with the reason.
        self.without_factors: dict[str, str] = {}

    @torch.no_grad()
    def after_training(self, x: examples.Inputs, y: Tensor | None = None) -> None:
        """Find the curvature at the points.

        :param x: inputs, shape `(n, ...)`, or several tensors (see `common.examples`), of which a
            fixed random `laplace.EXAMPLES` are used if there are more.
        :param y: not used: labels are drawn from the network's own predictions.
        :raises ValueError: for a network that cannot be traced, or inputs that do not fit it, are
            none, or hold NaN.
        """
        count = examples.count(x, "calibration")
        if not count:
            raise ValueError("no calibration inputs: give at least one example")
        chosen = torch.randperm(count, generator=torch.Generator().manual_seed(0))[:EXAMPLES]
        some = examples.each(x, lambda tensor: tensor[chosen.to(tensor.device)])
        likelihood = partial(self._model[0].likelihood_of, y=None)  # it knows where the classes are
        found, rest, self.without_factors = find_factors(
            self.network(), likelihood, self.median(), some
        )
        for kind in ("left_values", "right_values", "left", "right"):
            parts = {name: getattr(factors, kind) for name, factors in found.items()}
            self._add(kind, {n: v for n, v in parts.items() if v is not None}, trained=False)
        flags = {name: torch.tensor(factors.transposed) for name, factors in found.items()}
        self._add("transposed", flags, trained=False)
        self._add("diagonal", rest, trained=False)

    def _start_at(self, posterior: Posterior) -> None:
        """Take over the means; the curvature is to be found anew."""
        super()._start_at(posterior)
        self._forget()

    @torch.no_grad()
    def prepare_for(self, state: dict[str, Tensor]) -> None:
        """Make room for the factors of a state_dict."""
        for kind in _KINDS:
            parts = {
                name.removeprefix(f"{kind}."): torch.zeros_like(value)
                for name, value in state.items()
                if name.startswith(f"{kind}.")
            }
            if parts.keys() <= set(self._names):
                self._add(kind, parts, trained=False)

    @torch.no_grad()
    def network(self) -> nn.Module:
        """A plain copy of the model's network with the points in it, in eval mode."""
        net = self._model[0].trained().eval()
        parameters = dict(net.named_parameters(remove_duplicate=False))
        for name, point in self.median().items():
            parameters[name].copy_(point)
        return net

    @property
    def is_found(self) -> bool:
        """Whether the curvature is known, so that q is a density."""
        return any(True for kind in ("left_values", "diagonal") for _ in self._buffers_of(kind))

    def density(self, name: str) -> Distribution:
        """q of one weight, event shape the weight's.

        :raises ValueError: before `after_training`.
        """
        if not self.is_found:
            raise ValueError("the curvature is not known yet: call after_training(inputs) first")
        loc = self._get("loc", name)
        precision = self._prior_precision(name)
        if (factors := self._factors(name)) is None:
            precision = self._model[0].num_data * self._get("diagonal", name) + precision
            return Normal(loc, precision.rsqrt()).to_event(loc.dim())
        values = self._model[0].num_data * factors.values()
        added = _in_eigenbasis(precision, factors)
        return KroneckerNormal(loc, values + added, factors.left, factors.right, factors.transposed)

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        if not self.is_found:
            return super().forward()
        state_parameters("guide", self)
        return {name: pyro.sample(name, self.density(name)) for name in self._names}

    @torch.no_grad()
    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Marginal quantiles of each weight, by name; shape `(len(quantiles), *weight.shape)`."""
        if not self.is_found:
            return super().quantiles(quantiles)
        return normal_quantiles(self.moments(), quantiles)

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """loc, the marginal stddev in closed form, log_alpha and the curvature.

        log_alpha = log(stddev^2 / loc^2) is minus the log of twice the rise in loss when a weight
        is removed and all others make up for it: optimal brain surgeon (Hassibi and Stork 1993).
        Before `after_training` the moments are those of a point.
        """
        if not self.is_found:
            return super().moments()
        weights = {}
        for name in self._names:
            q, factors = self.density(name), self._factors(name)
            weights[name] = WeightPosterior(
                loc=q.mean.clone(),
                stddev=q.variance.sqrt(),
                inclusion=torch.ones(()),
                log_alpha=q.variance.log() - 2 * q.mean.abs().log(),
                curvature=None if factors is None else factors.curvature(),
            )
        return Posterior(weights)

    @torch.no_grad()
    def log_evidence(self, x: examples.Inputs, y: Tensor) -> float:
        """The Laplace approximation of log p(y | x) [nats], given the point parameters:

            log p(y | x, loc) + log p(loc) + (P / 2) log 2 pi - (1 / 2) log det H,

        P weights, and H = N A (x) G + D for each tensor. It supposes that loc is the maximum of the
        log joint density: train the points under this prior first. Where D is a bound (see
        `prior_precision`), or is not the same for all weights of a tensor, log det H is at
        least that of the blocks' own precision, so that the result errs to the lower side there.

        :param x: training inputs; with fewer than `num_data` the likelihood is scaled up to these.
        :param y: their labels.
        :raises ValueError: before `after_training`, and for labels that do not fit.
        """
        model = self._model[0]
        result = model.num_data * self._mean_log_likelihood(x, y)
        for name in self._names:
            q, loc = self.density(name), self._get("loc", name)
            result += model.prior(name, loc).log_prob(loc).double().sum().item()
            result += q.entropy().double().sum().item() - 0.5 * loc.numel()
        return result

    @torch.no_grad()
    def best_scale(self) -> float:
        """The common scale of a normal prior, at which the evidence of these points is largest.

        In weight units; see `laplace_evidence.best_scale`. Another scale has another maximum: make
        a model of this scale, train its points, find their curvature, and ask again.

        :raises ValueError: before `after_training`.
        """
        if not self.is_found:
            raise ValueError("the curvature is not known yet: call after_training(inputs) first")
        values = []
        for name in self._names:
            factors = self._factors(name)
            fisher = self._get("diagonal", name) if factors is None else factors.values()
            values.append(self._model[0].num_data * fisher)
        return best_scale([self._get("loc", name) for name in self._names], values)

    def _mean_log_likelihood(self, x: examples.Inputs, y: Tensor) -> float:
        examples.check_pair((x, y), "training")
        model, net, total = self._model[0], self.network(), 0.0
        for start in range(0, len(y), BATCH):
            part, labels = examples.take(x, slice(start, start + BATCH)), y[start : start + BATCH]
            output = examples.call(net, part)
            if model.likelihood_name is not None:
                check_labels(labels, model.likelihood_name, output)
            if model.likelihood_name in ("bernoulli", "normal"):
                labels = labels.to(output.dtype)
            likelihood = model.likelihood_of(output, labels)
            total += likelihood.log_prob(labels).double().sum().item()
        return total / len(y)

    def _forget(self) -> None:
        for kind in _KINDS:
            self._add(kind, {}, trained=False)

    def _prior_precision(self, name: str) -> Tensor:
        loc = self._get("loc", name).detach()
        return prior_precision(self._model[0].prior(name, loc), loc, name)

    def _buffers_of(self, kind: str) -> dict[str, Tensor]:
        return dict(getattr(self, kind).named_buffers())

    def _factors(self, name: str) -> Factors | None:
        parts = {kind: self._buffers_of(kind).get(name) for kind in _KINDS[:5]}
        if parts["left_values"] is None:
            return None
        return Factors(**parts | {"transposed": bool(parts["transposed"])})


def _in_eigenbasis(precision: Tensor, factors: Factors) -> Tensor:
    """diag(U^T D U), shape (groups, units, columns), U the eigenvectors of A (x) G.

    Of the matrices with these eigenvectors, N A (x) G plus this is nearest to N A (x) G + D in the
    Frobenius norm; its determinant is not below that matrix's (Hadamard's inequality).
    """
    matrix = as_matrix(precision, len(factors.left_values), factors.transposed)
    if factors.left is not None:
        matrix = factors.left.square().mT @ matrix
    if factors.right is not None:
        matrix = matrix @ factors.right.square()
    return matrix
