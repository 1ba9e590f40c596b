"""Small networks, data and pairs for the tests of training."""

from collections import OrderedDict

import torch
from bitsback.methods import METHODS
from torch import Tensor, nn

EXAMPLES, INPUTS, CLASSES = 40, 6, 3


def data(count: int = EXAMPLES) -> tuple[Tensor, Tensor]:
    """Inputs `(count, 6)` and labels that depend on them."""
    generator = torch.Generator().manual_seed(11)
    x = torch.randn(count, INPUTS, generator=generator)
    return x, (x[:, 0] + 0.5 * x[:, 1]).gt(0).long() + x[:, 2].gt(1).long()


def plain() -> nn.Sequential:
    torch.manual_seed(3)
    layers = OrderedDict(fc1=nn.Linear(INPUTS, 8), relu1=nn.ReLU(), fc2=nn.Linear(8, CLASSES))
    return nn.Sequential(layers)


def with_noise_and_buffers() -> nn.Sequential:
    """BatchNorm has a state of its own, and Dropout draws from torch's generator."""
    torch.manual_seed(3)
    return nn.Sequential(
        OrderedDict(
            fc1=nn.Linear(INPUTS, 8),
            norm1=nn.BatchNorm1d(8),
            dropout1=nn.Dropout(0.3),
            fc2=nn.Linear(8, CLASSES),
        )
    )


def pair(net: nn.Module | None = None, method: str = "log-uniform") -> tuple[nn.Module, nn.Module]:
    """Model and guide, from the same start at every call."""
    return METHODS[method].pair(plain() if net is None else net, EXAMPLES, example=data()[0][:2])


def state(model: nn.Module, guide: nn.Module) -> dict[str, Tensor]:
    """A copy of all that training changes."""
    found = {f"model.{k}": v for k, v in model.state_dict().items()}
    found |= {f"guide.{k}": v for k, v in guide.state_dict().items()}
    return {key: value.clone() for key, value in found.items()}


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    """Equal bit for bit."""
    return a.keys() == b.keys() and all(a[k].numpy().tobytes() == b[k].numpy().tobytes() for k in a)
