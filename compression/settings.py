"""How surviving weights may be quantised: the settings that a search tries."""

from dataclasses import dataclass

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
    quantiser: str, clusters: int | str, exact: bool, matched: bool
) -> list[list[Setting]]:
    """The candidates that a quantiser offers, in rows from fine to coarse.

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
    starts = [(CLUSTERS[0], m) for m in RATED_STEPS] + [(k, None) for k in RATED_CLUSTERS]
    if matched:
        starts = [(k, None) for k in MATCHED_CLUSTERS]
    return [plain, *([Setting("codebook", k, rate, m) for rate in RATES] for k, m in starts)]
