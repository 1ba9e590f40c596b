"""The traced operator graph of any network: what feeds what."""

from .errors import Untraceable
from .ir import Graph, Node, Ref
from .network import GraphNetwork, parameters_of
from .removal import Plan, Reduction, remove_units
from .rewrite import factorise, join_quantised_relus, quantise_relus, relu_names
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
    "factorise",
    "join_quantised_relus",
    "parameters_of",
    "quantise_relus",
    "relu_names",
    "remove_units",
    "roles",
    "trace",
    "weight_names",
]
