"""The main job in this process: threads, figures, the check of the file, the progress lines."""

import io
import math
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from bitsback.compression.file import load
from bitsback.guides import MeanFieldNormal
from bitsback.methods import METHODS
from bitsback.models import Gaussian
from bitsback.training.checkpoint import read
from bitsback.training.errors import CheckFailed
from bitsback.training.evaluation import evaluate
from bitsback.training.state_dict import load_weights
from bitsback.workbench import phases, pipeline
from bitsback.workbench.data import load_data
from bitsback.workbench.fitting import like_outputs
from bitsback.workbench.own_data import Source, read_data
from bitsback.workbench.pipeline import run
from bitsback.workbench.report import print_compressed
from bitsback.workbench.settings import Settings, resolve
from pyro.distributions import Normal
from rich.console import Console
from safetensors.torch import save_file
from torch.distributions.kl import kl_divergence

QUIET = Console(quiet=True)


def settings(folder: Path, **changes) -> Settings:
    """A run of seconds: few epochs, a fixed threshold, codebooks of a fixed size."""
    short = {"epochs": 2, "pretrain_epochs": 2, "threshold": 2.0, "clusters": 8, "threads": 1}
    return resolve(Settings.of(**{**short, "out": folder / "net.bb", **changes}))


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """The figures of each method; checkpoints are beside the file."""
    done = {}

    def of(method: str) -> dict:
        if method not in done:
            folder = tmp_path_factory.mktemp(method)
            done[method] = run(settings(folder, method=method, resume=folder), QUIET)
        return done[method]

    return of


def checkpoint(found: dict, phase: str) -> dict:
    path = Path(found["file"]).with_name(f"{phase}.checkpoint")
    return read(path)


FAST = ("log-uniform", "gaussian", "deterministic")
ALL = [pytest.param(m, marks=() if m in FAST else pytest.mark.slow) for m in METHODS]


@pytest.mark.parametrize("method", ALL)
def test_figures(method, figures):
    found = figures(method)
    assert found["bytes"] == Path(found["file"]).stat().st_size
    assert found["ratio"] == pytest.approx(found["float32_bytes"] / found["bytes"])
    assert found["float32_bytes"] == 4 * 12_060
    assert found["bits_per_weight"] == pytest.approx(8 * found["bytes"] / (6400 + 5000 + 500))
    assert found["nll_bits"] > 0 and found["seconds"] > 0
    assert 0 <= found["test_error"] <= 100 and 0 <= found["test_error_before"] <= 100
    assert (found["method"], found["network"], found["data"]) == (method, "digits-mlp", "digits")


def test_a_kept_guide_compresses_to_the_same_file_without_training(tmp_path):
    pair = tmp_path / "pair.safetensors"
    first = run(settings(tmp_path, method="gaussian", save_guide=pair), QUIET)
    data = Path(first["file"]).read_bytes()
    Path(first["file"]).unlink()
    again = run(settings(tmp_path, method="gaussian", load_guide=pair, resume=None), QUIET)
    assert Path(again["file"]).read_bytes() == data and again["kl_bits"] > 1000
    assert first["compression"]["rise_over_given"] is not None
    assert again["compression"]["rise_over_given"] is again["compression"]["posterior_rise"] is None
    with pytest.raises(ValueError, match="holds a Gaussian"):
        run(settings(tmp_path, load_guide=pair), QUIET)


def test_a_trained_network_is_not_trained_before(tmp_path):
    net = pipeline.network("digits-mlp")
    save_file(net.state_dict(), tmp_path / "mine.safetensors")
    run(settings(tmp_path, weights=tmp_path / "mine.safetensors", resume=tmp_path), QUIET)
    assert not (tmp_path / "pretrain.checkpoint").exists()
    with pytest.raises(ValueError, match=r"mine.*(has shape|another network)"):
        load_weights(tmp_path / "mine.safetensors", pipeline.network("lenet-300-100"))


def test_kl_bits_is_a_code_length_or_null(figures):
    """None for an improper prior; none for a point, whose code would never end."""
    assert figures("log-uniform")["kl_bits"] is None
    assert figures("deterministic")["kl_bits"] is None
    assert figures("obd")["kl_bits"] is None  # trained as a point, though its stddev is not 0
    assert figures("gaussian")["kl_bits"] > 1000


def test_kl_bits_are_those_of_the_pair_at_the_end(figures):
    """In closed form, from what the last checkpoint holds; the last epoch's mean is another."""
    kept = checkpoint(figures("gaussian"), "train")["state"]
    state = {k.removeprefix("guide."): v for k, v in kept["module"].items()}
    nats = 0.0
    for name, loc in state.items():
        if name.startswith("loc."):
            q = Normal(loc, state[name.replace("loc.", "log_scale.")].exp())
            prior = Normal(
                0.0, METHODS["gaussian"].pair(pipeline.network("digits-mlp"), 5)[0].scale
            )
            nats += kl_divergence(q, prior).sum().item()
    assert figures("gaussian")["kl_bits"] == pytest.approx(nats / math.log(2), rel=1e-5)
    assert kept["history"][-1]["kl"] != pytest.approx(nats, rel=1e-3)


def test_kl_that_is_an_estimate_is_a_mean_of_many(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(
        phases.ELBO, "terms", lambda self, *a: drawn.append(0) or SimpleNamespace(
            total_kl=torch.tensor(float(len(drawn)))
        )
    )  # fmt: skip
    model, guide = METHODS["gaussian"].pair(pipeline.network("digits-mlp"), 1197)
    assert phases.kl_of(model, guide, load_data("digits"), "cpu", 5) == 3.0


def test_errors_before_and_after_are_of_the_test_part(tmp_path, figures):
    found = figures("deterministic")
    _, model, guide, _ = phases.train_pair(
        pipeline.network("digits-mlp"), METHODS["deterministic"], load_data("digits"),
        settings(tmp_path, method="deterministic", resume=Path(found["file"]).parent), QUIET,
    )  # fmt: skip
    net, data = phases.with_means(model.trained(), guide.posterior()), load_data("digits")
    before, validation = evaluate(net, data.test), evaluate(net, data.validation)
    assert found["test_error_before"] == before.error != validation.error
    assert found["compression"]["validation"]["error_before"] == pytest.approx(validation.error)


def test_description_length_or_a_reason(figures):
    found = figures("gaussian")
    bits, history = found["description_length_bits"], checkpoint(found, "train")["state"]["history"]
    assert bits["weights"] == found["kl_bits"] and found["no_code_length"] is None
    assert bits["total"] == bits["weights"] + bits["labels"]
    # The last epoch's mean is of weights on the way.
    epoch = -history[-1]["expected_log_likelihood"] / math.log(2)
    assert 0.7 * epoch < bits["labels"] < epoch
    for method, reason in (("log-uniform", "improper prior"), ("deterministic", "a point takes")):
        found = figures(method)
        assert found["description_length_bits"] is None and reason in found["no_code_length"]
        table = io.StringIO()
        print_compressed(Console(file=table, width=100), found)
        assert f"none: {found['no_code_length']}" in table.getvalue()


def test_labels_of_a_narrow_guide_cost_their_cross_entropy():
    data, net = load_data("digits"), pipeline.network("digits-mlp")
    model = Gaussian(net, len(data.train))
    guide = MeanFieldNormal(model, init_scale=1e-6)
    bits = pipeline._description_length(model, guide, 2 * math.log(2), data, "cpu")
    nats = torch.nn.functional.cross_entropy(net(data.train.x), data.train.y, reduction="sum")
    assert bits["labels"] == pytest.approx(nats.item() / math.log(2), rel=1e-4)
    assert bits["total"] == pytest.approx(bits["labels"] + 2)


@pytest.mark.parametrize(("asked", "used"), [(None, 1), (2, 2)])
def test_threads(asked, used, tmp_path, monkeypatch):
    """A small network has one unless others are asked for."""
    monkeypatch.setattr(pipeline, "train_pair", lambda *a: 1 / 0)  # far enough
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        with pytest.raises(ZeroDivisionError):
            run(settings(tmp_path, threads=asked), QUIET)
        assert torch.get_num_threads() == used
    finally:
        torch.set_num_threads(before)


def test_checkpoints_record_the_threads(figures):
    for phase in ("pretrain", "train"):
        assert checkpoint(figures("log-uniform"), phase)["run"]["threads"] == 1


def test_a_large_network_keeps_torchs_threads():
    assert sum(p.numel() for p in pipeline.network("lenet-300-100").parameters()) > pipeline.SMALL


def test_a_file_that_decodes_to_something_else_is_a_failed_check(tmp_path, monkeypatch):
    from bitsback.compression import file

    original = file.load

    def other(path, into=None):
        net = original(path, into)
        with torch.no_grad():
            next(net.parameters()).add_(1e-3)
        return net

    monkeypatch.setattr(file, "load", other)
    with pytest.raises(CheckFailed, match="decodes to other weights than were measured"):
        run(settings(tmp_path), QUIET)


def test_one_line_for_each_phase(tmp_path):
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    run(settings(tmp_path), console)
    console.file.getvalue().removesuffix("\n")
    lines = [line.split("\r\x1b[2K")[-1] for line in console.file.getvalue().split("\n")[:-1]]
    assert [line.split(" · ")[0] for line in lines] == ["pretrain", "train", "compress"]
    for line in lines[:2]:
        assert "100 % · 0:00 left · log p -" in line and " · KL " in line and " · error " in line
    assert lines[2].endswith(" bytes")
    assert all(len(line) < 80 for line in lines)


def test_an_error_does_not_end_up_on_the_progress_line(tmp_path, monkeypatch):
    def failing(*arguments, progress, **options):
        progress("half way")
        raise ValueError("no")

    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    monkeypatch.setattr(pipeline, "compress", failing)
    with pytest.raises(ValueError, match="no"):
        run(settings(tmp_path), console)
    assert console.file.getvalue().endswith("compress · half way\n")


@pytest.mark.slow
@pytest.mark.parametrize(("method", "ratio"), [("log-uniform", 120), ("gaussian", 8)])
def test_defaults_give_a_small_network_that_works(method, ratio, tmp_path):
    found = run(resolve(Settings.of(method=method, out=tmp_path / "net.bb")), QUIET)
    assert found["test_error"] < 7
    assert found["ratio"] > ratio


def test_a_network_of_ones_own(tmp_path):
    """No Sequential, and no name of it is in the file."""
    (tmp_path / "nets.py").write_text(
        "import torch\n\n\nclass Mine(torch.nn.Module):\n"
        "    def __init__(self, width, inputs=64):\n        super().__init__()\n"
        "        self.a, self.b = torch.nn.Linear(inputs, width), torch.nn.Linear(width, 10)\n\n"
        "    def forward(self, x):\n        return self.b(self.a(x.flatten(1)).tanh())\n"
    )
    own = {"model": f"{tmp_path}/nets.py:Mine", "model_args": '{"width": 20}'}
    found = run(settings(tmp_path, **own, epochs=8), QUIET)
    assert found["network"] == "Mine" and found["test_error"] < 60
    assert found["float32_bytes"] == 4 * (64 * 20 + 20 + 20 * 10 + 10)
    assert b"Mine" not in Path(found["file"]).read_bytes()
    with pytest.raises(ValueError, match="--network: --model names another network"):
        settings(tmp_path, **own, network="digits-mlp")
    with pytest.raises(ValueError, match="--model-args: needs --model"):
        settings(tmp_path, model_args="{}")
    own["model_args"] = '{"width": 20, "inputs": 60}'
    with pytest.raises(ValueError, match=r"nets.py:Mine does not take the 1 x 8 x 8 inputs"):
        run(settings(tmp_path, **own), QUIET)


@pytest.mark.parametrize(
    ("likelihood", "labels"),
    [("normal", lambda x: 2 * x[:, 0] - x[:, 1]), ("bernoulli", lambda x: x[:, :2] > 0)],
)
def test_data_of_ones_own(likelihood, labels, tmp_path):
    """Regression and several labels, from an npz file to a score of the file on disk."""
    x = np.random.RandomState(0).standard_normal((240, 3)).astype(np.float32)
    y = labels(x).astype(np.float32)
    np.savez(tmp_path / "d.npz", x_train=x, y_train=y)
    outputs = 1 if y.ndim == 1 else y.shape[1]
    (tmp_path / "nets.py").write_text(
        "from torch import nn\n\n\ndef build(n):\n"
        "    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, n))\n"
    )
    own = {"model": f"{tmp_path}/nets.py:build", "model_args": f"[{outputs}]"}
    own |= {"data": str(tmp_path / "d.npz"), "likelihood": likelihood}
    own |= {"method": "deterministic", "epochs": 40, "batch_size": 20, "lr": 0.01}
    found = run(settings(tmp_path, **own), QUIET)
    assert found["likelihood"] == likelihood and found["test_error"] < 40
    assert found["split"]["split_off"] == ["validation", "test"]
    assert [found["split"][part] for part in ("train", "validation", "test")] == [167, 33, 40]
    data = read_data(Source(own["data"], None, likelihood))
    net = load(found["file"])
    score = evaluate(net, like_outputs(data, net).test)
    assert (score.error, score.nll) == (found["test_error"], found["test_nll"])
    table = io.StringIO()
    print_compressed(Console(file=table, width=100), found)
    word = {"normal": "squared error", "bernoulli": "test error"}[likelihood]
    assert f"{word} before" in table.getvalue()
