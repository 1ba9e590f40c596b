"""Param statements for parameters that belong to a module, and their names in Pyro's store."""

import weakref

import pyro
import torch
from pyro.distributions import constraints
from pyro.poutine.runtime import effectful
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from .handlers import parameters_are_wanted

# The module of each parameter that was put in the store from here, weakly.
_owners = WeakIdKeyDictionary()


@effectful(type="param")
def _statement(value: Tensor, *args, **kwargs) -> Tensor:
    return value


def state_parameters(prefix: str, module: nn.Module) -> None:
    """A param statement for each parameter of `module`: how `SVI.step` finds what to train.

    The module goes on using its parameters directly. Two modules of one class never share them,
    whatever Pyro's setting `module_local_params` is. That setting cannot simply be turned on,
    because `SVI.step` then fails on every plain `nn.Parameter`, those of Pyro's own
    AutoLowRankMultivariateNormal among them (pyro 1.9.2).

    Where `SVI` trains, Pyro's parameter store holds the very parameters too, so that optimizers
    know their names, and `pyro.get_param_store().save()` writes them. Values that were loaded into
    the store go into the module: see `take_loaded`.

    :param prefix: put before the parameters' names in the trace and in the store.
    :raises ValueError: for a loaded value of another shape.
    """
    take_loaded(prefix, module)
    wanted = parameters_are_wanted()
    for name, parameter in module.named_parameters():
        announced = parameter.detach()
        announced.unconstrained = weakref.ref(parameter)
        site = f"{prefix}.{name}"
        _statement(announced, name=site, constraint=constraints.real)
        if wanted and parameter.requires_grad:
            _put_in_store(site, parameter, module)


@torch.no_grad()
def take_loaded(prefix: str, module: nn.Module) -> None:
    """Copy what `pyro.get_param_store().load()` read under a module's names into its parameters.

    :raises ValueError: for a value of another shape.
    """
    store = pyro.get_param_store()
    held = store.named_parameters().mapping
    if not held:
        return
    for name, parameter in module.named_parameters():
        site = f"{prefix}.{name}"
        loaded = held.get(site)
        if loaded is None or loaded in _owners or not isinstance(parameter, nn.Parameter):
            continue
        if loaded.shape != parameter.shape:
            raise ValueError(
                f"Pyro's parameter store holds {site!r} of shape {tuple(loaded.shape)}, but here "
                f"it has shape {tuple(parameter.shape)}: load the file of this model and guide, "
                "or call pyro.clear_param_store()"
            )
        parameter.copy_(loaded)
        del store[site]
        _put_in_store(site, parameter, module)


def _put_in_store(site: str, parameter: Tensor, module: nn.Module) -> None:
    """Let Pyro's store hold the parameter itself, under its own name or, if taken, a similar one.

    A name is taken while another module that is still alive has it there.
    """
    store = pyro.get_param_store()
    held = store.named_parameters().mapping
    known = store.param_name(parameter)
    if known is not None and held.get(known) is parameter:
        return
    name, number = site, 1
    while name in held:
        owner = _owners.get(held[name], lambda: None)()
        if owner is None or owner is module:
            del store[name]
            break
        number += 1
        name = f"{site}_{number}"
    store.set_state({"params": {name: parameter}, "constraints": {name: constraints.real}})
    _owners[parameter] = weakref.ref(module)
