"""Layers that compute in integers, and how they round; `integer.to_integer` makes them.

Tensors between them are int32. Sums are made by float64 matrix products and convolutions, since
torch has none of integers that is fast. That is the same: every product and every partial sum is an
integer below 2^31 in magnitude (`MAX_ACCUMULATOR`, proven for each layer from its codes), and
float64 holds all integers up to 2^53, so that no sum is ever rounded, in whatever order.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping
from fractions import Fraction

import torch
from torch import Tensor, nn

MAX_ACCUMULATOR = 2**31 - 1  # int32
MULTIPLIER_BITS = 31  # of a requantisation's integer multiplier
MAX_SHIFT = 62  # the product of accumulator and multiplier is an int64
MAX_FRACTION = 8  # bits below a product of codes that an accumulator may have, for its bias


class IntegerInput(nn.Module):
    """Inputs to codes: clamp(round(x / step), low, high), halves to the even code.

    :param step: spacing of the inputs, in their units.
    :param low, high: the first and the last code, 0 among them, at most 256 in all (8 bits).
    :raises ValueError: for a step or codes that are not so.
    """

    def __init__(self, step: Fraction | float = Fraction(1, 255), low: int = 0, high: int = 255):
        super().__init__()
        if not 0 < step < math.inf:
            raise ValueError(f"the step of the inputs must be positive and finite, not {step}")
        if not low <= 0 < high or high - low > 255:
            raise ValueError(
                f"codes of inputs must have 0 among them and be at most 256, not {low}..{high}"
            )
        self.step, self.low, self.high = Fraction(step), low, high

    def forward(self, x: Tensor) -> Tensor:
        codes = torch.round(x.double() / float(self.step))
        return codes.clamp(self.low, self.high).to(torch.int32)

    def error(self, x: Tensor) -> float:
        """The largest |x - code * step|: 0 but for float rounding if nothing is lost."""
        return (x.double() - self(x).double() * float(self.step)).abs().max().item()


class IntegerAccumulator(nn.Module):
    """A dense layer or convolution: int32 codes in, int32 accumulators out.

    accumulator = 2^fraction * sum(weight codes * input codes) + bias, the bias an integer on that
    scale.

    :param call: the layer's function of inputs, weight and bias.
    :param weight: int32 codes, of the layer's shape.
    :param bias: int32, shape `(units,)`.
    :param bound: that no partial sum of any accumulator exceeds in magnitude.
    """

    def __init__(
        self,
        call: Callable[[Tensor, Tensor, Tensor], Tensor],
        weight: Tensor,
        bias: Tensor,
        fraction: int,
        bound: int,
    ):
        super().__init__()
        self.register_buffer("weight", weight)
        self.register_buffer("bias", bias)
        self.fraction, self.bound, self._call = fraction, bound, call

    def forward(self, codes: Tensor) -> Tensor:
        weight = (self.weight << self.fraction).double()
        return self._call(codes.double(), weight, self.bias.double()).to(torch.int32)

    def extra_repr(self) -> str:
        return f"{tuple(self.weight.shape)}, fraction={self.fraction}, bound={self.bound}"


class Requantise(nn.Module):
    """Accumulators to the codes of a `QuantisedReLU`: (a * multiplier + 2^(shift - 1)) >> shift.

    That is a * ratio rounded, halves up, clamped to 0..most: one multiplication of int32 by int32
    to int64, one addition and one shift, as fixed-point hardware has them. The ratio is rounded to
    31 bits (relative error at most 2^-31), so that codes are those of the exact ratio except where
    a * ratio is within 2^-15 of a half.

    :param ratio: of an accumulator's unit to the step of the codes, exact.
    :param most: the largest code, 1..2^16 - 1.
    :raises ValueError: for a ratio of 2^30 or more, at which there is no shift.
    """

    def __init__(self, ratio: Fraction, most: int):
        super().__init__()
        self.multiplier, self.shift = _multiplier(ratio)
        self.most = most

    def forward(self, accumulators: Tensor) -> Tensor:
        product = accumulators.long() * self.multiplier
        codes = (product + (1 << (self.shift - 1))) >> self.shift
        return codes.clamp(0, self.most).to(torch.int32)

    def extra_repr(self) -> str:
        return f"multiplier={self.multiplier}, shift={self.shift}, most={self.most}"


class IntegerAffine(nn.Module):
    """Integers of one unit to those of another: (a * multiplier + 2^(shift - 1)) >> shift, + bias.

    Rounded as `Requantise` rounds, halves up, and not clamped.

    :param ratios: of the old unit to the new one, exact; for each channel (axis 1), or one for all.
    :param biases: in the new unit, as many.
    :param bound: that no result exceeds in magnitude.
    :raises ValueError: for a ratio of 2^30 or more.
    """

    def __init__(self, ratios: list[Fraction], biases: list[int], bound: int):
        super().__init__()
        factors = [_multiplier(abs(ratio)) for ratio in ratios]
        signs = [1 if ratio >= 0 else -1 for ratio in ratios]
        multipliers = [sign * m for sign, (m, _) in zip(signs, factors, strict=True)]
        self.register_buffer("multiplier", torch.tensor(multipliers))
        self.register_buffer("shift", torch.tensor([shift for _, shift in factors]))
        self.register_buffer("bias", torch.tensor(biases, dtype=torch.int64))
        self.bound = bound

    def forward(self, x: Tensor) -> Tensor:
        column = (-1, *[1] * max(x.dim() - 2, 0))
        multiplier, shift, bias = (
            t.reshape(column) for t in (self.multiplier, self.shift, self.bias)
        )
        scaled = (x.long() * multiplier + (torch.ones_like(shift) << (shift - 1))) >> shift
        return (scaled + bias).to(torch.int32)

    def extra_repr(self) -> str:
        return f"channels={len(self.bias)}, bound={self.bound}"


class IntegerCall(nn.Module):
    """A function whose results are integers where its inputs are, by way of float64.

    Movements, maxima and sums; torch has not all of them for integers.
    """

    def __init__(self, name: str, call: Callable[..., Tensor]):
        super().__init__()
        self.name, self._call = name, call

    def forward(self, *inputs: Tensor) -> Tensor:
        return self._call(*(x.double() for x in inputs)).to(torch.int32)

    def extra_repr(self) -> str:
        return self.name


class IntegerNetwork(nn.Sequential):
    """Layers of integers in the order of computation.

    :param modules: by name.
    :param sources: the names of the layers whose outputs each layer takes, numbers standing for the
        network's inputs; default: the layer before it, the first one the only input.
    """

    def __init__(
        self,
        modules: OrderedDict[str, nn.Module],
        sources: Mapping[str, tuple[str | int, ...]] | None = None,
    ):
        super().__init__(modules)
        names: list[str | int] = [0, *modules]
        chain = {name: (before,) for before, name in zip(names, modules, strict=False)}
        self.sources = chain if sources is None else dict(sources)

    def forward(self, *inputs: Tensor) -> Tensor:
        return list(self.outputs(*inputs).values())[-1]

    def outputs(self, *inputs: Tensor) -> dict[str, Tensor]:
        """What each layer puts out, by name."""
        found: dict[str | int, Tensor] = dict(enumerate(inputs))
        for name, module in self._modules.items():
            found[name] = module(*(found[source] for source in self.sources[name]))
        return {name: found[name] for name in self._modules}


class Rescale(nn.Module):
    """The last integers times a scale, float64: distinct ones stay distinct, in the same order."""

    def __init__(self, scale: Fraction):
        super().__init__()
        self.scale = float(scale)

    def forward(self, x: Tensor) -> Tensor:
        return x.double() * self.scale

    def extra_repr(self) -> str:
        return f"scale={self.scale:g}"


def _multiplier(ratio: Fraction) -> tuple[int, int]:
    """The integer multiplier and the shift of a ratio, 0 or more."""
    if ratio == 0:
        return 0, 1
    exponent = _floor_log2(ratio)
    if exponent >= MULTIPLIER_BITS - 1:
        raise ValueError("has a step 2^30 or more times finer than the sums before it")
    shift = min(MULTIPLIER_BITS - 1 - exponent, MAX_SHIFT)
    return min(round(ratio * 2**shift), 2**MULTIPLIER_BITS - 1), shift


def _floor_log2(ratio: Fraction) -> int:
    """The largest n with 2^n <= ratio, exact."""
    n = ratio.numerator.bit_length() - ratio.denominator.bit_length()
    return n if Fraction(2) ** n <= ratio else n - 1
