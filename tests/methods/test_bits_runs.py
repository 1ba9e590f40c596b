"""--target-bops and what the JSON says of BOPs."""

import json
import math

import pytest
import torch
from bitsback.methods.bops import bops_figures, nonzero_share
from bitsback.methods.target import BopsTarget
from bitsback.training import noise_library
from bitsback.training.options import Options
from bitsback.training.steps import CompiledStep, Pair
from bitsback.workbench.kept import method_of
from bitsback.workbench.pipeline import run
from bitsback.workbench.settings import Settings, resolve
from rich.console import Console

from ..training.nets import data, pair

QUIET = Console(quiet=True)


def test_beta_rises_above_the_target_and_falls_below_it():
    model, guide = pair(method="bayesian-bits")
    model.measure(data()[0])
    full = sum(guide.bops().values()).item()
    for wanted, sign in ((full / 2, 1), (full * 2, -1)):
        model.beta.fill_(1.0)
        model.level.fill_(1.0)
        target = BopsTarget(wanted, model, guide, Options(kl_warmup=(0.0, 2.0)))
        target(1)
        assert model.beta == 1  # not before the warm-up is over
        target(2)
        assert sign * (model.level.item() - 1) > 0 and sign * (model.beta.item() - 1) > 1


def test_gates_are_decided_before_the_end():
    """After three quarters of the epochs: the nearest units are closed, and beta stays."""
    model, guide = pair(method="bayesian-bits")
    model.measure(data()[0])
    full = sum(guide.bops().values()).item()
    with torch.no_grad():
        guide.get_parameter("gate.fc1.weight.gate")[:8] = torch.linspace(0, 1, 8)
        for site in guide.inclusions():
            guide.get_parameter(f"gate.{site}.gate")[-2:] = 9.0
    assert sum(guide.bops().values()).item() == pytest.approx(full)
    target = BopsTarget(5 / 8 * full, model, guide, Options(epochs=5))
    target(3)
    assert sum(guide.bops().values()).item() == pytest.approx(full) and guide.moved == 0
    beta = model.beta.item()
    target(4)
    assert sum(guide.bops().values()).item() == pytest.approx(5 / 8 * full)
    target(5)
    assert model.beta == beta != 1
    figures = json.loads(json.dumps(bops_figures(guide, 0.1)))
    assert figures["relative"] == pytest.approx(5 / 8 * figures["by_bits"])
    assert figures["expected"] == pytest.approx(figures["relative"])
    assert figures["layers"]["fc1.weight"]["units_open"] == 5 and figures["moved"] == 3
    assert figures["layers"]["fc2.weight"]["input_bits"] == 8 and figures["target"] == 0.1


@pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
@pytest.mark.skipif(not noise_library.available(), reason="needs a C++ compiler")
def test_a_captured_step_sees_gates_that_are_decided(monkeypatch):
    """The graph as captured, not compiled, which would take a minute."""
    monkeypatch.setattr(torch, "compile", lambda graph: graph)
    model, guide = pair(method="bayesian-bits")
    x, y = data()
    model.measure(x)
    step = CompiledStep(Pair(model, guide), x, y)
    before = step(x, y, 1, 0.0, 1.0)
    guide.meet(0.5 * sum(guide.bops().values()).item())
    after, eager = step(x, y, 1, 0.0, 1.0), Pair(model, guide)(x, y)  # no noise is left
    assert after.expected_log_likelihood.item() == pytest.approx(eager[0].item(), rel=1e-5)
    assert after.kl.item() == pytest.approx(eager[1].item(), rel=1e-5)
    assert after.kl < before.kl


def test_products_with_zeros_are_left_out():
    """Counted weight by weight; a closed unit takes its outputs and the next layer's inputs."""
    model, guide = pair(method="bayesian-bits")
    model.measure(data()[0])
    with torch.no_grad():
        guide.get_parameter("gate.fc1.weight.gate")[0] = -9.0  # a unit
        for site in ("fc1.weight", "fc2.weight"):
            guide.get_parameter(f"gate.{site}.gate")[-2:] = -9.0  # 2 bits: many zeros
    medians, found = guide.median(), bops_figures(guide, None)
    first, second = (medians[name] for name in model.weight_names)
    count = sum(2 * 8 for row in first.tolist() for w in row if w)
    count += sum(2 * 8 for row in second.tolist() for k, w in enumerate(row) if w and k > 0)
    assert found["nonzero"] == pytest.approx(count / (72 * 1024))
    assert found["nonzero"] < found["relative"] < found["by_bits"]
    total = sum(layer["nonzero"] for layer in found["layers"].values())
    assert found["nonzero"] == pytest.approx(total)


def test_inputs_of_a_unit_lie_in_a_row():
    weight = torch.tensor([[1.0, 0.0, 2.0, 3.0], [0.0, 0.0, 0.0, 4.0]])
    assert nonzero_share(weight, torch.tensor([True, False])) == 1 / 8
    assert nonzero_share(weight, torch.tensor([False, True])) == 3 / 8
    assert nonzero_share(weight, torch.zeros(0, dtype=torch.bool)) == 4 / 8
    kernels = torch.ones(2, 2, 3, 3)
    assert nonzero_share(kernels, torch.tensor([True, False])) == 1 / 2


def test_a_short_run(tmp_path):
    settings = Settings.of(
        method="bayesian-bits", network="digits-mlp", epochs=3, pretrain_epochs=2, arm="pruning",
        target_bops=0.04, cost=0.2, out=tmp_path / "net.bb",
    )  # fmt: skip
    figures = run(settings, QUIET)
    found = figures["bops"]
    assert [set(e) for e in found["trajectory"]] == 3 * [
        {"relative_bops", "expected_bops", "beta", "gates", "validation_error"}
    ]
    assert all(0 <= entry["validation_error"] < 50 for entry in found["trajectory"])
    assert all(layer["weight_bits"] == 8 for layer in found["layers"].values())
    assert found["target"] == 0.04 and found["by_bits"] == pytest.approx(1 / 16, rel=1e-5)


@pytest.mark.slow
def test_target_bops_are_met_on_digits(tmp_path):
    settings = Settings.of(
        method="bayesian-bits", network="digits-mlp", target_bops=0.01, out=tmp_path / "net.bb"
    )
    figures = run(settings, QUIET)
    assert figures["bops"]["relative"] == pytest.approx(0.01, rel=0.05)
    assert figures["test_error"] < 6 and figures["compression"]["within_margin"]


@pytest.mark.parametrize(
    "given, match",
    [
        ({"target_bops": 1.5}, "--target-bops"),
        ({"cost": -1.0}, "--cost"),
        ({"arm": "none"}, "--arm"),
        ({"target_bops": math.nan}, "--target-bops"),
        ({"arm": "lsq"}, "give one width"),
        ({"gates": "both"}, "--gates"),
        ({"objective": "KL"}, "--objective KL: must be one of published, exact"),
        ({"coupling": 0.0}, "--coupling 0.0: must be positive"),
        ({"arm": "pruning", "coupling": 1.0}, "--coupling: --arm pruning has no widths"),
        ({"arm": "pact", "widths": (2, 4)}, "give one width"),
        ({"arm": "lsq", "widths": (4,), "cost": 1.0}, "--cost: --arm lsq has no gates"),
        ({"arm": "lsq", "widths": (4,), "objective": "exact"}, "--objective: --arm lsq has no gat"),
        ({"arm": "lsq", "widths": (4,), "target_bops": 0.1}, "--target-bops: --arm lsq"),
    ],
)
def test_options_out_of_range_are_refused(given, match):
    with pytest.raises(ValueError, match=match):
        Settings.of(method="bayesian-bits", **given)


def test_widths_that_do_not_nest_name_the_option():
    with pytest.raises(ValueError, match="--widths: each width must divide the next"):
        resolve(Settings.of(method="bayesian-bits", widths=(2, 3)))


@pytest.mark.parametrize(
    "given",
    [
        {"cost": 0.1},
        {"target_bops": 0.1},
        {"arm": "pruning"},
        {"widths": (2, 4)},
        {"gates": "chain"},
        {"objective": "exact"},
        {"coupling": 1.0},
        {"freeze_weights": True},
    ],
)
def test_options_of_bayesian_bits_are_refused_elsewhere(given):
    with pytest.raises(ValueError, match=r"only --method .*bayesian-bits has it, not gaussian"):
        Settings.of(method="gaussian", **given)


def test_cost_is_that_of_gates_of_hard_concrete_too():
    assert method_of(resolve(Settings.of(method="hard-concrete", cost=0.2))).model_options == {
        "cost": 0.2
    }
