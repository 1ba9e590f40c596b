"""What of Pyro's machinery a network cannot run under, refused before it gives wrong numbers."""

import torch
from pyro.infer.autoguide.initialization import InitMessenger, init_to_sample
from pyro.infer.inspect import TrackProvenance
from pyro.poutine.indep_messenger import IndepMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import _PYRO_STACK
from pyro.poutine.trace_messenger import TraceMessenger
from torch import Tensor


def refuse_handlers() -> None:
    """Raise where a model or a guide runs under handlers that it cannot follow.

    :raises NotImplementedError: inside a vectorized plate (`vectorize_particles=True`,
        `Predictive(parallel=True)`), and while `torch.jit` traces (`JitTrace_ELBO`,
        `NUTS(jit_compile=True)`).
    """
    for handler in _PYRO_STACK:
        if isinstance(handler, IndepMessenger) and handler.dim is not None:
            raise NotImplementedError(
                f"a network computes with one draw of its weights at a time, and cannot run inside "
                f"the plate {handler.name!r}: use vectorize_particles=False, or "
                "Predictive(parallel=False)"
            )
    if torch.jit.is_tracing():
        raise NotImplementedError(
            "torch.jit cannot trace a network whose weights are sampled (JitTrace_ELBO, "
            "jit_compile=True): use the objective without Jit in its name, or bitsback's fit(), "
            "which compiles its step"
        )


def refuse_free_centers() -> None:
    """Raise where each latent site is to get a value of its own, the centers of a mixture too.

    :raises NotImplementedError: while an autoguide or MCMC initializes its sites. `Predictive` uses
        the same handler to look at a model's plates, with draws from the prior.
    """
    handlers = [h for h in _PYRO_STACK if isinstance(h, InitMessenger)]
    if any(h.init_fn is not init_to_sample for h in handlers):
        raise NotImplementedError(
            "mixture= draws the mean of each weight to the mixture, by a center that guides of "
            "bitsback put at that mean; Pyro's autoguides and MCMC would draw centers apart from "
            "their weights: use guides.MeanFieldNormal (or another of `bitsback methods`), or "
            "models.SoftSharing, whose weights themselves have the mixture as prior"
        )


def parameters_are_wanted() -> bool:
    """Whether somebody looks for parameters to train, as `SVI.step` does."""
    return any(isinstance(h, TraceMessenger) and h.param_only for h in _PYRO_STACK)


def ones_for_a_picture(shape: torch.Size, why: str) -> Tensor:
    """What a prior that cannot be sampled gives: ones, where `pyro.render_model` follows sites.

    :raises NotImplementedError: everywhere else, with `why`.
    """
    if any(isinstance(h, TrackProvenance) for h in _PYRO_STACK):
        return torch.ones(shape)
    raise NotImplementedError(why)


class Blank(Messenger):
    """Puts ones in the place of draws, where only the sites and their shapes matter.

    :param like: a tensor whose dtype and device the ones take.
    """

    def __init__(self, like: Tensor):
        super().__init__()
        self._like = like

    def _pyro_sample(self, msg) -> None:
        if msg["value"] is None:
            msg["value"] = self._like.new_ones(msg["fn"].shape())
            msg["done"] = True
