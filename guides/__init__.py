"""Families of approximate posteriors, one a file, each with `posterior()` for compression."""

from .base import NetworkGuide
from .dropout import BernoulliDropout
from .elbo import ELBO
from .factorised import LowRank, RandomProjection
from .laplace import DiagonalLaplace
from .magnitude import MagnitudePruned
from .mean_field import MeanFieldNormal, PointMass
from .posterior_of import posterior_of

__all__ = [
    "ELBO",
    "BernoulliDropout",
    "DiagonalLaplace",
    "LowRank",
    "MagnitudePruned",
    "MeanFieldNormal",
    "NetworkGuide",
    "PointMass",
    "RandomProjection",
    "posterior_of",
]
