"""The living part of a network as functions from layer to layer.

In a chain (`models.living.chain_of`) what lies between two layers treats each unit by itself. So
the effect of one weight goes through one unit, and is added to what the next layer had.
"""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import pad

from .gated_relu import leaves_of
from .living import living_inputs


class LivingLayer:
    """A Linear or Conv layer between living units, and what follows it up to the next one.

    :param module: the layer.
    :param rows: which of its units live, bool.
    :param columns: which of its inputs come from living units, bool.
    """

    def __init__(self, module: nn.Module, rows: Tensor, columns: Tensor):
        self._module, self.between = module, []
        self._places = rows.nonzero(), columns.nonzero()[:, 0]
        self.weight = self.part(module.weight.detach())
        self._bias = None if module.bias is None else module.bias.detach()[rows]

    def part(self, values: Tensor) -> Tensor:
        """The entries between living units of a tensor of the whole weight's shape, a copy."""
        return values[self._places]

    def put(self, values: Tensor, part: Tensor) -> None:
        """Put such entries back in their places."""
        values[self._places] = part

    def sums(self, h: Tensor, weight: Tensor | None = None) -> Tensor:
        """Outputs before what follows, `(batch, units, ...)`; `weight` in place of its own."""
        return self._call(h, self.weight if weight is None else weight, self._bias)

    def sums_of_unit(self, h: Tensor, unit: int) -> Tensor:
        """Those of one unit, `(batch, 1, ...)`."""
        bias = None if self._bias is None else self._bias[unit : unit + 1]
        return self._call(h, self.weight[unit : unit + 1], bias)

    def from_one_weight(self, h: Tensor, at: int) -> Tensor:
        """What a unit gets from a weight of 1 in place `at` of its own, `(batch, 1, ...)`.

        A part of the inputs as they are, which takes no convolution.
        """
        size, module = self.weight.shape[2:], self._module
        taps = size.numel()
        h = h[:, at // taps : at // taps + 1]
        if not size:
            return h
        if any(module._reversed_padding_repeated_twice):
            mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
            h = pad(h, module._reversed_padding_repeated_twice, mode)
        offsets = torch.unravel_index(torch.tensor(at % taps), size)
        part = [slice(None), slice(None)]
        for axis, offset in enumerate(offsets):
            dilation, stride = module.dilation[axis], module.stride[axis]
            first = int(offset) * dilation
            behind = h.shape[axis + 2] - dilation * (size[axis] - 1) + first
            part.append(slice(first, behind, stride))
        return h[tuple(part)]

    def from_unit(self, h: Tensor, unit: int, units: int) -> Tensor:
        """What all sums get from one of the `units` units before, whose outputs are h."""
        share = self.weight.shape[1] // units
        return self._without_bias(h, self.weight[:, unit * share : (unit + 1) * share])

    def after(self, sums: Tensor) -> Tensor:
        """The next layer's inputs; of any units."""
        for module in self.between:
            sums = module(sums)
        return sums

    def _without_bias(self, h: Tensor, weight: Tensor) -> Tensor:
        return self._call(h, weight, None if self._bias is None else h.new_zeros(len(weight)))

    def _call(self, h: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        values = {"weight": weight} if bias is None else {"weight": weight, "bias": bias}
        return functional_call(self._module, values, h)


def through(layers: Iterable[LivingLayer], h: Tensor) -> Tensor:
    """What comes out behind all the layers."""
    for layer in layers:
        h = layer.after(layer.sums(h))
    return h


@torch.no_grad()
def living_layers(
    model: nn.Module, weights: dict[str, Tensor], x: Tensor
) -> tuple[Tensor, dict[str, LivingLayer]]:
    """The first layer's inputs, and the layers in their order by the names of their weights.

    :param model: a `models.Rate` whose network is a chain.
    :param weights: of the whole network, by name.
    :param x: the network's inputs.
    """
    net = model.trained().eval().to(next(iter(weights.values())))
    net.load_state_dict(weights, strict=False)
    links = {link.module: link.weight for link in model.chain}
    alive, found, last = model.alive(), {}, None
    for path, module in leaves_of(net):
        if hasattr(module, "inplace"):
            module.inplace = False  # sums are looked at again after what follows them
        if path in links:
            name, columns = links[path], module.weight.shape[1]
            read = living_inputs(model.chain, name, alive, columns)
            read = alive[name].new_ones(columns) if read is None else read
            last = found[name] = LivingLayer(module, alive[name], read)
        elif last is None:
            x = module(x)
        else:
            last.between.append(module)
    return x, found
