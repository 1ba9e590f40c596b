"""`bitsback shrink`, from the command line to the file."""

import json

import bitsback
import numpy as np
import pytest
import torch
from bitsback.compression.file import inspect
from bitsback.training.errors import CheckFailed
from bitsback.workbench.cli import app, main
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

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
        (["--calibration", "nets.py"], "cannot be read as .npy or .npz"),
        (["--data", "digits", "--max-drop", "-1"], "--max-drop -1"),
        (["--data", "digits", "--max-drop", "nan"], "--max-drop nan"),
        (["--target-bytes", "0"], "--target-bytes 0: must be at least 1"),
        (["--likelihood", "poisson"], "--likelihood poisson: must be one of"),
        (["--threads", "0"], "--threads 0: must be within"),
        (["--seed", "-1"], "--seed -1: must be within"),
        (["--seed", "99999999999999999999"], "--seed 99999999999999999999: must be within"),
        (["--target", "c"], "--target: needs --data"),
    ],
)
def test_bad_input_is_one_line_and_leaves_no_file(trained, tmp_path, capsys, arguments, said):
    out = tmp_path / "net.bb"
    arguments = [str(trained / a) if a in ("x.npy", "nets.py") else a for a in arguments]
    assert run(trained, *arguments, "--out", str(out)) == 2
    error = capsys.readouterr().err
    assert said in error.replace("\n", " ") and error.count("\n") == 1
    assert not out.exists()


def test_outputs_never_replace_inputs(trained, tmp_path, capsys):
    """Trained weights may exist once: a wrong --out must not cost them."""
    weights, inputs, code = (trained / n for n in ("net.safetensors", "x.npy", "nets.py"))
    before = [path.read_bytes() for path in (weights, inputs, code)]
    for option, path in (
        ("--out", weights),
        ("--out", inputs),
        ("--out", code),
        ("--json", weights),
    ):
        rest = [] if option == "--out" else ["--out", str(tmp_path / "net.bb")]
        arguments = ["--calibration", str(inputs), "--max-drop", "5", option, str(path), *rest]
        assert run(trained, *arguments) == 2
        assert "is a file to read" in capsys.readouterr().err
    assert [path.read_bytes() for path in (weights, inputs, code)] == before


def test_the_file_and_its_json_are_two_files(trained, tmp_path, capsys):
    one = str(tmp_path / "one")
    assert run(trained, "--out", one, "--json", one) == 2
    assert "--json" in capsys.readouterr().err and not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "cannot be read"),
        (b"PK\x03\x04junk", "cannot be read"),
        (b"\x93NUMPY\x01\x00", "cannot be read"),
    ],
)
def test_a_damaged_calibration_file_is_one_line(trained, tmp_path, capsys, content, said):
    path = tmp_path / "x.npz"
    path.write_bytes(content)
    assert run(trained, "--calibration", str(path), "--out", str(tmp_path / "net.bb")) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert list(tmp_path.iterdir()) == [path]


def test_calibration_files_of_every_layout_are_the_same_inputs(trained, tmp_path):
    x = np.load(trained / "x.npy")
    np.savez(tmp_path / "x.npz", x)
    np.save(tmp_path / "big.npy", x.astype(">f4"))
    sizes = []
    for path in (trained / "x.npy", tmp_path / "x.npz", tmp_path / "big.npy"):
        out = tmp_path / "net.bb"
        arguments = ["--calibration", str(path), "--max-drop", "5", "--out", str(out)]
        assert run(trained, *arguments) == 0
        sizes.append(out.read_bytes())
    assert sizes[0] == sizes[1] == sizes[2]


def test_several_arrays_are_not_guessed_among(trained, tmp_path, capsys):
    np.savez(tmp_path / "x.npz", a=np.zeros(3), b=np.zeros(3))
    arguments = ["--calibration", str(tmp_path / "x.npz"), "--out", str(tmp_path / "net.bb")]
    assert run(trained, *arguments) == 2
    assert "has arrays a, b" in capsys.readouterr().err


def test_a_drop_that_cannot_be_met_is_a_failed_check(trained, tmp_path, capsys):
    """A squared error of exactly 0 is out of reach. Nothing is written."""
    out = tmp_path / "net.bb"
    arguments = ["--calibration", str(trained / "x.npy"), "--likelihood", "normal"]
    assert run(trained, *arguments, "--max-drop", "0", "--out", str(out)) == 1
    error = capsys.readouterr().err
    assert "no file is within max_drop=0" in error and error.count("\n") == 1
    assert not out.exists()


def test_without_data_it_says_what_that_means(trained, tmp_path):
    found = tmp_path / "net.json"
    network = ["--model", f"{trained / 'nets.py'}:build", "--weights"]
    network.append(str(trained / "net.safetensors"))
    outputs = ["--out", str(tmp_path / "net.bb"), "--json", str(found)]
    done = CliRunner().invoke(app, ["shrink", *network, *outputs])
    assert done.exit_code == 0 and "every weight is rounded by itself" in done.stderr
    assert json.loads(found.read_text())["judged"] is None


def test_real_labels_of_one_number(trained, tmp_path):
    """Labels (n,) and outputs (n, 1) are about the same number."""
    chance = np.random.RandomState(0)
    x = chance.randn(120, 64).astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=x[:, 0])
    torch.manual_seed(0)
    (tmp_path / "one.py").write_text("from torch import nn\ndef build(): return nn.Linear(64, 1)\n")
    save_file(nn.Linear(64, 1).state_dict(), tmp_path / "one.safetensors")
    network = ["--model", f"{tmp_path / 'one.py'}:build"]
    network += ["--weights", str(tmp_path / "one.safetensors")]
    data = ["--data", str(tmp_path / "d.npz"), "--likelihood", "normal", "--max-drop", "5"]
    outputs = ["--out", str(tmp_path / "one.bb"), "--json", "-"]
    done = CliRunner().invoke(app, ["shrink", *network, *data, *outputs])
    assert done.exit_code == 0, done.stderr
    assert json.loads(done.stdout)["judged"]["within_max_drop"]


def test_a_failure_at_the_end_leaves_no_file(trained, tmp_path, monkeypatch):
    """The test part is looked at before the file is written: written whole or not at all."""

    def failed(*arguments, **options):
        raise CheckFailed("outputs are not finite")

    monkeypatch.setattr("bitsback.training.evaluation.evaluate", failed)
    out = tmp_path / "net.bb"
    assert run(trained, "--data", "digits", "--max-drop", "5", "--out", str(out)) == 1
    assert not out.exists()


@pytest.mark.parametrize("coder", ["small", "fast", "huffman"])
def test_the_coder_is_an_option(trained, tmp_path, coder):
    out = tmp_path / "net.bb"
    assert run(trained, "--coder", coder, "--out", str(out)) == 0
    assert inspect(out.read_bytes())["coder"] == coder


def test_an_unknown_coder_is_one_line(trained, tmp_path, capsys):
    assert run(trained, "--coder", "zip", "--out", str(tmp_path / "net.bb")) == 2
    assert "--coder zip: must be one of small, fast, huffman" in capsys.readouterr().err
