"""Weights on a lattice, and as the prior of its integers the coder's probability model."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro
import torch
from pyro import poutine
from torch import Tensor, nn

from ..distributions.lattice import Lattice
from ..distributions.parameters import state_parameters
from ..graph import GraphNetwork, parameters_of
from ..graph.alive import Kept, count_units, dead_units
from .core.names import key
from .densities import Densities
from .descent import descend
from .lending import Lending, as_matrix, graph_layouts, shape_layouts
from .likelihoods import LIKELIHOODS
from .network import NetworkModel
from .structure import Reduced, numbers_of, structure_of
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

    Dead units can be removed, see `remove_dead`: their weights are zero from then on, free of
    charge, and the network is computed without them. The graph of the network says what a unit is:
    channels of residual streams, parts of concatenations, pairs of depthwise convolutions and
    attention heads are units as hidden units are. Give a traced network (`graph.trace`), or an
    example of the inputs of one that can be traced; units of any other network stay. Only with a
    traced network the tables know which weights the inputs of a layer come from, as the coder does.
    Else they are taken to come from the weight before.

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
    :param example: a few inputs of a network that has not been traced, as `graph.trace` takes them.

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
        example: Any = None,
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
        self._reduced: list[Reduced | None] = []  # once it is known: see `reduced`
        # In lists, out of sight of nn.Module.
        self._structure = [structure_of(self._original[0], example)]
        units = 0 if self._structure[0] is None else count_units(self._structure[0])
        self.register_buffer("alive", torch.ones(units, dtype=torch.uint8, device=self.beta.device))
        if isinstance(net, GraphNetwork):
            layouts = graph_layouts(net, self.weight_names)
        else:
            names = [name for name, _ in net.named_parameters() if name in initial]
            layouts = shape_layouts({name: initial[name].shape for name in names})
        self.register_load_state_dict_post_hook(_forget_reduced)
        self.lending = Lending(layouts)
        self._names = {key(name): name for name in layouts}
        for name, layout in layouts.items():
            value = initial[name]
            size = value.square().mean().sqrt()
            if size < 1e-6:  # of zeros: about what a layer is initialised with
                size = size.new_tensor(max(value[:1].numel(), 1) ** -0.5)
            self.log_step[key(name)] = nn.Parameter((coarseness * size).log())
            self.densities[key(name)] = Densities(value, layout)
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
            return lambda output, part: self._log_prob(output, y[part])
        lessons = [teacher.lesson(*p) for p in zip(x.split(2_000), y.split(2_000), strict=True)]
        labels, soft = (torch.cat(parts) for parts in zip(*lessons, strict=True))

        def nats(output: Tensor, part: slice) -> Tensor:
            of_labels = self._log_prob(output, labels[part])
            return (1 - teacher.alpha) * of_labels + teacher(soft[part], output)

        return nats

    def _log_prob(self, output: Tensor, y: Tensor) -> Tensor:
        """log p(y | output) in nats, shape (examples,); of classes without checks of the values."""
        classes = self.likelihood is LIKELIHOODS["categorical"] and output.dim() == 2
        if not classes or y.shape != output.shape[:1]:
            return self.likelihood_of(output, y).log_prob(y)
        logits = output - output.logsumexp(-1, keepdim=True)
        return logits.gather(1, y.long()[:, None])[:, 0]

    def compute(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        reduced = self.reduced()
        if reduced is None:
            return super().compute(x, weights)
        return reduced.compute(x, self.net, weights)

    def reduced(self) -> Reduced | None:
        """The network without its dead units; None if all live."""
        if not self._reduced:
            dead, structure = self._dead(), self._structure[0]
            found = Reduced(structure, dead, self.alive.device) if dead.any() else None
            self._reduced = [found]
        return self._reduced[0]

    def structure(self) -> GraphNetwork | None:
        """The graph of the whole network; None if it was not traced."""
        return self._structure[0]

    def _dead(self) -> np.ndarray:
        return ~self.alive.cpu().bool().numpy()

    def kept(self, name: str) -> Kept:
        """For each axis of a weight the positions that are left (int64), None for all."""
        reduced = self.reduced()
        return (
            (None,) * self.initial_weights()[name].dim() if reduced is None else reduced.kept(name)
        )

    def mask(self, name: str) -> Tensor | None:
        """1 where a weight is between live units, else 0, of a shape that expands to its own.

        None if nothing of the weight has been removed.
        """
        reduced, result = self.reduced(), None
        if reduced is None:
            return None
        value = self.initial_weights()[name]
        for axis, places in enumerate(reduced.places(name)):
            if places is not None:
                size = [value.shape[d] if d == axis else 1 for d in range(value.dim())]
                one = value.new_zeros(size[axis]).index_fill_(0, places, 1.0).reshape(size)
                result = one if result is None else result * one
        return result

    def arithmetic(self) -> tuple[bytes, ...]:
        """What changes when units are removed: which are left."""
        reduced = self.reduced()
        return () if reduced is None else (bytes(self.alive.tolist()),)

    @torch.no_grad()
    def remove_dead(self, levels: dict[str, Tensor]) -> None:
        """Remove the units that are zero or not read, for good, if a layer shrinks enough by it.

        Whether they are is a matter of eval mode. Nothing is removed if that would leave a layer
        without units and the network's output a constant.

        :param levels: whole numbers of steps, by the weights' names.
        """
        structure, before = self._structure[0], self._dead()
        if structure is None:
            return
        weights = {name: self.step(name) * level for name, level in levels.items()}
        kinds = {name: own.dtype for name, own in parameters_of(structure)}
        numbers = numbers_of(structure, self.net, weights)
        numbers = {name: value.to("cpu", kinds[name]) for name, value in numbers.items()}
        network = GraphNetwork(structure.graph, numbers)
        dead = dead_units(network, before)
        if (dead == before).all():
            return
        found = Reduced(structure, dead, self.alive.device)
        sizes = zip(self._sizes(found), self._sizes(self.reduced()), strict=True)
        if any(now < WORTH_REMOVING * then for now, then in sizes):
            self.alive.copy_(torch.from_numpy(~dead))
            self._reduced = [found]

    def _sizes(self, reduced: Reduced | None) -> list[int]:
        """Of each weight, what is left of rows times inputs, and the same in blocks."""
        result = []
        for name, value in self.initial_weights().items():
            kept = (None, None) if reduced is None else reduced.kept(name)
            pairs = zip(value.shape, kept, strict=False)
            sides = [size if part is None else len(part) for size, part in pairs][:2]
            result += [math.prod(sides), math.prod(-(-side // BLOCK) for side in sides)]
        return result

    def _apply(self, *args, **kwargs):
        self._reduced = []  # its indices are to be on the parameters' device
        return super()._apply(*args, **kwargs)

    @torch.no_grad()
    def refresh(self, levels: dict[str, Tensor]) -> None:
        """Fit the tables to whole numbers of steps, by the weights' names; in place."""
        for place, tables in self.densities.items():
            name = self._names[place]
            mask, rows, columns = self.mask(name), None, None
            if mask is not None:
                whole = as_matrix(mask.expand_as(levels[name]) != 0, tables.layout)
                rows, columns = whole.any(1), whole.any(0)
            degree = self.lending.degree(name, levels, columns)
            tables.refresh(levels[name], rows, columns, degree)

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


def _forget_reduced(model: Rate, keys) -> None:
    """After a state_dict was loaded, with other units alive."""
    model._reduced = []
