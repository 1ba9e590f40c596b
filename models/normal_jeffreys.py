"""The group normal-Jeffreys prior (BC-GNJ of Louizos, Ullrich and Welling 2017)."""

import pyro
import torch
from pyro.distributions import Normal
from torch import Tensor

from ..distributions.log_uniform import LogUniform
from .deterministic import deterministic
from .grouped import GroupedModel, Sample
from .prediction import or_point


class NormalJeffreys(GroupedModel):
    """w = z * base with base ~ N(0, 1) and p(z) proportional to 1/|z|, one z for each group.

    Groups are the input units of a dense layer and the output maps of a convolution. The marginal
    of the n weights of a group is proportional to |w|^-n, |.| their Euclidean norm. Layers of a
    traced network (`graph.trace`) that have the same units, as those that write a residual stream
    do, share z: n counts the weights of all of them.

    Improper: the objective is no bound on a marginal likelihood, it has an arbitrary constant for
    each group, and it cannot be compared with that of a proper prior. Only guides with a
    closed-form KL train against it (`METHODS` lists them); the others get an error.

    Sites, for each latent weight `<name>`: `<name>.scale` (z, shape `(groups,)`; of weights that
    share it under the name of the first), `<name>.base` (the weight's shape), and `<name>` itself,
    deterministic: base times scale.

    The parameters are those of `NetworkModel`.
    """

    proper = False

    def scaled(self, name: str, initial: Tensor, sample: Sample) -> Tensor:
        ones = initial.new_ones(self.groups.count(name))
        prior = or_point(LogUniform(ones.shape), ones)
        scale = sample(f"{self.groups.owners[name]}.scale", prior.to_event(1))
        # A guide's lazy weight is no Tensor, which torch's validation of values would reject.
        zeros = torch.zeros_like(initial)
        standard = Normal(zeros, torch.ones_like(initial), validate_args=False)
        base = pyro.sample(f"{name}.base", standard.to_event(initial.dim()))
        return deterministic(name, base * self.groups.along(name, scale))
