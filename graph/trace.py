"""From any `nn.Module` to a `GraphNetwork`, by `torch.export`.

The network is exported in eval mode with a batch axis of any size, on fake tensors, so that nothing
is computed and no memory is taken. Where that fails, `torch.fx` first replaces the network's Python
code by what it does to its inputs, and that is exported.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .convert import Converter
from .errors import Untraceable
from .fold import fold as fold_network
from .ir import INPUT, Fixed, Graph, Node, TensorType
from .network import GraphNetwork
from .rewrite import join_quantised_relus

Example = Tensor | tuple | list | Mapping[str, Any]


def trace(net: nn.Module, example: Example, fold: bool = True) -> GraphNetwork:
    """The network as a graph of operators that computes the same in eval mode.

    :param net: any module; not changed. Its parameters are copied.
    :param example: inputs as they are passed: a tensor, a tuple or list of positional arguments, or
        a dictionary of named ones. Axis 0 of each tensor is the batch, which may have another size
        later; all other sizes stay as they are. At least one example; its numbers do not matter.
    :param fold: compute once what depends on parameters alone (weight norm, masks of pruning), and
        let convolutions and dense layers take in the BatchNorms beside them, statistics frozen,
        where that is exact; see `fold.fold`. False: the network's own parameters, one by one.
    :returns: the same state_dict names, but for parameters and buffers that no output depends on.
        A network that has been traced is returned as it is.
    :raises Untraceable: `torch.export` and `torch.fx` both fail, or an operator is not in the
        table; the message says which, and in which module.

    >>> net = trace(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), torch.randn(3, 4))
    >>> list(net.state_dict())
    ['0.weight', '0.bias']
    """
    if isinstance(net, GraphNetwork):
        return net
    args, kwargs = _arguments(example)
    batch = _batch_of((args, kwargs))
    try:
        program = _exported(net, args, kwargs, batch)
    except Exception as error:
        program = _exported_by_fx(net, args, kwargs, batch, error)
    network = join_quantised_relus(GraphNetwork(*_graph_of(net, program, args, kwargs)))
    return fold_network(network) if fold else network


def _arguments(example: Example) -> tuple[tuple, dict]:
    if isinstance(example, Mapping):
        return (), _doubled(dict(example))
    if isinstance(example, tuple | list):
        return _doubled(tuple(example)), {}
    return (_doubled(example),), {}


def _doubled(value: Any) -> Any:
    """The example inputs with at least two examples: of one, export takes the batch as fixed."""
    if isinstance(value, Tensor):
        if value.dim() and value.shape[0] == 1:
            return torch.cat([value, value])
        return value
    if isinstance(value, dict):
        return {key: _doubled(part) for key, part in value.items()}
    if isinstance(value, tuple | list):
        return type(value)(_doubled(part) for part in value)
    return value


def _batch_of(inputs: Any) -> int:
    sizes = [leaf.shape[0] for leaf in _tensors(inputs) if leaf.dim()]
    if not sizes or min(sizes) < 1:
        raise ValueError("the example must hold a tensor of at least one example: (batch, ...)")
    return sizes[0]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    for part in value.values() if isinstance(value, dict) else ():
        yield from _tensors(part)
    for part in value if isinstance(value, tuple | list) else ():
        yield from _tensors(part)


def _exported(net: nn.Module, args: tuple, kwargs: dict, batch: int) -> Any:
    def axes(value: Any) -> Any:
        if isinstance(value, Tensor):
            return {0: torch.export.Dim.DYNAMIC} if value.dim() and len(value) == batch else None
        if isinstance(value, dict):
            return {key: axes(part) for key, part in value.items()}
        if isinstance(value, tuple | list):
            return type(value)(axes(part) for part in value)
        return None

    shapes = (*map(axes, args), *map(axes, kwargs.values()))
    names = kwargs.keys()
    dynamic = {"args": tuple(shapes[: len(args)])} if not names else None
    dynamic = tuple(shapes) if not names else dict(zip(names, shapes, strict=True))
    with _quiet(net), torch.no_grad():
        return torch.export.export(net, args, kwargs, dynamic_shapes=dynamic, strict=False)


def _exported_by_fx(net: nn.Module, args: tuple, kwargs: dict, batch: int, first: Exception) -> Any:
    try:
        with _quiet(net):
            plain = torch.fx.symbolic_trace(net)
        return _exported(plain, args, kwargs, batch)
    except Exception as second:
        raise Untraceable(
            f"{type(net).__name__} cannot be traced: torch.export says {_line(first)}; "
            f"torch.fx says {_line(second)}"
        ) from first


def _line(error: Exception) -> str:
    """The first line of an error that says something."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    text = lines[0] if lines else ""
    return f"{type(error).__name__}: {text[:200]}" if text else type(error).__name__


@contextmanager
def _quiet(net: nn.Module) -> Iterator[None]:
    """The network in eval mode, warnings kept in, attention in its general form; undone after."""
    modes = [(module, module.training) for module in net.modules()]
    fast = torch.backends.mha.get_fastpath_enabled()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            torch.backends.mha.set_fastpath_enabled(False)
            net.eval()
            yield
        finally:
            torch.backends.mha.set_fastpath_enabled(fast)
            for module, training in modes:
                module.training = training


def _graph_of(
    net: nn.Module, program: Any, args: tuple, kwargs: dict
) -> tuple[Graph, dict[str, Tensor]]:
    """The graph of an exported program, and its numbers."""
    signature = program.graph_signature
    canonical = _canonical_names(net)
    parameters = {
        place: canonical.get(name, name)
        for place, name in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items()
    }
    constants = dict(signature.inputs_to_lifted_tensor_constants)
    tensors = _numbers(net, program, parameters, constants)
    converter = Converter(tensors)
    inputs: list[TensorType] = []
    batch = _batch_of((args, kwargs))
    for node in program.graph.nodes:
        if node.op == "placeholder":
            if node.name in parameters or node.name in constants:
                name = parameters.get(node.name) or _free_name(constants[node.name])
                converter.add_parameter(node, name)
            else:
                _add_input(converter, node, inputs, batch)
        elif node.op == "call_function":
            converter.convert(node)
        elif node.op == "output":
            leaves = [_leaf(converter, value) for value in node.args[0]]
        elif node.op != "get_attr":
            raise Untraceable(f"the exported network holds {node.op} {node.target}")
    graph = Graph(
        converter.nodes,
        tuple(inputs),
        _signature(args, kwargs),
        _nested(program.call_spec.out_spec, iter(leaves)),
    )
    tensors |= converter.constants
    graph.aliases = {alias: name for alias, name in canonical.items() if alias != name}
    graph.prune()
    return graph, {node.name: tensors[node.name] for node in graph.parameters}


def _add_input(converter: Converter, node: Any, inputs: list[TensorType], batch: int) -> None:
    value = node.meta.get("val")
    if not isinstance(value, Tensor):
        return  # a constant among the arguments
    shape = tuple(size if isinstance(size, int) else None for size in value.shape)
    dtype = str(value.dtype).removeprefix("torch.")
    converter.add(node, Node(INPUT, name=str(len(inputs))))
    inputs.append(TensorType(shape, dtype))


def _leaf(converter: Converter, value: Any) -> Any:
    if isinstance(value, torch.fx.Node):
        return converter.ref(value)
    return Fixed(value)


def _signature(args: tuple, kwargs: dict) -> tuple[tuple, dict]:
    """The nested arguments with their tensors numbered in the order of export."""
    counter = iter(range(1 << 20))

    def numbered(value: Any) -> Any:
        if isinstance(value, Tensor):
            return next(counter)
        if isinstance(value, dict):
            return {key: numbered(part) for key, part in value.items()}
        if isinstance(value, tuple | list):
            return type(value)(numbered(part) for part in value)
        return Fixed(value)

    return numbered(args), numbered(kwargs)


def _nested(spec: Any, leaves: Iterator[Any]) -> Any:
    """Outputs as the network nests them."""
    if spec.is_leaf():
        return next(leaves)
    children = spec.children() if callable(getattr(spec, "children", None)) else spec.children_specs
    parts = [_nested(child, leaves) for child in children]
    if spec.type is tuple:
        return tuple(parts)
    if spec.type is list:
        return parts
    if spec.type is dict:
        return dict(zip(spec.context, parts, strict=True))
    fields = getattr(spec.type, "_fields", None) or getattr(spec.context, "_fields", None)
    if fields:
        return dict(zip(fields, parts, strict=True))
    if isinstance(spec.context, list) and len(spec.context) == len(parts):
        return dict(zip(map(str, spec.context), parts, strict=True))
    raise Untraceable(
        f"the network returns a {getattr(spec.type, '__name__', spec.type)}; "
        "it must return tensors in tuples, lists or dictionaries"
    )


def _numbers(
    net: nn.Module, program: Any, parameters: Mapping[str, str], constants: Mapping[str, str]
) -> dict[str, Tensor]:
    """Copies of parameters (trainable as they were) and buffers, by name."""
    own = dict(net.named_parameters(remove_duplicate=False))
    buffers = dict(net.named_buffers(remove_duplicate=False))
    tensors: dict[str, Tensor] = {}
    for name in parameters.values():
        if name in own:
            value = own[name]
            tensors[name] = nn.Parameter(value.detach().clone(), value.requires_grad)
        else:
            value = buffers[name] if name in buffers else program.constants[name]
            tensors[name] = value.detach().clone()
    for target in constants.values():
        tensors[_free_name(target)] = program.constants[target].detach().clone()
    return tensors


def _free_name(target: str) -> str:
    """A buffer's name for a constant that the network's code makes."""
    return target.replace("lifted_tensor_", "constant")


def _canonical_names(net: nn.Module) -> dict[str, str]:
    """Each name of a parameter or buffer, and the first name of the same tensor."""
    first: dict[int, str] = {}
    named = [
        *net.named_parameters(remove_duplicate=False),
        *net.named_buffers(remove_duplicate=False),
    ]
    return {name: first.setdefault(id(value), name) for name, value in named}
