"""How the weights of a network lie as matrices, and what earlier weights lend to their columns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor

from ..graph import GraphNetwork, parameters_of
from ..graph.lenders import Layout, layouts


def graph_layouts(network: GraphNetwork, names: Iterable[str]) -> dict[str, Layout]:
    """The layouts of some parameters of a traced network, by name, in the order of its graph.

    :param names: any of the names of tied parameters.
    """
    shapes = {name: tuple(tensor.shape) for name, tensor in parameters_of(network)}
    called = {network.graph.aliases.get(name, name): name for name in names}
    found = {}
    for name, layout in layouts(network.graph, shapes).items():
        if name not in called:
            continue
        if layout.kept is not None:  # few of all columns are there, and rarely neighbours
            columns = math.prod(shapes[name]) // shapes[name][layout.swapped]
            layout = Layout(layout.swapped, columns)
        lenders = tuple(
            tuple((called.get(lender, lender), row) for lender, row in rows)
            for rows in layout.lenders
        )
        found[called[name]] = replace(layout, lenders=lenders)
    return found


def shape_layouts(shapes: Mapping[str, torch.Size]) -> dict[str, Layout]:
    """The layouts of weights of which only the shapes are known, in the order of computation.

    Each matrix or kernel is taken to read the rows of the one before, where the numbers fit.
    """
    found, before, units = {}, "", 0
    for name, shape in shapes.items():
        found[name] = shape_layout(tuple(shape), units, before)
        if len(shape) > 1:
            before, units = name, shape[0]
    return found


def shape_layout(shape: tuple[int, ...], units: int = 0, before: str = "") -> Layout:
    """The layout of a weight of this shape behind a layer of so many units.

    :param units: 0 for the first layer.
    :param before: name of the weight whose rows the units are.
    """
    if len(shape) < 2:
        return Layout(False, math.prod(shape))
    columns = math.prod(shape[1:])
    if len(shape) > 2:
        channels, lines, width = shape[1], math.prod(shape[2:-1]), shape[-1]
        told = channels == units
    else:
        told = units > 0 and columns % units == 0
        channels = units if told else 3 if _is_colour_image(columns) else 1
        taps = columns // channels
        side = math.isqrt(taps)
        lines, width = (side, side) if side * side == taps else (1, taps)
    lenders = tuple(((before, unit),) for unit in range(units)) if told and before else ()
    return Layout(False, channels, lines, width, lenders)


def _is_colour_image(columns: int) -> bool:
    pixels = columns // 3
    return columns % 3 == 0 and pixels > 0 and math.isqrt(pixels) ** 2 == pixels


def as_matrix(values: Tensor, layout: Layout) -> Tensor:
    """A tensor of a weight's shape as rows times columns; a vector is one row."""
    values = values.transpose(0, 1) if layout.swapped else values
    return values.flatten(1) if values.dim() > 1 else values.reshape(1, -1)


class Lending:
    """What the rows of earlier weights lend to the channels of each weight: their degrees.

    :param layouts: by the weights' names.
    """

    def __init__(self, layouts: Mapping[str, Layout]) -> None:
        self._layouts = layouts
        self._places: dict[str, dict[str, tuple[Tensor, Tensor]]] = {}
        for name, layout in layouts.items():
            places: dict[str, list[tuple[int, int]]] = {}
            for channel, rows in enumerate(layout.lenders):
                for lender, row in rows:
                    places.setdefault(lender, []).append((row, channel))
            # Weights that are not on a lattice have no counts.
            known = {lender: zip(*at, strict=True) for lender, at in places.items()}
            self._places[name] = {
                lender: tuple(torch.tensor(part) for part in at)
                for lender, at in known.items()
                if lender in layouts
            }

    def degree(
        self, name: str, levels: Mapping[str, Tensor], columns: Tensor | None = None
    ) -> Tensor | None:
        """Of each column, the log of how many nonzero weights its unit has, over their mean.

        Two more for each unit, as in the coder; the mean is over channels that are left.

        :param levels: integers of all weights, by name.
        :param columns: which columns have not been removed, bool, shape (columns,); None: all.
        :returns: shape (columns,); None if nothing is lent.
        """
        layout, value = self._layouts[name], levels[name]
        if not self._places[name]:
            return None
        more = value.new_full((layout.channels,), 2.0)
        for lender, (rows, channels) in self._places[name].items():
            there = as_matrix(levels[lender], self._layouts[lender]) != 0
            counts = there.sum(1).to(value.dtype)
            more.index_add_(0, channels.to(value.device), counts[rows.to(value.device)])
        left = more if columns is None else more[columns.reshape(layout.channels, -1).any(1)]
        degree = more.log() - left.mean().log()
        return degree.repeat_interleave(layout.lines * layout.width)
