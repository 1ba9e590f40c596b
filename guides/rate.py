"""The guide of quantised weights: a rounding, whose price may be that of uniform noise."""

from collections.abc import Callable, Iterable

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from ..distributions.lattice import Rounded
from ..distributions.parameters import state_parameters
from ..posterior import Grid, Posterior, WeightPosterior
from .base import NetworkGuide
from .noise import standard_normal


class Rounding(NetworkGuide):
    """q(w) = a point at step * round(loc / step), trained as if it were not rounded.

    The loss is then the price of the integers, a number of nats, and the gradient of the price is
    the slope between the two levels around loc / step. Tables of the prior follow the integers:
    `fit()` refreshes them every `every` steps; a loop of one's own calls `refresh()` that often.
    After each epoch it calls `after_epoch()`, which removes units that have died. When all is
    trained, `descend(x, y)` looks for integers that lower the loss one by one; and between `hold()`
    and `release()` only steps and biases are trained.

    :param model: a `Rate` model; loc starts at its network's weights.
    :param noise: whether the price is that of loc / step with noise uniform on (-1/2, 1/2) rather
        than rounded, as in Oktay et al. 2020; weights are rounded all the same.
    :param every: steps between two refreshes.
    :raises ValueError: for another model.
    """

    takes = "models.Rate"
    needs = ("weight_nats",)
    parts = ("",)
    on_lattice = True
    divergence = False  # of a density against itself on its support only: a code length, no KL

    def __init__(self, model: nn.Module, noise: bool = False, every: int = 25):
        super().__init__(model)
        self._of = [model]  # in a list, out of sight of nn.Module: its parameters are the model's
        self.noise, self.every = noise, every
        self._add("loc", model.initial_weights())
        self._held: dict[str, Tensor] | None = None  # not in the state_dict: see `hold`

    @property
    def model(self) -> nn.Module:
        return self._of[0]

    @torch.no_grad()
    def levels(self) -> dict[str, Tensor]:
        """The integers, by name, as floats of the weights' shapes."""
        return {k: self._level(k).round() for k in self._names}

    def _level(self, name: str) -> Tensor:
        """loc / step, or what is held; zero for what has been removed."""
        if self._held is None:
            level = self._get("loc", name) / self.model.step(name)
        else:
            level = self._held[name]
        mask = self.model.mask(name)
        return level if mask is None else level * mask

    def refresh(self) -> None:
        """Fit the tables of the prior to the integers as they are now."""
        self.model.refresh(self.levels())

    def hold(self) -> None:
        """From now on train steps and biases alone: the integers stay as they are.

        loc does not follow the steps until `release()`, so call that before the pair is saved.
        """
        self._held = self.levels()

    @torch.no_grad()
    def release(self) -> None:
        """Let the integers be trained again, from where they were held and on the steps of now."""
        for name, level in self.levels().items():
            self._get("loc", name).copy_(self.model.step(name) * level)
        self._held = None

    def after_step(self, number: int) -> None:
        if number % self.every == 0 and self._held is None:
            self.refresh()

    def after_epoch(self) -> None:
        """Remove units that have died, and refresh the tables."""
        self.model.remove_dead(self.levels())
        self.refresh()

    @torch.no_grad()
    def descend(
        self, x: Tensor, y: Tensor, progress: Callable[[str, int, int], None] | None = None
    ) -> float:
        """One sweep of coordinate descent over the integers (`models.descent`), in place.

        :param x: the training inputs.
        :param y: their labels; behind them, perhaps, what a teacher said (`Teacher.lesson`).
        :param progress: called with a weight's name, how many changes of its integers have been
            tried, and of how many.
        :returns: nats saved.
        """
        order = torch.randperm(len(x), generator=torch.Generator().manual_seed(0)).to(x.device)
        before, levels = self.levels(), self.levels()
        saved = self.model.descend(levels, x[order], y[order], progress)
        for name, level in levels.items():
            loc = self._get("loc", name)
            moved = level != before[name]
            loc.copy_(torch.where(moved, self.model.step(name) * level, loc))
        if self._held is not None:
            self._held = levels
        self.refresh()
        return saved

    def _start_at(self, posterior: Posterior) -> None:
        """Take over the means."""
        for name in self._names:
            self._get("loc", name).copy_(posterior.weights[name].loc)
        self.refresh()

    def forward(self, *args, **kwargs) -> dict[str, Tensor]:
        state_parameters("guide", self)
        draws = {}
        with poutine.scale(scale=self.model.beta):
            for name in self._names:
                level, step = self._level(name), self.model.step(name)
                dither = None
                if self.noise:
                    dither = torch.special.ndtr(standard_normal(level.shape, level)) - 0.5
                    mask = self.model.mask(name)
                    dither = dither if mask is None else dither * mask
                q = Rounded(level, step, dither)
                draws[name] = pyro.sample(name, q.to_event(level.dim()))
        return draws

    @torch.no_grad()
    def median(self, *args, **kwargs) -> dict[str, Tensor]:
        """The rounded weights, by name."""
        return {k: self.model.step(k) * level for k, level in self.levels().items()}

    def quantiles(self, quantiles: Iterable[float], *args, **kwargs) -> dict[str, Tensor]:
        """Every quantile of a point is the point; shape `(len(quantiles), *weight.shape)`."""
        count = len(list(quantiles))
        return {k: v.expand(count, *v.shape) for k, v in self.median().items()}

    @torch.no_grad()
    def moments(self, *args, **kwargs) -> Posterior:
        """The rounded weights, stddev 0, with their integers as a grid."""
        weights = {}
        for name, level in self.levels().items():
            step, integers = self.model.step(name).detach().clone(), level.long()
            low, high = int(integers.min()), int(integers.max())
            codebook = step * torch.arange(low, high + 1, device=level.device)
            weights[name] = WeightPosterior(
                loc=step * level,
                stddev=torch.zeros_like(level),
                inclusion=(integers != 0).to(level.dtype),
                grid=Grid(codebook=codebook, codes=integers - low, step=step),
            )
        return Posterior(weights)
