"""The traced operator graph of any network: what feeds what."""

from .axes import Axes
from .errors import Untraceable
from .evaluate import Evaluation
from .facts import Contraction, Facts, contraction_of
from .fold import fold
from .ir import Graph, Node, Ref
from .moments import InputMoments, Moments, input_moments
from .network import GraphNetwork, parameters_of
from .order import Orders
from .output_moments import output_moments
from .picks import pick_inputs
from .products import as_matrix, from_matrix
from .removal import Plan, Reduction, remove_units
from .rewrite import factorise, join_quantised_relus, quantise_relus, relu_names
from .roles import fan_in, roles, weight_names
from .shifts import fold_shifts
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
    "InputMoments",
    "Moments",
    "Node",
    "Orders",
    "Plan",
    "Reduction",
    "Ref",
    "Untraceable",
    "as_matrix",
    "contraction_of",
    "factorise",
    "fan_in",
    "fold",
    "fold_shifts",
    "from_matrix",
    "input_moments",
    "join_quantised_relus",
    "output_moments",
    "parameters_of",
    "pick_inputs",
    "quantise_relus",
    "relu_names",
    "remove_units",
    "roles",
    "trace",
    "weight_names",
]
