"""Inputs of any network: one tensor, or a tuple or dict of tensors whose first axes agree."""

import inspect
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

Inputs = Tensor | tuple[Any, ...] | list[Any] | dict[str, Any]


def tensors(x: Any) -> list[Tensor]:
    """All tensors in nested tuples, lists and dicts, in order."""
    if isinstance(x, Tensor):
        return [x]
    parts = x.values() if isinstance(x, dict) else x if isinstance(x, tuple | list) else ()
    return [tensor for part in parts for tensor in tensors(part)]


def each(x: Inputs, change: Callable[[Tensor], Tensor]) -> Inputs:
    """`x` with each of its tensors changed."""
    if isinstance(x, dict):
        return {key: each(value, change) for key, value in x.items()}
    if isinstance(x, tuple | list):
        return tuple(each(value, change) for value in x)
    return change(x) if isinstance(x, Tensor) else x


def take(x: Inputs, chosen: Any) -> Inputs:
    """The chosen examples: a slice, or indices."""
    return x[chosen] if isinstance(x, Tensor) else each(x, lambda tensor: tensor[chosen])


def count(x: Inputs, part: str = "training") -> int:
    """How many examples there are.

    :raises ValueError: for inputs that hold no tensor, or tensors of unequal first axes.
    """
    lengths = [len(t) if t.dim() else 0 for t in tensors(x)]
    if not lengths or min(lengths) != max(lengths):
        what = f"first axes of {lengths}" if lengths else type(x).__name__
        raise ValueError(
            f"{part} inputs must be one tensor, or a tuple or dict of tensors of as many examples "
            f"each; got {what}"
        )
    return lengths[0]


def bounds(count: int, size: int) -> list[int]:
    """Where parts of at most `size` of so many examples begin, and where the last one ends.

    A last part of a single example would be another kind of batch to a network that squeezes its
    output: the part before it is then one shorter.
    """
    found = [*range(0, count, size), count]
    if size > 2 and len(found) > 2 and count - found[-2] == 1:
        found[-2] -= 1
    return found


def parts(x: Inputs, number: int) -> list[Inputs]:
    """The examples in so many parts of nearly equal length, in order; the first are the longer."""
    lengths = [len(part) for part in torch.arange(count(x)).tensor_split(number)]
    edges = [0, *itertools.accumulate(lengths)]
    return [take(x, slice(start, end)) for start, end in itertools.pairwise(edges)]


def chunks(x: Tensor, y: Tensor, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Inputs and labels in the parts of `bounds`."""
    at = bounds(len(x), size)
    for start, end in itertools.pairwise(at):
        yield x[start:end], y[start:end]


def call(net: nn.Module, x: Inputs) -> Any:
    """The network's output.

    A tuple is passed as positional arguments and a dict as keyword arguments where `forward` has
    such parameters; where it has not, either is passed as one argument.
    """
    return passed(net, arguments(net, x))


def passed(net: Callable[..., Any], given: Inputs) -> Any:
    """The result of a call with `arguments`."""
    if isinstance(given, Tensor):
        return net(given)
    return net(**given) if isinstance(given, dict) else net(*given)


def arguments(net: nn.Module, x: Inputs) -> Inputs:
    """Inputs as a call of the network takes them; see `call`.

    :returns: one tensor, a tuple of positional arguments, or a dict of named ones. The result is
        inputs itself: `take`, `each` and `count` work on it.
    """
    if isinstance(x, Tensor):
        return x
    parameters = inspect.signature(net.forward).parameters.values()
    kinds = {p.kind for p in parameters}
    if isinstance(x, dict):
        by_name = {
            p.name for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)
        }
        named = inspect.Parameter.VAR_KEYWORD in kinds or x.keys() <= by_name
        return x if named else (x,)
    places = sum(p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters)
    many = inspect.Parameter.VAR_POSITIONAL in kinds or places >= len(x) > 1
    return tuple(x) if many else (x,)


def check_pair(data: Any, part: str) -> None:
    """Refuse anything that is no pair (inputs, labels) of as many examples each, at least one.

    :raises ValueError: a DataLoader or Dataset, say; labels that are no tensor; no examples.
    """
    if not isinstance(data, tuple | list) or len(data) != 2:
        raise ValueError(
            f"{part} data must be a pair (inputs, labels) of tensors, or a Dataset or DataLoader "
            f"of such pairs, not a {type(data).__name__}"
        )
    x, y = data
    if not isinstance(y, Tensor):
        raise ValueError(f"{part} labels must be one tensor, not a {type(y).__name__}")
    inputs, labels = count(x, part), len(y) if y.dim() else 0
    if inputs != labels or not inputs:
        advice = "give one label for each input" if inputs or labels else "leave out an empty part"
        raise ValueError(f"{part} data: {inputs} inputs and {labels} labels; {advice}")


def on_cpu(data: Any, part: str, net: nn.Module) -> tuple[Inputs, Tensor]:
    """A checked pair of inputs and labels, detached, on the CPU; see `inputs_on_cpu`.

    :raises ValueError: as `check_pair`, and for labels that torch cannot make a tensor of.
    """
    if isinstance(data, tuple | list) and len(data) == 2:
        data = inputs_on_cpu(data[0], part, net), _tensor(data[1], part)
    check_pair(data, part)
    return data[0], data[1].detach().cpu()


def inputs_on_cpu(x: Any, part: str, net: nn.Module) -> Inputs:
    """Inputs as detached tensors on the CPU, in a precision of the network's.

    :param x: a tensor, or nested tuples, lists and dicts of tensors; anything that torch makes a
        tensor of may stand in a tensor's place. None, flags, numbers and text stay as they are.
    :raises ValueError: for what torch cannot make a tensor of.
    """
    own = {p.dtype for p in net.parameters()}

    def moved(tensor: Tensor) -> Tensor:
        tensor = tensor.detach().cpu()
        low = tensor.is_floating_point() and tensor.element_size() < 4
        # Models copy the network as float32, so that inputs of fewer bits must become float32 too.
        return tensor.float() if low and tensor.dtype not in own else tensor

    return each(_as_tensors(x, part), moved)


def _as_tensors(given: Any, part: str) -> Any:
    """The same nested inputs with arrays and lists of numbers as tensors."""
    if isinstance(given, dict):
        return {key: _as_tensors(value, part) for key, value in given.items()}
    if isinstance(given, tuple) or (isinstance(given, list) and tensors(given)):
        return tuple(_as_tensors(value, part) for value in given)
    if given is None or isinstance(given, bool | int | float | str):
        return given
    return _tensor(given, part)


def _tensor(given: Any, part: str) -> Tensor:
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise ValueError(
            f"{part} data must be a pair (inputs, labels) of tensors; it holds a "
            f"{type(given).__name__}"
        ) from None
