"""The architecture of a network, read off its modules."""

from collections.abc import Collection, Iterator

from torch import Tensor, nn

from ..common.modules import instead_of
from ..graph import GraphNetwork
from .architecture import Architecture, check_architecture
from .describe_graph import describe_graph
from .layers import Layer
from .layers_fit import check_fit
from .nodes import DTYPES, FLOATS, Chain, TensorSpec, check_nesting
from .select import Select
from .ties import find_ties, with_common_roles
from .torch_layers import describe_layer


def check_dtype(name: str, tensor: Tensor) -> None:
    """Raise ValueError for a tensor of a dtype that no file holds."""
    if _dtype(tensor) not in DTYPES:
        raise ValueError(
            f"{name!r} is {_dtype(tensor)}; a file holds tensors of {', '.join(DTYPES)}"
            f"{instead_of(tensor.dtype)}"
        )


def describe(
    net: nn.Module, label: str | None = None, weights: Collection[str] = ()
) -> Architecture:
    """The architecture of a network; of a traced one, its graph.

    :param weights: state_dict names to treat as weights besides those of Linear and Conv layers;
        a network with such weights is described by its tensors.
    :raises ValueError: a tensor's dtype, or a name or size, is beyond what a file can hold.
    """
    if isinstance(net, GraphNetwork):
        return describe_graph(net, label)
    state = net.state_dict(keep_vars=True)
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor):
            raise ValueError(f"{name!r} is a {type(tensor).__name__}; a file holds tensors")
        check_dtype(name, tensor)
    ties = find_ties(state)
    listed = with_common_roles(tuple(_listed(net, state, weights)), ties)
    floats = {spec.dtype for spec in listed if spec.dtype in FLOATS} or {"float32"}
    architecture = Architecture(None, listed, ties, label)
    try:
        if len(floats) == 1:
            root = _describe(net)
            check_nesting(root)
            check_fit(root)
            described = Architecture(root, (), ties, label, floats.pop())
            architecture = described if tuple(described.entries()) == listed else architecture
    except ValueError:
        pass  # not a sequence of known layers: the tensors must do
    check_architecture(architecture)
    return architecture


def _describe(module: nn.Module) -> Layer | Chain:
    """The layers of a module; ValueError if they are not all known."""
    if type(module).forward is not nn.Sequential.forward:
        return describe_layer(module)
    if module._forward_hooks or module._forward_pre_hooks or "forward" in vars(module):
        raise ValueError("a sequence with hooks is more than its layers")
    names = tuple(module._modules)
    return Chain(names, tuple(_describe(child) for child in module._modules.values()))


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def _listed(
    net: nn.Module, state: dict[str, Tensor], weights: Collection[str]
) -> Iterator[TensorSpec]:
    """Every state_dict entry with its role."""
    modules = dict(net.named_modules(remove_duplicate=False))
    for name, tensor in state.items():
        path, _, leaf = name.rpartition(".")
        owner, role = modules.get(path), "raw"
        if isinstance(owner, nn.Linear | nn.Conv1d | nn.Conv2d) and leaf in ("weight", "bias"):
            role = leaf
        elif isinstance(owner, Select):
            role = "mask"
        elif name in weights and tensor.is_floating_point():
            role = "weight"
        yield TensorSpec(name, tuple(tensor.shape), role, _dtype(tensor))
