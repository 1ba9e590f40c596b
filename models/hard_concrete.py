"""Gates on weights or units: L0 regularisation (Louizos, Welling and Kingma 2018)."""

import math

import pyro
import torch
from pyro.distributions import Normal
from torch import Tensor, nn

from ..distributions.hard_concrete import GatePrior
from .deterministic import deterministic
from .grouped import GroupedModel, Sample
from .prediction import or_point


class HardConcrete(GroupedModel):
    """w = gate * base: a spike at 0 and a slab, base ~ N(0, slab^2).

    One gate for each group (input unit of a dense layer, output map of a convolution) or weight.
    Layers of a traced network (`graph.trace`) that have the same units share the units' gates. The
    price of an open gate is `cost` nats for each weight that it speaks for, in all these layers, so
    that groups of many weights must be worth more. `distributions.GatePrior` says what kind of
    prior that is: it is no density, so other guides than those of METHODS are refused.

    Sites, for each latent weight `<name>`: `<name>.gate`, shape `(groups,)` or the weight's (of
    weights that share gates under the name of the first), `<name>.base`, and `<name>` itself,
    deterministic. The layer of the network's outputs loses inputs, never outputs.

    :param cost: nats for each open weight (the published lambda, there 0.1 / N on the mean loss).
    :param slab: prior standard deviation of base (default 1), L2 regularisation.
    :param gates: "groups" (default) or "weights".
    :param entropy: whether the gates' entropy counts (see `GatePrior`); default False, as
        published.

    The other parameters are those of `NetworkModel`.

    :raises ValueError: for a negative cost, a slab that is not positive, or other `gates`.
    """

    proper = False

    def __init__(
        self,
        net: nn.Module,
        num_data: int,
        cost: float = 0.1,
        slab: float = 1.0,
        gates: str = "groups",
        entropy: bool = False,
        **kwargs,
    ):
        super().__init__(net, num_data, **kwargs)
        if not (cost >= 0 and math.isfinite(cost)):
            raise ValueError(f"cost, nats for each open weight, must be 0 or more; got {cost}")
        if not slab > 0:
            raise ValueError(f"slab, a prior standard deviation, must be positive; got {slab}")
        if gates not in ("groups", "weights"):
            raise ValueError(f"gates must be 'groups' or 'weights'; got {gates!r}")
        self.cost, self.slab, self.gates, self.entropy = cost, slab, gates, entropy

    def scaled(self, name: str, initial: Tensor, sample: Sample) -> Tensor:
        grouped, groups = self.gates == "groups", self.groups
        shape = (groups.count(name),) if grouped else initial.shape
        each = groups.numbers(name) / groups.count(name) if grouped else 1
        cost = initial.new_full(shape, self.cost * each)
        prior = or_point(GatePrior(cost, self.entropy), torch.ones_like(cost))
        owner = groups.owners[name] if grouped else name
        gate = sample(f"{owner}.gate", prior.to_event(len(shape)))
        # A guide's lazy weight is no Tensor, which torch's validation of values would reject.
        zeros = torch.zeros_like(initial)
        slab = Normal(zeros, torch.full_like(zeros, self.slab), validate_args=False)
        base = pyro.sample(f"{name}.base", slab.to_event(initial.dim()))
        return deterministic(name, base * (groups.along(name, gate) if grouped else gate))
