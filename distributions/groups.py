"""How the scales that groups of weights share lie along a weight tensor."""

from torch import Tensor


def group_axis(weight: Tensor) -> int:
    """The axis along which groups lie: 1, input units, of a matrix; else 0, output maps."""
    return 1 if weight.dim() == 2 else 0
