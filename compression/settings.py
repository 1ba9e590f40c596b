"""How surviving weights may be quantised: the settings that a search tries."""

import math
from dataclasses import dataclass

from .masks import PRUNE

MOST_EFFORT = 9  # every setting, every update
QUANTISERS = ("auto", "codebook", "stddev", "stddev-units", "grid", "none")
CLUSTERS = (64, 32, 16, 12, 8, 6, 4)  # of codebooks
RATED_CLUSTERS = (12, 8, 6, 4)
RATED_STEPS = (0.35, 0.5, 0.7, 1.0)  # multipliers to start from, see `quantise.uniform`
MATCHED_CLUSTERS = (16, 12, 8)  # where codebooks are retrained, few are better than an even grid
RATES = tuple(2.0 ** (k / 2) for k in range(-14, 7))
MULTIPLIERS = tuple(2.0 ** (k / 2) for k in range(-10, 5))


@dataclass(frozen=True)
class Setting:
    """How surviving weights are quantised.

    :param kind: "codebook" (`quantise.shared`), "stddev" (`quantise.uniform`), "stddev-units"
        (`quantise.unitwise`), "grid" (the posterior's own values) or "none" (16 bits a weight, as
        near to not at all as a file can).

    The other fields are the arguments of those functions.
    """

    kind: str = "codebook"
    clusters: int | None = None
    rate: float = 0.0
    multiplier: float | None = None


def settings_for(
    quantiser: str, clusters: int | str, exact: bool, matched: bool, effort: int = MOST_EFFORT
) -> list[list[Setting]]:
    """The candidates that a quantiser offers, in rows from fine to coarse.

    :param effort: see `compress`; with less, every second to fifth candidate of a row.

    :param exact: no stddev is known at all, so that there is no measure to trade bits by.
    :param matched: there are training inputs to retrain on.
    """
    if quantiser.startswith("stddev"):
        return [[Setting(quantiser, multiplier=m) for m in MULTIPLIERS]]
    if quantiser in ("grid", "none"):
        return [[Setting(quantiser)]]
    if clusters != "validation":
        return [[Setting(clusters=clusters)]]
    plain = [Setting(clusters=k) for k in CLUSTERS]
    if exact:
        return [plain]
    stride = 1 + (MOST_EFFORT - effort) // 2
    plain, rates = plain[::stride], RATES[::stride]
    starts = [(CLUSTERS[0], m) for m in RATED_STEPS] + [(k, None) for k in RATED_CLUSTERS]
    if matched:
        starts = [(k, None) for k in MATCHED_CLUSTERS]
    return [plain, *([Setting("codebook", k, rate, m) for rate in rates] for k, m in starts)]


def check_options(
    threshold: float | str,
    prune: str,
    quantiser: str,
    clusters: int | str,
    margin_nll: float,
    margin_error: float,
    coder: str | None,
    effort: int,
) -> None:
    """Raise ValueError for options of `compress` that make no sense."""
    for option, value, known in (("quantiser", quantiser, QUANTISERS), ("prune", prune, PRUNE)):
        if value not in known:
            raise ValueError(f"unknown {option} {value!r}; known: {', '.join(known)}")
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if threshold != "validation" and (not number or math.isnan(threshold)):
        raise ValueError(f"threshold must be 'validation' or a number, not {threshold!r}")
    if clusters != "validation" and (type(clusters) is not int or not 1 <= clusters <= 4096):
        raise ValueError(f"clusters must be 'validation' or within 1..4096, not {clusters!r}")
    if quantiser == "stddev-units" and coder == "huffman":
        raise ValueError("the published coder has no steps of units: use coder='small'")
    if type(effort) is not int or not 1 <= effort <= MOST_EFFORT:
        raise ValueError(f"effort must be a whole number within 1..{MOST_EFFORT}, not {effort!r}")
    for name, margin in (("margin_nll", margin_nll), ("margin_error", margin_error)):
        if not margin >= 0:
            raise ValueError(f"{name} must be a number >= 0, not {margin!r}")
