"""Families of approximate posteriors, one a file, each with `posterior()` for compression."""

from .base import NetworkGuide
from .elbo import ELBO
from .hard_concrete import HardConcreteGates
from .horseshoe import Horseshoe
from .mean_field import MeanFieldNormal, PointMass
from .normal_jeffreys import NormalJeffreys
from .posterior_of import posterior_of
from .soft_sharing import SharedPoints

__all__ = [
    "ELBO",
    "HardConcreteGates",
    "Horseshoe",
    "MeanFieldNormal",
    "NetworkGuide",
    "NormalJeffreys",
    "PointMass",
    "SharedPoints",
    "posterior_of",
]
