"""Priors whose weights are products with scales or gates that groups of weights share."""

from collections.abc import Callable
from functools import cached_property

import pyro
from pyro.distributions import Distribution
from torch import Tensor

from .core.groups import Groups, groups_of
from .network import NetworkModel

#: `pyro.sample`, but for a site that was sampled before: that gives the value it has.
Sample = Callable[[str, Distribution], Tensor]


class GroupedModel(NetworkModel):
    """A model whose subclasses say in `scaled` what a weight tensor and its scales are.

    Weights that have the same units along their group axes (see `core.groups`) share one scale for
    each unit: a site under the name of the first of them.
    """

    @cached_property
    def groups(self) -> Groups:
        """How the groups of the weights lie, and which weights share scales."""
        return groups_of(self._original[0], self.initial_weights())

    def weights(self, initial: dict[str, Tensor]) -> dict[str, Tensor]:
        drawn: dict[str, Tensor] = {}

        def sample(site: str, prior: Distribution) -> Tensor:
            if site not in drawn:
                drawn[site] = pyro.sample(site, prior)
            return drawn[site]

        return {name: self.scaled(name, value, sample) for name, value in initial.items()}

    def scaled(self, name: str, initial: Tensor, sample: Sample) -> Tensor:
        """The sample statements of one weight tensor.

        :param initial: the network's own value; only its shape, dtype and device count.
        :param sample: for the sites of scales, which several weights may share.
        """
        raise NotImplementedError(f"{type(self).__name__} must say what its weights are")
