"""Training and evaluation mode of a network, each module in its own mode again afterwards."""

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def kept_modes(net: nn.Module) -> Iterator[None]:
    """Whatever mode its modules are put in, they are in their own again at the end."""
    modes = [(module, module.training) for module in net.modules()]
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """The network in evaluation mode."""
    with kept_modes(net):
        net.eval()
        yield


@contextmanager
def trainable(net: nn.Module) -> Iterator[None]:
    """The network in training mode, if all of it is in evaluation mode; else as it is.

    A network that was evaluated last is in evaluation mode as a whole, and its BatchNorm statistics
    would stay those of other weights. Single modules in evaluation mode were put there on purpose.
    """
    with kept_modes(net):
        if not any(module.training for module in net.modules()):
            net.train()
        yield
