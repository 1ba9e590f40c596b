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

from .living_layers import LivingLayer, living_layers, through

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
LARGEST = 2**28  # numbers (1 GB) that a layer's inputs, or the sums of the next, may take

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

    :param model: a `models.Rate`. Of a network that is no chain (`models.living.chain_of`) nothing
        is changed, nor is a layer that would take gigabytes for it, nor a Linear at several places.
    :param levels: whole numbers of steps, by the weights' names; changed in place.
    :param x: training inputs, in an order in which the first are a fair sample of all.
    :param y: their labels.
    :param progress: called with a weight's name, how many of its moves were tried, of how many.
    :returns: nats saved.
    """
    if not model.chain:
        return 0.0
    weights = {name: model.step(name) * level for name, level in levels.items()}
    inputs, layers = living_layers(model, weights, x)
    score, chain, saved = model.pointwise(x, y), list(layers.values()), 0.0
    for k, name in reversed(list(enumerate(layers))):
        if not _fits(chain[k:], through(chain[:k], inputs[:1]), len(x)):
            continue
        h = torch.cat([through(chain[:k], inputs[part]) for part in _parts(0, len(x))])
        sweep = _Sweep(chain[k:], h, score, model.num_data / len(x), float(model.step(name)))
        integers = chain[k].part(levels[name])
        moves = _moves(model, name, levels[name], sweep)
        saved += sweep.run(_counted(moves, name, progress), integers)
        chain[k].put(levels[name], integers)
        model.refresh(levels)
    return saved


class _State(NamedTuple):
    """What all examples come to, with one unit of a layer in view.

    :param own: the unit's sums.
    :param seen: what the next layer sees of them.
    :param sums: see `_sums`.
    :param nats: the log-likelihood of each example.
    """

    own: Tensor
    seen: Tensor
    sums: Tensor
    nats: Tensor


class _Sweep:
    """A layer, and the examples as far as it has taken them.

    :param chain: the layer and all after it.
    :param h: its inputs.
    :param scale: all data over these examples.
    :param step: the spacing of its weights.
    """

    def __init__(
        self, chain: list[LivingLayer], h: Tensor, score: Score, scale: float, step: float
    ):
        self.layer, self.rest, self.h = chain[0], chain[1:], h
        self.score, self.scale, self.step = score, scale, step
        ends = (round(share * len(h)) for share in SHARES)
        self.ends = [0, *(end for end in ends if end >= FEWEST), len(h)]

    def gradient(self) -> Tensor:
        """Of minus the log-likelihood of all data for the weights, nats."""
        total = torch.zeros_like(self.layer.weight)
        for part in _parts(0, len(self.h)):
            weight = self.layer.weight.clone().requires_grad_()
            with torch.enable_grad():
                output = through(self.rest, self.layer.after(self.layer.sums(self.h[part], weight)))
                nats = self.score(output, part).sum()
            total -= self.scale * torch.autograd.grad(nats, weight)[0]
        return total

    def run(self, moves: Iterable[Move], integers: Tensor) -> float:
        """Make those moves that pay; returns the nats saved.

        :param moves: those of one unit after each other.
        :param integers: of the living part of the layer; changed in place.
        """
        parts, saved, unit, moved = list(_parts(0, len(self.h))), 0.0, None, set()
        sums = torch.cat([_sums(self.layer, self.rest, self.h[part]) for part in parts])
        nats = torch.cat([self._nats(sums[part], part) for part in parts])
        for move in moves:
            if move[:2] in moved:
                continue
            if move.unit != unit:
                unit = move.unit
                own = torch.cat([self.layer.sums_of_unit(self.h[part], unit) for part in parts])
                seen = torch.cat([self.layer.after(own[part]) for part in parts])
                state = _State(own, seen, sums, nats)
                tried = _State(*(torch.empty_like(tensor) for tensor in state))
            gained = self._try(move, state, tried)
            if gained is not None:
                state, tried = tried, state
                sums, nats = state.sums, state.nats
                moved.add(move[:2])
                saved += gained
                integers.view(len(integers), -1)[move[:2]] += move.by
                self.layer.weight.view(len(integers), -1)[move[:2]] += move.by * self.step
        return saved

    def _try(self, move: Move, state: _State, tried: _State) -> float | None:
        """The nats a move saves, `tried` then being what it leads to; None if it does not pay."""
        rise, square, everything = 0.0, 0.0, self.scale * len(self.h)
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
                needed = max(needed, SURE * everything * spread / len(self.h) ** 0.5)
            # Of the examples not seen yet: what they say is the only doubt.
            doubt = everything * spread * (1 / stop - 1 / len(self.h)) ** 0.5
            # Where nothing has changed yet, an input is perhaps rare.
            if (square or stop == len(self.h)) and saved + GIVE_UP * doubt < needed:
                return None
        return saved

    def _move(self, move: Move, state: _State, tried: _State, part: slice) -> None:
        """Write into `tried` what a move makes of some examples.

        In place, as fresh memory for numbers that are mostly thrown away takes longer.
        """
        own, seen, sums = tried.own[part], tried.seen[part], tried.sums[part]
        change = self.layer.from_one_weight(self.h[part], move.at)
        torch.add(state.own[part], change, alpha=move.by * self.step, out=own)
        seen.copy_(self.layer.after(own))
        if self.rest:
            units = len(self.layer.weight)
            change = self.rest[0].from_unit(seen - state.seen[part], move.unit, units)
            torch.add(state.sums[part], change, out=sums)
        else:
            sums.copy_(state.sums[part])
            sums[:, move.unit : move.unit + 1] = own
        tried.nats[part] = self._nats(sums, part)

    def _nats(self, sums: Tensor, part: slice) -> Tensor:
        last = self.rest[0] if self.rest else self.layer
        return self.score(through(self.rest[1:], last.after(sums)), part)


def _sums(layer: LivingLayer, rest: list[LivingLayer], h: Tensor) -> Tensor:
    """What a layer's inputs become in the next layer; in the last one, its own sums."""
    own = layer.sums(h)
    return rest[0].sums(layer.after(own)) if rest else own


def _fits(chain: list[LivingLayer], h: Tensor, count: int) -> bool:
    """Whether a layer can be swept: in memory, and with its units on axis 1.

    :param chain: the layer and all after it.
    :param h: its inputs of one example, of `count`.
    """
    if chain[0].weight.dim() == 2 and h.dim() != 2:  # a Linear layer at several positions
        return False
    return count * max(h.numel(), _sums(chain[0], chain[1:], h).numel()) <= LARGEST


def _moves(model: nn.Module, name: str, level: Tensor, sweep: _Sweep) -> list[Move]:
    """What may pay: unit by unit, in each the most promising first."""
    prior, beta, slope = model.prior(name, level), float(model.beta), sweep.gradient()
    now, found = prior.price(level), []
    far = level.abs() > 1  # from zero, so that it is no neighbour
    for target in (level - 1, level + 1, torch.where(far, 0.0, level)):
        price = beta * sweep.layer.part(prior.price(target) - now)
        by = sweep.layer.part(target - level)
        promise = -slope * by * sweep.step - price
        places = ((promise > LEAST) & (by != 0)).flatten(1).nonzero()
        values = [t.flatten(1)[places[:, 0], places[:, 1]] for t in (promise, by, price)]
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
