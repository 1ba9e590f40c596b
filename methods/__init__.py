"""METHODS: each method's prior, approximate posterior, options, presets and source.

A new method is a file in models/, one in guides/ and a specification here.
"""

from .bayesian_bits import BAYESIAN_BITS
from .groups import HORSESHOE, HORSESHOE_MIXTURE, NORMAL_JEFFREYS, NORMAL_JEFFREYS_MIXTURE
from .hard_concrete import HARD_CONCRETE
from .options import Option
from .points import (
    DETERMINISTIC,
    DROPOUT,
    LOW_RANK,
    MAGNITUDE,
    MAGNITUDE_L1,
    OBD,
    RANDOM_PROJECTION,
)
from .rate import RATE
from .spec import Method
from .variational import GAUSSIAN, LOG_UNIFORM, LOG_UNIFORM_MIXTURE, SCALE_MIXTURE, SOFT_SHARING

__all__ = ["DEFAULT", "METHODS", "PRETRAINING", "SWAP_ONLY", "SWEPT", "Method", "Option"]

METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        LOG_UNIFORM,
        GAUSSIAN,
        HARD_CONCRETE,
        BAYESIAN_BITS,
        NORMAL_JEFFREYS,
        HORSESHOE,
        SCALE_MIXTURE,
        SOFT_SHARING,
        LOG_UNIFORM_MIXTURE,
        NORMAL_JEFFREYS_MIXTURE,
        HORSESHOE_MIXTURE,
        DETERMINISTIC,
        MAGNITUDE,
        MAGNITUDE_L1,
        OBD,
        DROPOUT,
        LOW_RANK,
        RANDOM_PROJECTION,
        RATE,
    )
}

DEFAULT = LOG_UNIFORM.name  # of the command
PRETRAINING = DETERMINISTIC.name  # trains the network that the others start from
SWEPT = HORSESHOE.name  # whose tau0 `bitsback tau0` sweeps

# Guides that belong to no method: for models of one's own script (docs/guides.md). The factors of
# RowNormal are too large for the reference networks, SWAG needs a training loop of its own, and
# HorseshoeFamily has noisier gradients than Horseshoe.
SWAP_ONLY = ("RowNormal", "SWAG", "HorseshoeFamily", "KroneckerLaplace")
