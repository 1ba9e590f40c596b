"""The traced operator graph of any network: what feeds what."""

from .errors import Untraceable
from .ir import Graph, Node, Ref
from .network import GraphNetwork
from .trace import trace

__all__ = ["Graph", "GraphNetwork", "Node", "Ref", "Untraceable", "trace"]
