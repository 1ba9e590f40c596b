"""What every guide of the zoo is: parameters for each latent weight, moments, and hooks."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.distributions import Normal

from ..distributions.handlers import refuse_handlers
from ..distributions.parameters import take_loaded
from ..posterior import Posterior
from .pairs import check_pair
from .sharing import Sharing


class NetworkGuide(nn.Module):
    """Parameters of one kind for each latent weight of a model, under the weight's own name.

    A subclass gives `forward(x, y=None)` (its sample statements), `median`, `quantiles`,
    `moments` and, where E_q[w] is not its parameter `loc`, `centers`. Where the model has a
    mixture, calling the guide adds the mixture's sites, and `posterior` its grids. The hooks below
    are for whoever runs the training; each does nothing unless a guide needs it, and all that they
    change is in the guide's or the model's state_dict.

    :param model: a model of `bitsback.models`; parameters start at its network's weights.
    :raises ValueError: for a model that the guide is not for.
    """

    #: The models that the guide is for, as an error message has them.
    takes = "any model whose latent sites are the weights themselves"
    #: What follows a weight's name in the names of sites that the guide always draws: ("",) for
    #: the weight itself. Empty (default): asked at the first step only.
    parts: tuple[str, ...] = ()
    #: Whether the guide draws the centers of a model's mixture.
    draws_centers = True
    #: Attributes that the guide needs of its model.
    needs: tuple[str, ...] = ()
    #: Whether the draws are multiples of a step, as the prior of models.Rate wants them.
    on_lattice = False

    #: How often training is repeated, each time after `before_round`, with a share of the epochs.
    rounds = 1
    #: Whether the loss's KL is one between densities, so that it is a code length in nats.
    divergence = True

    def __init__(self, model: nn.Module):
        super().__init__()
        check_pair(self, model)
        self._names = tuple(model.weight_names)
        mixture = getattr(model, "mixture", None)
        self.sharing = None if mixture is None else Sharing(mixture)
        if mixture is not None:
            self.divergence = False  # centers are points, whose entropy is left out

    def __call__(self, *args, **kwargs) -> dict[str, Tensor]:
        refuse_handlers()
        draws = super().__call__(*args, **kwargs)
        centers = self.centers() if self.sharing is not None else None
        return draws if centers is None else draws | self.sharing.centers(centers)

    def centers(self) -> dict[str, Tensor] | None:
        """E_q[w] of each weight by name, with gradients: what a mixture draws to its components.

        None: the guide's own statements see to the mixture.
        """
        return {name: self._get("loc", name) for name in self._names}

    def moments(self, *args, **kwargs) -> Posterior:
        """The approximate posterior without grids."""
        raise NotImplementedError(f"{type(self).__name__} must give its moments")

    def posterior(self, *args, **kwargs) -> Posterior:
        """What compression needs: the moments, and the grid of the model's mixture if any."""
        take_loaded("guide", self)
        moments = self.moments(*args, **kwargs)
        return moments if self.sharing is None else self.sharing.with_grids(moments)

    @torch.no_grad()
    def start_from(self, posterior: Posterior) -> None:
        """Start at another method's approximate posterior of the same weights.

        :raises ValueError: the posterior is of another network, or the guide cannot start at one.
        """
        own = {name: value.shape for name, value in self.median().items()}
        for name, shape in own.items():
            other = posterior.weights.get(name)
            if other is None or other.loc.shape != shape:
                found = "does not exist" if other is None else f"has {tuple(other.loc.shape)}"
                raise ValueError(
                    f"the posterior to start from is of another network: {name!r} has shape "
                    f"{tuple(shape)} here and {found} there"
                )
        self._start_at(posterior)

    def _start_at(self, posterior: Posterior) -> None:
        """`start_from` of a posterior of the same weights; what guides that can do it have."""
        raise ValueError(f"{type(self).__name__} cannot start from another approximate posterior")

    def before_round(self, number: int) -> None:
        """Called before training number 0 .. rounds - 1."""

    def after_step(self, number: int) -> None:
        """Called after training step number 1, 2, ..."""

    def after_epoch(self) -> None:
        """Called at the end of each epoch."""

    def prepare_for(self, state: dict[str, Tensor]) -> None:
        """Called with a state_dict that is about to be loaded, whose shapes training chose."""

    def after_training(self, x: Tensor, y: Tensor) -> None:
        """Called with the training data, shapes `(N, ...)`, when training is over."""

    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """The approximate posterior's median of each weight, by name."""
        return {name: self._get("loc", name).detach() for name in self._names}

    def _restart_mixture(self) -> None:
        """Let the model's mixture, if any, start from the means as they are now."""
        if self.sharing is not None:
            self.sharing.mixture.start_at(self.median().values())

    def _add(self, kind: str, values: dict[str, Tensor], trained: bool = True) -> None:
        """One tensor of a kind for each weight: a parameter, or a buffer if it is not `trained`."""
        setattr(self, kind, nn.Module())
        for name, value in values.items():
            module, path = getattr(self, kind), name.split(".")
            for part in path[:-1]:
                if part not in module._modules:
                    module.add_module(part, nn.Module())
                module = module._modules[part]
            value = value.detach().clone()
            if trained:
                module.register_parameter(path[-1], nn.Parameter(value))
            else:
                module.register_buffer(path[-1], value)

    def _get(self, kind: str, name: str) -> Tensor:
        # Not get_parameter, which refuses the plain tensors that functional_call puts in place.
        value = getattr(self, kind)
        for part in name.split("."):
            value = getattr(value, part)
        return value


def normal_quantiles(moments: Posterior, quantiles: Iterable[float]) -> dict[str, Tensor]:
    """Quantiles of each weight where the marginals are normal, by name.

    :returns: tensors of shape `(len(quantiles), *weight.shape)`.
    """
    result, levels = {}, list(quantiles)
    for name, weight in moments.weights.items():
        level = torch.as_tensor(levels, dtype=weight.loc.dtype, device=weight.loc.device)
        q = Normal(weight.loc, weight.stddev)
        result[name] = q.icdf(level.reshape(-1, *[1] * weight.loc.dim()))
    return result
