"""A dry run says what would be done, and does nothing."""

import json

import pytest
from bitsback.workbench.cli import app
from typer.testing import CliRunner


def planned(*options: str) -> dict:
    result = CliRunner().invoke(app, ["compress", "--dry-run", "--json", "-", *options])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def test_of_the_reference_network(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    found = planned()
    assert list(tmp_path.iterdir()) == []
    assert found["parameters"] == 12_060 and found["float32_bytes"] == 4 * 12_060
    assert list(found["prior"]) == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert found["epochs"] == {"pretrain": 40, "train": 300} and found["updates_an_epoch"] == 18
    assert [row["units"] for row in found["outputs"]] == [100, 50, 10]
    assert [row["obstacle"] is None for row in found["outputs"]] == [True, True, False]
    seconds = found["seconds_an_update"] * 18 * 340
    assert 0 < found["training_seconds"] == pytest.approx(seconds)
    assert found["memory"]["data"] == 4 * 64 * 1797 + 8 * 1797


def test_phases_and_options_are_those_of_the_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options = ("--method", "log-uniform-mixture", "--epochs", "10", "--pretrain-epochs", "0")
    assert planned(*options)["epochs"] == {"start": 7, "train": 3}


def test_a_network_that_cannot_be_traced(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\n\nclass Mine(nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n"
        "        self.fc = nn.Linear(64, 10)\n\n"
        "    def forward(self, x):\n        x = x.flatten(1)\n"
        "        return self.fc(x if x.sum() > 0 else -x)\n"
    )
    found = planned("--model", "nets.py:Mine")
    assert found["untraced"] and found["outputs"] == [] and found["parameters"] == 650
