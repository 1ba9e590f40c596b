"""`to_integer`: a quantised network as one that computes in integers, from inputs to logits.

inputs      codes of at most 8 bits (`IntegerInput`)
weights     integers on the step that the tensor's values have in common
sums        int32; a bound is proven for each layer from its codes
bias        an integer on the accumulator's scale
ReLU        accumulator to code by an integer multiplier and a shift (`Requantise`)
pooling, flattening, selection    on the codes, unchanged
logits      int32 accumulators times one float scale
"""

import copy
from collections import OrderedDict
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor, nn

from .chain import leaves_of
from .common_step import common_step
from .integer_layers import (
    MAX_ACCUMULATOR,
    MAX_FRACTION,
    IntegerAccumulator,
    IntegerInput,
    IntegerMaxPool,
    Requantise,
    Rescale,
)
from .quantised_relu import QuantisedReLU
from .select import Select

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
_UNCHANGED = (nn.Flatten, nn.Identity, Select)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.AlphaDropout)


class _Converter:
    """The state of a walk through the layers: what the numbers there mean.

    :param scale: the value of 1, exact.
    :param reach: the largest magnitude of a code; None where the numbers are accumulators.
    """

    def __init__(self, inputs: IntegerInput):
        self.scale = inputs.step
        self.reach: int | None = max(-inputs.low, inputs.high)

    def layer(self, layer: nn.Module) -> nn.Module:
        """The integer layer of a layer, and on to what it puts out.

        :raises ValueError: what is wrong with the layer, as the end of a sentence about it.
        """
        if type(layer) in _WEIGHTED:
            return self._accumulator(layer)
        if type(layer) is QuantisedReLU:
            step, most = Fraction(layer.step), 2**layer.bits - 1
            made = Requantise(self.scale / step, most)
            self.scale, self.reach = step, most
            return made
        if type(layer) in (nn.MaxPool1d, nn.MaxPool2d) and not layer.return_indices:
            return IntegerMaxPool(copy.deepcopy(layer))
        if type(layer) in _UNCHANGED:
            return copy.deepcopy(layer).cpu()
        if type(layer) in _DROPOUTS:
            return nn.Identity()
        raise ValueError(
            f"is a {type(layer).__name__}, which has no integer form; there are those of Linear, "
            "Conv1d, Conv2d, QuantisedReLU, MaxPool and Flatten"
        )

    def _accumulator(self, layer: nn.Module) -> IntegerAccumulator:
        if self.reach is None:
            raise ValueError(
                "takes sums that nothing has quantised; put a QuantisedReLU before it (method "
                "bayesian-bits does where a ReLU stands there)"
            )
        if getattr(layer, "padding_mode", "zeros") != "zeros":
            raise ValueError(f"pads by {layer.padding_mode!r}; only zeros have an integer form")
        try:
            codes, step = common_step(layer.weight.detach().cpu().double().numpy())
        except ValueError as error:
            raise ValueError(
                f"has weights without a uniform grid ({error}); compress with quantiser='grid'"
            ) from None
        scale = Fraction(step) * self.scale
        bias = [Fraction(0)] * len(codes)
        if layer.bias is not None:
            if not layer.bias.isfinite().all():
                raise ValueError("has biases that are not finite")
            bias = [Fraction(value) for value in layer.bias.tolist()]
        sums = self.reach * np.abs(codes).reshape(len(codes), -1).sum(1)
        fraction, bound = _fraction(sums, bias, scale)
        self.scale, self.reach = scale / 2**fraction, None
        rounded = torch.tensor([round(value / self.scale) for value in bias], dtype=torch.int32)
        weight = torch.from_numpy(codes).to(torch.int32)
        return IntegerAccumulator(layer, weight, rounded, fraction, bound)


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


def to_integer(network: nn.Module, inputs: IntegerInput | None = None) -> nn.Sequential:
    """A network that computes what `network` does in integers, from floats in to floats out.

    Its numbers are a function of the network's alone: equal networks give equal ones. The modules
    have the names of those that they replace, behind `inputs` and before `logits`. Rounding is of
    inputs (halves to even), biases (to at most half a unit of the accumulator, halves to even) and
    codes (see `Requantise`).

    :param network: an nn.Sequential, nested or not, of Linear, Conv1d, Conv2d, QuantisedReLU,
        MaxPool1d, MaxPool2d, Flatten, Select, Identity and Dropout, as `bitsback.load` gives it;
        weights on a uniform grid for each tensor, every layer of weights but the first behind a
        QuantisedReLU.
    :param inputs: how inputs become codes; default: those in [0, 1] become 0..255, which for
        images of bytes over 255 loses nothing. Inputs on another grid need their own: inputs that
        are multiples of 1/16 are `IntegerInput(Fraction(1, 16), high=16)`.
    :returns: in eval mode, on the CPU. Logits are float64.
    :raises ValueError: the layer that has no integer form, by name, and why.
    """
    inputs = IntegerInput() if inputs is None else inputs
    walk, made = _Converter(inputs), OrderedDict[str, nn.Module](inputs=inputs)
    for path, layer in leaves_of(network):
        name = path.replace(".", "-") or "layer"
        if name in made or name == "logits":
            raise ValueError(f"layer {path!r} needs another name: {name!r} is taken")
        try:
            made[name] = walk.layer(layer)
        except ValueError as error:
            raise ValueError(f"layer {path!r} {error}") from None
    made["logits"] = Rescale(walk.scale)
    return nn.Sequential(made).eval()


def accumulators(network: nn.Module) -> dict[str, IntegerAccumulator]:
    """The layers of sums of an integer network, by name."""
    return {n: m for n, m in network.named_modules() if isinstance(m, IntegerAccumulator)}


def integer_tensors(network: nn.Module) -> dict[str, Tensor | int]:
    """All integers of an integer network by name, multipliers and shifts included."""
    found: dict[str, Tensor | int] = dict(network.state_dict())
    for name, module in network.named_modules():
        for key in ("multiplier", "shift", "most", "fraction", "bound"):
            if hasattr(module, key):
                found[f"{name}.{key}"] = getattr(module, key)
    return found
