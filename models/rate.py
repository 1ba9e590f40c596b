"""Weights on a lattice, and as the prior of its integers the coder's probability model."""

import math
from collections.abc import Callable

import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from ..distributions.lattice import Lattice
from ..distributions.parameters import state_parameters
from .core.names import key
from .densities import Densities, degrees, spread
from .descent import descend
from .living import chain_of, indices, living, living_inputs, smaller
from .network import NetworkModel
from .teacher import Teacher

# Units are removed once a layer would have fewer than this share of its weights left, or of the
# blocks that it is computed in: each time a compiled step has to be compiled anew.
WORTH_REMOVING = 0.7
BLOCK = 16  # units that a CPU takes at once: float32 numbers in a register of AVX-512


class Rate(NetworkModel):
    """Every latent weight is step * integer, and -log p is what a coder charges for the integer.

    One step for each tensor, a point parameter; the tables that predict the integers
    (`Densities`) are buffers, which `refresh` fits to the integers at hand. Given them the prior is
    a probability distribution over step * Z.

    Units that have died of the price can be removed, see `remove_dead`: their weights are zero from
    then on, free of charge, and the network is computed without them. In a network that is no chain
    for `living.chain_of` they stay.

    :param coarseness: the first step of each tensor, in root mean squares of its weights.
    :param beta: what multiplies log p of all weights: the price of a bit of the file in bits of
        labels. 1 (default) is minimum description length of labels and weights, given biases,
        steps and tables; any other tempers the prior, and the loss is then no description length.
        Nor is it one with a teacher.
    :param teacher: a classifier of the same outputs whose logits count beside the labels; True: the
        network as it is given. None (default): labels alone. y may carry what it says, see
        `Teacher.lesson`; else it is asked in each pass.
    :param alpha: the teacher's share of the likelihood, within (0, 1); the labels keep the rest.
    :param temperature: what both networks' logits are divided by there; see `Teacher`.

    The other parameters are those of `NetworkModel`.

    :raises ValueError: for a coarseness, beta or temperature that is not positive and finite, an
        alpha outside (0, 1), and a teacher where labels are no classes.
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
        if given and kwargs.get("likelihood", "categorical") in ("bernoulli", "normal"):
            raise ValueError(
                "a teacher teaches probabilities of classes: it takes likelihood='categorical'"
            )
        self.teacher = Teacher(given, alpha, temperature) if given else None
        # Plain numbers, so that a checkpoint of other settings is told from this run's.
        self.coarseness, self.first_beta = coarseness, beta
        self.alpha, self.temperature = (alpha, temperature) if given else (0.0, 1.0)
        initial = self.initial_weights()
        self.register_buffer("beta", next(iter(initial.values())).new_tensor(beta))
        self.log_step, self.densities = nn.ParameterDict(), nn.ModuleDict()
        self.chain = chain_of(net, self.weight_names)
        self._indices: dict[str, tuple[Tensor | None, Tensor | None]] | None = None
        self.register_load_state_dict_post_hook(_forget_indices)
        # As the coder goes, whatever order `latent` has.
        self._in_order = [name for name, _ in net.named_parameters() if name in initial]
        units = 0
        for name in self._in_order:
            value = initial[name]
            size = value.square().mean().sqrt()
            if size < 1e-6:  # of zeros: about what a layer is initialised with
                size = size.new_tensor(max(value[:1].numel(), 1) ** -0.5)
            self.log_step[key(name)] = nn.Parameter((coarseness * size).log())
            self.densities[key(name)] = Densities(value, units)
            units = value.shape[0] if value.dim() > 1 else units
            alive = torch.ones(len(value), dtype=torch.uint8, device=value.device)
            self.register_buffer("alive_" + key(name), alive)
        self.refresh({k: (v / self.step(k)).round() for k, v in initial.items()})

    def step(self, name: str) -> Tensor:
        """The spacing of a tensor's lattice, scalar, with its gradient."""
        return self.log_step[key(name)].exp()

    def prior(self, name: str, weight: Tensor) -> Lattice:
        return self.densities[key(name)].lattice(self.step(name))

    def sample_weights(self) -> dict[str, Tensor]:
        state_parameters("log_step", self.log_step)
        with poutine.scale(scale=self.beta):
            return super().sample_weights()

    def observe(self, x: Tensor, output: Tensor, y: Tensor | None) -> Tensor:
        if self.teacher is None or y is None:
            return super().observe(x, output, y)
        labels, soft = self.teacher.lesson(x, y)
        with poutine.scale(scale=1 - self.teacher.alpha):
            pyro.sample("y", self.likelihood(output), obs=labels)
        pyro.factor("teacher", self.teacher(soft, output))
        return labels

    @torch.no_grad()
    def pointwise(self, x: Tensor, y: Tensor) -> Callable[[Tensor, slice], Tensor]:
        """The log-likelihood of single examples as a function of their outputs.

        :param y: labels, with the teacher's probabilities behind them or not (`Teacher.lesson`).
        :returns: of outputs and of which examples they are: nats, the teacher's part among them,
            shape `(examples,)`. Raises ValueError for labels of another shape than the outputs say.
        """
        teacher = self.teacher
        if teacher is None:
            return lambda output, part: self.likelihood_of(output, y[part]).log_prob(y[part])
        lessons = [teacher.lesson(*p) for p in zip(x.split(2_000), y.split(2_000), strict=True)]
        labels, soft = (torch.cat(parts) for parts in zip(*lessons, strict=True))

        def nats(output: Tensor, part: slice) -> Tensor:
            of_labels = self.likelihood_of(output, labels[part]).log_prob(labels[part])
            return (1 - teacher.alpha) * of_labels + teacher(soft[part], output)

        return nats

    def compute(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        if self._indices is None:
            self._indices = self._find_indices()
        weights, biases = dict(weights), {}
        for link in self.chain:
            rows, columns = self._indices[link.weight]
            if columns is not None:
                weights[link.weight] = weights[link.weight][:, columns]
            if rows is not None:
                weights[link.weight] = weights[link.weight][rows]
                bias = self.net.get_submodule(link.module).bias
                biases |= {} if bias is None else {link.module: bias[rows]}
        with smaller(self.net, biases):
            return super().compute(x, weights)

    def mask(self, name: str) -> Tensor | None:
        """1 where a weight is between living units, else 0, of a shape that expands to its own.

        None for networks that are no chain.
        """
        if not self.chain:
            return None
        value, alive = self.initial_weights()[name], self.alive()
        rows = alive[name].to(value.dtype).reshape(-1, *[1] * (value.dim() - 1))
        columns = living_inputs(self.chain, name, alive, value.shape[1])
        if columns is None:
            return rows
        return rows * columns.to(value.dtype).reshape(1, -1, *[1] * (value.dim() - 2))

    def alive(self) -> dict[str, Tensor]:
        """Which output units have not been removed: bool, by the weights' names."""
        return {name: self.get_buffer("alive_" + key(name)).bool() for name in self.weight_names}

    def arithmetic(self) -> tuple[bytes, ...]:
        """What changes when units are removed: which are left, by the weights."""
        return tuple(bytes(units.tolist()) for units in self.alive().values())

    @torch.no_grad()
    def remove_dead(self, levels: dict[str, Tensor]) -> None:
        """Remove the units that no longer matter, for good, if a layer shrinks enough by it.

        :param levels: whole numbers of steps, by the weights' names.
        """
        if not self.chain:
            return
        bias = {link.module: self.net.get_submodule(link.module).bias for link in self.chain}
        bias = {path: value for path, value in bias.items() if value is not None}
        before = self.alive()
        found = living(self.chain, levels, bias, before)
        sizes = ((self._left(name, found), self._left(name, before)) for name in found)
        if not any(
            now < WORTH_REMOVING * then for size in sizes for now, then in zip(*size, strict=True)
        ):
            return
        for name, units in found.items():
            self.get_buffer("alive_" + key(name)).copy_(units)
        self._indices = None

    def _left(self, name: str, alive: dict[str, Tensor]) -> tuple[int, int]:
        """How many rows times inputs a weight has between living units, and how many blocks."""
        columns = self.initial_weights()[name].shape[1]
        read = living_inputs(self.chain, name, alive, columns)
        sides = int(alive[name].sum()), columns if read is None else int(read.sum())
        return math.prod(sides), math.prod(-(-side // BLOCK) for side in sides)

    def _find_indices(self) -> dict[str, tuple[Tensor | None, Tensor | None]]:
        """Living rows and columns of each weight of the chain."""
        initial, result = self.initial_weights(), {}
        with torch.inference_mode(False):  # they outlive the pass that asks for them first
            alive = self.alive()
            for link in self.chain:
                read = living_inputs(self.chain, link.weight, alive, initial[link.weight].shape[1])
                result[link.weight] = indices(alive[link.weight]), indices(read)
        return result

    def _apply(self, *args, **kwargs):
        self._indices = None  # they are to be on the parameters' device
        return super()._apply(*args, **kwargs)

    @torch.no_grad()
    def refresh(self, levels: dict[str, Tensor]) -> None:
        """Fit the tables to whole numbers of steps, by the weights' names; in place."""
        alive, units, degree = self.alive(), 0, None
        for name in self._in_order:
            value, tables = levels[name], self.densities[key(name)]
            if value.dim() < 2:
                tables.refresh(value)
                continue
            columns, size = None, value[0].numel()
            read = living_inputs(self.chain, name, alive, value.shape[1]) if self.chain else None
            if read is not None:
                columns = read.repeat_interleave(size // len(read))
            lent = spread(degree, value.shape) if units else None
            tables.refresh(value, alive[name], columns, lent)
            units, degree = len(value), degrees(value, alive[name])

    def descend(
        self, levels: dict[str, Tensor], x: Tensor, y: Tensor,
        progress: Callable[[str, int, int], None] | None = None,
    ) -> float:  # fmt: skip
        """One sweep of coordinate descent over whole numbers of steps; see `descent.descend`."""
        return descend(self, levels, x, y, progress)

    @torch.no_grad()
    def weight_nats(self, levels: dict[str, Tensor]) -> dict[str, Tensor]:
        """What a coder charges for integers, by weight: their price and that of the tables.

        :returns: scalars, nats, not multiplied by beta.
        """
        result = {}
        for name, value in levels.items():
            price = self.prior(name, value).price(value).sum()
            result[name] = price + self.densities[key(name)].own_nats
        return result


def _forget_indices(model: Rate, keys) -> None:
    """After a state_dict was loaded, with other units alive."""
    model._indices = None
