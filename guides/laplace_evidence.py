"""The Laplace approximation of the evidence, and the scale of a normal prior that it is best at."""

import math

import torch
from torch import Tensor

_STEPS = 41  # of the grid that a scale is sought on
_ROUNDS = 6  # each on a grid 20 times finer


def best_scale(weights: list[Tensor], values: list[Tensor]) -> float:
    """The scale s of a prior N(0, s^2) of all weights that the Laplace evidence is largest at.

    With the weights w where they are, and P of them, s maximises

        - |w|^2 / (2 s^2) - P log s - sum over eigenvalues l of log(l + 1 / s^2) / 2,

    what of the log evidence depends on s [nats]. At its maximum s^2 is |w|^2 over the number of
    well-determined weights, sum of l / (l + 1 / s^2) (MacKay 1992, *Bayesian Interpolation*).

    :param weights: where the likelihood was expanded.
    :param values: eigenvalues of the likelihood's curvature, in nats for the data set over weight
        units squared, as many as weights.
    :returns: in weight units, between 1e-3 and 1e3 of the weights' root mean square.
    """
    square = sum(float(w.double().square().sum()) for w in weights)
    levels = torch.cat([v.double().flatten() for v in values])
    count = len(levels)
    middle, width = 0.5 * math.log(max(square / count, 1e-300)), math.log(1e3)
    for _ in range(_ROUNDS):
        grid = torch.linspace(middle - width, middle + width, _STEPS, dtype=torch.float64).tolist()
        middle = max(grid, key=lambda log_s: _of_scale(log_s, square, count, levels))
        width *= 2 / (_STEPS - 1)
    return math.exp(middle)


def _of_scale(log_scale: float, square: float, count: int, levels: Tensor) -> float:
    precision = math.exp(-2 * log_scale)
    log_det = torch.log(levels + precision).sum().item()
    return -0.5 * precision * square - count * log_scale - 0.5 * log_det
