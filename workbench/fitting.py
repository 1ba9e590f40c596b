"""Whether a network fits a data set: its inputs, its labels, and how much it computes."""

from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..common.labels import check_labels
from ..common.modules import lowest_precision
from ..training.evaluation import BATCH, predict
from .data import Dataset
from .work import TooMuchWork, largest_output

LARGEST = 1 << 25  # numbers in an output of a batch, beyond which a batch is smaller


def check_fits(net: nn.Module, data: Dataset, what: str) -> int:
    """Refuse a network that cannot read the data set's inputs, or whose outputs fit no labels.

    :param what: the network's name or its file, for the message.
    :returns: how many inputs at a time it takes in little memory, `BATCH` or fewer.
    :raises ValueError: with both shapes; or it computes too much for an input.
    """
    shape = shape_text(data.input_shape)
    try:
        largest = largest_output(net, data.train.example())
        outputs = predict(net, data.train.example())
    except TooMuchWork as error:
        raise ValueError(f"{what}: {error}") from None
    except Exception as error:  # torch raises many kinds for inputs that do not fit
        low = lowest_precision(net)
        if low is not None:
            raise ValueError(
                f"{what} has {low[0]!r} in {str(low[1]).removeprefix('torch.')}, and the data are "
                "float32: call net.float() first"
            ) from None
        raise ValueError(
            f"{what} does not take the {shape} inputs of {data.name} ({error}); "
            "choose other data or another network"
        ) from error
    _check_outputs(outputs, _shaped(data, outputs), what)
    return min(BATCH, max(LARGEST // largest, 1))


def shape_text(shape: Any) -> str:
    """The shape of one input for messages, "3 x 32 x 32"; or those of several."""
    if isinstance(shape, dict):
        return ", ".join(f"{name} {shape_text(value)}" for name, value in shape.items())
    if all(isinstance(n, int) for n in shape):
        return " x ".join(str(n) for n in shape)
    return ", ".join(shape_text(value) for value in shape)


def _check_outputs(outputs: Tensor, data: Dataset, what: str) -> None:
    """Refuse outputs, of two inputs, that are not about the labels."""
    if not isinstance(outputs, Tensor):
        raise ValueError(f"{what} gives a {type(outputs).__name__}; it must give one tensor")
    single = data.train.y.dim() == 1
    if (
        data.likelihood == "categorical"
        and single
        and (outputs.ndim != 2 or outputs.shape[1] != data.classes)
    ):
        raise ValueError(
            f"{what} gives outputs of shape {tuple(outputs.shape[1:])} an input, but {data.name} "
            f"has {data.classes} classes; choose another --network or --data"
        )
    for name, part in data.parts.items():
        try:
            check_labels(part.y, data.likelihood, outputs, name)
        except ValueError as error:
            raise ValueError(f"{data.name} for {what}: {error}") from None


def like_outputs(data: Dataset, net: nn.Module) -> Dataset:
    """Data whose single labels have the shape of the network's outputs, `(N,)` or `(N, 1)`.

    Data of classes, and of several labels an example, are returned as they are.

    :param net: has passed `check_fits`.
    """
    return _shaped(data, predict(net, data.train.example()))


def _shaped(data: Dataset, outputs: Tensor) -> Dataset:
    single = data.likelihood != "categorical" and data.classes == 1
    if not single or not isinstance(outputs, Tensor) or outputs.shape[1:] not in ((), (1,)):
        return data
    parts = {
        name: replace(part, y=part.y.reshape(-1, *outputs.shape[1:]))
        for name, part in data.parts.items()
    }
    return replace(data, **parts)
