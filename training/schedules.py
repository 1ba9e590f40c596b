"""Learning rate and KL weight as functions of how far training has come."""

from collections.abc import Callable

KL_WEIGHTINGS = ("uniform", "blundell")
# No share vanishes: 2^-430, that of the last of 430 mini-batches, would be 0 in float32.
SMALLEST_SHARE = 1e-30

# Fraction of training done, in [0, 1) -> factor of the learning rate.
LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda done: 1.0,
    # To zero over the whole run: Molchanov et al. 2017 for LeNet-5.
    "linear": lambda done: 1.0 - done,
    # Constant for the first half, then to zero: the same authors for LeNet-300-100.
    "hold-linear": lambda done: min(1.0, 2.0 - 2.0 * done),
}


def kl_weight(
    epoch: float, warmup: tuple[float, float], overshoot: tuple[float, float] = (1.0, 0.0)
) -> float:
    """0 up to the epoch `warmup[0]`, 1 from the epoch `warmup[1]` on, linear between them.

    Times a factor that falls linearly from `overshoot[0]` at the start to 1 at the epoch
    `overshoot[1]`.
    """
    start, end = warmup
    risen = 1.0 if epoch >= end else max(0.0, (epoch - start) / (end - start))
    factor, last = overshoot
    return risen if epoch >= last else risen * (factor + (1.0 - factor) * epoch / last)


def kl_factors(weighting: str, batches: int) -> list[float]:
    """What multiplies the KL in each of an epoch's M mini-batches; their mean is 1.

    "uniform": 1. "blundell": M times the shares 2^(M - i) / (2^M - 1), i = 1..M, which sum to 1,
    so that the prior rules at the beginning of an epoch and the data at its end (Blundell et al.
    2015, section 3.4). In float64 and with a floor, which the shares' sum is corrected for.

    :raises ValueError: for another weighting.
    """
    if weighting not in KL_WEIGHTINGS:
        known = ", ".join(KL_WEIGHTINGS)
        raise ValueError(f"unknown kl_weighting {weighting!r}; known: {known}")
    if weighting == "uniform":
        return [1.0] * batches
    shares = [max(2.0**-i, SMALLEST_SHARE) for i in range(1, batches + 1)]
    return [batches * share / sum(shares) for share in shares]
