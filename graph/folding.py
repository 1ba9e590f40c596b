"""The same function with fewer parameters: what is fixed is computed once.

1. What depends on parameters alone (weight normalization, the masks of pruning) becomes one
   parameter, where nothing else reads those that it is computed from.
2. A BatchNorm behind a convolution or dense layer, and read by nothing before, becomes part of its
   weight and bias. In eval mode that is exact up to float rounding.
3. A BatchNorm in front of an unpadded convolution or a dense layer, and read by nothing else,
   becomes part of that.
4. Any other BatchNorm becomes an `affine` operator: two vectors in the place of four.

A BatchNorm that puts features of very different sizes on one scale is left out of rule 3. On the
one step of a layer's weight, the columns of the largest features would become 0. Its two vectors
are buffers, which files store as floats.
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
_WIDE = 256.0  # times the smallest standard deviation of a BatchNorm's channels
_LARGER = 1.5  # a value of so many times its parameters' size is better computed each time


def fold(
    network: GraphNetwork, whole: Collection[str] = (), unscaled: Collection[str] = ()
) -> GraphNetwork:
    """A network of the same function in eval mode with less to store.

    It has no BatchNorm any more, so that training goes on with the statistics as they are.

    :param network: used up: its weights change in place, and are those of the result.
    :param whole: names of parameters that must stay parameters: rule 1 leaves them alone.
    :param unscaled: names of weights whose numbers must stay: rules 2 and 3 leave them alone.
    """
    graph = network.graph.copy()
    tensors = dict(parameters_of(network))
    _fold_constants(network, graph, tensors, set(whole))
    norms = [node for node in graph.operators if node.operator == "batch_norm"]
    if norms:
        evaluation = Evaluation(GraphNetwork(graph, tensors))
        ranks = {n: len(evaluation.shape(Ref(n))) for n in norms}
        folder = _Folder(graph, tensors, ranks, set(unscaled))
        for node in norms:
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
    kept = {node.name for node in outputs if node.operator == PARAMETER}
    for node in ends:
        names = behind[node]
        value = evaluation.static(Ref(node))
        alone = not names & (kept | whole) and _is_only_reader(node, names, behind, users)
        if not isinstance(value, Tensor) or not alone:
            continue
        if value.numel() > _LARGER * sum(tensors[name].numel() for name in names):
            continue
        name = _folded_name(sorted(names, key=lambda n: (-tensors[n].numel(), n)), tensors)
        folded = Node(PARAMETER, name=name)
        tensors[name] = _folded_value(value, [tensors[n] for n in names])
        graph.nodes.insert(graph.nodes.index(new[node]), folded)
        graph.replace(Ref(new[node]), Ref(folded))


def _folded_value(value: Tensor, sources: list[Tensor]) -> Tensor:
    """A copy of a value; an `nn.Parameter` if one of those that it is computed from is."""
    value = value.detach().clone()
    trainable = [tensor for tensor in sources if isinstance(tensor, nn.Parameter)]
    if trainable and value.is_floating_point():
        return nn.Parameter(value, any(tensor.requires_grad for tensor in trainable))
    return value


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
        name = f"{before.lstrip('.')}.{after.partition('.')[0]}".lstrip(".")
    else:
        for ending in ("_orig", "_mask", "_g", "_v", "_u", "_bar"):
            leaf = leaf.removesuffix(ending)
        name = f"{path}.{leaf}".lstrip(".")
    while name in taken and name not in names:
        name += "_"
    return name


class _Folder:
    """Takes BatchNorms into their neighbours; the graph and the tensors change in place."""

    def __init__(
        self, graph: Graph, tensors: dict[str, Tensor], ranks: dict[Node, int], unscaled: set[str]
    ) -> None:
        self._graph, self._tensors, self._ranks = graph, tensors, ranks
        self._unscaled = unscaled
        # All are computed before any parameter changes: two norms may share them.
        self._fixed = {n: self._affine(n) for n in ranks if self._has_parameters(n)}
        self._affines: dict[tuple, dict[str, Ref]] = {}

    def fold(self, norm: Node) -> None:
        """Rules 2 to 4 for one BatchNorm."""
        if norm not in self._fixed:
            return
        scale, shift = self._fixed[norm]
        users = self._graph.users()
        source, after = norm.arguments["input"], users[norm]
        if self._takes_behind(source, norm, users):
            self._into_before(source.node, scale, shift)
            self._drop(norm)
        elif self._is_wide(norm):
            self._as_affine(norm, scale, shift, trains=False)
        elif len(after) == 1 and self._takes_ahead(after[0], norm, users):
            self._into_after(after[0], scale, shift)
            self._drop(norm)
        else:
            self._as_affine(norm, scale, shift)

    def _drop(self, norm: Node) -> None:
        self._graph.replace(Ref(norm), norm.arguments["input"])
        self._graph.nodes.remove(norm)

    def _has_parameters(self, norm: Node) -> bool:
        names = ("weight", "bias", "running_mean", "running_var")
        refs = [norm.arguments[name] for name in names]
        return all(ref is None or ref.node.operator == PARAMETER for ref in refs)

    def _takes_behind(self, source: Ref, norm: Node, users: dict[Node, list[Node]]) -> bool:
        """Rule 2."""
        before = source.node
        return (
            before.operator in _BEHIND
            and self._same_axis(before, norm)
            and users[before] == [norm]
            and self._owns(before, users)
            and source not in self._graph.output_refs()
        )

    def _takes_ahead(self, after: Node, norm: Node, users: dict[Node, list[Node]]) -> bool:
        """Rule 3."""
        return (
            after.operator in _AHEAD
            and self._same_axis(after, norm)
            and after.arguments["input"] == Ref(norm)
            and self._owns(after, users)
            and not _pads(after)
            and after.arguments.get("groups", 1) == 1
            and Ref(norm) not in self._graph.output_refs()
        )

    def _same_axis(self, layer: Node, norm: Node) -> bool:
        """Whether a layer has its channels where the norm has them: dense layers on axis 1 only."""
        return layer.operator != "linear" or self._ranks[norm] == 2

    def _owns(self, node: Node, users: dict[Node, list[Node]]) -> bool:
        """Whether weight and bias are parameters that may change and that no other node reads."""
        refs = [node.arguments["weight"], node.arguments["bias"]]
        outputs = self._graph.output_refs()
        if refs[0].node.name in self._unscaled:
            return False
        return all(
            ref is None
            or (ref.node.operator == PARAMETER and users[ref.node] == [node] and ref not in outputs)
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

    def _is_wide(self, norm: Node) -> bool:
        """Whether the standard deviations of its channels have very different sizes."""
        var = self._tensors[norm.arguments["running_var"].node.name].detach().double()
        stddev = (var + norm.arguments["eps"]).sqrt()
        return not var.is_meta and bool(stddev.max() > _WIDE * stddev.min())

    def _into_before(self, node: Node, scale: Tensor, shift: Tensor) -> None:
        weight = self._tensors[node.arguments["weight"].node.name].detach()
        factor, ones = scale, [1] * (weight.dim() - 2)
        if node.operator.startswith("conv_transpose"):
            groups = node.arguments["groups"]
            _scale(weight.unflatten(0, (groups, -1)), factor.reshape(groups, 1, -1, *ones))
        else:
            _scale(weight, factor.reshape(-1, 1, *ones))
        self._set_bias(node, self._bias(node, len(scale)) * scale + shift)

    def _into_after(self, node: Node, scale: Tensor, shift: Tensor) -> None:
        weight = self._tensors[node.arguments["weight"].node.name].detach()
        sums = weight.flatten(2).sum(2, dtype=torch.float64) if weight.dim() > 2 else weight
        self._set_bias(node, self._bias(node, len(weight)) + sums.double() @ shift)
        _scale(weight, scale.reshape(1, -1, *[1] * (weight.dim() - 2)))

    def _bias(self, node: Node, size: int) -> Tensor:
        """The bias of a layer, float64; zeros where it has none."""
        ref, weight = node.arguments["bias"], node.arguments["weight"]
        if ref is None:
            device = self._tensors[weight.node.name].device
            return torch.zeros(size, dtype=torch.float64, device=device)
        return self._tensors[ref.node.name].detach().double()

    def _set_bias(self, node: Node, value: Tensor) -> None:
        """Give a layer another bias; a new parameter where it had none."""
        weight, ref = node.arguments["weight"], node.arguments["bias"]
        like = self._tensors[weight.node.name]
        if ref is None:
            created = Node(PARAMETER, name=bias_name(weight.node.name, self._tensors))
            self._graph.nodes.insert(self._graph.nodes.index(node), created)
            ref = node.arguments["bias"] = Ref(created)
        name = ref.node.name
        trains = self._tensors.get(name, like).requires_grad
        self._tensors[name] = nn.Parameter(value.to(like.dtype), trains)

    def _as_affine(self, norm: Node, scale: Tensor, shift: Tensor, trains: bool = True) -> None:
        """Rule 4; a BatchNorm that is used twice becomes one pair of vectors.

        :param trains: whether these are parameters. Else they are buffers.
        """
        key = tuple(norm.arguments[name] for name in ("weight", "bias", "running_mean"))
        key = (*key, norm.arguments["running_var"], norm.arguments["eps"])
        if key not in self._affines:
            self._affines[key] = {
                "weight": self._vector(norm, "weight", scale, trains),
                "bias": self._vector(norm, "bias", shift, trains),
            }
        norm.operator = "affine"
        norm.arguments = {"input": norm.arguments["input"], **self._affines[key]}

    def _vector(self, norm: Node, which: str, value: Tensor, trains: bool) -> Ref:
        """A parameter or buffer in the place of a norm's weight or bias."""
        mean, old = norm.arguments["running_mean"], norm.arguments[which]
        path = mean.node.name.rpartition(".")[0]
        name = f"{path}.{which}".lstrip(".") if old is None else old.node.name
        while name in self._tensors and not self._is_only_norms(old):
            name, old = name + "_", None
        like = self._tensors[mean.node.name]
        value, trained = value.to(like.dtype), norm.arguments[which]
        free = True if trained is None else self._tensors[trained.node.name].requires_grad
        self._tensors[name] = nn.Parameter(value, free) if trains else value
        created = Node(PARAMETER, name=name)
        self._graph.nodes.insert(self._first_place(norm), created)
        return Ref(created)

    def _is_only_norms(self, ref: Ref | None) -> bool:
        """Whether a parameter is read by norms that become something else, and nothing more."""
        if ref is None or ref in self._graph.output_refs():
            return False
        users = self._graph.users()[ref.node]
        return all(user.operator == "batch_norm" and user in self._fixed for user in users)

    def _first_place(self, norm: Node) -> int:
        """Before all that may read the parameters of a norm."""
        mean = norm.arguments["running_mean"].node
        return self._graph.nodes.index(mean)


def _scale(weight: Tensor, factor: Tensor) -> None:
    """Multiply by float64 factors, rounded once; in place."""
    weight.copy_(weight.double() * factor)


def _pads(node: Node) -> bool:
    padding = node.arguments.get("padding", ())
    return padding == "same" or any(padding)
