"""Densities that Pyro lacks, each with its KL divergences registered at the foot of its file."""

from .bops_price import BopsPrice
from .gate_chain import ChainPrior, GateChain
from .gaussian_mixture import GaussianMixture
from .half_cauchy import Gamma, InverseGamma
from .half_cauchy_product import exceeds, product_log_prob, tau0_for_units
from .hard_concrete import GatePrior, HardConcrete
from .kronecker_normal import KroneckerNormal
from .lattice import Lattice, Rounded
from .log_uniform import LogUniform
from .row_normal import RowMultivariateNormal
from .scale_mixture import ScaleMixture
from .width_coupling import WidthCoupling

__all__ = [
    "BopsPrice",
    "ChainPrior",
    "Gamma",
    "GateChain",
    "GatePrior",
    "GaussianMixture",
    "HardConcrete",
    "InverseGamma",
    "KroneckerNormal",
    "Lattice",
    "LogUniform",
    "Rounded",
    "RowMultivariateNormal",
    "ScaleMixture",
    "WidthCoupling",
    "exceeds",
    "product_log_prob",
    "tau0_for_units",
]
