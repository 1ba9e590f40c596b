"""How the main job trains its pair: epochs of phases and rounds, and going on between rounds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from bitsback.methods import METHODS
from bitsback.workbench import phases
from bitsback.workbench.data import load_data
from bitsback.workbench.networks import network
from bitsback.workbench.settings import Settings, resolve
from rich.console import Console


@pytest.mark.parametrize(
    ("epochs", "shares"),
    [(None, (200, 100)), (30, (20, 10)), (1, (1, 1)), (9, (6, 3))],
)
def test_epochs_are_those_of_both_phases(epochs, shares):
    assert phases._phases({"start_epochs": 200, "epochs": 100}, epochs) == shares


@pytest.mark.parametrize(("total", "rounds"), [(30, 5), (7, 3), (2, 5)])
def test_rounds_share_the_epochs(total, rounds):
    shares = [phases._epochs(total, rounds, number) for number in range(rounds)]
    assert sum(shares) == max(total, rounds) and max(shares) - min(shares) <= 1


def test_a_run_goes_on_between_rounds(tmp_path):
    """Masks are in the checkpoints: the rounds that are done are not trained again."""
    method = replace(METHODS["magnitude"], guide_options={"kept": 0.1, "rounds": 3})
    data, net = load_data("digits"), network("digits-mlp")
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()

    def state(folder: Path) -> dict[str, torch.Tensor]:
        ours = resolve(Settings.of(out=folder / "net.bb", method="magnitude", resume=folder))
        options = phases.Options(epochs=5, step="eager")
        quiet = Console(quiet=True)
        return phases._fit(net, method, data, ours, options, quiet, "train").guide.state_dict()

    whole = state(one)
    files = sorted(path.name for path in one.glob("*.checkpoint"))
    assert files == ["train-1.checkpoint", "train-2.checkpoint", "train-3.checkpoint"]
    for file in files[:2]:
        (other / file).write_bytes((one / file).read_bytes())
    found = state(other)
    assert all(value.equal(whole[name]) for name, value in found.items())
    kept = sum(v.sum() for k, v in whole.items() if k.startswith("mask")) / (6400 + 5000 + 500)
    assert kept == pytest.approx(0.1, abs=1e-4)


@pytest.mark.parametrize(("given", "pretraining"), [(512, 128), (32, 32)])
def test_pretraining_keeps_its_batches_small(given, pretraining, monkeypatch, tmp_path):
    ours = resolve(Settings.of(out=tmp_path / "net.bb", method="rate", batch_size=given))
    sizes = {}

    def fake(net, method, data, settings, options, console, phase, start=None):
        sizes[phase] = options.batch_size
        return phases.Trained(net, None, None, None)

    monkeypatch.setattr(phases, "_fit", fake)
    data, net = load_data("digits"), network("digits-mlp")
    phases.train_pair(net, METHODS["rate"], data, ours, Console(quiet=True))
    assert sizes == {"pretrain": pretraining, "train": given}


@pytest.mark.parametrize("target", [{}, {"target_bytes": 900}, {"target_error": 1.0}])
def test_the_kl_overshoots_in_a_share_of_the_epochs_unless_beta_moves(target, tmp_path):
    ours = Settings.of(out=tmp_path / "net.bb", method="rate", epochs=30, **target)
    rate = METHODS["rate"].configured(ours.options)
    options = phases.options_of(rate, rate.defaults | {"kl_overshoot": (2.5, 0.6)}, ours)
    assert options.kl_overshoot == (1.0 if target else 2.5, pytest.approx(18.0))
    assert phases.options_of(rate, rate.defaults, ours).kl_overshoot[0] == 1.0
