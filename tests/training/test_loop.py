"""`fit`: it learns, refuses what cannot be trained, and stops at NaN with nothing spoilt."""

import io
import logging
import math

import pytest
import torch
from bitsback.guides import MeanFieldNormal
from bitsback.methods import METHODS
from bitsback.models import Gaussian
from bitsback.training import Options, fit, noise_library
from bitsback.training import loop as fit_module
from bitsback.training.checkpoint import read
from bitsback.training.diagnose import NonFiniteError
from bitsback.training.steps import EagerStep
from rich.console import Console
from torch import nn

from .nets import data, pair, plain, same, state, with_noise_and_buffers

# torch.compile's own imports, in torch 2.13.
pytestmark = pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
SHORT = Options(epochs=3, batch_size=16, lr=0.01, step="eager")


def test_it_learns():
    model = Gaussian(plain(), 200, scale=1.0)
    options = Options(40, 50, 0.05)
    history = fit(model, MeanFieldNormal(model), data(200), validation=data(200), options=options)
    assert [epoch.number for epoch in history] == list(range(1, 41))
    assert history[-1].validation_error < 15 < history[0].validation_error
    bound = [e.expected_log_likelihood - e.kl for e in history]
    assert bound[-1] > bound[0]


def test_the_history_says_what_was_done():
    """40 examples in batches of 16 are 2 steps an epoch; rates are those of its last step."""
    options = Options(4, 16, 0.01, lr_schedule="linear", kl_warmup=(1.0, 3.0))
    history = fit(*pair(), data(), options=options)
    assert [e.lr for e in history] == pytest.approx([0.01 * (1 - k / 8) for k in (1, 3, 5, 7)])
    assert [e.kl_weight for e in history] == [0.0, 0.25, 0.75, 1.0]
    assert all(e.validation_error is None for e in history)


def test_the_history_says_how_the_kl_overshot():
    options = Options(4, 16, 0.01, kl_overshoot=(2.0, 2.0))
    history = fit(*pair(), data(), options=options)
    assert [e.kl_weight for e in history] == pytest.approx([1.75, 1.25, 1.0, 1.0])


def test_blundells_weighting_multiplies_the_warmup(monkeypatch):
    """Two steps an epoch: 2 * 2/3 and 2 * 1/3 of it; the history holds the warm-up alone."""
    seen = []
    original = EagerStep.__call__

    def watched(self, x, y, seed, lr, kl_weight):
        seen.append(kl_weight)
        return original(self, x, y, seed, lr, kl_weight)

    monkeypatch.setattr(EagerStep, "__call__", watched)
    options = Options(2, 16, 0.01, kl_warmup=(0.0, 2.0), kl_weighting="blundell")
    history = fit(*pair(), data(), options=options)
    assert seen == pytest.approx([0.0, 0.25 * 2 / 3, 0.5 * 4 / 3, 0.75 * 2 / 3])
    assert [e.kl_weight for e in history] == [0.25, 0.75]


def test_the_mean_of_an_epoch_is_of_all_its_steps(monkeypatch):
    seen = []
    original = EagerStep.__call__

    def watched(self, *arguments):
        seen.append(original(self, *arguments))
        return seen[-1]

    monkeypatch.setattr(EagerStep, "__call__", watched)
    history = fit(*pair(), data(), options=SHORT)
    for k, epoch in enumerate(history):
        steps = seen[2 * k : 2 * k + 2]
        assert epoch.kl == pytest.approx(sum(s.kl.item() for s in steps) / 2)
        mean = sum(s.expected_log_likelihood.item() for s in steps) / 2
        assert epoch.expected_log_likelihood == pytest.approx(mean)


def test_every_example_is_used_and_none_twice_in_an_epoch(monkeypatch):
    x, y = torch.arange(40.0)[:, None].expand(40, 6).contiguous() / 40, data()[1]
    batches = []
    original = EagerStep.__call__

    def watched(self, x, *rest):
        batches.append((x[:, 0] * 40).round().int().tolist())
        return original(self, x, *rest)

    monkeypatch.setattr(EagerStep, "__call__", watched)
    fit(*pair(), (x, y), options=Options(20, 16, 0.01))
    epochs = [batches[k] + batches[k + 1] for k in range(0, 40, 2)]
    assert all(len(set(epoch)) == 32 for epoch in epochs)
    assert set().union(*epochs) == set(range(40))
    assert epochs[0] != epochs[1]


def test_a_seed_decides_everything():
    def run(seed, disturb=0):
        model, guide = pair(with_noise_and_buffers())
        torch.manual_seed(disturb)
        fit(model, guide, data(), options=Options(2, 16, 0.01, seed=seed))
        return state(model, guide)

    assert same(run(1), run(1, disturb=5))
    assert not same(run(1), run(2))


def test_images_are_moved_anew_each_epoch(monkeypatch):
    """And alike in a run of the same seed: a resumed one sees what the first would have."""
    images, labels = torch.rand(8, 1, 4, 4), torch.arange(8) % 3
    net = nn.Sequential(nn.Flatten(), nn.Linear(16, 3))
    seen = []
    original = EagerStep.__call__

    def watched(self, x, *arguments):
        seen.append(x.clone())
        return original(self, x, *arguments)

    monkeypatch.setattr(EagerStep, "__call__", watched)
    options = Options(3, 8, 0.01, step="eager", shift=1)
    for _ in range(2):
        fit(*METHODS["log-uniform"].pair(net, 8), (images, labels), options=options)
    first, again = seen[:3], seen[3:]
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    sums = [x.sort(0).values for x in first]
    assert not torch.equal(sums[0], sums[1]) and not torch.equal(sums[1], sums[2])
    with pytest.raises(ValueError, match=r"images \(N, channels, height, width\), not \(40, 6\)"):
        fit(*pair(), data(), options=options)


def test_squared_error_of_real_outputs():
    torch.manual_seed(0)
    x = torch.randn(64, 6)
    y = x[:, :3] * 2
    model = Gaussian(nn.Linear(6, 3), 64, scale=1.0, likelihood="normal")
    history = fit(model, MeanFieldNormal(model), (x, y), validation=(x, y),
                  options=Options(100, 64, 0.05))  # fmt: skip
    assert 90 < history[0].validation_error < 120  # percent of the labels' mean square
    assert history[-1].validation_error < 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "must be positive"),
        ({"batch_size": 0}, "must be positive"),
        ({"lr": math.nan}, "must be positive and finite"),
        ({"lr": math.inf}, "must be positive and finite"),
        ({"lr_schedule": "cosine"}, "unknown lr_schedule 'cosine'; known: constant, linear"),
        ({"step": "fast"}, "step must be auto, eager or compiled"),
        ({"seed": -1}, r"seed must be within 0..2147483647; got -1"),
        ({"seed": 2**31}, "seed must be within"),
    ],
)
def test_options_that_make_no_sense(change, message):
    with pytest.raises(ValueError, match=message):
        Options(**change)


def test_the_largest_seed_works():
    fit(*pair(), data(), options=Options(1, 16, seed=2**31 - 1))


# --- NaN and infinity ------------------------------------------------------------------------


def test_bad_data_stop_before_anything_moves(tmp_path):
    x, y = data()
    x[3] = float("nan")
    model, guide = pair()
    before = state(model, guide)
    with pytest.raises(NonFiniteError, match="inputs of example 3"):
        fit(model, guide, (x, y), options=SHORT, checkpoint_file=tmp_path / "c")
    assert same(state(model, guide), before) and not (tmp_path / "c").exists()


class Poison(nn.Module):
    """Multiplies by NaN from its n-th training pass on, or has such a gradient."""

    def __init__(self, at: int, gradient: bool):
        super().__init__()
        self.at, self.gradient, self.calls = at, gradient, 0
        self.zero = nn.Parameter(torch.zeros(()))

    def forward(self, x):
        if not torch.is_grad_enabled():
            return x
        self.calls += 1
        if self.calls <= self.at:
            return x
        return x + 0 * self.zero.sqrt() if self.gradient else x * float("nan")


@pytest.mark.parametrize("gradient", [False, True], ids=["loss", "gradient"])
def test_a_step_that_fails_is_named_and_spoils_nothing(gradient, tmp_path):
    """It fails in step 4, the first of the third epoch; the checkpoint is of the second."""
    model, guide = pair(nn.Sequential(plain(), Poison(4, gradient)))
    what = "the gradient of 1.zero" if gradient else "log likelihood of site y is nan"
    with pytest.raises(NonFiniteError, match=f"step 4: .*{what}.*the last checkpoint is kept"):
        fit(model, guide, data(), options=SHORT, checkpoint_file=tmp_path / "c")
    content = read(tmp_path / "c")["state"]
    assert content["step"] == 4
    assert same(dict(content["module"]), dict(fit_module.Pair(model, guide).state_dict()))


def test_an_infinite_scale_is_named():
    model, guide = pair()
    with pytest.raises(NonFiniteError, match="step 1: the standard deviation of site fc1"):
        fit(model, guide, data(), options=Options(3, 16, lr=1e3, step="eager"))


def test_a_state_that_is_not_finite_is_not_kept(tmp_path, monkeypatch):
    """The update itself overflows in the last step of an epoch: no loss has seen it yet."""
    model, guide = pair()
    original = EagerStep.__call__

    def overflowing(self, x, y, seed, lr, weight):
        outcome = original(self, x, y, seed, lr, weight)
        if seed % 2**32 == 3:
            with torch.no_grad():
                guide.log_scale.fc1.weight.mul_(float("inf"))
        return outcome

    monkeypatch.setattr(EagerStep, "__call__", overflowing)
    with pytest.raises(NonFiniteError, match="step 4: NaN or infinity in log_scale of site fc1"):
        fit(model, guide, data(), options=SHORT, checkpoint_file=tmp_path / "c")
    assert read(tmp_path / "c")["state"]["step"] == 2


# --- the kind of step ------------------------------------------------------------------------


@pytest.fixture
def warnings_said(caplog):
    """What was said; nothing has been said before."""
    noise_library.say_once.cache_clear()
    caplog.set_level(logging.WARNING, "bitsback")
    return caplog


def kind_of_step(monkeypatch, net=None, **options) -> str:
    kinds = []
    original = fit_module._describe
    monkeypatch.setattr(fit_module, "_describe", lambda *a: kinds.append(a[-1]) or original(*a))
    fit(*pair(net), data(), options=Options(1, 16, **options))
    return kinds[-1]


def test_a_short_run_is_eager_and_says_nothing(monkeypatch, warnings_said):
    assert kind_of_step(monkeypatch) == "eager"
    assert warnings_said.messages == []


@pytest.fixture
def no_compiler(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    noise_library.available.cache_clear()
    yield
    noise_library.available.cache_clear()


def test_without_a_compiler_it_is_eager_and_says_so_once(monkeypatch, warnings_said, no_compiler):
    monkeypatch.setattr(fit_module, "WORTH_COMPILING", 0)
    for _ in range(2):
        assert kind_of_step(monkeypatch) == "eager"
    assert warnings_said.messages == [
        "training eagerly, which is slower: no C++ compiler was found (set CXX, or install g++)"
    ]


def test_without_a_compiler_compiled_is_an_error(no_compiler):
    with pytest.raises(ValueError, match=r"no C\+\+ compiler was found .*use --compile auto or no"):
        fit(*pair(), data(), options=Options(1, 16, step="compiled"))


@pytest.mark.parametrize(
    ("net", "reason"),
    [(with_noise_and_buffers, "BatchNorm"), (lambda: nn.Sequential(nn.Dropout(), plain()), "Drop")],
    ids=["batchnorm", "dropout"],
)
def test_what_cannot_be_compiled(net, reason, monkeypatch, warnings_said):
    if not noise_library.available():
        pytest.skip("needs a C++ compiler")
    monkeypatch.setattr(fit_module, "WORTH_COMPILING", 0)
    assert kind_of_step(monkeypatch, net()) == "eager"
    (said,) = warnings_said.messages
    assert reason in said
    with pytest.raises(ValueError, match=f"the step cannot be compiled: .*{reason}"):
        fit(*pair(net()), data(), options=Options(1, 16, step="compiled"))


def test_a_compiler_that_fails_late(monkeypatch, warnings_said):
    """Found, but torch.compile cannot use it: Python's headers are missing, say."""

    def failing(*arguments):
        raise RuntimeError("Python.h: not found\nand a hundred lines more")

    monkeypatch.setattr(fit_module, "can_compile", lambda *a: None)
    monkeypatch.setattr(fit_module, "CompiledStep", failing)
    monkeypatch.setattr(fit_module, "WORTH_COMPILING", 0)
    assert kind_of_step(monkeypatch) == "eager"
    assert warnings_said.messages == [
        "training eagerly, which is slower: torch.compile failed (Python.h: not found)"
    ]
    with pytest.raises(ValueError, match=r"cannot be compiled: .*Python.h"):
        fit(*pair(), data(), options=Options(1, 16, step="compiled"))


# --- the progress line -----------------------------------------------------------------------


def test_the_progress_line_fits_80_columns_and_splits_the_loss():
    console = Console(file=io.StringIO(), force_terminal=True, width=80, _environ={"TERM": "xterm"})
    fit(*pair(), data(), validation=data(), options=SHORT, console=console, title="pretrain")
    last = console.file.getvalue().split("\r\x1b[2K")[-1]
    for part in ("pretrain · 100 % · 0:00 left · log p -", " · KL ", " x 1.00 nats · error "):
        assert part in last
    assert last.endswith("0\n") and len(last) <= 80


def test_a_network_in_eval_mode_is_trained_in_training_mode():
    """Its statistics follow its weights, and it is in eval mode again at the end."""
    model, guide = pair(with_noise_and_buffers().eval())
    before = state(model, guide)
    fit(model, guide, data(), validation=data(), options=SHORT)
    norms = [m for m in model.net.modules() if isinstance(m, nn.BatchNorm1d)]
    assert all(norm.num_batches_tracked == 6 for norm in norms) and norms
    assert not same(state(model, guide), before)
    assert not any(module.training for module in model.net.modules())


def test_single_modules_in_eval_mode_stay_there():
    model, guide = pair(with_noise_and_buffers())
    norm = next(m for m in model.net.modules() if isinstance(m, nn.BatchNorm1d)).eval()
    fit(model, guide, data(), validation=data(), options=SHORT)
    assert norm.num_batches_tracked == 0 and not norm.training
    assert model.net.training


def test_the_mode_comes_back_after_a_failure():
    model, guide = pair(with_noise_and_buffers().eval())
    with pytest.raises(ZeroDivisionError):
        fit(model, guide, data(), options=SHORT, each_epoch=lambda number: 1 / 0)
    assert not any(module.training for module in model.net.modules())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x, y: (x[:0], y[:0]), "validation data: 0 inputs and 0 labels"),
        (lambda x, y: (x, y[1:]), "40 inputs and 39 labels"),
        (lambda x, y: (x / 0, y), "validation data: NaN or infinity in the inputs"),
    ],
)
def test_validation_data_are_checked_before_the_first_step(change, message):
    model, guide = pair()
    before = state(model, guide)
    with pytest.raises((ValueError, NonFiniteError), match=message):
        fit(model, guide, data(), validation=change(*data()), options=SHORT)
    assert same(state(model, guide), before)


class Scaled(nn.Linear):
    """A layer with extra state that is no tensor, as some libraries have it."""

    def get_extra_state(self) -> dict:
        return {"recipe": "delayed"}

    def set_extra_state(self, state: dict) -> None:
        pass


def test_extra_state_is_no_number_to_look_at():
    net = nn.Sequential(Scaled(4, 3))
    model = Gaussian(net, 12)
    x = torch.linspace(-1, 1, 48).reshape(12, 4)
    options = Options(epochs=1, batch_size=6, step="eager")
    fit(model, MeanFieldNormal(model), (x, torch.arange(12) % 3), options=options)
