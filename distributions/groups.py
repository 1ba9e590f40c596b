"""How the scales that groups of weights share lie along a weight tensor."""

from torch import Tensor


def group_axis(weight: Tensor) -> int:
    """The axis along which groups lie: 1, input units, of a matrix; else 0, output maps."""
    return 1 if weight.dim() == 2 else 0


def group_count(weight: Tensor) -> int:
    return weight.shape[group_axis(weight)]


def along(values: Tensor, weight: Tensor) -> Tensor:
    """Values of groups, shape `(groups,)` or `(1,)`, in a shape that broadcasts to the weight.

    Axes before that one, of many draws at once, stay where they are.
    """
    shape = [1] * weight.dim()
    shape[group_axis(weight)] = values.shape[-1]
    return values.reshape(*values.shape[:-1], *shape)
