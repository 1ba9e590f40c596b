"""ReLUs whose outputs are quantised while a network trains, and which of them are."""

from collections.abc import Callable

from torch import Tensor, nn

_WEIGHTED = (nn.Linear, nn.Conv1d, nn.Conv2d)
# What a quantised feature map goes through and stays on its grid.
_PASSING = (
    nn.MaxPool1d, nn.MaxPool2d, nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.Flatten, nn.Identity,
)  # fmt: skip


class GatedReLU(nn.Module):
    """A ReLU; where `quantiser` is given, that in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.quantiser: Callable[[Tensor], Tensor] | None = None

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() if self.quantiser is None else self.quantiser(x)


def inputs_of(net: nn.Module, names: tuple[str, ...]) -> dict[str, tuple[str | None, str | None]]:
    """Where each weight's inputs come from: the ReLU, and the weight whose units they are.

    The ReLU is None where the inputs are not on its grid, by something else in between; the weight
    where its units may not be told (and for the network's own inputs). Known for an nn.Sequential,
    nested or not, whose ReLUs are modules used once; for other networks all are None.

    :param names: state_dict names of the weights.
    """
    result: dict[str, tuple[str | None, str | None]] = dict.fromkeys(names, (None, None))
    relu = before = None
    seen: set[int] = set()
    for path, module in leaves_of(net):
        name = f"{path}.weight" if path else "weight"
        if isinstance(module, _WEIGHTED):
            if name in result:
                result[name] = (relu, before)
            relu, before = None, (name if name in result else None)
        elif type(module) is nn.ReLU:
            relu = None if id(module) in seen else path
        elif type(module) not in _PASSING:
            relu = None
        if id(module) in seen:
            return dict.fromkeys(names, (None, None))
        seen.add(id(module))
    return result


def leaves_of(module: nn.Module, path: str = "") -> list[tuple[str, nn.Module]]:
    """Layers in the order of computation; none unless all is nn.Sequential."""
    if not module._modules:
        return [(path, module)]
    if type(module).forward is not nn.Sequential.forward:
        return []
    found = []
    for name, child in module._modules.items():
        leaves = leaves_of(child, f"{path}.{name}" if path else name)
        if not leaves:
            return []
        found += leaves
    return found
