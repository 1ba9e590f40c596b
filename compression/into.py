"""A network of the user's own class that takes the tensors of a file.

Layers compute with tensors of any size that fit each other, so that a network whose units were
removed often runs in its own class. Whether it does is seen by running it: it must compute what the
file's graph computes, else it gets back what it had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from ..graph import GraphNetwork, Untraceable, trace
from ..graph.examples import tensors_in
from ..graph.ir import Fixed, map_leaves
from .into_places import CannotHold, Place, Slot, places_of, slots_of

TOLERANCE = 1e-4  # of outputs against their scale
EXAMPLES = 3


@dataclass
class Taken:
    """Whether a network computes what a file's does.

    :param reason: why a weight cannot be put into it, if that is why not.
    :param left: names of its tensors for which the file has no numbers: they are as they were.
    """

    right: bool = False
    reason: str | None = None
    left: list[str] = field(default_factory=list)


def take(into: nn.Module, net: GraphNetwork) -> Taken:
    """Let a network hold the tensors of a file, if it then computes the same.

    Its tensors are replaced by copies, BatchNorms that the file has folded by `nn.Identity`, and
    biases that the file has added to those of the next layer by None. It is left as it was where
    that is no use.

    :param into: has names of `net`, computes tensors of those names from others, or has code that
        makes them.
    :param net: in eval mode on the CPU.
    """
    state = net.state_dict(keep_vars=True)
    inputs = _made_up(net)
    taken = _take(into, net, state, inputs)
    if not taken.right and taken.reason is None and (moved := _moved(into, state, inputs)):
        taken = _take(into, net, moved, inputs)
        taken.left = [] if taken.right else taken.left  # weights are sums of these and others
    return taken


def _take(into: nn.Module, net: GraphNetwork, state: Mapping[str, Tensor], inputs: Any) -> Taken:
    places = places_of(into)
    taken = Taken()
    norms = _folded_norms(into, state, inputs)
    inside = tuple(f"{path}." for path in norms)
    own = [name for name in into.state_dict() if not name.startswith(inside)]
    own = [name for name in own if name not in state]
    gone = [name for name in own if _is_bias(name, state)]
    with _kept_unless_right(into, taken):
        for path in norms:
            parent, _, leaf = path.rpartition(".")
            into.get_submodule(parent)._modules[leaf] = nn.Identity()
        for name in gone:  # the next layer's bias says it
            places[name].tensors[places[name].leaf] = None
        into.eval()
        try:
            _put(places, state)
        except CannotHold as error:
            taken.reason = str(error)
            return taken
        with torch.no_grad(), suppress(Exception):  # whatever the network's own code raises
            taken.right = _agree(into, net, inputs)
    sources = tuple(_sources(places, state))
    taken.left = [n for n in own if n not in gone and not n.startswith(sources)]
    return taken


def _put(places: Mapping[str, Place], state: Mapping[str, Tensor]) -> None:
    """Each tensor to its place; those without one are what the network's code makes."""
    copies = {id(value): _copy(value) for value in state.values()}
    for name, value in state.items():
        if name in places:
            places[name].put(copies[id(value)])


def _sources(places: Mapping[str, Place], state: Mapping[str, Tensor]) -> Iterator[str]:
    """Beginnings of the names from which weights of the file are computed."""
    for name in state:
        if name in places and not isinstance(places[name], Slot):
            path, _, leaf = name.rpartition(".")
            yield f"{path}.parametrizations.{leaf}.".lstrip(".")
            yield f"{name}_"


def _moved(into: nn.Module, state: Mapping[str, Tensor], inputs: Any) -> dict[str, Tensor]:
    """What tensors must be for a sum with others, which tracing computes once, to be the file's.

    :returns: empty where the network cannot be traced, or has other sizes.
    """
    args, kwargs = inputs
    try:
        traced = trace(into, kwargs or args).state_dict()
    except (Untraceable, RuntimeError, TypeError, ValueError):
        return {}
    own = {name: slot.tensors[slot.leaf] for name, slot in slots_of(into)}
    moved = {}
    for name, value in state.items():
        old, now = own.get(name), traced.get(name)
        moved[name] = value
        if old is None or now is None or not old.shape == now.shape == value.shape:
            continue
        if old.is_floating_point() and not torch.equal(old, now):
            moved[name] = _copy(value)
            moved[name].data += old.detach() - now
    return moved


def _is_bias(name: str, state: Mapping[str, Tensor]) -> bool:
    path, _, leaf = name.rpartition(".")
    return leaf == "bias" and f"{path}.weight".lstrip(".") in state


def _folded_norms(into: nn.Module, state: Mapping[str, Tensor], inputs: Any) -> list[str]:
    """Paths of BatchNorms that run, of which a file has no numbers: they are part of layers."""
    found = {
        path: module
        for path, module in into.named_modules(remove_duplicate=False)
        if path
        and isinstance(module, nn.modules.batchnorm._BatchNorm)
        and not any(name.startswith(f"{path}.") for name in state)
    }
    run = _run(into, set(found.values()), inputs) if found else set()
    return [path for path, module in found.items() if module in run]


def _run(into: nn.Module, modules: set[nn.Module], inputs: Any) -> set[nn.Module]:
    """Which of some modules a network runs."""
    run: set[nn.Module] = set()
    hooks = [m.register_forward_pre_hook(lambda m, _: run.add(m)) for m in modules]
    modes = [(module, module.training) for module in into.modules()]
    args, kwargs = inputs
    try:
        with torch.no_grad():
            into.eval()(*args, **kwargs)
    except Exception:  # the network's own: it may want other inputs
        return modules
    finally:
        for hook in hooks:
            hook.remove()
        for module, mode in modes:
            module.training = mode
    return run


def _copy(value: Tensor) -> Tensor:
    copy = value.detach().clone()
    return nn.Parameter(copy, value.requires_grad) if isinstance(value, nn.Parameter) else copy


@contextmanager
def _kept_unless_right(into: nn.Module, taken: Taken) -> Iterator[None]:
    """The network as it was, unless it is found to be right."""
    before = [(slot.tensors, slot.leaf, slot.tensors[slot.leaf]) for _, slot in slots_of(into)]
    before += [
        (m._modules, leaf, part) for m in into.modules() for leaf, part in m._modules.items()
    ]
    modes = [(module, module.training) for module in into.modules()]
    try:
        yield
    finally:
        if not taken.right:
            for tensors, leaf, value in before:
                tensors[leaf] = value
            for module, mode in modes:
                module.training = mode


def _made_up(net: GraphNetwork) -> tuple[tuple, dict]:
    """Inputs of a graph."""
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for kind in net.graph.inputs:
        shape = [EXAMPLES if size is None else size for size in kind.shape]
        dtype = getattr(torch, kind.dtype)
        made = torch.randn(shape, generator=generator)
        inputs.append(made.to(dtype) if dtype.is_floating_point else (made > 0).to(dtype))
    return map_leaves(
        net.graph.signature, lambda leaf: leaf.value if isinstance(leaf, Fixed) else inputs[leaf]
    )


def computes_as(into: nn.Module, net: GraphNetwork) -> bool:
    """Whether a network in eval mode computes what a file's does.

    True where that cannot be told: it draws random numbers, or takes no inputs that are made up.
    """
    inputs = _made_up(net)
    with torch.no_grad():
        try:
            return not _agree(into, into, inputs) or _agree(into, net, inputs)
        except Exception:  # the network's own: it may want other inputs
            return True


def _agree(into: nn.Module, net: GraphNetwork, inputs: tuple[tuple, dict]) -> bool:
    """Whether both give the same."""
    args, kwargs = inputs
    found, expected = (list(tensors_in(n(*args, **kwargs))) for n in (into, net))
    return len(found) == len(expected) and all(
        a.shape == b.shape and torch.allclose(a, b, atol=TOLERANCE * _scale(b), equal_nan=True)
        for a, b in zip(found, expected, strict=True)
    )


def _scale(outputs: Tensor) -> float:
    finite = outputs[outputs.isfinite()]
    return 1 + (float(finite.abs().max()) if finite.numel() else 0.0)
