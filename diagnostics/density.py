"""A model's log density as a function of one flat, unconstrained vector."""

import math
from collections.abc import Iterator, Mapping

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn
from torch.distributions import biject_to

from .traces import pointwise, random_sites, refuse_improper, replayed


class LogDensity:
    """log p(w) and log p(y | x, w) of small models, for gradients, Hessians and Markov chains.

    Sites with constrained values are transformed to the real line; the log prior then includes
    the Jacobian, so that the density integrates to the same evidence. Keep the model in evaluation
    mode while it is used.

    :param model: a model of `bitsback.models` with a proper prior and continuous latent sites.
    :param x: inputs, shape `(N, ...)`.
    :param y: labels, shape `(N, ...)`; all the training data.
    :raises ValueError: for an improper prior, a discrete site, or part of the data.
    """

    def __init__(self, model: nn.Module, x: Tensor, y: Tensor):
        refuse_improper(model)
        if len(y) != getattr(model, "num_data", len(y)):
            raise ValueError(
                f"the evidence is that of all the training data: {len(y)} examples were given, and "
                f"the model's num_data is {model.num_data}"
            )
        self.model, self.x, self.y = model, x, y
        with torch.no_grad():
            self._sites = dict(random_sites(poutine.trace(model).get_trace(x, y)))
        for name, site in self._sites.items():
            if site["fn"].support.is_discrete:
                raise ValueError(f"site {name!r} is discrete: there is no density to follow")
        self._transforms = {n: biject_to(site["fn"].support) for n, site in self._sites.items()}
        self._shapes = {n: self._free(n, site["value"]).shape for n, site in self._sites.items()}
        self.dim = sum(map(math.prod, self._shapes.values()))

    def terms(self, u: Tensor) -> tuple[Tensor, Tensor]:
        """log p(u), Jacobian included, and log p(y | x, u), in nats, scalars; `u` is `(dim,)`."""
        values, log_jacobian = {}, torch.zeros((), dtype=u.dtype)
        for name, part in self._parts(u):
            transform = self._transforms[name]
            values[name] = transform(part)
            log_jacobian = log_jacobian + transform.log_abs_det_jacobian(part, values[name]).sum()
        trace = replayed(self.model, values, self.x, self.y)
        log_prior = sum(s["fn"].log_prob(s["value"]).sum() for _, s in random_sites(trace))
        return log_prior + log_jacobian, pointwise(trace).sum()

    def batch(self, u: Tensor, power: float) -> tuple[Tensor, Tensor, Tensor]:
        """Of p(u) p(y | x, u)^power at each row of `u`, shape `(C, dim)`.

        :returns: its gradient, `(C, dim)`; its logarithm, `(C,)`; log p(y | x, u), `(C,)`.
        """

        def tempered(row):
            log_prior, log_likelihood = self.terms(row)
            return log_prior + power * log_likelihood, log_likelihood

        # Validation branches on values, which a vectorised run has none of.
        with pyro.validation_enabled(False):
            both = torch.func.vmap(torch.func.grad_and_value(tempered, has_aux=True))
            gradient, (value, log_likelihood) = both(u)
        return gradient, value, log_likelihood

    @torch.no_grad()
    def prior_draw(self) -> Tensor:
        """One exact draw of the prior, shape `(dim,)`."""
        trace = poutine.trace(self.model).get_trace(self.x, self.y)
        return self.flat({name: site["value"] for name, site in random_sites(trace)})

    @torch.no_grad()
    def flat(self, values: Mapping[str, Tensor]) -> Tensor:
        """Values of all latent sites as one unconstrained vector, shape `(dim,)`.

        :raises ValueError: for a site without a value.
        """
        missing = [name for name in self._sites if name not in values]
        if missing:
            raise ValueError(f"no value of the site {missing[0]!r}")
        return torch.cat([self._free(name, values[name]).reshape(-1) for name in self._sites])

    def _free(self, name: str, value: Tensor) -> Tensor:
        return self._transforms[name].inv(torch.clone(value).detach())

    def _parts(self, u: Tensor) -> Iterator[tuple[str, Tensor]]:
        start = 0
        for name, shape in self._shapes.items():
            size = math.prod(shape)
            yield name, u[start : start + size].reshape(shape)
            start += size
