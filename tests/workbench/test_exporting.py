"""Files as programs of torch and as plain tensors: the same outputs, for batches of any size."""

import json

import pytest
import torch
from bitsback.compression.compress import compress
from bitsback.methods import METHODS
from bitsback.workbench.cli import app
from safetensors.torch import load_file
from torch import nn
from typer.testing import CliRunner

from ..compression.compiler import needs_compiler

X = torch.linspace(-1, 1, 7 * 1 * 6 * 6).reshape(7, 1, 6, 6)


class Residual(nn.Module):
    """No Sequential."""

    def __init__(self):
        super().__init__()
        self.a, self.b = nn.Conv2d(1, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1)
        self.fc = nn.Linear(4, 3)

    def forward(self, x):
        x = self.a(x).relu()
        return self.fc((x + self.b(x)).relu().mean((2, 3)))


@pytest.fixture(scope="module")
def result():
    torch.manual_seed(0)
    net = Residual()
    model, guide = METHODS["deterministic"].pair(net, 7)
    return compress(
        model.trained(), guide.posterior(), validation=(X, torch.arange(7) % 3),
        threshold=0.0, clusters=16, prune="none", effort=1,
    )  # fmt: skip


def exported(result, folder, *options, code=0):
    result.save(folder / "net.bb")
    run = CliRunner().invoke(app, ["export", f"{folder}/net.bb", *options, "--json", "-"])
    assert run.exit_code == code, run.output
    return json.loads(run.stdout) if code == 0 else run.stderr


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_program_of_torch(result, tmp_path):
    found = exported(result, tmp_path, "--to", "torch", "--out", f"{tmp_path}/net.pt2")
    program = torch.export.load(tmp_path / "net.pt2").module()
    for batch in (X, X[:1]):
        torch.testing.assert_close(program(batch), result.network(batch))
    assert found["bytes"] == (tmp_path / "net.pt2").stat().st_size


def test_plain_tensors(result, tmp_path):
    exported(result, tmp_path, "--to", "safetensors", "--out", f"{tmp_path}/net.safetensors")
    tensors, state = load_file(tmp_path / "net.safetensors"), result.network.state_dict()
    assert tensors.keys() == state.keys()
    assert all(torch.equal(tensors[name], value) for name, value in state.items())


@needs_compiler
def test_a_header_for_c(result, tmp_path):
    found = exported(result, tmp_path, "--to", "c", "--out", f"{tmp_path}/net.h")
    text = (tmp_path / "net.h").read_text()
    assert found["bytes"] == len(text) and '{"a.weight", ' in text and "int bb_decode(" in text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--to", "tflite"), "--to tflite: must be one of onnx, torch, safetensors, c"),
        (("--to", "torch", "--levels", "16"), "--levels: only --to onnx has it"),
    ],
)
def test_bad_options(options, message, result, tmp_path):
    line = exported(result, tmp_path, *options, "--out", f"{tmp_path}/a", code=2)
    assert line == f"error: {message}\n" and not (tmp_path / "a").exists()
