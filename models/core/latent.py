"""Which parameters of a network get the prior, and how many inputs each of their outputs sums."""

import math
import re
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from ...common.modules import check_overlaps, shared_names
from ...graph import GraphNetwork, weight_names
from ...graph import fan_in as graph_fan_in

_LAYERS = (
    nn.Linear, nn.modules.conv._ConvNd, nn.Embedding, nn.EmbeddingBag, nn.Bilinear,
    nn.RNNBase, nn.RNNCellBase, nn.MultiheadAttention,
)  # fmt: skip
_MATRICES = re.compile(
    r"^(weight(_v|_orig)?|weight_(ih|hh|hr)(_l\d+)?(_reverse)?(_v|_orig)?|(in|q|k|v)_proj_weight)$"
)
_NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def latent_names(net: nn.Module, latent: Iterable[str] | None) -> dict[str, list[str]]:
    """state_dict name of each latent parameter -> all its names (more than one where tied).

    :param latent: names; None: every matrix and kernel that is trained, which is the weights of
        linear, convolution, embedding, bilinear, attention and recurrent layers, and any other
        parameter with at least two axes larger than 1 that belongs to no normalization layer.
    :raises ValueError: an unknown name, or none at all.
    """
    parameters = dict(net.named_parameters(remove_duplicate=False))
    own = weight_names if isinstance(net, GraphNetwork) else _by_default
    chosen = list(own(net) if latent is None else latent)
    if not chosen:
        frozen = any(not p.requires_grad for p in parameters.values())
        raise ValueError(
            "the network has no compressible layer: no trained parameter is a matrix or a kernel, "
            "as the weights of Linear, Conv1d or Conv2d layers are"
            + (" (frozen ones, requires_grad=False, stay as they are)" if frozen else "")
            + "; name the parameters that should get the prior in `latent`"
        )
    unknown = [name for name in chosen if name not in parameters]
    if unknown:
        raise ValueError(
            f"latent: {unknown[0]!r} is no parameter of the network; it has: "
            f"{', '.join(parameters)}"
        )
    result: dict[str, list[str]] = {}
    shared = {name: names for names in shared_names(parameters).values() for name in names}
    for name in chosen:
        result.setdefault(shared[name][0], shared[name])
    return result


def check_network(net: nn.Module) -> None:
    """Refuse a network whose parameters cannot be trained, in one line that names one of them.

    :raises ValueError: for parameters without values (lazy, or on the meta device), of no
        numbers, complex, or not finite, and for memory shared by tensors of other shapes.
    """
    for name, value in net.named_parameters(remove_duplicate=False):
        if is_lazy(value):
            raise ValueError(f"{name!r} has no shape yet: call the network once on an example")
        if value.is_meta:
            raise ValueError(f"{name!r} is on the meta device and has no values: load them first")
        if value.is_complex():
            raise ValueError(
                f"{name!r} is {str(value.dtype).removeprefix('torch.')}: priors and files are of "
                "real numbers; store its real and imaginary parts as two parameters"
            )
        if not value.numel():
            raise ValueError(
                f"{name!r} has shape {tuple(value.shape)} and holds no numbers: remove the layer"
            )
        if value.is_floating_point() and not torch.isfinite(value.detach().float()).all():
            raise ValueError(f"{name!r} holds NaN or infinity: start from a network without")
    check_overlaps(dict(net.named_parameters(remove_duplicate=False)))


def fan_in(net: nn.Module, names: list[str]) -> int:
    """How many terms, at most, an output sums that the weight of these names makes."""
    if isinstance(net, GraphNetwork):
        return graph_fan_in(net, names[0])
    return max(
        _fan_in(net.get_submodule(n.rpartition(".")[0]), net.get_parameter(n)) for n in names
    )


def padding_rows(net: nn.Module, names: dict[str, list[str]]) -> dict[str, int]:
    """The row of each latent embedding that stands for padding, which training leaves as it is.

    An embedding that is another layer's weight as well has none: there the row is trained. Nor has
    that of a traced network, whose graph says nothing of padding.
    """
    if isinstance(net, GraphNetwork):
        return {}
    owners = {
        name: net.get_submodule(name.rpartition(".")[0])
        for name, all_of in names.items()
        if len(all_of) == 1
    }
    return {
        name: owner.padding_idx
        for name, owner in owners.items()
        if isinstance(owner, nn.Embedding | nn.EmbeddingBag) and owner.padding_idx is not None
    }


def _by_default(net: nn.Module) -> list[str]:
    return [
        f"{path}.{leaf}" if path else leaf
        for path, module in net.named_modules()
        for leaf, value in module._parameters.items()
        if value is not None and value.requires_grad and _is_matrix(module, leaf, value)
    ]


def _is_matrix(module: nn.Module, leaf: str, value: Tensor) -> bool:
    if isinstance(module, _NORMS):
        return False
    if isinstance(module, _LAYERS) and value.dim() > 1 and _MATRICES.match(leaf):
        return True
    return sum(n > 1 for n in value.shape) > 1


def _fan_in(module: nn.Module, value: Tensor) -> int:
    if isinstance(module, nn.Embedding | nn.EmbeddingBag):
        return 1  # a row is looked up, not summed
    if isinstance(module, nn.modules.conv._ConvTransposeNd):
        inputs = value.shape[0] // module.groups * math.prod(value.shape[2:])
        return max(1, inputs // math.prod(module.stride))
    return math.prod(value.shape[1:])
