"""The traced operator graph of any network: what feeds what."""

from .errors import Untraceable
from .ir import Graph, Node, Ref
from .network import GraphNetwork, parameters_of
from .removal import Plan, Reduction, remove_units
from .roles import roles, weight_names
from .trace import trace

__all__ = [
    "Graph",
    "GraphNetwork",
    "Node",
    "Plan",
    "Reduction",
    "Ref",
    "Untraceable",
    "parameters_of",
    "remove_units",
    "roles",
    "trace",
    "weight_names",
]
