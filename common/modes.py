"""The modes that training needs, whatever the caller has set, and back again."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn


@contextmanager
def gradients() -> Iterator[None]:
    """Gradients on, also inside `torch.no_grad()` and `torch.inference_mode()`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


@contextmanager
def modes_kept(module: nn.Module) -> Iterator[None]:
    """Afterwards each part of a module is in the mode that it had before."""
    before = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, mode in before:
            part.training = mode


@contextmanager
def evaluating(net: nn.Module) -> Iterator[None]:
    """A network in evaluation mode; afterwards each part is in its own mode again."""
    with modes_kept(net):
        net.eval()
        yield


@contextmanager
def training_mode(model: nn.Module) -> Iterator[None]:
    """A model whose network came in eval mode as a whole, in training mode; then as before.

    Nothing is changed where that was said: the model itself is in eval mode, or the network is in
    training mode but for some of its layers.

    :param model: its network is the submodule `net`.
    """
    with modes_kept(model):
        if model.training and not model.get_submodule("net").training:
            model.train()
        yield
