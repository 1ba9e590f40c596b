"""Param statements for parameters that belong to a module, not to Pyro's global store."""

import weakref

from pyro.poutine.runtime import effectful
from torch import Tensor, nn


@effectful(type="param")
def _statement(value: Tensor, *args, **kwargs) -> Tensor:
    return value


def state_parameters(prefix: str, module: nn.Module) -> None:
    """A param statement for each parameter of `module`: how `SVI.step` finds what to train.

    The module goes on using its parameters directly. Two modules of one class never share them,
    whatever Pyro's setting `module_local_params` is. That setting cannot simply be turned on,
    because `SVI.step` then fails on every plain `nn.Parameter`, those of Pyro's own
    AutoLowRankMultivariateNormal among them (pyro 1.9.2).

    :param prefix: put before the parameters' names in the trace.
    """
    for name, parameter in module.named_parameters():
        announced = parameter.detach()
        announced.unconstrained = weakref.ref(parameter)
        _statement(announced, name=f"{prefix}.{name}")
