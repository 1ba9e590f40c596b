"""Chains of gates with a price for each bit and unit: bit operations to aim at."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .options import Option
from .presets import digits, training
from .spec import Method

_BITS = {"quantiser": "grid", "prune": "none", "cost": 0.1}
_FIXED = {"prune": False, "bits": False}
# Which gates there are; "lsq" and "pact" have none.
ARMS = {
    "both": {},
    "quantisation": {"prune": False},
    "pruning": {"bits": False},
    "lsq": {**_FIXED, "ranges": "lsq"},
    "pact": {**_FIXED, "ranges": "pact"},
}


def _check(given: Mapping[str, Any]) -> None:
    """Whether arm, widths and what needs gates go together."""
    arm = given.get("arm")
    if arm is None or ARMS[arm].get("bits", True):
        return
    fixed = not ARMS[arm].get("prune", True)
    if fixed and len(given.get("widths", ())) != 1:
        raise ValueError(f"--arm {arm}: has no gates; give one width, as in --widths 4")
    if "coupling" in given:
        raise ValueError(f"--coupling: --arm {arm} has no widths to choose")
    for name in ("cost", "objective", "target_bops"):
        if fixed and name in given:
            flag = "--" + name.replace("_", "-")
            raise ValueError(f"{flag}: --arm {arm} has no gates that it could move")


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    same = ("cost", "widths", "gates", "objective", "coupling")
    found = {name: given[name] for name in same if name in given}
    if "target_bops" in given:
        found["priced"] = "bops"
    if given.get("freeze_weights"):
        found["freeze_weights"] = True
    return found | ARMS.get(given.get("arm"), {})


BAYESIAN_BITS = Method(
    name="bayesian-bits",
    model="BayesianBits",
    guide="GateChain",
    prior="chains of gates: 0.1 nats for each example, bit and share of the largest MACs",
    paper="van Baalen et al. 2020, Bayesian Bits: Unifying Quantization and Pruning",
    proper=False,
    defaults=training(100, 1e-3, **_BITS),
    networks=digits(80, 1e-2, 0.0, **_BITS),
    tuned=("cost",),
    options=(
        Option("cost", float, "Nats an example for a bit of the largest layer.", above=0),
        Option(
            "target_bops", float, "Bit operations to reach, a share of those at 32 bits.",
            above=0, below=1,
        ),
        Option(
            "arm", str, "Which gates there are: both, quantisation, pruning; or none (lsq, pact).",
            choices=tuple(ARMS), kept=True,
        ),
        Option("widths", tuple, "Bits to choose among, as in 2,4,8.", kept=True),
        Option(
            "gates", str, "Gates of widths: chain or independent.",
            choices=("chain", "independent"), kept=True,
        ),
        Option(
            "objective", str, "The published objective, or exact, the KL of the chain itself.",
            choices=("published", "exact"), kept=True,
        ),
        Option(
            "coupling", float,
            "How strongly neighbouring layers are pulled towards the same bit width.",
            above=0,
        ),
        Option("freeze_weights", bool, "Train gates and ranges alone."),
        Option("plot", Path, "Draw BOPs and gates of all epochs into this file (PNG)."),
    ),
    check=_check,
    arguments=_arguments,
    hooks="bits_hooks.BitsHooks",
)  # fmt: skip
