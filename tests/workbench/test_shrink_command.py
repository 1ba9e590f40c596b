"""`bitsback shrink`, from the command line to the file."""

import json

import bitsback
import numpy as np
import pytest
import torch
from bitsback.workbench.cli import main
from safetensors.torch import save_file
from torch import nn

FACTORY = """
from torch import nn

def build(width=24):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, width), nn.ReLU(), nn.Linear(width, 10))
"""


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the factory and trained weights of a network for digits."""
    folder = tmp_path_factory.mktemp("shrink")
    (folder / "nets.py").write_text(FACTORY)
    data = bitsback.load_data("digits")
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(120):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(data.train.x), data.train.y).backward()
        optimizer.step()
    save_file(net.state_dict(), folder / "net.safetensors")
    np.save(folder / "x.npy", data.train.x[:200].numpy())
    return folder


def run(folder, *arguments: str) -> int:
    """The exit code of the command on the trained network."""
    network = [
        "--model",
        f"{folder / 'nets.py'}:build",
        "--weights",
        str(folder / "net.safetensors"),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["bitsback", "shrink", *network, *arguments, "--quiet"])
        try:
            main()
        except SystemExit as end:
            return int(end.code or 0)
    return 0


def test_a_data_set_calibrates_and_judges(trained, tmp_path):
    out, found = tmp_path / "net.bb", tmp_path / "net.json"
    arguments = ["--data", "digits", "--examples", "200", "--max-drop", "1"]
    assert run(trained, *arguments, "--out", str(out), "--json", str(found)) == 0
    result = json.loads(found.read_text())
    assert result["bytes"] == out.stat().st_size < result["float32_bytes"] / 4
    assert result["judged"]["within_max_drop"] and result["calibration"]["examples"] == 200
    data = bitsback.load_data("digits")
    wrong = (bitsback.load(out)(data.test.x).argmax(1) != data.test.y).float().mean().item()
    assert result["test_error"] == pytest.approx(100 * wrong)
    assert result["test_error_before"] < 15


def test_inputs_alone(trained, tmp_path):
    out, found = tmp_path / "net.bb", tmp_path / "net.json"
    inputs = ["--calibration", str(trained / "x.npy"), "--max-drop", "5"]
    assert run(trained, *inputs, "--out", str(out), "--json", str(found)) == 0
    result = json.loads(found.read_text())
    assert "disagreement" in result["judged"]["judged_by"] and "test_error" not in result


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--network", "resnet-8"], "--model, --network: give one of them"),
        (["--calibration", "x.npy", "--data", "digits"], "--calibration, --data: give one of them"),
        (["--data", "digits", "--examples", "0"], "--examples 0: must be at least 1"),
        (["--calibration", "nets.py"], "is no .npy file"),
        (["--data", "digits", "--max-drop", "-1"], "max_drop"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(trained, tmp_path, capsys, arguments, said):
    out = tmp_path / "net.bb"
    arguments = [str(trained / a) if a in ("x.npy", "nets.py") else a for a in arguments]
    assert run(trained, *arguments, "--out", str(out)) == 2
    error = capsys.readouterr().err
    assert said in error.replace("\n", " ") and "Traceback" not in error and not out.exists()
