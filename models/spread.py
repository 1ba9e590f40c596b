"""What a change of one unit of a layer changes in the rest of a network, on all examples."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..graph import GraphNetwork, Node, Ref, parameters_of
from ..graph.evaluate import static_nodes
from ..graph.follow import Along, Get, Step, call, followed, joined
from ..graph.ir import INPUT, PARAMETER
from ..graph.one_unit import OneUnit, weight_of

Env = dict[Ref, Any]  # values of some examples


class Shapes:
    """The shapes of a network's values, and which values have the examples as their first axis.

    :param inputs: at least one example.
    """

    def __init__(self, network: GraphNetwork, inputs: list[Tensor]) -> None:
        graph = network.graph
        self.static = static_nodes(graph)
        few = [[torch.cat([x[:3]] * 3)[:n] for x in inputs] for n in (2, 3)]
        with torch.no_grad():
            runs = [dict(_computed(network, some)) for some in few]
        two, three = ({ref: _shape(value) for ref, value in run.items()} for run in runs)
        self._shapes: dict[Ref, tuple[int, ...]] = two
        self._batched = {
            ref
            for ref, shape in two.items()
            if shape[:1] + three[ref][:1] == (2, 3)
            and shape[1:] == three[ref][1:]
            and ref.node not in self.static
        }

    def of(self, ref: Ref) -> tuple[int, ...]:
        """At two examples; () for a number."""
        return self._shapes[ref]

    def is_batched(self, ref: Ref) -> bool:
        return ref in self._batched

    def results(self, node: Node) -> list[Ref]:
        """The results of a node."""
        found = [Ref(node)]
        while Ref(node, len(found)) in self._shapes:
            found.append(Ref(node, len(found)))
        return found


def _shape(value: Any) -> tuple[int, ...]:
    return tuple(value.shape) if isinstance(value, Tensor) else ()


def _computed(network: GraphNetwork, inputs: list[Tensor]) -> Iterator[tuple[Ref, Any]]:
    """All values of a network in eval mode, as they come; none is kept longer than it is read."""
    nodes, env, given = network.graph.nodes, {}, iter(inputs)
    numbers = dict(parameters_of(network))
    last = {ref.node: node for node in nodes for ref in node.refs()}
    for node in nodes:
        if node.operator == INPUT:
            found = {Ref(node): next(given)}
        elif node.operator == PARAMETER:
            found = {Ref(node): numbers[node.name].detach()}
        else:
            found = _results(node, env.__getitem__, inputs[0].device)
        env.update(found)
        yield from found.items()
        for old in {ref.node for ref in node.refs()}:
            if last[old] is node:
                for ref in [ref for ref in env if ref.node is old]:
                    del env[ref]


def _results(node: Node, get: Get, device: torch.device) -> Env:
    value = call(node, get, {}, device)
    many = value if isinstance(value, tuple | list) else (value,)
    return {Ref(node, index): part for index, part in enumerate(many)}


class Spread:
    """The operators behind a layer, sorted by what a change of one of its units does to them.

    :param network: in eval mode, with the weights of now.
    :param node: the layer.
    :param shapes: of the network.

    `unit` computes the layer. `place` says where each value changes along its channels, `kept`
    which of these slices have to be known of all examples. `sums` are the results of contractions
    that read a slice.
    """

    def __init__(self, network: GraphNetwork, node: Node, shapes: Shapes) -> None:
        self.network, self.shapes, self.node = network, shapes, node
        self._numbers = dict(parameters_of(network))
        weight, bias = weight_of(node, shapes.of)
        bias = None if bias is None else self._numbers[bias.node.name].detach()
        rank = len(shapes.of(Ref(node)))
        self.unit = OneUnit(node, rank, self._numbers[weight.node.name].detach(), bias)
        self.out = Ref(node)
        self.place: dict[Ref, Along | None] = {self.out: self.unit.place}
        self._slices: list[tuple[Ref, Step]] = []
        self._rest: list[tuple[Node, Ref | None, Any]] = []  # with the source and step of a sum
        self._opened: set[Ref] = set()
        for other in network.graph.operators:
            if any(ref in self.place for ref in other.refs()):
                self._sort(other)
        self._opened |= {ref for ref in network.graph.output_refs() if self.place.get(ref)}
        self.sums = [Ref(other) for other, source, _ in self._rest if source is not None]
        sources = {source for _, source, _ in self._rest if source is not None}
        self.kept = [ref for ref, at in self.place.items() if ref in self._opened | sources and at]
        self._find_needed()

    def _sort(self, node: Node) -> None:
        found = followed(node, self.place, self.shapes.of)
        if found is not None:
            self.place[Ref(node)] = found[0]
            self._slices.append((Ref(node), found[1]))
            return
        step = joined(node, self.place, self.shapes.of)
        source = None
        if step is not None and self.shapes.is_batched(Ref(node)):
            source = next(ref for ref in node.refs() if ref in self.place)
        else:
            self._opened |= {ref for ref in node.refs() if self.place.get(ref)}
        self._rest.append((node, source, step))
        for ref in self.shapes.results(node):
            self.place[ref] = None

    def _find_needed(self) -> None:
        """What is to be known of all examples, and what is computed anew from that each time."""
        affected = {ref.node for ref in self.place}
        wanted = [self.unit.source]
        for node in affected - {self.node}:
            wanted += [ref for ref in node.refs() if ref not in self.place]
        self._anew: set[Node] = set()
        self._stored: set[Ref] = {*self.sums, *self._opened, *self.network.graph.output_refs()}
        while wanted:
            ref = wanted.pop()
            if ref.node in self.shapes.static or ref.node in self._anew or ref in self._stored:
                continue
            if self.shapes.is_batched(ref):
                self._stored.add(ref)
            else:
                self._anew.add(ref.node)
                wanted += ref.node.refs()
        self._before = [node for node in self.network.graph.operators if node in self._anew]
        self.is_known = self._is_known()

    def _is_known(self) -> bool:
        """Whether all that has to be stored of all examples has them as its first axis."""
        refs = {self.out, self.unit.source, *self._stored, *self.kept}
        return all(self.shapes.is_batched(ref) for ref in refs)

    def size(self) -> int:
        """How many numbers are stored of each example, the network's inputs left out."""
        refs = [ref for ref in self._stored if ref.node.operator != INPUT]
        return sum(prod(self.shapes.of(ref)[1:]) for ref in refs)

    def store(self, inputs: list[Tensor], parts: list[slice]) -> None:
        """Compute the network, and keep what is needed of it."""
        self._device = inputs[0].device
        found: dict[Ref, list[Tensor]] = {ref: [] for ref in self._stored}
        for part in parts:
            for ref, value in _computed(self.network, [x[part] for x in inputs]):
                if ref in found:
                    found[ref].append(value)
        self.base: Env = {ref: torch.cat(values) for ref, values in found.items()}
        for node in self.network.graph.nodes:
            if node.operator == PARAMETER:
                self.base[Ref(node)] = self._numbers[node.name].detach()
            elif node in self.shapes.static:
                self.base.update(_results(node, self.base.__getitem__, self._device))

    def reader(self, env: Env, part: slice) -> Get:
        """Gives the values of some examples: the changed ones of `env`, else those that stay."""
        base, batched = self.base, self.shapes.is_batched

        def get(ref: Ref) -> Any:
            if ref in env:
                return env[ref]
            value = base[ref]
            return value[part] if batched(ref) else value

        for node in self._before:
            env.update(_results(node, get, self._device))
        return get

    def slices(self, unit: int, own: Tensor, part: slice) -> Env:
        """The slices that change with a unit's outputs `own` of some examples."""
        env: Env = {self.out: own}
        get = self.reader(env, part)
        for ref, step in self._slices:
            env[ref] = step(unit, get)
        return env

    def outputs(self, unit: int, env: Env, before: Env, part: slice, sums: Env) -> Tensor:
        """The network's outputs for some examples.

        :param env: from `slices`.
        :param before: the slices in `kept` and the `sums` of all examples, before the change.
        :param sums: where to write the sums after it, of all examples.
        """
        get = self.reader(env, part)
        opened: Env = {}

        def whole(ref: Ref) -> Any:
            place = self.place.get(ref)
            if place is None:
                return get(ref)
            if ref not in opened:
                opened[ref] = self.base[ref][part].clone()
                place.cut(opened[ref], unit).copy_(env[ref])
            return opened[ref]

        for node, source, step in self._rest:
            if source is None:
                env.update(_results(node, whole, self._device))
            else:
                ref = Ref(node)
                added = step(unit, env[source] - before[source][part], get)
                env[ref] = torch.add(before[ref][part], added, out=sums[ref][part])
        return whole(self.network.graph.outputs)

    def from_weight(self, weight: Tensor, part: slice) -> Tensor:
        """The network's outputs for some examples, with another tensor as the layer's weight."""
        env: Env = {}
        get = self.reader(env, part)
        env[self.out] = self.unit.result(get(self.unit.source), weight)
        for node in self.network.graph.operators:
            if Ref(node) in self.place and node is not self.node:
                env.update(_results(node, get, self._device))
        return get(self.network.graph.outputs)

    def accept(self, unit: int, slices: Env) -> None:
        """Let whole values have a unit's slices of all examples."""
        for ref in self._opened:
            self.place[ref].cut(self.base[ref], unit).copy_(slices[ref])
