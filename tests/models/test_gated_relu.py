"""Where each layer's inputs come from."""

from bitsback.models.gated_relu import inputs_of
from torch import nn


def names(net: nn.Module) -> tuple[str, ...]:
    return tuple(k for k, p in net.named_parameters() if p.dim() > 1)


def test_a_chain_of_layers():
    net = nn.Sequential(
        nn.Conv2d(1, 2, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(2, 2, 3), nn.MaxPool2d(2),
        nn.Sequential(nn.Flatten(), nn.Linear(8, 4), nn.ReLU()), nn.Linear(4, 4), nn.ReLU(),
        nn.Tanh(), nn.Linear(4, 2), nn.ReLU(),
    )  # fmt: skip
    assert inputs_of(net, names(net)) == {
        "0.weight": (None, None),
        "3.weight": ("1", "0.weight"),
        "5.1.weight": (None, "3.weight"),
        "6.weight": ("5.2", "5.1.weight"),
        "9.weight": (None, "6.weight"),
    }


def test_what_cannot_be_told_is_not():
    relu = nn.ReLU()
    net = nn.Sequential(nn.Linear(2, 2), relu, nn.Linear(2, 2), relu, nn.Linear(2, 2))
    assert set(inputs_of(net, names(net)).values()) == {(None, None)}

    class Own(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc = nn.Linear(2, 2)

        def forward(self, x):
            return x + self.fc(x)

    net = nn.Sequential(Own(), nn.ReLU(), nn.Linear(2, 2))
    assert set(inputs_of(net, names(net)).values()) == {(None, None)}
