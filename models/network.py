"""Any `nn.Module` with a prior on its weights: p(w) p(y | x, w)."""

import numbers
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Distribution
from torch import Tensor, nn

from ..common import examples
from ..common.heads import check_output
from ..common.labels import check_labels, classes_last
from ..common.modes import gradients
from ..common.modules import copied, float32_if_less, float_numbers, frozen_norms, shared_names
from ..distributions.handlers import refuse_free_centers
from ..distributions.parameters import state_parameters, take_loaded
from .core.latent import check_network, fan_in, latent_names, padding_rows
from .core.names import key
from .core.places import Places
from .core.uses import counted
from .likelihoods import LIKELIHOODS, name_of
from .mixture import Mixture
from .pairing import sampled


class NetworkModel(nn.Module):
    """A network whose matrices and kernels are latent; its other parameters are point parameters.

    Sites: each latent weight under its state_dict name; `y`, the labels, in a plate `data` whose
    subsampling scales a mini-batch to `num_data`. Call it as `model(x, y=None)`; x is a tensor, or
    a tuple or dict of tensors (see `common.examples.call`). Predictions by
    `pyro.infer.Predictive` need a guide or draws where the prior is improper: without them it gives
    those of the network's own weights (see `prediction.or_point`).

    Parameters with `requires_grad=False` are frozen: they get no prior and are not trained, and
    normalization layers whose parameters are all frozen keep their statistics. Tensors of fewer
    than 32 bits are trained, and given back, as float32. The copied network keeps the modes of
    `net`: plain SVI trains a network in eval mode with dropout off and BatchNorm statistics fixed
    unless you call `model.train()`, which `fit` does for the time of the training.

    :param net: the network; copied, never mutated. Its weights are where guides start.
    :param num_data: number of examples that the mini-batches come from.
    :param likelihood: "categorical" (default), "bernoulli", "normal", or a function from the
        network's output to a Pyro distribution whose batch shape is `(batch,)`.
    :param latent: state_dict names of the parameters that get the prior; default: every trained
        matrix and kernel (see `core.latent.latent_names`; of a `GraphNetwork`
        `graph.weight_names`), not biases and normalization layers.
    :param mixture: options of a `Mixture` that the weights' centers are drawn to, by name; None
        (default): no mixture. Adds the sites `mixture.precision` and, for each weight,
        `<name>.center`, which guides of this project put at E_q[w]. Autoguides of Pyro and MCMC
        do not, and are refused with `NotImplementedError`.
    :raises ValueError: for an unknown likelihood, a name that is no parameter, a network without
        a weight to compress, or with parameters that cannot be trained.
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
        if not (isinstance(num_data, numbers.Real) and num_data >= 1 and num_data % 1 == 0):
            raise ValueError(f"num_data must be the number of training examples; got {num_data!r}")
        if not isinstance(net, nn.Module):
            raise TypeError(f"the network must be an nn.Module, not a {type(net).__name__}")
        check_network(net)
        self.num_data = num_data
        self.likelihood = LIKELIHOODS.get(likelihood, likelihood)
        own = float32_if_less(copied(net))
        # In a list, out of sight of nn.Module: `trained()` wants the network untouched.
        self._original = [own]
        self._places = Places(latent_names(own, latent))
        self.weight_names = tuple(self._places.names)
        self._fan_in = {name: fan_in(own, names) for name, names in self._places.names.items()}
        self._padding = padding_rows(own, self._places.names)
        own_parameters = dict(own.named_parameters(remove_duplicate=False))
        for name in self.weight_names:
            value = own_parameters[name].detach().clone()
            self.register_buffer(_buffer(name), value, persistent=False)
        self.mixture = None
        if mixture is not None:
            self.mixture = Mixture(self.initial_weights().values(), **mixture)
        self.net = copied(own)
        self._places.empty(self.net)
        self._frozen_norms = frozen_norms(own)
        self._shared: frozenset[str] | None = None
        self._labels_seen: torch.Size | None = None  # shape of the first example's labels

    def prior(self, name: str, weight: Tensor) -> Distribution:
        """The prior of one weight tensor, batch shape that of `weight`."""
        raise NotImplementedError(f"{type(self).__name__} must say what its prior is")

    def sample_weights(self) -> dict[str, Tensor]:
        """The effective latent weights by state_dict name: the prior's part of the program."""
        if self.mixture is not None:
            refuse_free_centers()
        initial = self.initial_weights()
        weights = self.weights(initial)
        if self.mixture is not None:
            with poutine.scale(scale=self.mixture.weight):
                density = self.mixture()
                for name, value in initial.items():
                    center = density.expand(value.shape).to_event(value.dim())
                    pyro.sample(f"{name}.center", center)
        return weights

    def weights(self, initial: dict[str, Tensor]) -> dict[str, Tensor]:
        """The sample statements of all weight tensors, by state_dict name."""
        return {name: self.weight(name, value) for name, value in initial.items()}

    def weight(self, name: str, initial: Tensor) -> Tensor:
        """The sample statements of one weight tensor; hierarchical priors have several.

        :param initial: the network's own value; only its shape, dtype and device count.
        """
        return pyro.sample(name, self.prior(name, initial).to_event(initial.dim()))

    def initial_weights(self) -> dict[str, Tensor]:
        """The network's own values of the latent weights, by state_dict name."""
        return {name: self.get_buffer(_buffer(name)) for name in self.weight_names}

    def latent_share(self) -> float:
        """The fraction of the network's floating-point numbers that is latent, within (0, 1].

        The others, biases and statistics of normalization layers, are point parameters and buffers.
        """
        state = dict(self._original[0].state_dict(keep_vars=True))
        tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        total = float_numbers(tensors[name] for name in shared_names(tensors))
        return float_numbers(self.initial_weights().values()) / total

    def forward(self, x: examples.Inputs, y: Tensor | None = None) -> Tensor:
        output = self.output(x, sampled(self.sample_weights))
        batch = examples.tensors(output)[0]
        size = len(batch) if y is None else self.num_data
        if len(batch) > size:
            raise ValueError(
                f"num_data is {size}, but one batch holds {len(batch)} examples: num_data is the "
                "number of training examples, not of batches"
            )
        with pyro.plate("data", size, subsample=torch.arange(len(batch), device=batch.device)):
            return self.observe(x, output, y)

    def observe(self, x: examples.Inputs, output: Tensor, y: Tensor | None) -> Tensor:
        """The statements about the examples, inside their plate; returns the labels.

        :raises ValueError: for labels that the output would be broadcast against.
        """
        if y is not None and self.likelihood_name in ("bernoulli", "normal"):
            y = y.to(output.dtype)
        return pyro.sample("y", self.likelihood_of(output, y), obs=y)

    def likelihood_of(self, output: Tensor, y: Tensor | None) -> Distribution:
        """p(y | output), after a check of the labels: of all their shapes, and the first values.

        :raises ValueError: for labels that the likelihood cannot mean, or that the output would
            be broadcast against.
        """
        kind = self.likelihood_name
        if y is not None and kind is not None and self._labels_seen is None:
            check_labels(y, kind, output)
            self._labels_seen = y.shape[1:]
        if kind == "categorical" and self._labels_seen is not None:
            labels = (len(output), *self._labels_seen) if y is None else y.shape
            output = classes_last(output, labels)
        likelihood = self.likelihood(output)
        if y is not None and likelihood.shape()[-y.dim() :] != y.shape:
            raise ValueError(
                f"labels have shape {tuple(y.shape)}, but outputs of shape {tuple(output.shape)} "
                f"are about labels of shape {tuple(likelihood.shape())}: reshape one of the two"
            )
        return likelihood

    @property
    def likelihood_name(self) -> str | None:
        """The likelihood by name; None for a function of the user's."""
        return name_of(self.likelihood)

    def output(self, x: examples.Inputs, weights: dict[str, Tensor]) -> Tensor:
        """The network's output at the given latent weights, point parameters as they are."""
        state_parameters("net", self.net)
        if self._shared is None:
            self._shared = self._find_shared(x)
        # A shared weight must be one draw in all its places: an operation on a lazy weight makes
        # it an ordinary tensor.
        values = {k: torch.clone(v) if k in self._shared else v for k, v in weights.items()}
        for name, row in self._padding.items():
            kept = self.initial_weights()[name][row]
            at = torch.tensor([row], device=kept.device)
            values[name] = torch.index_copy(torch.clone(values[name]), 0, at, kept[None])
        return self.compute(x, values)

    def compute(self, x: examples.Inputs, weights: dict[str, Tensor]) -> Tensor:
        """The network's output with these weights in their places."""
        for path in self._frozen_norms:
            self.net.get_submodule(path).training = False
        with self._places.filled(self.net, weights):
            return examples.call(self.net, _float32_if_less(x))

    @torch.no_grad()
    def trained(self) -> nn.Module:
        """A plain copy of the network with the point parameters and buffers as trained so far.

        Latent weights keep their initial values; their approximate posterior is the guide's.
        """
        take_loaded("net", self.net)
        net = copied(self._original[0])
        net.load_state_dict(self.net.state_dict(), strict=False)
        return net

    def _find_shared(self, x: examples.Inputs) -> frozenset[str]:
        """Names of weights that one forward pass uses more than once, seen in a dry run.

        :raises ValueError: for an output that the likelihood cannot read.
        """
        uses: Counter[str] = Counter()
        # A copy in evaluation mode: no BatchNorm statistics change and no dropout noise is drawn.
        net = copied(self.net).eval()
        with gradients():
            initial = self.initial_weights().items()
            weights = {name: counted(value, name, uses) for name, value in initial}
            some = examples.each(x, lambda tensor: tensor[:2].detach().clone())
            with self._places.filled(net, weights):
                output = examples.call(net, _float32_if_less(some))
            if self.likelihood_name is not None:
                check_output(output, self.likelihood_name)
        tied = {name for name, names in self._places.names.items() if len(names) > 1}
        return frozenset(tied | {name for name, count in uses.items() if count > 1})


def _float32_if_less(x: examples.Inputs) -> examples.Inputs:
    """Inputs of fewer than 32 bits as float32, which the copied network's tensors are."""
    if isinstance(x, Tensor) and not (x.is_floating_point() and x.element_size() < 4):
        return x
    return examples.each(
        x, lambda t: t.float() if t.is_floating_point() and t.element_size() < 4 else t
    )


def _buffer(name: str) -> str:
    return "initial_" + key(name)
