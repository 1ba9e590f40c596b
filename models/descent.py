"""Coordinate descent on a description length: single integers, one up, one down or to zero.

Rounding passes gradients straight through, noise of mini-batches pushes weights across the border
between two integers, and a falling learning rate leaves them where they are then. That is no
minimum: some integers are worth less than they cost, and some that cost little are missing. Here
each change is judged by what it does to the loss itself, on all examples.
"""

from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from ..graph import GraphNetwork, Node, Ref
from ..graph.one_unit import OneUnit, weight_of
from .spread import Env, Shapes, Spread
from .structure import Reduced, inputs_of, numbers_of

CHUNK = 1_000  # examples that go through the network at once
# Of the examples, looked at in turn while a move may still pay.
SHARES = (1 / 64, 1 / 16, 1 / 4)  # and then all
FEWEST = 100  # examples that say anything
GIVE_UP = 1.0  # standard errors within which a share is taken to speak for all
# Standard errors that a move must save if it makes the file larger. Of thousands of moves that are
# looked at, those that seem to pay are also those that chance is kind to: what they save on other
# examples is less.
SURE = 1.0
LEAST = 0.05  # nats that a move must save, well above the noise of sums in float32
LARGEST = 2**28  # numbers (1 GB) that may be stored of all examples to sweep over one layer

# Log-likelihood, nats, of those examples, given their outputs: shape (examples,).
Score = Callable[[Tensor, slice], Tensor]


class Move(NamedTuple):
    """A change by `by` of the integer in place `at` of a unit's own, which costs `price` nats."""

    unit: int
    at: int
    by: float
    price: float


@torch.no_grad()
def descend(
    model: nn.Module, levels: dict[str, Tensor], x: Tensor, y: Tensor,
    progress: Callable[[str, int, int], None] | None = None,
) -> float:  # fmt: skip
    """One sweep over all integers of a network, from its last layer to its first.

    A move is made if it lowers -log p(y | w) - beta log p(w): the likelihood on all examples, the
    price by the prior's tables, which are refreshed after each layer. One that costs bits must
    save more than the standard error of what it saves, the examples being a sample. What would not
    pay even at the gradient's slope is not tried, as the loss is, as a rule, convex in one weight.

    Only what a change of one unit changes is computed: slices of its channel as far as they can be
    followed (`graph.follow`), from there on the rest of the network.

    :param model: a `models.Rate`. Nothing is changed of a network that has not been traced or whose
        output is not one tensor. Weights stay that are not the weight of one single dense layer,
        convolution or embedding, those of recurrent layers among them; and layers that would take
        gigabytes of memory.
    :param levels: whole numbers of steps, by the weights' names; changed in place.
    :param x: training inputs, in an order in which the first are a fair sample of all.
    :param y: their labels.
    :param progress: called with a weight's name, how many of its moves were tried, of how many.
    :returns: nats saved.
    """
    living = _Living(model, levels, x)
    if living.network is None:
        return 0.0
    inputs, score, saved = inputs_of(x), model.pointwise(x, y), 0.0
    for name, node in living.layers():
        layer = Spread(living.network, node, living.shapes)
        if not layer.is_known or len(inputs[0]) * layer.size() > LARGEST:
            continue
        layer.store(inputs, list(_parts(0, len(inputs[0]))))
        scale = model.num_data / len(inputs[0])
        sweep = _Sweep(layer, len(inputs[0]), score, scale, float(model.step(name)))

        def part(values: Tensor, name: str = name, unit: OneUnit = layer.unit) -> Tensor:
            return unit.by_unit(living.part(name, values))

        integers = part(levels[name]).clone()
        moves = _moves(model, name, levels[name], sweep, part)
        saved += sweep.run(_counted(moves, name, progress), integers)
        living.put(name, levels[name], layer.unit.whole(integers))
        model.refresh(levels)
    return saved


class _Living:
    """The network between live units, with tensors of its own; `network` is None for no such."""

    def __init__(self, model: nn.Module, levels: dict[str, Tensor], x: Tensor) -> None:
        self.network: GraphNetwork | None = None
        structure = model.structure()
        if structure is None or not isinstance(structure.graph.outputs, Ref):
            return
        weights = {name: model.step(name) * level for name, level in levels.items()}
        self._reduced: Reduced | None = model.reduced()
        if self._reduced is None:
            graph, numbers = structure.graph, numbers_of(structure, model.net, weights)
        else:
            graph = self._reduced.network.graph
            numbers = self._reduced.numbers(model.net, weights)
        numbers = {name: value.detach().clone() for name, value in numbers.items()}
        self.network = GraphNetwork(graph, numbers)
        self.shapes = Shapes(self.network, inputs_of(x))
        self._names = {structure.graph.aliases.get(name, name): name for name in levels}

    def layers(self) -> list[tuple[str, Node]]:
        """The layers whose weights can be moved one by one, from the last to the first."""
        graph = self.network.graph
        users, found = graph.users(), []
        for node in reversed(graph.operators):
            weight = weight_of(node, self.shapes.of)
            if weight is None or weight[0].node.name not in self._names:
                continue
            reads = [ref for ref in node.refs() if ref == weight[0]]
            if len(users[weight[0].node]) == len(reads) == 1 and node not in self.shapes.static:
                found.append((self._names[weight[0].node.name], node))
        return found

    def part(self, name: str, values: Tensor) -> Tensor:
        """The entries between live units of a tensor of a weight's shape."""
        return values if self._reduced is None else self._reduced.part(name, values)

    def put(self, name: str, values: Tensor, part: Tensor) -> None:
        """Put such entries back in their places."""
        if self._reduced is None:
            values.copy_(part)
            return
        index = []
        for axis, places in enumerate(self._reduced.places(name)):
            places = torch.arange(values.shape[axis]) if places is None else places
            index.append(places.to(values.device).reshape(-1, *[1] * (values.dim() - 1 - axis)))
        values[tuple(index)] = part


class _State(NamedTuple):
    """What all examples come to, with one unit of a layer in view.

    :param own: the unit's outputs.
    :param slices: those of other values that change with it alone, see `Spread.kept`.
    :param sums: see `Spread`.
    :param nats: the log-likelihood of each example.
    """

    own: Tensor
    slices: Env
    sums: Env
    nats: Tensor

    def before(self) -> Env:
        return self.slices | self.sums


class _Sweep:
    """A layer, and the examples as far as it has taken them.

    :param layer: with what is stored of them.
    :param count: number of examples.
    :param scale: all data over these examples.
    :param step: the spacing of its weights.
    """

    def __init__(self, layer: Spread, count: int, score: Score, scale: float, step: float):
        self.layer, self.count = layer, count
        self.h = layer.base[layer.unit.source]
        self.score, self.scale, self.step = score, scale, step
        ends = (round(share * count) for share in SHARES)
        self.ends = [0, *(end for end in ends if end >= FEWEST), count]

    def gradient(self) -> Tensor:
        """Of minus the log-likelihood of all data for the weights, nats, a row for each unit."""
        unit = self.layer.unit
        total = torch.zeros_like(unit.weight)
        for part in _parts(0, self.count):
            weight = unit.weight.clone().requires_grad_()
            with torch.enable_grad():
                nats = self.score(self.layer.from_weight(weight, part), part).sum()
            total -= self.scale * torch.autograd.grad(nats, weight)[0]
        return unit.by_unit(total)

    def run(self, moves: Iterable[Move], integers: Tensor) -> float:
        """Make those moves that pay; returns the nats saved.

        :param moves: those of one unit after each other.
        :param integers: of the living part of the layer, a row for each unit; changed in place.
        """
        parts, saved, unit, moved = list(_parts(0, self.count)), 0.0, None, set()
        sums = {ref: self.layer.base[ref] for ref in self.layer.sums}
        outputs = self.layer.base[self.layer.network.graph.outputs]
        nats = torch.cat([self.score(outputs[part], part) for part in parts])
        for move in moves:
            if move[:2] in moved:
                continue
            if move.unit != unit:
                unit = move.unit
                state = self._with_unit(unit, sums, nats, parts)
                tried = _State(
                    torch.empty_like(state.own),
                    {ref: torch.empty_like(value) for ref, value in state.slices.items()},
                    {ref: torch.empty_like(value) for ref, value in state.sums.items()},
                    torch.empty_like(state.nats),
                )
            gained = self._try(move, state, tried)
            if gained is not None:
                state, tried = tried, state
                sums, nats = state.sums, state.nats
                self.layer.accept(unit, state.slices)
                moved.add(move[:2])
                saved += gained
                integers[move[:2]] += move.by
                self.layer.unit.change(unit, move.at, move.by * self.step)
        return saved

    def _with_unit(self, unit: int, sums: Env, nats: Tensor, parts: list[slice]) -> _State:
        own = torch.cat([self.layer.unit.of_unit(self.h[part], unit) for part in parts])
        found: dict[Ref, list[Tensor]] = {ref: [] for ref in self.layer.kept}
        for part in parts:
            env = self.layer.slices(unit, own[part], part)
            for ref, values in found.items():
                values.append(env[ref])
        return _State(own, {ref: torch.cat(values) for ref, values in found.items()}, sums, nats)

    def _try(self, move: Move, state: _State, tried: _State) -> float | None:
        """The nats a move saves, `tried` then being what it leads to; None if it does not pay."""
        rise, square, everything = 0.0, 0.0, self.scale * self.count
        for start, stop in pairwise(self.ends):
            for part in _parts(start, stop):
                self._move(move, state, tried, part)
                difference = (tried.nats[part] - state.nats[part]).double()
                rise += difference.sum().item()
                square += difference.square().sum().item()
            saved = everything * rise / stop - move.price
            spread = max(square / stop - (rise / stop) ** 2, 0.0) ** 0.5
            needed = LEAST
            if move.price > 0:
                needed = max(needed, SURE * everything * spread / self.count**0.5)
            # Of the examples not seen yet: what they say is the only doubt.
            doubt = everything * spread * (1 / stop - 1 / self.count) ** 0.5
            # Where nothing has changed yet, an input is perhaps rare.
            if (square or stop == self.count) and saved + GIVE_UP * doubt < needed:
                return None
        return saved

    def _move(self, move: Move, state: _State, tried: _State, part: slice) -> None:
        """Write into `tried` what a move makes of some examples.

        In place, as fresh memory for numbers that are mostly thrown away takes longer.
        """
        own = tried.own[part]
        change = self.layer.unit.of_weight(self.h[part], move.unit, move.at)
        torch.add(state.own[part], change, alpha=move.by * self.step, out=own)
        env = self.layer.slices(move.unit, own, part)
        for ref, values in tried.slices.items():
            env[ref] = values[part].copy_(env[ref])
        output = self.layer.outputs(move.unit, env, state.before(), part, tried.sums)
        tried.nats[part] = self.score(output, part)


def _moves(
    model: nn.Module, name: str, level: Tensor, sweep: _Sweep, part: Callable[[Tensor], Tensor]
) -> list[Move]:
    """What may pay: unit by unit, in each the most promising first.

    :param part: gives the entries between live units of a whole tensor, a row for each unit.
    """
    prior, beta, slope = model.prior(name, level), float(model.beta), sweep.gradient()
    now, found = prior.price(level), []
    far = level.abs() > 1  # from zero, so that it is no neighbour
    for target in (level - 1, level + 1, torch.where(far, 0.0, level)):
        price = beta * part(prior.price(target) - now)
        by = part(target - level)
        promise = -slope * by * sweep.step - price
        places = ((promise > LEAST) & (by != 0)).nonzero()
        values = [t[places[:, 0], places[:, 1]] for t in (promise, by, price)]
        rows = zip(places.tolist(), *(value.tolist() for value in values), strict=True)
        found += [(place[0], -good, Move(*place, by, price)) for place, good, by, price in rows]
    return [move for *_, move in sorted(found)]


def _counted(
    moves: list[Move], name: str, progress: Callable[[str, int, int], None] | None
) -> Iterator[Move]:
    """The moves, each reported when it was tried."""
    for tried, move in enumerate(moves, 1):
        yield move
        if progress is not None:
            progress(name, tried, len(moves))


def _parts(start: int, stop: int) -> Iterator[slice]:
    return (slice(at, min(at + CHUNK, stop)) for at in range(start, stop, CHUNK))
