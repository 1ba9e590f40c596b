"""The evidence lower bound with closed-form KLs, strict and without wasted work."""

from collections.abc import Mapping
from dataclasses import dataclass

import pyro.infer
import torch
from pyro import poutine
from pyro.distributions.util import scale_and_mask
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions.kl import kl_divergence


@dataclass(frozen=True)
class Terms:
    """The two parts of a bound, in nats for the whole data set.

    :param expected_log_likelihood: one-sample estimate of E_q[log p(y | x, w)], scalar.
    :param kl: KL(q(site) || p(site)) of each latent site, scalars, KL weights included.
    """

    expected_log_likelihood: Tensor
    kl: Mapping[str, Tensor]

    @property
    def total_kl(self) -> Tensor:
        return sum(self.kl.values(), torch.zeros(()))

    @property
    def loss(self) -> Tensor:
        """The negative bound, in nats."""
        return self.total_kl - self.expected_log_likelihood


class ELBO(pyro.infer.ELBO):
    """The estimator of `pyro.infer.TraceMeanField_ELBO`, strict and fast.

    Assumption: every latent site of the guide has a registered KL(q || p), and is independent of
    the other latent sites in both model and guide (mean field). A site without a closed form
    raises; it never falls back to Monte-Carlo silently. (What is registered may be an unbiased
    estimate, and says so: `distributions.ScaleMixture`.) `log_prob` of latent sites is not
    computed at all.
    """

    def terms(self, model, guide, *args, **kwargs) -> Terms:
        """Run the pair once; one sample of the likelihood term, exact KLs.

        :raises NotImplementedError: for a latent site without a registered KL; names the site.
        :raises ValueError: for a model's latent site that the guide does not have.
        """
        guide_trace = poutine.trace(guide).get_trace(*args, **kwargs)
        replayed = poutine.replay(model, trace=guide_trace)
        model_trace = poutine.trace(replayed).get_trace(*args, **kwargs)
        _refuse_auxiliary(guide_trace, model_trace)
        log_likelihood, kl = torch.zeros(()), {}
        for name, site in model_trace.nodes.items():
            if site["type"] != "sample" or site_is_subsample(site):
                continue
            if not site["is_observed"]:
                kl[name] = _kl(name, site, guide_trace)
            elif not site["infer"].get("_deterministic"):
                log_p = site["fn"].log_prob(site["value"], *site["args"], **site["kwargs"])
                log_p = scale_and_mask(log_p, site["scale"], site["mask"])
                log_likelihood = log_likelihood + log_p.sum()
        return Terms(log_likelihood, kl)

    def differentiable_loss(self, model, guide, *args, **kwargs) -> Tensor:
        """The negative bound in nats, a scalar with gradients; mean over `num_particles`."""
        losses = [self.terms(model, guide, *args, **kwargs).loss for _ in range(self.num_particles)]
        return sum(losses) / self.num_particles

    def loss(self, model, guide, *args, **kwargs) -> float:
        with torch.no_grad():
            return self.differentiable_loss(model, guide, *args, **kwargs).item()

    def loss_and_grads(self, model, guide, *args, **kwargs) -> float:
        loss = self.differentiable_loss(model, guide, *args, **kwargs)
        loss.backward()
        return loss.item()

    def _get_trace(self, model, guide, args, kwargs):
        raise NotImplementedError("ELBO computes its terms itself; see terms()")


def _refuse_auxiliary(guide_trace: poutine.Trace, model_trace: poutine.Trace) -> None:
    """Sites of the guide alone (Pyro's autoguides have them) carry entropy that no KL counts."""
    for name, site in guide_trace.nodes.items():
        if site["type"] == "sample" and name not in model_trace.nodes:
            raise NotImplementedError(
                f"site {name!r} is in the guide but not in the model, so no closed-form KL covers "
                "it: train this guide with pyro.infer.Trace_ELBO (a proper prior only)"
            )


def _kl(name: str, site: dict, guide_trace: poutine.Trace) -> Tensor:
    if name not in guide_trace.nodes:
        raise ValueError(f"the guide has no site {name!r}, which the model samples")
    guide_site = guide_trace.nodes[name]
    q, p = guide_site["fn"], site["fn"]
    try:
        kl = kl_divergence(q, p)
    except NotImplementedError:
        raise NotImplementedError(
            f"site {name!r}: no closed-form KL({_kind(q)} || {_kind(p)}) is registered. Use a "
            "guide that METHODS lists for this model, register the KL, or train with "
            "pyro.infer.Trace_ELBO if a Monte-Carlo estimate will do"
        ) from None
    return scale_and_mask(kl, guide_site["scale"], guide_site["mask"]).sum()


def _kind(fn) -> str:
    return type(getattr(fn, "base_dist", fn)).__name__
