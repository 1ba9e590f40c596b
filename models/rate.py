"""Weights on a lattice, and as the prior of its integers the coder's probability model."""

import math

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from ..distributions.lattice import Lattice
from ..distributions.parameters import state_parameters
from .densities import Densities
from .network import NetworkModel
from .teacher import Teacher


class Rate(NetworkModel):
    """Every latent weight is step * integer, and -log p is what a coder charges for the integer.

    One step for each tensor, a point parameter; the tables that predict the integers
    (`Densities`) are buffers, which `refresh` fits to the integers at hand. Given them the prior is
    a probability distribution over step * Z.

    :param coarseness: the first step of each tensor, in root mean squares of its weights.
    :param beta: what multiplies log p of all weights: the price of a bit of the file in bits of
        labels. 1 (default) is minimum description length; any other tempers the prior, and the
        loss is then no description length.
    :param teacher: a classifier of the same outputs whose logits count beside the labels; True: the
        network as it is given. None (default): labels alone.
    :param alpha: the teacher's share of the likelihood, within (0, 1); the labels keep the rest.
    :param temperature: what both networks' logits are divided by there; see `Teacher`.

    The other parameters are those of `NetworkModel`.

    :raises ValueError: for a coarseness, beta or temperature that is not positive and finite, and
        an alpha outside (0, 1).
    """

    proper = True

    def __init__(
        self,
        net: nn.Module,
        num_data: int,
        coarseness: float = 1.0,
        beta: float = 1.0,
        teacher: nn.Module | bool | None = None,
        alpha: float = 0.5,
        temperature: float = 1.0,
        **kwargs,
    ):
        super().__init__(net, num_data, **kwargs)
        for option, value in (("coarseness", coarseness), ("beta", beta)):
            if not 0 < value < math.inf:
                raise ValueError(f"{option} must be positive and finite; got {value}")
        given = self._original[0] if teacher is True else teacher
        self.teacher = Teacher(given, alpha, temperature) if given else None
        # Plain numbers, so that a checkpoint of other settings is told from this run's.
        self.coarseness, self.first_beta = coarseness, beta
        self.alpha, self.temperature = (alpha, temperature) if given else (0.0, 1.0)
        initial = self.initial_weights()
        self.register_buffer("beta", next(iter(initial.values())).new_tensor(beta))
        self.log_step, self.densities = nn.ParameterDict(), nn.ModuleDict()
        units = 0
        for name, value in initial.items():
            size = value.square().mean().sqrt().clamp(min=1e-6)
            self.log_step[_key(name)] = nn.Parameter((coarseness * size).log())
            self.densities[_key(name)] = Densities(value, units)
            units = value.shape[0]
        self.refresh({k: (v / self.step(k)).round() for k, v in initial.items()})

    def step(self, name: str) -> Tensor:
        """The spacing of a tensor's lattice, scalar, with its gradient."""
        return self.log_step[_key(name)].exp()

    def prior(self, name: str, weight: Tensor) -> Lattice:
        return self.densities[_key(name)].lattice(self.step(name))

    def sample_weights(self) -> dict[str, Tensor]:
        state_parameters("log_step", self.log_step)
        with poutine.scale(scale=self.beta):
            return super().sample_weights()

    def observe(self, x: Tensor, output: Tensor, y: Tensor | None) -> Tensor:
        if self.teacher is None or y is None:
            return super().observe(x, output, y)
        with poutine.scale(scale=1 - self.teacher.alpha):
            pyro.sample("y", self.likelihood(output), obs=y)
        pyro.factor("teacher", self.teacher(x, output))
        return y

    def refresh(self, levels: dict[str, Tensor]) -> None:
        """Fit the tables to whole numbers of steps, by the weights' names; in place."""
        for name, value in levels.items():
            self.densities[_key(name)].refresh(value.detach())

    @torch.no_grad()
    def weight_nats(self, levels: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a coder charges for integers, by weight: their price and that of the tables.

        :returns: scalars, nats, not multiplied by beta.
        """
        result = {}
        for name, value in levels.items():
            price = self.prior(name, value).price(value).sum()
            result[name] = price + self.densities[_key(name)].own_nats
        return result


def _key(name: str) -> str:
    """A state_dict name as a key of nn.ParameterDict, which takes no dots."""
    return name.replace(".", "__")
