"""The product of two independent half-Cauchy variables, such as the horseshoe's scale z s.

With z ~ C+(0, 1) and s ~ C+(0, c), log z and log(s / c) have the density sech(u) / pi. The density
of their sum t is the convolution (2 / pi^2) t / sinh(t), so that x = z s / c has the density

    4 log(x) / (pi^2 (x^2 - 1)),

and P(z s > level) = 1/2 - (4 / pi^2) chi(tanh(a / 2)) with a = log(level / c) and Legendre's chi
function chi(x) = sum over odd k of x^k / k^2 (its derivative is artanh(x) / x). For a
large a it is about (4 / pi^2) (1 + a) exp(-a): a half-Cauchy's tail times a logarithm.
"""

import math

_TERMS = 25  # of a series in x^2 <= 0.172: the rest is below 1e-19


def product_log_prob(value: float, scale: float) -> float:
    """log density of z s at `value`, nats, with z ~ C+(0, 1) and s ~ C+(0, scale).

    :raises ValueError: for numbers that are not positive.
    """
    t = _log_ratio(value, scale)
    # t / sinh(t), without overflow and without 0 / 0.
    size = abs(t)
    shape = math.log(2 * size / -math.expm1(-2 * size)) - size if size else 0.0
    return math.log(2 / math.pi**2) + shape - math.log(value)


def exceeds(level: float, scale: float) -> float:
    """P(z s > level) with z ~ C+(0, 1) and s ~ C+(0, scale).

    :raises ValueError: for numbers that are not positive.
    """
    a = _log_ratio(level, scale)
    if a < 0:  # t and -t are alike
        return 1 - exceeds(scale, level)
    x = math.tanh(a / 2)
    if x < math.sqrt(2) - 1:
        return 0.5 - 4 / math.pi**2 * _chi(x)
    # chi(x) + chi((1 - x) / (1 + x)) = pi^2 / 8 + log(x) log((1 + x) / (1 - x)) / 2, where
    # (1 - x) / (1 + x) = exp(-a): no difference of nearly equal numbers far out in the tail.
    return 4 / math.pi**2 * (_chi(math.exp(-a)) + a * math.atanh(math.exp(-a)))


def tau0_for_units(expected: float, units: int, level: float) -> float:
    """The tau0 under which so many of a tensor's units are expected to have z s above a level.

    The horseshoe's prior of a unit's scale alone: expected = units P(z s > level). The expectation
    only: one s serves all units, so that their number varies far more than a binomial one.

    :param expected: units of scale above `level`, within 0 and `units`.
    :param units: groups of the weight tensor.
    :param level: in the weight's units.
    :raises ValueError: for numbers out of range.
    """
    if not 0 < expected < units:
        raise ValueError(f"expected must be above 0 and below units={units}; got {expected}")
    if not 0 < level < math.inf:
        raise ValueError(f"level must be positive and finite; got {level}")
    low, high = -600.0, 600.0  # log(tau0 / level)
    while high - low > 1e-13 * max(1.0, abs(low)):
        middle = (low + high) / 2
        if units * exceeds(1.0, math.exp(middle)) < expected:
            low = middle
        else:
            high = middle
    return level * math.exp((low + high) / 2)


def _log_ratio(value: float, scale: float) -> float:
    if not (0 < value < math.inf and 0 < scale < math.inf):
        raise ValueError(f"must be positive and finite; got {value} with scale {scale}")
    return math.log(value) - math.log(scale)


def _chi(x: float) -> float:
    """Legendre's chi function of order 2, for 0 <= x <= sqrt(2) - 1."""
    return math.fsum(x**k / k**2 for k in range(1, 2 * _TERMS, 2))
