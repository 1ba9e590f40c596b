"""The same function with fewer parameters: what is fixed is computed once.

1. What depends on parameters alone (weight normalization, the masks of pruning) becomes one
   parameter, where nothing else reads those that it is computed from.
2. A BatchNorm behind a convolution or dense layer, and read by nothing before, becomes part of its
   weight and bias. In eval mode that is exact up to float rounding.
3. A BatchNorm in front of an unpadded convolution or a dense layer, and read by nothing else,
   becomes part of that.
4. Any other BatchNorm becomes an `affine` operator: two vectors in the place of four.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from .evaluate import Evaluation, parameters_behind
from .ir import PARAMETER, Graph, Node, Ref
from .network import GraphNetwork, parameters_of
from .removal import bias_name
from .table import OPERATORS

_BEHIND = ("linear", *(f"conv{n}d" for n in (1, 2, 3)), *(f"conv_transpose{n}d" for n in (1, 2, 3)))
_AHEAD = ("linear", *(f"conv{n}d" for n in (1, 2, 3)))
_LARGER = 1.5  # a value of so many times its parameters' size is better computed each time


def fold(
    network: GraphNetwork, whole: Collection[str] = (), unscaled: Collection[str] = ()
) -> GraphNetwork:
    """A network of the same function in eval mode with less to store.

    It has no BatchNorm any more, so that training goes on with the statistics as they are.

    :param network: not changed; the result shares tensors with it where they are the same.
    :param whole: names of parameters that must stay parameters: rule 1 leaves them alone.
    :param unscaled: names of weights whose numbers must stay: rules 2 and 3 leave them alone.
    """
    graph = network.graph.copy()
    tensors = dict(parameters_of(network))
    _fold_constants(network, graph, tensors, set(whole))
    folder = _Folder(graph, tensors, set(unscaled))
    for node in list(graph.operators):
        if node.operator == "batch_norm":
            folder.fold(node)
    graph.prune()
    return network.edited(graph, tensors)


def _fold_constants(
    network: GraphNetwork, graph: Graph, tensors: dict[str, Tensor], whole: set[str]
) -> None:
    """Rule 1; in place."""
    behind = parameters_behind(network.graph)
    users = network.graph.users()
    outputs = {ref.node for ref in network.graph.output_refs()}
    new = dict(zip(network.graph.nodes, graph.nodes, strict=True))
    ends = [
        node
        for node in network.graph.operators
        if behind.get(node)
        and OPERATORS[node.operator].results == 1
        and (node in outputs or any(user not in behind for user in users[node]))
    ]
    if not ends:
        return
    evaluation = Evaluation(network)
    for node in ends:
        names = behind[node]
        value = evaluation.static(Ref(node))
        if not isinstance(value, Tensor) or names & whole:
            continue
        if not _is_only_reader(node, names, behind, users):
            continue
        if value.numel() > _LARGER * sum(tensors[name].numel() for name in names):
            continue
        largest_first = sorted(names, key=lambda n: (-tensors[n].numel(), n))
        name = _folded_name(largest_first, tensors)
        trainable = [t for n in names if isinstance(t := tensors[n], nn.Parameter)]
        value = value.detach().clone()
        if trainable and value.is_floating_point():
            value = nn.Parameter(value, any(t.requires_grad for t in trainable))
        folded = Node(PARAMETER, name=name)
        tensors[name] = value
        graph.nodes.insert(graph.nodes.index(new[node]), folded)
        graph.replace(Ref(new[node]), Ref(folded))


def _is_only_reader(node: Node, names: set[str], behind: dict, users: dict) -> bool:
    """Whether parameters are read by nothing but what ends in this node."""
    inside = {node}
    for other in reversed(list(users)):
        if other in behind and behind[other] & names and other is not node:
            if not users[other] or not set(users[other]) <= inside:
                return False
            inside.add(other)
    return True


def _folded_name(names: list[str], taken: dict[str, Tensor]) -> str:
    """A name for what is computed from parameters: "conv.weight" for the parts of a weight norm."""
    path, _, leaf = names[0].rpartition(".")
    if ".parametrizations." in f".{path}.":
        before, _, after = f".{path}".rpartition(".parametrizations.")
        name = f"{before.lstrip('.')}.{after}".lstrip(".")
    else:
        for ending in ("_orig", "_mask", "_g", "_v", "_u", "_bar"):
            leaf = leaf.removesuffix(ending)
        name = f"{path}.{leaf}".lstrip(".")
    while name in taken and name not in names:
        name += "_"
    return name


class _Folder:
    """Takes BatchNorms into their neighbours; the graph and the tensors change in place."""

    def __init__(self, graph: Graph, tensors: dict[str, Tensor], unscaled: set[str]) -> None:
        self._graph, self._tensors, self._unscaled = graph, tensors, unscaled

    def fold(self, norm: Node) -> None:
        """Rules 2 to 4 for one BatchNorm."""
        scale, shift = self._affine(norm)
        users = self._graph.users()
        source = norm.arguments["input"]
        before = source.node
        if (
            before.operator in _BEHIND
            and users[before] == [norm]
            and self._owns(before, users)
            and source not in self._graph.output_refs()
        ):
            self._into_before(before, scale, shift)
            self._graph.replace(Ref(norm), source)
            return
        after = users[norm]
        if (
            len(after) == 1
            and after[0].operator in _AHEAD
            and after[0].arguments["input"] == Ref(norm)
            and self._owns(after[0], users)
            and not _pads(after[0])
            and after[0].arguments.get("groups", 1) == 1
            and Ref(norm) not in self._graph.output_refs()
        ):
            self._into_after(after[0], scale, shift)
            self._graph.replace(Ref(norm), source)
            return
        self._as_affine(norm, scale, shift)

    def _owns(self, node: Node, users: dict[Node, list[Node]]) -> bool:
        """Whether weight and bias are parameters that may change and that no other node reads."""
        refs = [node.arguments["weight"], node.arguments["bias"]]
        if refs[0].node.name in self._unscaled:
            return False
        return all(
            ref is None or (ref.node.operator == PARAMETER and users[ref.node] == [node])
            for ref in refs
        )

    def _affine(self, norm: Node) -> tuple[Tensor, Tensor]:
        """Scale and shift of a BatchNorm in eval mode, float64, shape (channels,)."""

        def value(name: str, default: float) -> Tensor:
            ref = norm.arguments[name]
            if ref is None:
                return torch.full_like(mean, default)
            return self._tensors[ref.node.name].detach().double()

        mean = self._tensors[norm.arguments["running_mean"].node.name].detach().double()
        var = self._tensors[norm.arguments["running_var"].node.name].detach().double()
        scale = value("weight", 1.0) * (var + norm.arguments["eps"]).rsqrt()
        return scale, value("bias", 0.0) - mean * scale

    def _into_before(self, node: Node, scale: Tensor, shift: Tensor) -> None:
        weight = self._tensors[node.arguments["weight"].node.name]
        wide = weight.detach().double()
        if node.operator.startswith("conv_transpose"):
            groups = node.arguments["groups"]
            blocks = wide.unflatten(0, (groups, -1))
            factor = scale.reshape(groups, 1, -1, *[1] * (wide.dim() - 2))
            wide = (blocks * factor).flatten(0, 1)
        else:
            wide = wide * scale.reshape(-1, *[1] * (wide.dim() - 1))
        self._set(node, "weight", wide)
        bias = self._bias(node, len(scale), wide)
        self._set(node, "bias", bias * scale + shift)

    def _into_after(self, node: Node, scale: Tensor, shift: Tensor) -> None:
        weight = self._tensors[node.arguments["weight"].node.name].detach().double()
        bias = self._bias(node, len(weight), weight)
        self._set(
            node,
            "bias",
            bias + weight.flatten(2).sum(2) @ shift if weight.dim() > 2 else bias + weight @ shift,
        )
        self._set(node, "weight", weight * scale.reshape(1, -1, *[1] * (weight.dim() - 2)))

    def _bias(self, node: Node, size: int, like: Tensor) -> Tensor:
        ref = node.arguments["bias"]
        return (
            like.new_zeros(size) if ref is None else self._tensors[ref.node.name].detach().double()
        )

    def _set(self, node: Node, which: str, value: Tensor) -> None:
        """Give a node's weight or bias another value; a new parameter where it had none."""
        weight = self._tensors[node.arguments["weight"].node.name]
        ref = node.arguments[which]
        if ref is None:
            created = Node(
                PARAMETER, name=bias_name(node.arguments["weight"].node.name, self._tensors)
            )
            self._graph.nodes.insert(self._graph.nodes.index(node), created)
            ref = node.arguments[which] = Ref(created)
        name = ref.node.name
        trains = (
            self._tensors[name].requires_grad if name in self._tensors else weight.requires_grad
        )
        self._tensors[name] = nn.Parameter(value.to(weight.dtype), trains)

    def _as_affine(self, norm: Node, scale: Tensor, shift: Tensor) -> None:
        mean = norm.arguments["running_mean"]
        like = self._tensors[mean.node.name]
        arguments = {"input": norm.arguments["input"]}
        for which, value in (("weight", scale), ("bias", shift)):
            ref = norm.arguments[which]
            if ref is None:
                name = f"{mean.node.name.rpartition('.')[0]}.{which}".lstrip(".")
                created = Node(PARAMETER, name=name)
                self._graph.nodes.insert(self._graph.nodes.index(norm), created)
                ref = Ref(created)
            old = self._tensors.get(ref.node.name)
            trains = True if old is None else old.requires_grad
            self._tensors[ref.node.name] = nn.Parameter(value.to(like.dtype), trains)
            arguments[which] = ref
        norm.operator, norm.arguments = "affine", arguments


def _pads(node: Node) -> bool:
    padding = node.arguments.get("padding", ())
    return padding == "same" or any(padding)
