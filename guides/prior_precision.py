"""The precision that a prior adds to the curvature of the likelihood, weight by weight."""

import torch
from pyro.distributions import Distribution, Normal
from torch import Tensor

# Of the weights' root mean square: nearer to 0 a density with a cusp has a precision without bound.
_LEAST = 1e-3


def prior_precision(prior: Distribution, weight: Tensor, name: str) -> Tensor:
    """-(d log p(w) / dw) / w for each weight; 1 / scale^2 for a normal prior.

    For a normal prior this is -d^2 log p(w) / dw^2. That would not do for others: it is 0 for a
    Laplace prior, and negative in the tails of a scale mixture. Where p(w) is a scale mixture of
    normals about 0 (Laplace and Student's t are such too), the value used here is the mean of
    1 / scale^2 given w, and

        log p(v) >= log p(w) - precision (v^2 - w^2) / 2    for every v,

    with equality, and the same slope, at v = w: a normal that touches the prior from below
    (Girolami 2001, *A variational method for learning sparse and overcomplete representations*;
    Palmer et al. 2006, *Variational EM algorithms for non-Gaussian latent variable models*). So the
    precision is never negative, and a Laplace evidence with it errs to the lower side. Weights
    nearer to 0 than a thousandth of the tensor's root mean square are taken to be there.

    :param prior: of batch shape that of `weight`.
    :param weight: where it is asked for.
    :param name: of the weight, for messages.
    :returns: 1 / (weight unit)^2, positive, the weight's shape.
    :raises ValueError: for a density that rises away from 0, or has no gradient.
    """
    if isinstance(prior, Normal):
        return torch.square(1 / prior.scale).expand(weight.shape)
    least = _LEAST * weight.square().mean().sqrt().clamp(min=torch.finfo(weight.dtype).tiny)
    with torch.inference_mode(False), torch.enable_grad():
        at = torch.maximum(weight.detach().abs(), least).clone().requires_grad_()
        slope = torch.autograd.grad(prior.log_prob(at).sum(), at)[0]
    precision = -slope / at.detach()
    if not bool((precision.isfinite() & (precision > 0)).all()):
        raise ValueError(
            f"the prior of {name!r}, {type(prior).__name__}, does not fall away from 0 "
            "everywhere, so no normal about 0 bounds it: use models.Gaussian, Laplace or "
            "ScaleMixture"
        )
    return precision
