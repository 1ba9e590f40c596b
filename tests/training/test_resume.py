"""Exact resume: however a run is stopped, it ends with the bits of one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import torch
from bitsback.guides import Rounding
from bitsback.methods.target import TargetError
from bitsback.models import Rate
from bitsback.training import Options, fit, noise_library
from bitsback.training.checkpoint import CheckpointMismatch, read
from bitsback.training.evaluation import Split
from bitsback.training.steps import CompiledStep, EagerStep

from .nets import data, pair, plain, same, state, with_noise_and_buffers

needs_compiler = pytest.mark.skipif(not noise_library.available(), reason="needs a C++ compiler")

# --- in one process: parameters, optimiser, loss trace ------------------------------------------


class Stop(Exception):
    """Stands for whatever ends a run."""


@pytest.fixture
def stop_at(monkeypatch):
    """A function that makes a kind of step raise at its n-th call, after having been taken."""

    def arrange(kind: type, count: int) -> None:
        original, calls = kind.__call__, iter(range(1, count + 1))

        def wrapped(self, *arguments):
            outcome = original(self, *arguments)
            if next(calls, None) == count:
                raise Stop
            return outcome

        monkeypatch.setattr(kind, "__call__", wrapped)

    yield arrange
    monkeypatch.undo()


def whole(make, options: Options, file: Path | None = None):
    """(state, history) of a run; `make` gives model and guide as before training."""
    model, guide = make()
    history = fit(model, guide, data(), validation=data(), options=options, checkpoint_file=file)
    return state(model, guide), history


def optimizer_in(file: Path) -> dict[str, torch.Tensor]:
    """The moments in a checkpoint of either kind of step."""
    found = read(file)["state"]["optimizer"]
    if "state" in found:  # torch's own
        return {f"{k}.{name}": v for k, m in found["state"].items() for name, v in m.items()}
    moments = [*found["first"], *found["second"], found["count"]]
    return {str(k): v for k, v in enumerate(moments)}


def check_resume(make, options: Options, kind: type, stops, tmp_path, stop_at) -> None:
    uninterrupted = tmp_path / "uninterrupted"
    expected, history = whole(make, options, uninterrupted)
    file = tmp_path / "interrupted"
    for count in stops:
        stop_at(kind, count)
        with pytest.raises(Stop):
            whole(make, options, file)
    torch.manual_seed(12345)  # whatever the process has drawn before
    found, found_history = whole(make, options, file)
    assert same(found, expected)
    assert found_history == history
    assert same(optimizer_in(file), optimizer_in(uninterrupted))


NETS = {"plain": plain, "batchnorm and dropout": with_noise_and_buffers}
EVERY_STEP = 0.0  # seconds between checkpoints


@pytest.mark.parametrize("seconds", [EVERY_STEP, 1e9], ids=["every step", "every epoch"])
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("stops", [[1], [5], [6], [9, 2, 1], [1] * 5])
def test_eager(stops, net, seconds, tmp_path, stop_at):
    """Two steps an epoch, ten in all."""
    options = Options(5, 16, 0.02, kl_warmup=(1, 3), step="eager", checkpoint_seconds=seconds)
    check_resume(lambda: pair(NETS[net]()), options, EagerStep, stops, tmp_path, stop_at)


OTHERS = ["gaussian", "deterministic", "scale-mixture", "soft-sharing", "log-uniform-mixture"]


@pytest.mark.parametrize("method", OTHERS)
def test_other_methods(method, tmp_path, stop_at):
    options = Options(5, 16, 0.02, step="eager", checkpoint_seconds=EVERY_STEP)
    check_resume(lambda: pair(method=method), options, EagerStep, [7, 2], tmp_path, stop_at)


@needs_compiler
@pytest.mark.filterwarnings("ignore:.torch.jit.script_method.:DeprecationWarning")
def test_compiled(tmp_path, stop_at):
    options = Options(5, 40, 0.02, kl_warmup=(1, 3), step="compiled", checkpoint_seconds=EVERY_STEP)
    check_resume(pair, options, CompiledStep, [4], tmp_path, stop_at)


def test_a_finished_run_does_nothing_more(tmp_path, monkeypatch):
    options = Options(3, 16, 0.02, step="eager")
    expected = whole(pair, options, tmp_path / "c")
    monkeypatch.setattr(EagerStep, "__call__", None)
    found = whole(pair, options, tmp_path / "c")
    assert same(found[0], expected[0]) and found[1] == expected[1]


def test_ctrl_c_in_the_middle_of_a_step(tmp_path, monkeypatch):
    """Half of the parameters are updated: that state must not reach the checkpoint."""
    options = Options(5, 16, 0.02, step="eager", checkpoint_seconds=EVERY_STEP)
    expected = whole(pair, options)
    with monkeypatch.context() as patch:
        original, calls = torch.optim.Adam.step, iter(range(1, 8))

        def halfway(self):
            original(self)
            if next(calls, None) == 7:
                raise KeyboardInterrupt

        patch.setattr(torch.optim.Adam, "step", halfway)
        with pytest.raises(KeyboardInterrupt):
            whole(pair, options, tmp_path / "c")
    found = whole(pair, options, tmp_path / "c")
    assert same(found[0], expected[0]) and found[1] == expected[1]


CHANGES = {
    "epochs": {"epochs": 6},
    "batch_size": {"batch_size": 8},
    "lr": {"lr": 0.03},
    "lr_schedule": {"lr_schedule": "constant"},
    "kl_warmup": {"kl_warmup": (0.0, 1.0)},
    "kl_overshoot": {"kl_overshoot": (2.0, 1.0)},
    "kl_weighting": {"kl_weighting": "blundell"},
    "seed": {"seed": 1},
}


@pytest.mark.parametrize("key", CHANGES)
def test_a_run_of_other_options_is_refused(key, tmp_path):
    base = {"epochs": 2, "batch_size": 16, "lr": 0.02, "step": "eager"}
    whole(pair, Options(**base), tmp_path / "c")
    with pytest.raises(CheckpointMismatch, match=rf"\({key} was .* force it"):
        whole(pair, Options(**base | CHANGES[key]), tmp_path / "c")


def test_another_pair_other_data_other_threads_are_refused(tmp_path, monkeypatch):
    options = Options(2, 16, 0.02, step="eager")
    whole(lambda: pair(method="gaussian"), options, tmp_path / "c")
    with pytest.raises(CheckpointMismatch, match=r"model was 'Gaussian\(.*is 'LogUniform\("):
        whole(pair, options, tmp_path / "c")
    with pytest.raises(CheckpointMismatch, match=r"model was .*is 'Gaussian.*scale=1.0"):
        whole(lambda: pair(method="deterministic"), options, tmp_path / "c")
    other = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3))
    with pytest.raises(CheckpointMismatch, match=r"network was .*ReLU.* is .*Tanh"):
        whole(lambda: pair(other, "gaussian"), options, tmp_path / "c")
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    with pytest.raises(CheckpointMismatch, match="threads was 1, is 7"):
        whole(lambda: pair(method="gaussian"), options, tmp_path / "c")
    monkeypatch.undo()
    x, y = data()
    with pytest.raises(CheckpointMismatch, match="data was "):
        fit(*pair(method="gaussian"), (x + 1, y), options=options, checkpoint_file=tmp_path / "c")


def test_another_teacher_is_refused(tmp_path):
    options = Options(2, 16, 0.02, step="eager")

    def with_teacher(bias: float):
        net = plain()
        torch.nn.init.constant_(net.fc2.bias, bias)
        model = Rate(plain(), 40, teacher=net)
        return model, Rounding(model)

    whole(lambda: with_teacher(0.0), options, tmp_path / "c")
    whole(lambda: with_teacher(0.0), options, tmp_path / "c")
    with pytest.raises(CheckpointMismatch, match="teacher was "):
        whole(lambda: with_teacher(0.1), options, tmp_path / "c")


def test_another_target_is_refused(tmp_path):
    options, file = Options(2, 16, 0.02, step="eager"), tmp_path / "c"

    def train(wanted: float | None) -> None:
        model, guide = pair(method="rate")
        target = None
        if wanted is not None:
            target = TargetError(wanted, model, guide, Split(*data()), options)
        fit(model, guide, data(), options=options, checkpoint_file=file, each_epoch=target)

    train(3.0)
    train(3.0)
    with pytest.raises(CheckpointMismatch, match=r"each_epoch was .*wanted=3.0.* is .*wanted=4.0"):
        train(4.0)
    with pytest.raises(CheckpointMismatch, match=r"each_epoch was .*wanted=3.0.* is None"):
        train(None)


def test_forcing_what_does_not_fit_is_an_error_too(tmp_path):
    options = Options(2, 16, 0.02, step="eager")
    whole(pair, options, tmp_path / "c")
    model, guide = pair(with_noise_and_buffers())
    with pytest.raises(CheckpointMismatch, match=r"does not fit this run .*delete it"):
        fit(model, guide, data(), options=options, checkpoint_file=tmp_path / "c",
            force_resume=True)  # fmt: skip


def test_forced(tmp_path):
    whole(pair, Options(2, 16, 0.02, step="eager"), tmp_path / "c")
    model, guide = pair()
    history = fit(model, guide, data(), options=Options(4, 16, 0.01, step="eager"),
                  checkpoint_file=tmp_path / "c", force_resume=True)  # fmt: skip
    assert [epoch.number for epoch in history] == [1, 2, 3, 4]


def test_leftovers_of_killed_writers_go(tmp_path):
    leftover, other = tmp_path / ".c.0123456789abcdef.part", tmp_path / ".d.0123456789abcdef.part"
    for path in (leftover, other):
        path.write_bytes(b"half")
    whole(pair, Options(1, 16, 0.02, step="eager"), tmp_path / "c")
    assert not leftover.exists() and other.exists()


# --- the command, killed for real ----------------------------------------------------------------

# A fixed threshold and no codebook to be fitted, so that most of the time is training.
SHORT = (
    *("compress", "--data", "digits", "--pretrain-epochs", "3", "--epochs", "8", "--quiet"),
    *("--threshold", "2", "--threads", "1", "--out", "net.bb"),
)
QUANTISER = {  # the point guide has no standard deviations
    "log-uniform": ("--quantiser", "stddev"),
    "gaussian": ("--clusters", "8"),
    "deterministic": ("--clusters", "8"),
}


def method_options(method: str) -> tuple[str, ...]:
    return ("--method", method, *QUANTISER[method])


class Runner:
    """Runs of the command in children of one process; see fork_server."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("fork_server.py")
        self.process = subprocess.Popen(
            [sys.executable, "-P", str(script)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self.process.stdout.readline() == "ready\n"

    def run(self, folder: Path, *argv: str, kill=None, after: float | None = None) -> int:
        """The exit status of a run, negative for a signal.

        :param kill: [place, count], where the run kills itself.
        :param after: seconds after which it is killed from outside.
        """
        job = {"cwd": str(folder), "argv": [*SHORT, *argv]} | ({"kill": kill} if kill else {})
        print(json.dumps(job), file=self.process.stdin, flush=True)
        pid = int(self.process.stdout.readline())
        timer = threading.Timer(after, os.kill, (pid, signal.SIGKILL)) if after else None
        if timer:
            timer.start()
        status = int(self.process.stdout.readline())
        if timer:
            timer.cancel()
            timer.join()
        return status


@pytest.fixture(scope="module")
def runner():
    made = Runner()
    yield made
    made.process.stdin.close()
    made.process.stdout.close()
    made.process.wait()


@pytest.fixture(scope="module")
def uninterrupted(runner, tmp_path_factory):
    """(bytes, seconds) of the run without --resume, by method."""
    done = {}

    def of(method: str) -> tuple[bytes, float]:
        if method not in done:
            folder = tmp_path_factory.mktemp("uninterrupted")
            began = time.monotonic()
            assert runner.run(folder, *method_options(method)) == 0
            done[method] = (folder / "net.bb").read_bytes(), time.monotonic() - began
        return done[method]

    return of


def finish(runner, folder: Path, method: str, expected: bytes) -> None:
    """The run goes on to its end, and so does another one after it."""
    for _ in range(2):
        assert runner.run(folder, *method_options(method), "--resume", "ck") == 0
        assert (folder / "net.bb").read_bytes() == expected
    names = {path.name for path in (folder / "ck").iterdir()}
    assert names <= {"pretrain.checkpoint", "train.checkpoint"}


def test_killed_at_awkward_places(runner, uninterrupted, tmp_path):
    """19 steps an epoch, 3 epochs and then 8; a checkpoint is two syncs, of it and its folder."""
    expected, _ = uninterrupted("log-uniform")
    places = (("fsync", 1), ("replace", 1), ("half step", 25), ("fsync", 2), ("replace", 2))
    places += (("step", 30), ("half step", 50), ("fsync", 3))
    for kill in places:
        options = method_options("log-uniform")
        status = runner.run(tmp_path, *options, "--resume", "ck", kill=kill)
        assert status == -signal.SIGKILL, kill
        assert not (tmp_path / "net.bb").exists()
    finish(runner, tmp_path, "log-uniform", expected)


def kill_at_random(runner, uninterrupted, folder: Path, method: str, kills: int, seed: int) -> None:
    expected, seconds = uninterrupted(method)
    moments = random.Random(seed)
    for _ in range(kills):
        after = moments.uniform(0.02, 0.8 * seconds)
        status = runner.run(folder, *method_options(method), "--resume", "ck", after=after)
        assert status in (-signal.SIGKILL, 0)
    finish(runner, folder, method, expected)


def test_killed_at_random_moments(runner, uninterrupted, tmp_path):
    kill_at_random(runner, uninterrupted, tmp_path, "log-uniform", kills=4, seed=1)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("method", ["log-uniform", "gaussian", "deterministic"])
def test_killed_many_times(method, seed, runner, uninterrupted, tmp_path):
    """60 kills."""
    kill_at_random(runner, uninterrupted, tmp_path, method, kills=4, seed=seed)


def heed_ctrl_c() -> None:
    """A shell's background job ignores it, and so would its children, this test's among them."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_ctrl_c(uninterrupted, tmp_path):
    """The real command in a process of its own: exit code 130, one line, and an exact resume."""
    command = [sys.executable, "-P", "-m", "bitsback", *SHORT]
    command += [*method_options("log-uniform"), "--resume", "ck"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, preexec_fn=heed_ctrl_c
    )
    deadline = time.monotonic() + 120
    while not (tmp_path / "ck" / "pretrain.checkpoint").exists():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate()
    assert process.returncode == 130
    assert said == "interrupted; to go on, run the same command again with --resume ck\n"
    assert not (tmp_path / "net.bb").exists()
    subprocess.run(command, cwd=tmp_path, check=True)
    assert (tmp_path / "net.bb").read_bytes() == uninterrupted("log-uniform")[0]
