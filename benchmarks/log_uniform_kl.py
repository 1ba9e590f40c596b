"""Remake the Chebyshev coefficients of distributions/log_uniform_kl.py and measure their errors.

    python benchmarks/log_uniform_kl.py

Prints both tuples as they stand in the source, how far those in the source are from them, and the
largest errors of value and slope over m >= 0, in float64. Needs mpmath; takes about a minute.
"""

import math

import mpmath
import torch
from bitsback.distributions import log_uniform_kl as source

mpmath.mp.dps = 40
# The series is made from this many nodes, so that what is cut off is all the error there is.
NODES = 160
KNEE = mpmath.mpf(source._KNEE)


def divergence(m: mpmath.mpf) -> mpmath.mpf:
    """KL in nats as a function of m = loc^2 / (2 scale^2): m 2F2(1, 1; 3/2, 2; -m)."""
    if m < 400:
        return m * mpmath.hyp2f2(1, 1, mpmath.mpf(3) / 2, 2, -m)
    # Asymptotic: (log 4m + gamma) / 2 - sum_k (2k - 1)!! / (2k (2m)^k); terms fall until k ~ m.
    total, term, k = (mpmath.log(4 * m) + mpmath.euler) / 2, mpmath.mpf(1), 1
    while True:
        term *= (2 * k - 1) / (2 * m)
        if term < mpmath.mpf(10) ** -45:
            return total
        total -= term / (2 * k)
        k += 1


def slope(m: mpmath.mpf) -> mpmath.mpf:
    """dKL/dm = F(sqrt m) / sqrt m, F Dawson's integral, which is 1F1(1; 3/2; -m)."""
    return mpmath.hyp1f1(1, mpmath.mpf(3) / 2, -m)


def value_to_fit(m: mpmath.mpf) -> mpmath.mpf:
    return divergence(m) - mpmath.log(1 + m) / 2


def slope_to_fit(m: mpmath.mpf) -> mpmath.mpf:
    return (1 + m) * slope(m)


def chebyshev(function, count: int) -> list[float]:
    """The first `count` coefficients in u = (m - knee) / (m + knee)."""
    angles = [mpmath.pi * (mpmath.mpf(i) + 0.5) / NODES for i in range(NODES)]
    values = [function(KNEE * (1 + mpmath.cos(a)) / (1 - mpmath.cos(a))) for a in angles]
    sums = [
        mpmath.fsum(v * mpmath.cos(k * a) for v, a in zip(values, angles, strict=True))
        for k in range(count)
    ]
    return [float(s * (1 if k == 0 else 2) / NODES) for k, s in enumerate(sums)]


def largest_errors() -> tuple[float, float]:
    """Of KL and of (1 + m) dKL/dm, in float64, over m from 0 to 1e9."""
    m = torch.cat([torch.zeros(1), torch.logspace(-9, 9, 400)]).double()
    value, slopes = source._series(m)
    points = [mpmath.mpf(x) for x in m.tolist()]
    pairs = ((value, value_to_fit), (slopes, slope_to_fit))
    return tuple(
        max(abs(got - float(f(x))) for got, x in zip(series.tolist(), points, strict=True))
        for series, f in pairs
    )


def main() -> None:
    for name, function in (("_SLOPE", slope_to_fit), ("_VALUE", value_to_fit)):
        kept = getattr(source, name)
        made = chebyshev(function, len(kept))
        print(f"{name} = (")
        print("".join(f"    {c!r},\n" for c in made) + ")")
        gap = max(abs(a - b) for a, b in zip(kept, made, strict=True))
        print(f"largest difference from the source: {gap:.1e}\n")
        assert gap < 1e-11
    value, slopes = largest_errors()
    print(f"largest error of KL: {value:.1e} nats; of (1 + m) dKL/dm: {slopes:.1e}")
    assert math.isfinite(value) and value < 1e-11 and slopes < 1e-11


if __name__ == "__main__":
    main()
