"""Any `nn.Module` with a prior on its weights: p(w) p(y | x, w)."""

import copy
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Distribution
from torch import Tensor, nn

from ..distributions.parameters import state_parameters
from ..graph import GraphNetwork, weight_names
from .likelihoods import LIKELIHOODS
from .mixture import Mixture

_COMPRESSIBLE = (nn.Linear, nn.Conv1d, nn.Conv2d)


class NetworkModel(nn.Module):
    """A network whose chosen weights are latent; all its other parameters are point parameters.

    Sites: each latent weight under its state_dict name; `y`, the labels, in a plate `data` whose
    subsampling scales a mini-batch to `num_data`. Call it as `model(x, y=None)`. Predictions by
    `pyro.infer.Predictive` need a guide or draws where the prior is improper: without them it gives
    those of the network's own weights (see `prediction.or_point`).

    :param net: the network; copied, never mutated. Its weights are where guides start.
    :param num_data: number of examples that the mini-batches come from.
    :param likelihood: "categorical" (default), "bernoulli", "normal", or a function from the
        network's output to a Pyro distribution whose batch shape is `(batch,)`.
    :param latent: state_dict names of the parameters that get the prior; default: the weights of
        all Linear, Conv1d and Conv2d layers; of a `GraphNetwork` its `graph.weight_names`.
    :param mixture: options of a `Mixture` that the weights' centers are drawn to, by name; None
        (default): no mixture. Adds the sites `mixture.precision` and, for each weight,
        `<name>.center`, which guides of this project put at E_q[w].
    :raises ValueError: for an unknown likelihood, a name that is no parameter, or a network
        without a compressible layer.
    """

    #: Whether the prior is a probability density, so that a posterior surely exists.
    proper: bool

    def __init__(
        self,
        net: nn.Module,
        num_data: int,
        likelihood: str | Callable[[Tensor], Distribution] = "categorical",
        latent: Iterable[str] | None = None,
        mixture: Mapping[str, Any] | None = None,
    ):
        super().__init__()
        if isinstance(likelihood, str) and likelihood not in LIKELIHOODS:
            raise ValueError(f"unknown likelihood {likelihood!r}; known: {', '.join(LIKELIHOODS)}")
        if num_data < 1:
            raise ValueError(f"num_data must be the number of training examples; got {num_data}")
        self.num_data = num_data
        self.likelihood = LIKELIHOODS.get(likelihood, likelihood)
        # In a list, out of sight of nn.Module: `trained()` wants the network untouched.
        self._original = [copy.deepcopy(net)]
        self._aliases = _latent_parameters(net, latent)
        self.weight_names = tuple(self._aliases)
        for name in self.weight_names:
            value = _holder(net, name)[name.rpartition(".")[2]].detach().clone()
            self.register_buffer(_buffer(name), value, persistent=False)
        self.mixture = None
        if mixture is not None:
            self.mixture = Mixture(self.initial_weights().values(), **mixture)
        self.net = copy.deepcopy(net)
        for aliases in self._aliases.values():
            for alias in aliases:
                _holder(self.net, alias)[alias.rpartition(".")[2]] = None
        self._shared: frozenset[str] | None = None

    def prior(self, name: str, weight: Tensor) -> Distribution:
        """The prior of one weight tensor, batch shape that of `weight`."""
        raise NotImplementedError(f"{type(self).__name__} must say what its prior is")

    def sample_weights(self) -> dict[str, Tensor]:
        """The effective latent weights by state_dict name: the prior's part of the program."""
        initial = self.initial_weights()
        weights = {name: self.weight(name, value) for name, value in initial.items()}
        if self.mixture is not None:
            with poutine.scale(scale=self.mixture.weight):
                density = self.mixture()
                for name, value in initial.items():
                    center = density.expand(value.shape).to_event(value.dim())
                    pyro.sample(f"{name}.center", center)
        return weights

    def weight(self, name: str, initial: Tensor) -> Tensor:
        """The sample statements of one weight tensor; hierarchical priors have several.

        :param initial: the network's own value; only its shape, dtype and device count.
        """
        return pyro.sample(name, self.prior(name, initial).to_event(initial.dim()))

    def initial_weights(self) -> dict[str, Tensor]:
        """The network's own values of the latent weights, by state_dict name."""
        return {name: self.get_buffer(_buffer(name)) for name in self.weight_names}

    def forward(self, x: Tensor, y: Tensor | None = None) -> Tensor:
        output = self.output(x, self.sample_weights())
        batch = output.shape[0]
        size = batch if y is None else self.num_data
        with pyro.plate("data", size, subsample=torch.arange(batch, device=output.device)):
            return self.observe(x, output, y)

    def observe(self, x: Tensor, output: Tensor, y: Tensor | None) -> Tensor:
        """The statements about the examples, inside their plate; returns the labels.

        :raises ValueError: for labels that the output would be broadcast against.
        """
        return pyro.sample("y", self.likelihood_of(output, y), obs=y)

    def likelihood_of(self, output: Tensor, y: Tensor | None) -> Distribution:
        """p(y | output), after a check of the labels' shape.

        :raises ValueError: for labels that the output would be broadcast against.
        """
        likelihood = self.likelihood(output)
        if y is not None and likelihood.shape()[-y.dim() :] != y.shape:
            raise ValueError(
                f"labels have shape {tuple(y.shape)}, but outputs of shape {tuple(output.shape)} "
                f"are about labels of shape {tuple(likelihood.shape())}: reshape one of the two"
            )
        return likelihood

    def output(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """The network's output at the given latent weights, point parameters as they are."""
        state_parameters("net", self.net)
        if self._shared is None:
            self._shared = self._find_shared(x)
        # A shared weight must be one draw in all its places: an operation on a lazy weight makes
        # it an ordinary tensor.
        values = {k: torch.clone(v) if k in self._shared else v for k, v in weights.items()}
        return self.compute(x, values)

    def compute(self, x: Tensor, weights: dict[str, Tensor]) -> Tensor:
        """The network's output with these weights in their places."""
        with self._installed(self.net, weights):
            return self.net(x)

    @torch.no_grad()
    def trained(self) -> nn.Module:
        """A plain copy of the network with the point parameters and buffers as trained so far.

        Latent weights keep their initial values; their approximate posterior is the guide's.
        """
        net = copy.deepcopy(self._original[0])
        net.load_state_dict(self.net.state_dict(), strict=False)
        return net

    @contextmanager
    def _installed(self, net: nn.Module, weights: dict[str, Tensor]) -> Iterator[None]:
        places = [
            (_holder(net, alias), alias.rpartition(".")[2], weights[name])
            for name, aliases in self._aliases.items()
            for alias in aliases
        ]
        try:
            for holder, key, value in places:
                holder[key] = value
            yield
        finally:
            for holder, key, _ in places:
                holder[key] = None

    @torch.no_grad()
    def _find_shared(self, x: Tensor) -> frozenset[str]:
        """Names of weights that one forward pass uses more than once, seen in a dry run."""
        uses: Counter[str] = Counter()
        counted = {
            name: _counted(value, name, uses) for name, value in self.initial_weights().items()
        }
        # A copy in evaluation mode: no BatchNorm statistics change and no dropout noise is drawn.
        net = copy.deepcopy(self.net).eval()
        with self._installed(net, counted):
            net(x[:2])
        tied = {name for name, aliases in self._aliases.items() if len(aliases) > 1}
        return frozenset(tied | {name for name, count in uses.items() if count > 1})


class _Counted(Tensor):
    """A tensor that counts the operations it goes into."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        with torch._C.DisableTorchFunctionSubclass():
            result = func(*args, **(kwargs or {}))
        # Looking at an attribute (`weight.shape`) is no use of the weight.
        if getattr(func, "__name__", "") != "__get__":
            for arg in _flat([*args, *(kwargs or {}).values()]):
                if isinstance(arg, _Counted):
                    arg.uses[arg.name_of_weight] += 1
        return result


def _flat(values: Iterable) -> Iterator:
    """The values, and those in lists and tuples among them (`torch.cat` takes such)."""
    for value in values:
        if isinstance(value, list | tuple):
            yield from _flat(value)
        else:
            yield value


def _counted(value: Tensor, name: str, uses: Counter) -> Tensor:
    result = value.clone().as_subclass(_Counted)
    result.uses, result.name_of_weight = uses, name
    return result


def _latent_parameters(net: nn.Module, latent: Iterable[str] | None) -> dict[str, list[str]]:
    """State_dict name of each latent parameter -> all its names (more than one where tied)."""
    names: dict[int, list[str]] = {}
    for name, parameter in net.named_parameters(remove_duplicate=False):
        names.setdefault(id(parameter), []).append(name)
    parameters = dict(net.named_parameters(remove_duplicate=False))
    if latent is None and isinstance(net, GraphNetwork):
        latent = weight_names(net)
    elif latent is None:
        latent = [
            f"{path}.weight" if path else "weight"
            for path, module in net.named_modules()
            if isinstance(module, _COMPRESSIBLE)
        ]
        latent = [name for name in latent if name in parameters]
    latent = list(latent)
    if not latent:
        raise ValueError(
            "the network has no compressible layer (Linear, Conv1d or Conv2d) with an ordinary "
            "weight parameter: name the parameters that should get the prior in `latent`"
        )
    unknown = [name for name in latent if name not in parameters]
    if unknown:
        raise ValueError(
            f"latent: {unknown[0]!r} is no parameter of the network; it has: "
            f"{', '.join(parameters)}"
        )
    result: dict[str, list[str]] = {}
    for name in latent:
        aliases = names[id(parameters[name])]
        result.setdefault(aliases[0], aliases)
    return result


def _holder(net: nn.Module, name: str) -> dict[str, Tensor | None]:
    """The parameter dictionary that holds `name`.

    Written to directly: an ordinary assignment of something that is no `nn.Parameter` is refused.
    """
    *path, _ = name.split(".")
    for part in path:
        net = net._modules[part]  # not by attribute: names of a graph may be those of methods
    return net._parameters


def _buffer(name: str) -> str:
    return "initial_" + name.replace(".", "__")
