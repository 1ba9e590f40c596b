"""The traced operator graph of any network: what feeds what."""

from .errors import Untraceable
from .fold import fold
from .ir import Graph, Node, Ref
from .network import GraphNetwork, parameters_of
from .order import Orders
from .picks import pick_inputs
from .removal import Plan, Reduction, remove_units
from .roles import roles, weight_names
from .shifts import fold_shifts
from .trace import trace

__all__ = [
    "Graph",
    "GraphNetwork",
    "Node",
    "Orders",
    "Plan",
    "Reduction",
    "Ref",
    "Untraceable",
    "fold",
    "fold_shifts",
    "parameters_of",
    "pick_inputs",
    "remove_units",
    "roles",
    "trace",
    "weight_names",
]
