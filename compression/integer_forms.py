"""Integer forms of layers of weights, quantised ReLUs, BatchNorm, additions and concatenations."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..graph import Node, Ref
from ..graph.table import OPERATORS
from .common_step import common_step
from .integer_layers import (
    MAX_ACCUMULATOR,
    MAX_FRACTION,
    IntegerAccumulator,
    IntegerAffine,
    IntegerCall,
    Requantise,
)
from .integer_walk import Meaning, Walk, form


@form("linear", "conv1d", "conv2d", "conv3d")
def _weighted(walk: Walk, node: Node) -> None:
    source, meaning = walk.place(node.arguments["input"])
    if not meaning.quantised:
        raise ValueError(
            "takes sums that nothing has quantised; put a QuantisedReLU before it (a "
            "method that prices bits does so where a ReLU stands)"
        )
    weight, offsets = walk.tensor(node.arguments["weight"]), walk.tensor(node.arguments["bias"])
    try:
        codes, step = common_step(weight.cpu().double().numpy())
    except ValueError as error:
        raise ValueError(
            f"has weights without a uniform grid ({error}); compress with quantiser='grid'"
        ) from None
    scale = Fraction(step) * meaning.scale
    bias = [Fraction(0)] * len(codes)
    if offsets is not None:
        if not offsets.isfinite().all():
            raise ValueError("has biases that are not finite")
        bias = [Fraction(value) for value in offsets.tolist()]
    sums = meaning.reach * np.abs(codes).reshape(len(codes), -1).sum(1)
    fraction, bound = _fraction(sums, bias, scale)
    scale /= 2**fraction
    rounded = torch.tensor([round(value / scale) for value in bias], dtype=torch.int32)
    how = [v for k, v in node.arguments.items() if k not in ("input", "weight", "bias")]
    made = IntegerAccumulator(
        partial(_layer, node.operator, how),
        torch.from_numpy(codes).to(torch.int32), rounded, fraction, bound,
    )  # fmt: skip
    walk.put(node, made, Meaning(scale, bound, False), source)


def _layer(operator: str, how: list[Any], x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return OPERATORS[operator].call(x, weight, bias, *how)


def _fraction(sums: np.ndarray, bias: list[Fraction], scale: Fraction) -> tuple[int, int]:
    """How many bits below `scale` accumulators can have in int32, and the bound on them then.

    The bias is rounded to that. With none of these bits a network of 2-bit codes would lose much of
    its biases: a unit of its accumulators is a large part of a code behind it.

    :param sums: of |weight code| times the largest |input code|, for each unit: no partial sum in
        whatever order is larger.
    """
    for fraction in range(MAX_FRACTION, -1, -1):
        unit = scale / 2**fraction
        units = zip(sums.tolist(), bias, strict=True)
        bound = max((s << fraction) + abs(round(b / unit)) for s, b in units)
        if bound <= MAX_ACCUMULATOR:
            return fraction, bound
    raise ValueError(f"may sum to {bound}, beyond int32 ({MAX_ACCUMULATOR}); use fewer bits")


@form("quantised_relu")
def _quantised_relu(walk: Walk, node: Node) -> None:
    source, meaning = walk.place(node.arguments["input"])
    step, most = Fraction(node.arguments["step"]), 2 ** node.arguments["bits"] - 1
    walk.put(node, Requantise(meaning.scale / step, most), Meaning(step, most, True), source)


@form("batch_norm", "affine")
def _affine(walk: Walk, node: Node) -> None:
    """Sums on a unit that is the finest at which they fit int32."""
    source, meaning = walk.place(node.arguments["input"])
    scales, shifts = _scale_and_shift(walk, node)
    values = [*scales, *shifts]
    if not all(math.isfinite(value) for value in values):
        raise ValueError("has a scale or shift that is not finite")
    exact = [Fraction(value) for value in values]
    factors, offsets = exact[: len(scales)], exact[len(scales) :]
    largest = max(map(abs, factors), default=Fraction(0)) * meaning.scale
    start = largest or max(map(abs, offsets), default=Fraction(0)) or Fraction(1)
    for fraction in range(MAX_FRACTION, -MAX_FRACTION, -1):
        unit = start / Fraction(2) ** fraction
        ratios = [factor * meaning.scale / unit for factor in factors]
        biases = [round(offset / unit) for offset in offsets]
        bound = _bound(meaning.reach, ratios, biases)
        if bound <= MAX_ACCUMULATOR:
            made = IntegerAffine(ratios, biases, bound)
            walk.put(node, made, Meaning(unit, bound, False), source)
            return
    raise ValueError(f"may sum to {bound}, beyond int32 ({MAX_ACCUMULATOR}); use fewer bits")


def _bound(reach: int, ratios: list[Fraction], biases: list[int]) -> int:
    pairs = zip(ratios, biases, strict=True)
    return max((math.ceil(reach * abs(r)) + 1 + abs(b) for r, b in pairs), default=0)


def _scale_and_shift(walk: Walk, node: Node) -> tuple[list[float], list[float]]:
    """What a BatchNorm in eval mode multiplies by and adds, in float64, by channel."""
    a = node.arguments
    if node.operator == "affine":
        return walk.tensor(a["weight"]).tolist(), walk.tensor(a["bias"]).tolist()
    mean, var = (walk.tensor(a[key]).double() for key in ("running_mean", "running_var"))
    weight, bias = walk.tensor(a["weight"]), walk.tensor(a["bias"])
    scale = (var + a["eps"]).rsqrt() * (1.0 if weight is None else weight.double())
    shift = (0.0 if bias is None else bias.double()) - mean * scale
    return scale.tolist(), shift.tolist()


@form("add")
def _add(walk: Walk, node: Node) -> None:
    operands = [node.arguments["input"], node.arguments["other"]]
    if not all(isinstance(operand, Ref) for operand in operands):
        raise ValueError("adds a number, which has no integer form")
    names, unit, reach = _aligned(walk, node, operands)
    bound = sum(reach)
    made = IntegerCall("add", torch.add)
    walk.put(node, made, Meaning(unit, bound, False), *names)


@form("cat")
def _cat(walk: Walk, node: Node) -> None:
    tensors, dim = list(node.arguments["tensors"]), node.arguments["dim"]
    meanings = [walk.place(ref)[1] for ref in tensors]
    names, unit, reach = _aligned(walk, node, tensors)
    quantised = len({m.scale for m in meanings}) == 1 and all(m.quantised for m in meanings)
    made = IntegerCall("cat", partial(_joined, dim))
    walk.put(node, made, Meaning(unit, max(reach), quantised), *names)


def _joined(dim: int, *parts: Tensor) -> Tensor:
    return torch.cat(parts, dim)


def _aligned(walk: Walk, node: Node, refs: list[Ref]) -> tuple[list[str], Fraction, list[int]]:
    """The values on one unit: layers' names, the unit, and the largest magnitude of each.

    The unit is the largest that all scales are multiples of, if sums on it fit int32: exact. Else
    it is as fine as fits, and values on other units are rounded to it, halves up.
    """
    places = [walk.place(ref) for ref in refs]
    scales = [meaning.scale for _, meaning in places]
    denominator = math.lcm(*(scale.denominator for scale in scales))
    unit = Fraction(
        math.gcd(*(scale.numerator * denominator // scale.denominator for scale in scales)),
        denominator,
    )

    def reaches() -> list[int]:
        return [
            m.reach
            if m.scale == unit
            else math.ceil(m.reach * m.scale / unit) + ((m.scale / unit).denominator != 1)
            for _, m in places
        ]

    if sum(reaches()) > MAX_ACCUMULATOR:
        unit = min(scales)
        while sum(reaches()) > MAX_ACCUMULATOR:
            unit *= 2
    names = []
    for (name, meaning), reach in zip(places, reaches(), strict=True):
        if meaning.scale != unit:
            made = IntegerAffine([meaning.scale / unit], [0], reach)
            stem = f"{walk.name(node)}-unit"
            name = walk.layer(None, stem, made, (name,), Meaning(unit, reach, False))
        names.append(name)
    return names, unit, reaches()
