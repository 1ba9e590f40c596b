"""`bitsback pack` and `unpack`: default names, JSON, and one line for what is wrong."""

import json

import pytest
import safetensors.torch
import torch
from bitsback.compression.packed import packing
from bitsback.workbench.cli import app
from typer.testing import CliRunner


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tensors = {"fc.weight": torch.randn(40, 50), "fc.bias": torch.randn(40)}
    safetensors.torch.save_file(tensors, "net.safetensors")
    return lambda *options: CliRunner().invoke(app, [*options])


def test_there_and_back(run, tmp_path):
    assert run("pack", "net.safetensors").exit_code == 0
    before = (tmp_path / "net.safetensors").read_bytes()
    assert run("unpack", "net.bb", "--out", "again.safetensors").exit_code == 0
    assert (tmp_path / "again.safetensors").read_bytes() == before
    assert run("unpack", "net.bb", "--out", "again.pt").exit_code == 0
    assert set(torch.load("again.pt", weights_only=True)) == {"fc.weight", "fc.bias"}


def test_json_says_sizes_and_bounds(run, tmp_path):
    done = run("pack", "net.safetensors", "--max-error", "0.2", "--json", "-", "--quiet")
    result = json.loads(done.stdout)
    assert result["bytes"] == (tmp_path / "net.bb").stat().st_size < result["tensor_bytes"] == 8160
    assert result["bounds"] == {"fc.weight": 0.2, "fc.bias": 0.2}


def test_inspect_knows_packed_files(run):
    run("pack", "net.safetensors", "--max-error", "0.2")
    done = run("inspect", "net.bb")
    assert done.exit_code == 0 and "integers" in done.stdout and "fc.weight" in done.stdout


@pytest.mark.parametrize(("coder", "version"), [("small", 5), ("fast", 10)])
def test_the_coder_is_an_option(run, tmp_path, coder, version):
    done = run("pack", "net.safetensors", "--max-error", "0.2", "--coder", coder)
    assert done.exit_code == 0 and (tmp_path / "net.bb").read_bytes()[3] == version
    assert coder in run("inspect", "net.bb").stdout
    assert run("unpack", "net.bb", "--out", "again.safetensors").exit_code == 0


def test_an_original_is_not_written_over_unasked(run, tmp_path):
    before = (tmp_path / "net.safetensors").read_bytes()
    run("pack", "net.safetensors", "--max-error", "0.2")
    done = run("unpack", "net.bb")
    assert done.exit_code == 2 and "--out" in done.stderr
    assert (tmp_path / "net.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        (["pack", "none.safetensors"], 2, "none.safetensors"),
        (["pack", "net.safetensors", "--out", "net.safetensors"], 2, "is the file to read"),
        (["pack", "net.safetensors", "--out", "no/folder.bb"], 2, "--out"),
        (["pack", "net.safetensors", "--json", "no/a.json"], 2, "--json"),
        (["pack", "net.safetensors", "--max-error", "7"], 2, "above 0"),
        (["pack", "net.safetensors", "--coder", "huffman"], 2, "must be one of small, fast"),
        (["unpack", "net.safetensors", "--out", "a.pt"], 3, "not a bitsback file"),
    ],
)
def test_errors_are_one_line(run, tmp_path, options, code, said):
    done = run(*options)
    assert (done.exit_code, done.stderr.count("\n")) == (code, 1)
    assert said in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["net.safetensors"]


def test_an_interrupt_does_not_speak_of_checkpoints(run, tmp_path, monkeypatch):
    def interrupted(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(packing, "pack", interrupted)
    done = run("pack", "net.safetensors")
    assert (done.exit_code, done.stderr) == (130, "interrupted; nothing was written\n")
