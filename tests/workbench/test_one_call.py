"""`compress_network`: the command as one call."""

import bitsback
import numpy as np
import pytest
import torch
from bitsback.workbench.pipeline import run
from bitsback.workbench.settings import Settings, resolve
from rich.console import Console
from safetensors.torch import save_file
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

QUIET = Console(quiet=True)
X = np.random.RandomState(0).standard_normal((240, 4)).astype(np.float32)
Y = (X[:, 0] > 0).astype(np.int64) + (X[:, 1] > 0)
NET = "from torch import nn\n\n\ndef build():\n    return nn.Sequential(\n"
NET += "        nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3)\n    )\n"
SHORT = {"epochs": 3, "threshold": 2.0, "clusters": 4, "effort": 1}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 12), nn.ReLU(), nn.Linear(12, 3))


def parts() -> tuple:
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    return (x[:180], y[:180]), (x[180:], y[180:])


@pytest.mark.parametrize("method", ["log-uniform", "rate"])
def test_it_is_what_the_command_does(method, tmp_path):
    """The same network, data and defaults give the same bytes."""
    (x, y), (x_val, y_val) = parts()
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y, x_val=x_val, y_val=y_val)
    (tmp_path / "nets.py").write_text(NET)
    save_file(net().state_dict(), tmp_path / "w.safetensors")
    settings = Settings.of(
        data=f"{tmp_path}/d.npz", model=f"{tmp_path}/nets.py:build", method=method,
        weights=tmp_path / "w.safetensors", out=tmp_path / "net.bb", **SHORT,
    )  # fmt: skip
    whole = np.load(tmp_path / "d.npz")
    np.savez(tmp_path / "d.npz", **whole, x_test=x_val, y_test=y_val)
    run(resolve(settings), QUIET)
    result = bitsback.compress_network(net(), *parts(), method, console=QUIET, **SHORT)
    assert result.data == (tmp_path / "net.bb").read_bytes()


def test_datasets_and_loaders(tmp_path):
    given, (train, validation) = net(), parts()
    before = [p.clone() for p in given.parameters()]
    loaders = DataLoader(TensorDataset(*train), 16, shuffle=True), TensorDataset(*validation)
    one = bitsback.compress_network(given, *loaders, console=QUIET, **SHORT)
    other = bitsback.compress_network(given, train, validation, console=QUIET, **SHORT)
    assert one.data == other.data
    assert all(torch.equal(a, b) for a, b in zip(before, given.parameters(), strict=True))


class Two(nn.Module):
    """Two inputs, by position or by name."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.left, self.right = nn.Linear(1, 8), nn.Linear(3, 8)
        self.head = nn.Linear(16, 3)

    def forward(self, left, right):
        return self.head(torch.cat([self.left(left), self.right(right)], 1).relu())


def test_several_inputs_by_position_and_by_name():
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    by_position = (x[:, :1], x[:, 1:])
    by_name = dict(zip(("left", "right"), by_position, strict=True))
    found = [
        bitsback.compress_network(Two(), (inputs, y), console=QUIET, **SHORT)
        for inputs in (by_position, by_name)
    ]
    reports = [result.report for result in found]
    assert [report["untraced"] for report in reports] == [None, None]
    assert reports[0]["units"] == reports[1]["units"]
    assert reports[0]["validation"] == reports[1]["validation"]  # files differ by the names


def test_several_inputs_that_do_not_fit():
    x, y = torch.from_numpy(X), torch.from_numpy(Y)
    with pytest.raises(ValueError, match=r"training inputs must be .*first axes of \[240, 5\]"):
        bitsback.compress_network(Two(), ((x, x[:5]), y))
    with pytest.raises(ValueError, match=r"does not take the 4, 4 inputs of the data"):
        bitsback.compress_network(Two(), ((x, x), y))
    with pytest.raises(ValueError, match=r"inputs must be a tensor, or a tuple or dict.*not a str"):
        bitsback.compress_network(Two(), ("x", y))
    with pytest.raises(ValueError, match=r"examples have shape left 4, those of"):
        bitsback.compress_network(Two(), ({"left": x[:, 1:]}, y), ({"left": x}, y))


def test_a_validation_part_is_split_off_and_labels_may_be_real():
    x, y = torch.from_numpy(X), torch.from_numpy(X[:, 0])
    regression = nn.Sequential(nn.Linear(4, 6), nn.Tanh(), nn.Linear(6, 1))
    result = bitsback.compress_network(
        regression, (x, y), likelihood="normal", trained=False, pretrain_epochs=2, console=QUIET,
        **SHORT,
    )  # fmt: skip
    assert result.report["validation"]["examples"] == 40
    assert result.network(x).shape == (240, 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": "magic"}, "unknown method 'magic'; known: log-uniform"),
        ({"beta": 0.5}, "--beta: only --method rate has it, not log-uniform"),
        ({"epoch": 5}, "--epoch: no method has such an option"),
        ({"epochs": 0}, "--epochs 0: must be at least 1"),
        ({"out": "a.bb"}, "out: compress_network does not take this option"),
        (
            {"train": (torch.zeros(9, 3), torch.arange(9) % 3)},
            "network does not take the 3 inp",
        ),
        ({"train": (torch.zeros(9, 4), torch.arange(9) % 4)}, r"class|has 4 classes"),
        ({"train": 3}, "training data: is a int; it must be a Dataset"),
        ({"likelihood": "poisson"}, "--likelihood poisson: must be one of categorical"),
    ],
)
def test_what_makes_no_sense_is_said_before_training(options, message):
    given = {"train": parts()[0], "console": QUIET, **options}
    with pytest.raises(ValueError, match=message):
        bitsback.compress_network(net(), given.pop("train"), **given)
