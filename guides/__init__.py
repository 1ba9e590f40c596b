"""Families of approximate posteriors, one a file, each with `posterior()` for compression."""

from .base import NetworkGuide
from .dropout import BernoulliDropout
from .elbo import ELBO
from .factorised import LowRank, RandomProjection
from .gate_chain import GateChain
from .hard_concrete import HardConcreteGates
from .horseshoe import Horseshoe
from .horseshoe_family import HorseshoeFamily
from .kronecker_laplace import KroneckerLaplace
from .laplace import DiagonalLaplace
from .magnitude import MagnitudePruned
from .mean_field import MeanFieldNormal, PointMass
from .normal_jeffreys import NormalJeffreys
from .posterior_of import posterior_of
from .rate import Rounding
from .row_normal import RowNormal
from .soft_sharing import SharedPoints
from .swag import SWAG

__all__ = [
    "ELBO",
    "SWAG",
    "BernoulliDropout",
    "DiagonalLaplace",
    "GateChain",
    "HardConcreteGates",
    "Horseshoe",
    "HorseshoeFamily",
    "KroneckerLaplace",
    "LowRank",
    "MagnitudePruned",
    "MeanFieldNormal",
    "NetworkGuide",
    "NormalJeffreys",
    "PointMass",
    "RandomProjection",
    "Rounding",
    "RowNormal",
    "SharedPoints",
    "posterior_of",
]
