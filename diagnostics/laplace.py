"""Laplace's approximation to the log marginal likelihood, with the full Hessian."""

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from .density import LogDensity
from .evidence import Evidence
from .traces import evaluating

_LARGEST = 2000  # the Hessian is dense: 32 MB at this size
_CLOSE = 0.01  # nats


def laplace(
    model: nn.Module, x: Tensor, y: Tensor, start: Mapping[str, Tensor] | None = None
) -> Evidence:
    """log p(m, y) + D/2 log 2 pi - 1/2 log det H at a mode m, H the Hessian of -log p there.

    MacKay 1992, *Bayesian interpolation*. Exact for a normal posterior. It knows one mode, and
    that mode's curvature alone. In unconstrained coordinates, on which it depends.

    :param model: proper prior, continuous latent sites, at most 2,000 latent values in all.
    :param x: inputs, all the training data.
    :param y: labels.
    :param start: where to climb from, by latent site (a guide's `median()`); default: the
        network's own weights.
    :raises ValueError: for too many values, a latent site that `start` lacks, and where the climb
        did not end at a maximum.
    """
    with evaluating(model):
        density = LogDensity(model, x, y)
        if density.dim > _LARGEST:
            raise ValueError(
                f"laplace() needs a dense Hessian: {density.dim} latent values, {_LARGEST} at most"
            )
        mode = _climb(density, density.flat(start or model.initial_weights()))
        hessian = torch.autograd.functional.hessian(lambda u: -sum(density.terms(u)), mode)
        height = sum(density.terms(mode.requires_grad_()))
        (slope,) = torch.autograd.grad(height, mode)
    log_det = _log_det(hessian.double().cpu(), slope.double().cpu())
    value = height.item() + density.dim / 2 * math.log(2 * math.pi) - log_det / 2
    return Evidence("Laplace", value, 0.0, "estimate", "one mode, and its curvature alone")


def _log_det(hessian: Tensor, slope: Tensor) -> float:
    """log det of the negative Hessian where the climb ended, if that is a maximum."""
    factor, failed = torch.linalg.cholesky_ex((hessian + hessian.T) / 2)
    if failed:
        raise ValueError(
            "laplace() found no maximum: the Hessian is not positive definite where the climb "
            "ended. Start from a trained guide's median(), or take another estimate"
        )
    # Half of slope' H^-1 slope: how far a quadratic says the maximum is above, in nats.
    short = torch.cholesky_solve(slope[:, None], factor)[:, 0].dot(slope).item() / 2
    if short > _CLOSE:
        raise ValueError(
            f"laplace() ended {short:.2g} nats below the maximum. Start from a trained guide's "
            "median()"
        )
    return 2 * factor.diagonal().log().sum().item()


def _climb(density: LogDensity, start: Tensor) -> Tensor:
    """A local maximum of the log joint, by L-BFGS, shape `(dim,)`."""
    u = start.clone().requires_grad_()
    tiny = torch.finfo(u.dtype).eps
    search = torch.optim.LBFGS(
        [u], max_iter=500, tolerance_grad=tiny, tolerance_change=tiny, line_search_fn="strong_wolfe"
    )

    def closure():
        search.zero_grad()
        loss = -sum(density.terms(u))
        (u.grad,) = torch.autograd.grad(loss, u)
        return loss

    search.step(closure)
    return u.detach()
