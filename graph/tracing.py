"""From any `nn.Module` to a `GraphNetwork`, by `torch.export`.

The network is exported in eval mode with a batch axis of any size, on fake tensors, so that nothing
is computed and no memory is taken. Then the graph's outputs are compared with the network's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .converter import Converter, Unknown, is_known
from .errors import Untraceable
from .examples import Example, arguments_of, batch_of, map_tensors, of_batch, signature_of
from .exported import dtype_of, shape_of
from .exporting import export, export_noisy, rewritten
from .folding import fold as fold_network
from .ir import INPUT, Fixed, Graph, Node, TensorType
from .network import GraphNetwork
from .rewrite import join_quantised_relus
from .table import OPERATORS
from .training import switching
from .verify import verify

_REWRITES = 3  # an operator may be said by operators that must be said by others


def trace(net: nn.Module, example: Example, fold: bool = True) -> GraphNetwork:
    """The network as a graph of operators that computes the same in eval mode.

    The result is compared with the network on three examples, so that a forward that depends on
    the number of examples, on chance, or on earlier calls is refused.

    :param net: any module; not changed. Its parameters are copied.
    :param example: inputs as they are passed: a tensor, a tuple or list of positional arguments, or
        a dictionary of named ones. Axis 0 of each tensor is the batch, which may have another size
        later; all other sizes stay as they are. At least one example; its numbers do not matter.
    :param fold: compute once what depends on parameters alone (weight norm, masks of pruning), and
        let convolutions and dense layers take in the BatchNorms beside them, statistics frozen,
        where that is exact; see `folding.fold`. False: the network's own parameters, one by one.
    :returns: the same state_dict names, but for parameters and buffers that no output depends on.
        A network that has been traced is returned as it is. Named tuples and dataclasses among the
        outputs become dictionaries.
    :raises Untraceable: `torch.export` and `torch.fx` both fail, or an operator is not in the
        table; the message says which, and in which module.

    >>> net = bitsback.trace(nn.Sequential(nn.Linear(4, 2), nn.ReLU()), torch.randn(3, 4))
    >>> list(net.state_dict())
    ['0.weight', '0.bias']
    """
    if isinstance(net, GraphNetwork):
        return net
    args, kwargs = _prepared(net, example)
    program = export(net, args, kwargs, batch_of((args, kwargs)))
    network = join_quantised_relus(GraphNetwork(*_converted(net, program, args, kwargs)))
    verify(net, network, example)
    network = _noisy(net, args, kwargs, example) or network
    network.origin = _types(net)
    return fold_network(network) if fold else network


def _noisy(net: nn.Module, args: tuple, kwargs: dict, example: Example) -> GraphNetwork | None:
    """The network with the noise that it draws in training mode only; see `training`.

    :returns: None where there is none, or where the program of training mode, its noise left out,
        is not that of eval mode.
    """
    if any(tensor.is_meta for tensor in net.parameters()):
        return None  # there are no outputs to compare
    modules = switching(net)
    program = modules and export_noisy(net, args, kwargs, batch_of((args, kwargs)), modules)
    if not program:
        return None
    try:
        found = GraphNetwork(*_converted(net, program, args, kwargs, noisy=True))
        if not any(OPERATORS[node.operator].trains for node in found.graph.operators):
            return None
        verify(net, found, example)
    except (Untraceable, RuntimeError, ValueError):
        return None
    return join_quantised_relus(found)


def _types(net: nn.Module) -> tuple[TensorType, ...]:
    """The tensors of a state_dict, tied ones once."""
    state = {id(value): value for value in net.state_dict(keep_vars=True).values()}
    return tuple(
        TensorType(tuple(value.shape), str(value.dtype).removeprefix("torch."))
        for value in state.values()
        if isinstance(value, Tensor)
    )


def _prepared(net: nn.Module, example: Example) -> tuple[tuple, dict]:
    """The arguments with at least two examples (of one, export takes the batch as fixed)."""
    args, kwargs = arguments_of(example)
    batch = batch_of((args, kwargs))
    if batch == 1:
        args, kwargs = of_batch((args, kwargs), 1, 2)
    meta = any(tensor.is_meta for tensor in net.parameters())

    def own(tensor: Tensor) -> Tensor:  # export takes two uses of one tensor for one input
        return tensor.detach().to("meta") if meta else tensor.detach().clone()

    return map_tensors((args, kwargs), own)


def _converted(
    net: nn.Module, program: Any, args: tuple, kwargs: dict, noisy: bool = False
) -> tuple[Graph, dict[str, Tensor]]:
    """The graph and its numbers; what the table does not know is rewritten where torch can."""
    try:
        return _graph_of(net, program, args, kwargs, noisy)
    except Unknown as error:
        first = error
    for _ in range(_REWRITES):
        try:
            program = rewritten(program, is_known)
            return _graph_of(net, program, args, kwargs, noisy)
        except Unknown:
            continue
        except Untraceable:
            raise
        except Exception:  # torch's own, in rewriting
            break
    try:
        return _graph_of(net, program, args, kwargs, noisy, computes_constants=True)
    except Unknown:
        raise first from None


def _graph_of(
    net: nn.Module,
    program: Any,
    args: tuple,
    kwargs: dict,
    noisy: bool,
    computes_constants: bool = False,
) -> tuple[Graph, dict[str, Tensor]]:
    """The graph of an exported program, and its numbers."""
    signature = program.graph_signature
    _refuse_changes(signature)
    canonical = _canonical_names(net)
    parameters = {
        place: canonical.get(name, name)
        for place, name in {**signature.inputs_to_parameters, **signature.inputs_to_buffers}.items()
    }
    constants = dict(signature.inputs_to_lifted_tensor_constants)
    tensors = _numbers(net, program, parameters, constants)
    converter = Converter(tensors, computes_constants, noisy)
    inputs: list[TensorType] = []
    leaves: list[Any] = []
    for node in program.graph.nodes:
        if node.op == "placeholder" and (node.name in parameters or node.name in constants):
            name = parameters.get(node.name) or _free_name(constants[node.name])
            converter.add_parameter(node, name)
        elif node.op == "placeholder":
            _add_input(converter, node, inputs)
        elif node.op == "call_function":
            converter.convert(node)
        elif node.op == "output":
            leaves = [_leaf(converter, value) for value in node.args[0]]
        elif node.op != "get_attr":
            raise Untraceable(f"the exported network holds {node.op} {node.target}")
    outputs = _nested(program.call_spec.out_spec, iter(leaves))
    graph = Graph(converter.nodes, tuple(inputs), signature_of(args, kwargs), outputs)
    tensors |= converter.constants
    graph.aliases = {alias: name for alias, name in canonical.items() if alias != name}
    graph.prune()
    return graph, {node.name: tensors[node.name] for node in graph.parameters}


def _refuse_changes(signature: Any) -> None:
    """A network that changes its buffers computes something else at each call."""
    changed = {**signature.buffers_to_mutate, **signature.user_inputs_to_mutate}
    if signature.buffers_to_mutate:
        name = min(signature.buffers_to_mutate.values())
        raise Untraceable(f"the network changes its buffer {name!r} in eval mode")
    if changed:
        raise Untraceable("the network changes its inputs in place")


def _add_input(converter: Converter, node: Any, inputs: list[TensorType]) -> None:
    if isinstance(node.meta.get("val"), Tensor):  # else a constant among the arguments
        converter.add(node, Node(INPUT, name=str(len(inputs))))
        inputs.append(TensorType(shape_of(node), dtype_of(node)))


def _leaf(converter: Converter, value: Any) -> Any:
    return converter.ref(value) if isinstance(value, torch.fx.Node) else Fixed(value)


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
    """Each name of a parameter or buffer, and the first name of the same memory."""
    first: dict[int, str] = {}
    named = [
        *net.named_parameters(remove_duplicate=False),
        *net.named_buffers(remove_duplicate=False),
    ]
    return {name: first.setdefault(_memory(value), name) for name, value in named}


def _memory(value: Tensor) -> tuple:
    """The same for two tensors that are one memory seen alike."""
    if value.device.type == "meta" or not value.numel():
        return (id(value),)
    return (value.device, value.data_ptr(), value.dtype, value.shape, value.stride())
