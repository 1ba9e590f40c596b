"""The depth of a network, and how much lower its learning rates are than those of shallow ones.

Learning rates were chosen on networks of up to four layers. A traced network has no BatchNorm
that would undo a change of scale. An update of one layer changes the inputs of all layers behind
it, so the change of the output grows with the number of layers. At the rate of LeNets, two epochs
of one method destroyed a trained ResNet-20 (81.6 % error; see benchmarks/results). So did the
retraining of its compressed weights.
"""

from torch import nn

from .ir import PARAMETER, Node, refs_in
from .network import GraphNetwork
from .table import OPERATORS

SHALLOW = 4  # layers of the networks that learning rates were chosen on


def rate_for(net: nn.Module) -> float:
    """What a learning rate of shallow networks is multiplied by.

    1 up to `SHALLOW` layers, then `SHALLOW` over the number of layers. A network that could not be
    traced keeps the rate.
    """
    return min(1.0, SHALLOW / max(depth(net), 1)) if isinstance(net, GraphNetwork) else 1.0


def depth(net: GraphNetwork) -> int:
    """The number of weight matrices and kernels on the longest path through a network."""
    found: dict[Node, int] = {}
    for node in net.graph.operators:
        before = max((found.get(ref.node, 0) for ref in node.refs()), default=0)
        found[node] = before + _multiplies(node)
    return max(found.values(), default=0)


def _multiplies(node: Node) -> bool:
    """Whether a node multiplies its input by a weight of the network."""
    weights = (node.arguments[name] for name in OPERATORS[node.operator].weights)
    return any(ref.node.operator == PARAMETER for value in weights for ref in refs_in(value))
