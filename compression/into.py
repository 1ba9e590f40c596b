"""A network of the user's own class that takes the smaller tensors of a file.

Layers compute with tensors of any size that fit each other, so that a network whose units were
removed often runs in its own class. Whether it does is seen by running it: it must compute what the
file's graph computes, else it gets back what it had.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any

import torch
from torch import Tensor, nn

from ..graph import GraphNetwork
from ..graph.examples import tensors_in
from ..graph.ir import Fixed, map_leaves

TOLERANCE = 1e-4  # of outputs against their scale
EXAMPLES = 3


def take_sizes(into: nn.Module, net: GraphNetwork) -> bool:
    """Let a network hold tensors of the sizes of another, if it then computes the same.

    :param into: has the names of `net`, but for biases of layers that were made without one. Its
        tensors are replaced by copies, BatchNorms that the file has folded by `nn.Identity`, and
        biases that the file has added to those of the next layer by None. It is left as it was
        where that is no use.
    :param net: in eval mode on the CPU.
    :returns: whether it computes the same.
    """
    slots = dict(_slots(into))
    state = net.state_dict(keep_vars=True)
    norms = _folded_norms(into, state)
    own = {name for name in into.state_dict() if name.rpartition(".")[0] not in norms}
    gone = {name for name in own - state.keys() if _is_bias(name, state)}
    if not state.keys() <= slots.keys() or not own - gone <= state.keys():
        return False
    with _kept_unless_right(into, slots) as result:
        for path in norms:
            parent, _, leaf = path.rpartition(".")
            into.get_submodule(parent)._modules[leaf] = nn.Identity()
        for name in gone:  # the next layer's bias says it
            tensors, leaf = slots[name]
            tensors[leaf] = None
        copies = {id(value): _copy(value) for value in state.values()}
        for name, value in state.items():
            tensors, leaf = slots[name]
            tensors[leaf] = copies[id(value)]
        into.eval()
        with torch.no_grad(), suppress(Exception):  # whatever the network's own code raises
            result.append(_agree(into, net))
    return bool(result and result[0])


def _is_bias(name: str, state: Mapping[str, Tensor]) -> bool:
    path, _, leaf = name.rpartition(".")
    return leaf == "bias" and f"{path}.weight".lstrip(".") in state


def _folded_norms(into: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """Paths of BatchNorms of which a file has no numbers: they are part of the layers beside."""
    return [
        path
        for path, module in into.named_modules(remove_duplicate=False)
        if path
        and isinstance(module, nn.modules.batchnorm._BatchNorm)
        and not any(name.startswith(f"{path}.") for name in state)
    ]


def _slots(into: nn.Module) -> Iterator[tuple[str, tuple[dict[str, Any], str]]]:
    """Where a network holds each of its tensors; empty places of biases too."""
    for path, module in into.named_modules(remove_duplicate=False):
        for tensors in (module._parameters, module._buffers):
            for leaf in tensors:
                yield f"{path}.{leaf}".lstrip("."), (tensors, leaf)


def _copy(value: Tensor) -> Tensor:
    copy = value.detach().clone()
    return nn.Parameter(copy, value.requires_grad) if isinstance(value, nn.Parameter) else copy


@contextmanager
def _kept_unless_right(into: nn.Module, slots: dict) -> Iterator[list[bool]]:
    """The network as it was, unless what is put into the list is true."""
    before = [(tensors, leaf, tensors[leaf]) for tensors, leaf in slots.values()]
    before += [
        (m._modules, leaf, part) for m in into.modules() for leaf, part in m._modules.items()
    ]
    modes = [(module, module.training) for module in into.modules()]
    result: list[bool] = []
    yield result
    if not (result and result[0]):
        for tensors, leaf, value in before:
            tensors[leaf] = value
        for module, mode in modes:
            module.training = mode


def _agree(into: nn.Module, net: GraphNetwork) -> bool:
    """Whether both give the same for made-up inputs."""
    generator = torch.Generator().manual_seed(0)
    inputs = []
    for kind in net.graph.inputs:
        shape = [EXAMPLES if size is None else size for size in kind.shape]
        dtype = getattr(torch, kind.dtype)
        made = torch.randn(shape, generator=generator)
        inputs.append(made.to(dtype) if dtype.is_floating_point else (made > 0).to(dtype))
    args, kwargs = map_leaves(
        net.graph.signature, lambda leaf: leaf.value if isinstance(leaf, Fixed) else inputs[leaf]
    )
    found, expected = (list(tensors_in(n(*args, **kwargs))) for n in (into, net))
    return len(found) == len(expected) and all(
        a.shape == b.shape and torch.allclose(a, b, atol=TOLERANCE * (1 + float(b.abs().max())))
        for a, b in zip(found, expected, strict=True)
    )
