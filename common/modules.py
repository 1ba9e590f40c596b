"""Copies of any network, and the names that its tensors share.

One rule says which tensors are tied: those of one memory, shape and stride. A parameter that two
modules hold is such a pair, and so are two parameters made of one tensor.
"""

import copy
import itertools
from collections.abc import Iterable

import torch
from torch import Tensor, nn


def copied(net: nn.Module) -> nn.Module:
    """A deep copy in which tied parameters are one parameter.

    Unlike `copy.deepcopy` it takes networks whose hooks compute a weight at each call
    (`torch.nn.utils.prune`, `weight_norm`, `spectral_norm`), and keeps ties by memory.
    """
    memo: dict[int, Tensor] = {}
    for module in net.modules():
        for value in vars(module).values():
            for tensor in value if isinstance(value, list) else [value]:
                if isinstance(tensor, Tensor) and not tensor.is_leaf:
                    memo[id(tensor)] = tensor.detach().clone()
    parameters = dict(net.named_parameters(remove_duplicate=False))
    for names in shared_names(parameters).values():
        first = copy.deepcopy(parameters[names[0]], memo)
        memo |= {id(parameters[name]): first for name in names}
    return copy.deepcopy(net, memo)


def shared_names(tensors: dict[str, Tensor]) -> dict[str, list[str]]:
    """The first name of each tensor -> all its names, by the rule above.

    :param tensors: by name, those of several names repeated.
    """
    first: dict[tuple, str] = {}
    names: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        names.setdefault(first.setdefault(_memory(tensor), name), []).append(name)
    return names


def check_overlaps(tensors: dict[str, Tensor]) -> None:
    """Refuse tensors that share memory without being tied, such as a transposed weight.

    :raises ValueError: names both. A copy or a file would make them independent silently.
    """
    dense = []
    for name, names in shared_names(tensors).items():
        tensor = tensors[name]
        if not _has_memory(tensor):
            continue
        reach = 1 + sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True))
        if reach == tensor.numel():  # not strided over others' numbers
            start = tensor.data_ptr()
            end = start + reach * tensor.element_size()
            dense.append((str(tensor.device), start, end, names[0]))
    dense.sort()
    for one, other in itertools.pairwise(dense):
        if one[0] == other[0] and other[1] < one[2]:
            raise ValueError(
                f"{other[3]!r} shares memory with {one[3]!r}, but in another shape: a copy would "
                "make them independent; tie whole parameters, or give each its own memory"
            )


def float32_if_less(net: nn.Module) -> nn.Module:
    """The network itself with every floating-point tensor of under 4 bytes turned to float32."""

    def convert(tensor: Tensor) -> Tensor:
        low = tensor.is_floating_point() and tensor.element_size() < 4
        return tensor.float() if low else tensor

    return net._apply(convert)


def lowest_precision(net: nn.Module) -> tuple[str, torch.dtype] | None:
    """The name and dtype of the first floating-point parameter of under 4 bytes, or None."""
    for name, value in net.named_parameters():
        if value.is_floating_point() and value.element_size() < 4:
            return name, value.dtype
    return None


def instead_of(dtype: torch.dtype) -> str:
    """What to do about a tensor of a dtype that no file holds, to end an error message."""
    if dtype.is_complex:
        return "; keep its real and imaginary parts as two real tensors, joined by torch.complex"
    return "; call net.float() first" if dtype.is_floating_point else ""


def frozen_norms(net: nn.Module) -> tuple[str, ...]:
    """Paths of normalization layers in a part of the network whose parameters are all frozen."""
    found: dict[str, None] = {}
    for path, module in net.named_modules():
        parameters = list(module.parameters())
        if parameters and not any(p.requires_grad for p in parameters):
            for inner, norm in module.named_modules(prefix=path):
                if isinstance(norm, nn.modules.batchnorm._NormBase):
                    found[inner] = None
    return tuple(found)


def extra_states(net: nn.Module) -> list[str]:
    """Names of state_dict entries that are no tensors (`get_extra_state`)."""
    return [name for name, value in net.state_dict().items() if not isinstance(value, Tensor)]


def _has_memory(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.numel() > 0 and not tensor.is_meta


def _memory(tensor: Tensor) -> tuple:
    if not _has_memory(tensor):
        return (id(tensor),)
    return str(tensor.device), tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()


def float_numbers(tensors: Iterable[Tensor]) -> int:
    """How many floating-point numbers the tensors hold together."""
    return sum(t.numel() for t in tensors if isinstance(t, Tensor) and t.is_floating_point())
