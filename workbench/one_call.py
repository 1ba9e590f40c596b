"""`compress_network`: what `bitsback compress` does, as one call."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from rich.console import Console
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from ..common.modes import gradients
from ..methods import DEFAULT
from .kept import examples_of, method_of
from .own_data import part_of
from .parts import dataset
from .pipeline import compressed, fitted
from .settings import Settings, check_names

if TYPE_CHECKING:
    from ..compression.compress import Compressed

# As the command's data: each part one tensor, while `fit` and `compress` take several inputs.
Data = tuple[Tensor, Tensor] | Dataset[Any] | DataLoader[Any]


@gradients()
def compress_network(
    net: nn.Module,
    train: Data,
    validation: Data | None = None,
    method: str = DEFAULT,
    *,
    likelihood: str | None = None,
    trained: bool = True,
    console: Console | None = None,
    **options: Any,
) -> Compressed:
    """A network and its data to a file's bytes, with the defaults of `bitsback compress`.

    Trains the method's approximate posterior around the network, and compresses it.

    :param net: any `nn.Module` that gives logits (or means, for likelihood "normal"); not changed.
    :param train: inputs `(n, ...)` (one tensor, or a tuple or dict of tensors for a network of
        several) and labels; or a Dataset or a DataLoader of such pairs; read into memory
        once (see `common.datasets.in_memory`). Bytes are taken for pixels and divided by 255.
    :param validation: the same, which everything is chosen on; None: one example in six of
        `train`, of each class alike.
    :param method: a name from METHODS.
    :param likelihood: "categorical" (labels are whole numbers of classes; the default for these),
        "bernoulli" (labels of 0 and 1) or "normal" (real numbers, with the noise of the
        residuals on validation data of the network that training starts from).
    :param trained: whether the network is trained already, as after `--weights`; False: it is
        trained first, by maximum a posteriori.
    :param console: for progress lines; default: stderr, if that is a terminal.
    :param options: further options of `bitsback compress` with underscores for dashes, the
        method's own included: `epochs`, `lr`, `margin_error`, `effort`, `seed`, `resume`, ...
    :returns: bytes, decoded network and report; `save` writes the file.
    :raises ValueError: for data that do not fit the network, unknown names, or options that the
        method does not have; before anything is trained.

    >>> result = bitsback.compress_network(net, (x, y), (x_val, y_val), "rate", beta=0.5)
    >>> result.save("net.bb")
    """
    settings = Settings.of(method=method, **options)
    check_names(settings, options)
    if trained:
        settings = Settings.of(**{"method": method, **options, "pretrain_epochs": 0})
    given = {"train": train, "validation": validation}
    names = {"train": "training", "validation": "validation"}
    parts = {
        key: part_of(data, f"{names[key]} data") for key, data in given.items() if data is not None
    }
    data = fitted(net, dataset("the data", parts, likelihood, tested=False), "the network")
    chosen = method_of(settings, examples_of(settings, data))
    console = console or Console(stderr=True)
    return compressed(copy.deepcopy(net), chosen, data, settings, console)[2]
