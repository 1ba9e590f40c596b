"""The integer network of a run: from the file as before it, its figures, and onnxruntime's."""

import json
from dataclasses import replace

import bitsback
import numpy as np
import onnx
import pytest
import torch
from bitsback.compression.integer import accumulators, integer_tensors
from bitsback.methods.integers import disagreement, input_grid, integer_figures
from bitsback.training.evaluation import predict
from bitsback.workbench.data import load_data
from bitsback.workbench.pipeline import run
from bitsback.workbench.settings import Settings
from rich.console import Console
from torch import nn

from ..compression.integers import on_grid
from ..compression.runtime import session
from ..workbench.test_cli import call, fails

QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """File and figures of a short run of bayesian-bits on digits."""
    out = tmp_path_factory.mktemp("integers") / "net.bb"
    settings = Settings.of(
        method="bayesian-bits", network="digits-mlp", epochs=2, pretrain_epochs=2, out=out,
        compile="no",
    )  # fmt: skip
    return out, run(settings, QUIET)


@pytest.fixture(scope="module")
def digits():
    return load_data("digits")


def test_figures_are_those_of_the_integer_network(done, digits):
    out, figures = done
    found = json.loads(json.dumps(figures["integer"]))
    net = bitsback.load(out)
    whole = bitsback.to_integer(net, input_grid(digits))
    logits = predict(whole, digits.test.x)
    wrong = 100 * (logits.argmax(1) != digits.test.y).double().mean().item()
    assert found["test_error"] == pytest.approx(wrong) and found["obstacle"] is None
    differ = (logits.argmax(1) != predict(net, digits.test.x).argmax(1)).sum().item()
    assert found["predictions_differ"] == differ and found["predictions"] == 300
    units = sum(len(net.get_parameter(f"{name}.weight")) for name in ("fc1", "fc2"))
    assert found["codes"] == 300 * units
    assert found["codes_differ"] < 0.01 * found["codes"] and found["codes_differ_by"] <= 255
    assert found["input_error"] == 0
    assert found["layers"]["fc2"]["bound"] == accumulators(whole)["fc2"].bound < 2**31


def test_the_decoded_file_has_the_same_integers(digits):
    """As the archive before it was bytes, and, of weights, as the guide has chosen them."""
    torch.manual_seed(0)
    net = bitsback.network("digits-mlp")
    x, y = digits.validation.x, digits.validation.y
    model = bitsback.models.BayesianBits(net, len(digits.train))
    guide = bitsback.guides.GateChain(model)
    model.measure(digits.train.x)
    posterior = guide.posterior()
    result = bitsback.compress(
        model.trained(), posterior, validation=(x, y), quantiser="grid", prune="none",
        threshold=0.0, margin_nll=1e9, margin_error=1e9,
    )  # fmt: skip
    before = bitsback.compression.file.network(result.archive)
    after = bitsback.compression.file.network(bitsback.compression.file.decode(result.data))
    a, b = (integer_tensors(bitsback.to_integer(n, input_grid(digits))) for n in (before, after))
    assert a.keys() == b.keys() >= {"fc1.weight", "fc3.bias"}
    assert sum(name.endswith(".multiplier") for name in a) == 2
    assert all(torch.equal(torch.as_tensor(a[k]), torch.as_tensor(b[k])) for k in a)
    wholes = [bitsback.to_integer(n, input_grid(digits)) for n in (before, after)]
    assert torch.equal(*(whole(x) for whole in wholes))
    for name, weight in posterior.weights.items():
        chosen = (weight.loc / weight.grid.step).round().long()
        assert torch.equal(b[name].long(), chosen), name


def test_disagreement_is_counted(digits):
    """One bias moved by a code of the ReLU behind it, in one of the two."""
    torch.manual_seed(0)
    x = digits.test.x[:50]
    net = on_grid(bitsback.network("digits-mlp"), 8, x)
    whole = bitsback.to_integer(net, input_grid(digits))
    same = disagreement(net, whole, x)
    with torch.no_grad():
        net.fc2.bias[3] += net.relu2.step
    moved = disagreement(net, whole, x)
    assert moved["codes"] == same["codes"] == 50 * 150 and moved["codes_differ_by"] == 1
    open_ = (whole[:6](x)[:, 3] > 0).sum().item()
    assert moved["codes_differ"] >= open_ > 0
    net.fc3.bias.data[0] = 1e6
    assert disagreement(net, whole, x)["predictions_differ"] > 20


def test_a_network_without_an_integer_form_says_why(digits):
    found = integer_figures(bitsback.network("digits-mlp").eval(), digits)
    assert found.keys() == {"obstacle"} and "'fc1' has weights without" in found["obstacle"]


def test_onnxruntime_predicts_as_the_network_does(done, digits, tmp_path):
    """The command's model on all test images: the very predictions of the float pass."""
    out, _ = done
    options = ("--levels", "16", "--shape", "1,8,8", "--json", "-")
    said = json.loads(call("export", out, "--out", tmp_path / "net.onnx", *options).stdout)
    assert said["integer_weights"] == ["fc1.weight", "fc2.weight", "fc3.weight"]
    assert said["float_weights"] == [] and said["bytes"] == (tmp_path / "net.onnx").stat().st_size
    model = onnx.load(tmp_path / "net.onnx")
    assert [n.op_type for n in model.graph.node].count("QuantizeLinear") == 3  # inputs, two ReLUs
    found = session(model).run(None, {"x": digits.test.x.numpy()})[0]
    expected = predict(bitsback.load(out), digits.test.x).numpy()
    assert np.array_equal(found.argmax(1), expected.argmax(1))
    assert np.abs(found - expected).max() < 0.02 * np.abs(expected).max()


@pytest.mark.parametrize(
    "options, match",
    [
        (("--levels", "256"), "--levels 256: must be within 1..255"),
        (("--shape", "1,x"), "--shape 1,x: must be whole numbers"),
        (("--out", "no/a.onnx"), "--out no/a.onnx: there is no folder no"),
    ],
)
def test_bad_options(options, match, done, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    line = fails("export", done[0], "--out", "a.onnx", *options)
    assert line.startswith(f"error: {match}") and not list(tmp_path.iterdir())


def test_levels_of_the_data_sets(digits):
    """Every grey level is a code, and nothing is lost."""
    assert input_grid(digits).error(digits.train.x) == 0 and input_grid(digits).high == 16
    bytes_ = replace(digits, levels=255)
    assert input_grid(bytes_).step * 255 == 1 and isinstance(input_grid(bytes_), nn.Module)
