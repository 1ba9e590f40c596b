"""Learning rate and KL weight as functions of how far training has come."""

from collections.abc import Callable

# Fraction of training done, in [0, 1) -> factor of the learning rate.
LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    # To zero over the whole run: Molchanov et al. 2017 for LeNet-5.
    "linear": lambda done: 1.0 - done,
    # Constant for the first half, then to zero: the same authors for LeNet-300-100.
    "hold-linear": lambda done: min(1.0, 2.0 - 2.0 * done),
}


def kl_weight(epoch: float, warmup: tuple[float, float]) -> float:
    """0 up to the epoch `warmup[0]`, 1 from the epoch `warmup[1]` on, linear between them."""
    start, end = warmup
    if epoch >= end:
        return 1.0
    return max(0.0, (epoch - start) / (end - start))
