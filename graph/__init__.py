"""The traced operator graph of any network: what feeds what."""

from .axes import Axes
from .errors import Untraceable
from .evaluate import Evaluation
from .facts import Contraction, Facts, contraction_of
from .ir import Graph, Node, Ref
from .network import GraphNetwork, parameters_of
from .removal import Plan, Reduction, remove_units
from .roles import roles, weight_names
from .table import BY_NUMBER, OPERATORS
from .trace import trace

__all__ = [
    "BY_NUMBER",
    "OPERATORS",
    "Axes",
    "Contraction",
    "Evaluation",
    "Facts",
    "Graph",
    "GraphNetwork",
    "Node",
    "Plan",
    "Reduction",
    "Ref",
    "Untraceable",
    "contraction_of",
    "parameters_of",
    "remove_units",
    "roles",
    "trace",
    "weight_names",
]
