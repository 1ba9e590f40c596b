"""Method rate at the workbench: captured steps, the description in bits, and the size asked for."""

import io
import json
from pathlib import Path

import pytest
import torch
from bitsback.compression.file import load
from bitsback.guides import Rounding
from bitsback.methods import METHODS
from bitsback.methods.target import ABOVE, TargetBytes, TargetError
from bitsback.models.teacher import Teacher
from bitsback.training import fit, noise_library
from bitsback.training.evaluation import Split, evaluate
from bitsback.training.options import Options
from bitsback.training.steps import CompiledStep, EagerStep, Pair
from bitsback.workbench import phases
from bitsback.workbench.cli import app
from bitsback.workbench.data import load_data
from bitsback.workbench.kept import method_of
from bitsback.workbench.networks import network
from bitsback.workbench.pipeline import run
from bitsback.workbench.report import print_compressed
from bitsback.workbench.settings import Settings, resolve
from rich.console import Console
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from ..training.nets import data, pair, plain, same, state

QUIET = Console(quiet=True)


def widths(model: nn.Module) -> tuple[int, ...]:
    """How many units of each weight are left."""
    kept = {name: model.kept(name)[0] for name in model.weight_names}
    weights = model.initial_weights()
    return tuple(len(weights[k] if part is None else part) for k, part in kept.items())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
@pytest.mark.skipif(not noise_library.available(), reason="needs a C++ compiler")
def test_a_compiled_step_sees_the_tables_and_beta_that_change_between_steps():
    x, y = data()
    terms = {}
    for kind in (EagerStep, CompiledStep):
        model, guide = pair(plain(), "rate")
        both = Pair(model, guide)
        step = kind(both, x, y) if kind is CompiledStep else kind(both)
        terms[kind] = []
        for k in range(1, 9):
            terms[kind].append(step(x, y, k, 1e-3, 1.0).kl.item())
            if k == 3:
                guide.refresh()
            if k == 6:
                model.beta.mul_(2)
    assert terms[CompiledStep] == pytest.approx(terms[EagerStep], rel=1e-3)
    assert terms[EagerStep][6] / terms[EagerStep][5] == pytest.approx(2, rel=0.05)


def test_beta_moves_until_the_size_is_the_one_asked_for():
    """A file whose size falls with beta as those on digits do."""

    class Toy(TargetBytes):
        def bytes(self) -> int:
            return round(200 * self.model.beta.item() ** -0.35)

    model = nn.Module()
    model.register_buffer("beta", torch.tensor(0.2))
    nothing = data()
    split = type("Split", (), {"x": nothing[0], "y": nothing[1]})
    options = Options(epochs=60, kl_warmup=(0.0, 10.0))
    target = Toy(250, model, None, split, options, {})
    for epoch in range(1, 10):
        target(epoch)
    assert model.beta.item() == pytest.approx(0.2)  # not before the warm-up is over
    for epoch in range(10, 60):
        target(epoch)
    reached = model.beta.item()
    target(60)
    assert model.beta.item() == reached  # nothing is trained with another one any more
    # What the last epochs of a real training take is aimed at above it.
    assert target.bytes() == pytest.approx(ABOVE * 250, rel=0.02)


@pytest.mark.parametrize("coder", ["small", "huffman"])
def test_the_size_aimed_at_is_that_of_the_coder_asked_for(coder, monkeypatch):
    seen = []
    monkeypatch.setattr(phases, "fit", lambda *a, each_epoch, **k: seen.append(each_epoch))
    given = {"method": "rate", "target_bytes": 300, "coder": coder, "pretrain_epochs": 0}
    settings = resolve(Settings.of(out=Path("net.bb"), **given))
    data, net = load_data("digits"), network("digits-mlp")
    phases.train_pair(net, method_of(settings), data, settings, QUIET)
    (target,) = seen
    assert target.compression["coder"] == coder and target.compression["label"] == "digits-mlp"


def test_the_description_of_a_run(tmp_path):
    """Of a network after too few epochs to be sparse; beta moves, and the file is too large."""
    settings = Settings.of(
        method="rate", network="digits-mlp", epochs=15, pretrain_epochs=8, kl_warmup=2, beta=0.5,
        lr=2e-2, distill=True, target_bytes=300, out=tmp_path / "net.bb",
    )  # fmt: skip
    figures = run(settings, QUIET)
    lengths = figures["description"]
    assert lengths["weight_bits"] == pytest.approx(lengths["coded_bits"], rel=0.1)
    assert lengths["beta"] > 0.5 and lengths["label_bits"] > 0
    assert figures["target_bytes"] == 300 < figures["bytes"]
    pages = Console(record=True, width=200, file=io.StringIO())
    print_compressed(pages, figures)
    assert "Not within 5 % of 300 bytes" in pages.export_text()
    figures["target_bytes"] = 20
    print_compressed(pages, figures)
    assert "header, shapes, steps, biases) takes" in pages.export_text()


@pytest.mark.slow
def test_target_bytes_are_met_on_digits(tmp_path):
    """Within 5 %, and the prior prices the weights within 4 % of what the file takes for them."""
    settings = Settings.of(
        method="rate", network="digits-mlp", target_bytes=264, out=tmp_path / "net.bb"
    )
    figures = run(settings, QUIET)
    lengths = figures["description"]
    assert figures["bytes"] == pytest.approx(264, rel=0.05)
    assert lengths["weight_bits"] == pytest.approx(lengths["coded_bits"], rel=0.04)
    assert figures["test_error"] < 6


def test_beta_moves_until_the_error_is_the_one_asked_for():
    """An error that rises with beta; one wrong example of 64 is 1.6 percent."""

    class Toy(TargetError):
        def error(self) -> float:
            return 5 * self.model.beta.item() ** 0.3

    model = nn.Module()
    model.register_buffer("beta", torch.tensor(0.2))
    x, y = data()
    split = Split(x, y)
    target = Toy(7.0, model, None, split, Options(epochs=80, kl_warmup=(0.0, 5.0)))
    for epoch in range(1, 81):
        target(epoch)
    assert target.error() == pytest.approx(7.0, rel=0.02)
    assert model.beta.item() == pytest.approx((7 / 5) ** (1 / 0.3), rel=0.1)


@pytest.mark.parametrize("given", [{"target_error": 0.0}, {"target_error": 100.0}])
def test_a_target_error_is_a_percentage(given):
    with pytest.raises(ValueError, match="--target-error"):
        Settings.of(method="rate", **given)


@pytest.mark.parametrize("given, sweeps", [({}, 2), ({"target_bytes": 300}, 0)])
def test_integers_are_swept_over_unless_beta_follows_a_target(given, sweeps, tmp_path, monkeypatch):
    seen = []
    monkeypatch.setattr(Rounding, "descend", lambda self, x, y, progress: seen.append(len(x)))
    settings = Settings.of(
        method="rate", network="digits-mlp", epochs=1, pretrain_epochs=1, out=tmp_path / "net.bb",
        compile="no", **given,
    )  # fmt: skip
    run(settings, QUIET)
    assert len(seen) == sweeps


def test_only_one_target():
    with pytest.raises(ValueError, match="give one"):
        Settings.of(method="rate", target_error=1.0, target_bytes=300)


def test_it_starts_from_a_posterior_of_another_method():
    """Its means, rounded, to within half a step."""
    torch.manual_seed(0)
    net = network("digits-mlp")
    _, other = METHODS["gaussian"].pair(net, 100)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    posterior = other.posterior()
    model, guide = METHODS["rate"].pair(net, 100, start=posterior)
    for name, weight in guide.posterior().weights.items():
        moved = (weight.loc - posterior.weights[name].loc).abs()
        assert (moved <= 0.501 * model.step(name)).all()
        assert not posterior.weights[name].loc.equal(net.state_dict()[name])


def taught(net: nn.Module) -> nn.Module:
    """The network after a few steps of Adam on the training part of digits."""
    split = load_data("digits").train
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(40):
        optimiser.zero_grad()
        nn.functional.cross_entropy(net(split.x), split.y).backward()
        optimiser.step()
    return net.eval()


def test_a_network_of_a_file_is_compressed_and_teaches(tmp_path, monkeypatch):
    """From the command line: nothing is trained before, and the teacher is the file's network."""
    torch.manual_seed(0)
    net, teachers = taught(network("digits-mlp")), []

    class Seen(Teacher):
        def __init__(self, net: nn.Module, *others: float):
            super().__init__(net, *others)
            teachers.append(self.net)

    monkeypatch.setattr("bitsback.models.rate.Teacher", Seen)
    weights, out, figures = (tmp_path / name for name in ("w.safetensors", "net.bb", "net.json"))
    save_file(net.state_dict(), weights)
    command = [
        *("compress", "--method", "rate", "--weights", weights, "--distill", "--epochs", 3),
        *("--threads", 1, "--resume", tmp_path / "run", "--out", out, "--json", figures),
    ]
    result = CliRunner().invoke(app, list(map(str, command)))
    assert result.exit_code == 0, result.output
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["train.checkpoint"]
    (teacher,) = teachers
    assert all(value.equal(net.state_dict()[k]) for k, value in teacher.state_dict().items())
    found, test = json.loads(figures.read_text()), load_data("digits").test
    assert found["test_error_before"] < 10  # in three epochs: it began at the file's weights
    assert evaluate(load(out), test).error == found["test_error"]
    assert out.stat().st_size == found["bytes"] < found["float32_bytes"] / 4


OF_RATE = [{"beta": 0.5}, {"target_bytes": 300}, {"target_error": 2.0}, {"distill": True}]


@pytest.mark.parametrize("given", OF_RATE)
def test_options_of_rate_are_refused_elsewhere(given):
    with pytest.raises(ValueError, match="only --method rate"):
        Settings.of(method="gaussian", **given)
    assert Settings.of(method="rate", **given)


def test_beta_of_the_network_is_the_default():
    assert METHODS["rate"].settings("digits-mlp")["beta"] > 0
    with pytest.raises(ValueError, match="--beta"):
        Settings.of(method="rate", beta=0.0)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
@pytest.mark.skipif(not noise_library.available(), reason="needs a C++ compiler")
def test_a_compiled_step_is_captured_anew_when_units_are_removed():
    x, y = data()
    terms, moved = {}, {}
    for kind in (EagerStep, CompiledStep):
        model, guide = pair(plain(), "rate")
        with torch.no_grad():
            guide._get("loc", "fc2.weight")[:, :5] = 0
        both = Pair(model, guide)
        step = kind(both, x, y) if kind is CompiledStep else kind(both)
        both.after_epoch()
        assert widths(model) == (3, 3)
        step.follow()
        terms[kind] = [step(x, y, k, 1e-3, 1.0).kl.item() for k in range(1, 9)]
        moved[kind] = guide._get("loc", "fc1.weight").detach().clone()
    assert terms[CompiledStep] == pytest.approx(terms[EagerStep], rel=1e-3)
    torch.testing.assert_close(moved[CompiledStep], moved[EagerStep], rtol=1e-3, atol=1e-5)
    initial = pair(plain(), "rate")[1]._get("loc", "fc1.weight")
    assert moved[EagerStep][:5].equal(initial[:5]) and not moved[EagerStep][5:].equal(initial[5:])


def test_a_run_resumed_after_units_were_removed_ends_with_the_same_bits(tmp_path):
    x, y = data()

    def train(epochs: int, file):
        model, guide = pair(plain(), "rate")
        with torch.no_grad():
            guide._get("loc", "fc2.weight")[:, :5] = 0
        options = Options(epochs=6, batch_size=20, lr=1e-3, lr_schedule="constant")
        stop = RuntimeError("stopped")

        def each(number: int) -> None:
            if number == epochs:
                raise stop

        try:
            fit(model, guide, (x, y), options=options, checkpoint_file=file, each_epoch=each)
        except RuntimeError as error:
            assert error is stop
        return model, guide

    whole = train(7, None)
    train(4, tmp_path / "run")
    resumed = train(7, tmp_path / "run")
    assert widths(whole[0]) == (3, 3)
    assert same(state(*whole), state(*resumed))
