"""Layers that a method replaces: a factorised weight as two layers, in the network itself, and a
ReLU by one that quantises.

    Linear           ->  Linear to `rank` features without bias, then Linear with the bias
    Conv of any size ->  Conv of that size, stride, padding and dilation to `rank` channels without
                         bias, then Conv of size 1 with the bias

The two stand in a `Product`, a Sequential, at the layer's place, as `<path>.0` (right) and
`<path>.1` (left), and compute the same function up to float rounding. In a graph two nodes stand in
the place of one, see `graph.rewrite`, and their parameters have the same names.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from ..common.modules import copied, shared_names
from ..graph import GraphNetwork
from ..posterior import Factorisation, Posterior
from .graph_rewrites import point, quantise_graph, rewrite_graph
from .quantised_relu import QuantisedReLU

_CONVS = (nn.Conv1d, nn.Conv2d)


class Product(nn.Sequential):
    """Two layers in the place of one, for code that reads the one's `weight` and `bias` as well."""

    @property
    def weight(self) -> Tensor:
        """The product of both weights, shape of the weight that it replaces."""
        right, left = self[0].weight, self[1].weight
        return (left.flatten(1) @ right.flatten(1)).reshape(len(left), *right.shape[1:])

    @property
    def bias(self) -> Tensor | None:
        return self[1].bias


def rewrite(net: nn.Module, posterior: Posterior) -> tuple[nn.Module, Posterior]:
    """A copy of the network with rewrites and activations made, and the posterior of its weights.

    A file of a network that is described by its tensors alone is loaded into such a copy:
    `load(path, into=rewrite(net, posterior)[0])`.

    :returns: both as they came if there is nothing to rewrite; else new ones, whose posterior has
        the two factors, with stddev 0, in the place of each product.
    :raises ValueError: for a weight of another kind of layer, a grouped convolution, a shared
        weight, or factors of the wrong shape.
    """
    net, posterior = quantise_activations(net, posterior), replace(posterior, activations={})
    if isinstance(net, GraphNetwork):
        return rewrite_graph(net, posterior)
    if not posterior.rewrites:
        return net, posterior
    net, weights = copied(net), dict(posterior.weights)
    for name, factors in posterior.rewrites.items():
        path, layer = _layer(net, name)
        _check(name, layer, factors)
        pair = _pair(layer, factors)
        weights.pop(name, None)
        weights[_join(path, "0.weight")] = point(pair[0].weight, factors)
        weights[_join(path, "1.weight")] = point(pair[1].weight)
        if (bias := _join(path, "bias")) in weights:
            weights[_join(path, "1.bias")] = weights.pop(bias)
        net = _replace(net, path, pair)
    return net, replace(posterior, weights=weights, rewrites={})


def quantise_activations(net: nn.Module, posterior: Posterior) -> nn.Module:
    """A copy of the network whose ReLUs of `posterior.activations` quantise their outputs.

    ReLUs go by the paths of their modules; those of a graph by the names of `graph.relu_names`.

    :returns: the network as it came if there are none.
    :raises ValueError: for a module that is no ReLU of the network, or a grid that is no step (a
        bfloat16 number) and bits.
    """
    if not posterior.activations:
        return net
    for path, grid in posterior.activations.items():
        if grid.step is None or grid.bits is None or grid.step.dim() or grid.bits.dim():
            raise ValueError(f"activations: the grid of {path!r} must be one step and its bits")
    if isinstance(net, GraphNetwork):
        return quantise_graph(net, posterior.activations)
    net = copied(net)
    modules = dict(net.named_modules(remove_duplicate=False))
    for path, grid in posterior.activations.items():
        if type(modules.get(path)) is not nn.ReLU:
            raise ValueError(f"activations: {path!r} is no ReLU of the network")
        layer = QuantisedReLU(grid.step.item(), int(grid.bits))
        net = _replace(net, path, layer.train(modules[path].training))
    return net


def _layer(net: nn.Module, name: str) -> tuple[str, nn.Module]:
    """The path and the layer that a weight belongs to."""
    path, _, leaf = name.rpartition(".")
    modules = dict(net.named_modules(remove_duplicate=False))
    layer = modules.get(path)
    if type(layer) not in (nn.Linear, *_CONVS) or leaf != "weight":
        raise ValueError(f"{name!r} is not the weight of a Linear, Conv1d or Conv2d layer")
    if getattr(layer, "groups", 1) != 1:
        raise ValueError(
            f"{name!r} belongs to a convolution of {layer.groups} groups, which is not one matrix: "
            "leave it unfactorised"
        )
    shared = shared_names(dict(net.named_parameters(remove_duplicate=False)))
    names = next((names for names in shared.values() if name in names), [name])
    if len(names) > 1:
        raise ValueError(f"{name!r} is shared with {names[1]!r}: leave it unfactorised")
    return path, layer


def _check(name: str, layer: nn.Module, factors: Factorisation) -> None:
    outputs, inputs = layer.weight.flatten(1).shape
    left, right = tuple(factors.left.shape), tuple(factors.right.shape)
    if len(left) != 2 or right != (left[1], inputs) or left[0] != outputs:
        raise ValueError(
            f"the factors of {name!r} have shapes {left} and {right}; "
            f"they must be ({outputs}, rank) and (rank, {inputs})"
        )
    if not (factors.left.isfinite().all() and factors.right.isfinite().all()):
        raise ValueError(f"the factors of {name!r} hold NaN or infinity")


def _pair(layer: nn.Module, factors: Factorisation) -> Product:
    """The two layers, in the mode, dtype and place of the one."""
    rank, bias = factors.left.shape[1], layer.bias is not None
    with torch.device("meta"):
        if isinstance(layer, nn.Linear):
            first = nn.Linear(layer.in_features, rank, bias=False)
            last = nn.Linear(rank, layer.out_features, bias=bias)
        else:
            first = type(layer)(
                layer.in_channels, rank, layer.kernel_size, layer.stride, layer.padding,
                layer.dilation, bias=False, padding_mode=layer.padding_mode,
            )  # fmt: skip
            last = type(layer)(rank, layer.out_channels, 1, bias=bias)
    for module, matrix in ((first, factors.right), (last, factors.left)):
        value = matrix.detach().to(layer.weight).reshape(module.weight.shape).clone()
        module.weight = nn.Parameter(value, layer.weight.requires_grad)
    last.bias = layer.bias
    return Product(first, last).train(layer.training)


def _join(path: str, leaf: str) -> str:
    return f"{path}.{leaf}" if path else leaf


def _replace(net: nn.Module, path: str, new: nn.Module) -> nn.Module:
    if not path:
        return new
    above, _, name = path.rpartition(".")
    setattr(net.get_submodule(above), name, new)
    return net
