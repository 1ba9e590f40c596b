"""`fit`: the SVI loop with checkpoints, exact resume, and one progress line."""

import random
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn

from ..common.datasets import Data, in_memory
from ..common.examples import count, tensors
from ..common.modes import gradients, training_mode
from ..compression.atomic import remove_leftovers
from . import checkpoint, noise_library
from .batches import Batches
from .checks import check_run
from .diagnose import NonFiniteError, check_state, name_culprit
from .options import Options
from .progress import ProgressLine
from .schedules import LR_SCHEDULES, kl_factors, kl_weight
from .steps import CompiledStep, EagerStep, Pair, can_compile
from .validation import validation_error

# Below this many weight updates (parameters x steps) compiling takes longer than it saves.
WORTH_COMPILING = 2e9


@dataclass(frozen=True)
class Epoch:
    """What one epoch came to.

    :param expected_log_likelihood: mean over the epoch's steps, nats for the whole data set.
    :param kl: KL(q || p), likewise; unweighted.
    :param kl_weight: of the epoch's last step, by warm-up and overshoot.
    :param validation_error: percent of the validation labels that the median of q gets wrong; for
        real-valued ones the squared error in percent of their mean square about their mean (see
        `compression.scores`); None without validation data.
    """

    number: int
    expected_log_likelihood: float
    kl: float
    kl_weight: float
    lr: float
    validation_error: float | None


@dataclass
class _Position:
    """Where a run stands; with parameters and generators, all that a resumed run needs."""

    step: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0])
    history: list[Epoch] = field(default_factory=list)


@gradients()
def fit(
    model: nn.Module,
    guide: nn.Module,
    train: Data,
    *,
    validation: Data | None = None,
    options: Options | None = None,
    checkpoint_file: Path | None = None,
    force_resume: bool = False,
    console: Console | None = None,
    title: str = "training",
    each_epoch: Callable[[int], None] | None = None,
) -> list[Epoch]:
    """Train a pair in place: plain SVI with `bitsback.ELBO` and Adam, faster and safer.

    A network that came in eval mode is trained in training mode, dropout on and BatchNorm
    statistics moving; afterwards its modules have their modes again. `model.eval()` before `fit`
    makes it train in eval mode. Layers whose parameters are frozen do not change. To freeze the
    statistics of a BatchNorm alone, put that layer in eval mode.

    :param model: a model of `bitsback.models`, around a network.
    :param guide: a guide of `bitsback.guides`, made from that model.
    :param train: inputs and labels, first axis the examples; on the device of the model. Inputs
        may be a tuple or dict of tensors (see `common.examples.call`). A Dataset or DataLoader is
        read into memory once (see `common.datasets.in_memory`).
    :param validation: the same, only looked at; at least one example.
    :param options: epochs, learning rate, batch size and seed, among others; see `Options`.
    :param checkpoint_file: written every so often and at the end of every epoch; if it is there
        already, training goes on from it, and ends with the same bits as an uninterrupted run on
        the same machine and versions. None: no checkpoints.
    :param force_resume: go on from a checkpoint of other settings.
    :param console: where the progress line goes, if it is a terminal.
    :param title: the first words of that line.
    :param each_epoch: called with the number of each epoch that has ended, 1 and so on; what it
        changes must be in the state_dict of model or guide.
    :returns: one entry an epoch.
    :raises ValueError: for data that do not fit the model, or another run's checkpoint.
    :raises NonFiniteError: for NaN or infinity in data, loss, gradient or parameter; names the
        site and the step. Parameters are those before that step; the last checkpoint is kept.

    >>> model = bitsback.models.LogUniform(net, num_data=len(x))
    >>> guide = bitsback.guides.MeanFieldNormal(model)
    >>> bitsback.fit(model, guide, (x, y), options=bitsback.Options(epochs=50, lr=1e-3))
    """
    options = options or Options()
    train = in_memory(train, "training")
    validation = in_memory(validation, "validation")
    pair = Pair(model, guide)
    batch = check_run(pair, train, validation, options.batch_size)
    _seed_everything(options.seed)
    line = ProgressLine(console, title, options.epochs * (count(train[0]) // batch))
    with training_mode(pair.model), closing(line):
        batches = Batches(model, train, options, line.say)
        step = _make_step(pair, *batches.take(batches.order(0)[:batch], 0), options, line)
        run = _describe(pair, train, options, step.kind)
        run["each_epoch"] = _summary(each_epoch) or None  # as of checkpoints that do not know it
        position = _start(pair, step, run, checkpoint_file, force_resume)
        step.follow()
        loop = _Loop(pair, step, batches, validation, options, position, each_epoch)
        saved = time.monotonic()
        # An interrupted step leaves parameters half updated, so that nothing is saved but here.
        for end_of_epoch in loop:
            line.update(position.step, loop.text)
            if end_of_epoch or time.monotonic() - saved > options.checkpoint_seconds:
                check_state(pair, position.step)
                if checkpoint_file is not None:
                    checkpoint.save(checkpoint_file, run, _state(pair, step, position))
                saved = time.monotonic()
    return position.history


class _Loop:
    """Steps of a run from its position to its end; yields whether an epoch has just ended."""

    def __init__(
        self, pair, step, batches: Batches, validation, options: Options, position: _Position,
        each_epoch,
    ):  # fmt: skip
        self.pair, self.step, self.options, self.position = pair, step, options, position
        self.batches, self.validation = batches, validation
        self.each_epoch = each_epoch or (lambda number: None)
        self.batch, self.steps_an_epoch = batches.batch, batches.steps
        self.kl_factors = kl_factors(options.kl_weighting, self.steps_an_epoch)
        self.text = ""

    def __iter__(self) -> Iterator[bool]:
        total = self.options.epochs * self.steps_an_epoch
        order = self.batches.order(self.position.step // self.steps_an_epoch)
        while self.position.step < total:
            within = self.position.step % self.steps_an_epoch
            self._one(order[within * self.batch : (within + 1) * self.batch], total)
            end = self.position.step % self.steps_an_epoch == 0
            if end:
                self._close_epoch(total)
                self.pair.after_epoch()
                self.each_epoch(self.position.step // self.steps_an_epoch)
                if self.position.step < total:
                    self.step.follow()
                order = self.batches.order(self.position.step // self.steps_an_epoch)
            yield end

    def _rates(self, total: int) -> tuple[float, float]:
        done = self.position.step
        lr = self.options.lr * LR_SCHEDULES[self.options.lr_schedule](done / total)
        epoch = done / self.steps_an_epoch
        return lr, kl_weight(epoch, self.options.kl_warmup, self.options.kl_overshoot)

    def _one(self, chosen: Tensor, total: int) -> None:
        lr, weight = self._rates(total)
        factor = self.kl_factors[self.position.step % self.steps_an_epoch]
        seed = self.options.seed * 2**32 + self.position.step  # below 2^63, see MAX_SEED
        x, y = self.batches.take(chosen, seed)
        outcome = self.step(x, y, seed, lr, weight * factor)
        if not outcome.finite:
            raise NonFiniteError(name_culprit(self.pair, x, y, weight * factor, self.position.step))
        self.position.step += 1
        self.pair.after_step(self.position.step)
        for i, term in enumerate((outcome.expected_log_likelihood, outcome.kl)):
            self.position.sums[i] += term.item()
        self._describe_step(weight)

    def _describe_step(self, weight: float) -> None:
        within = (self.position.step - 1) % self.steps_an_epoch + 1
        log_likelihood, kl = (_short(s / within) for s in self.position.sums)
        history = self.position.history
        error = history[-1].validation_error if history else None
        shown = "" if error is None else f" · error {error:.2f}"
        self.text = f"log p {log_likelihood} · KL {kl} x {weight:.2f} nats{shown}"

    def _close_epoch(self, total: int) -> None:
        self.position.step -= 1  # the rates of the step just taken
        lr, weight = self._rates(total)
        self.position.step += 1
        error = None
        if self.validation is not None:
            error = validation_error(self.pair, *self.validation)
        means = [s / self.steps_an_epoch for s in self.position.sums]
        number = self.position.step // self.steps_an_epoch
        self.position.history.append(Epoch(number, *means, weight, lr, error))
        self.position.sums = [0.0, 0.0]


def _short(nats: float) -> str:
    return f"{nats:.1f}" if abs(nats) < 1000 else f"{nats:.0f}"


def _make_step(pair: Pair, x: Tensor, y: Tensor, options: Options, line: ProgressLine):
    work = sum(p.numel() for p in pair.parameters()) * line.total
    if options.step == "eager" or (options.step == "auto" and work < WORTH_COMPILING):
        return EagerStep(pair)
    obstacle = can_compile(pair, x)
    if obstacle is None:
        line.say("compiling the training step, which takes up to a minute")
        try:
            return CompiledStep(pair, x, y)
        except Exception as error:  # of the network's capture, of the compiler, of its headers...
            obstacle = f"torch.compile failed ({_first_line(error)})"
    if options.step == "compiled":
        raise ValueError(f"the step cannot be compiled: {obstacle}; use --compile auto or no")
    if y.device.type == "cpu":
        noise_library.say_once(f"training eagerly, which is slower: {obstacle}")
    return EagerStep(pair)


def _start(
    pair: Pair, step: EagerStep | CompiledStep, run: dict, file: Path | None, force: bool
) -> _Position:
    """Where the checkpoint left off, if there is one; else the beginning."""
    if file is None:
        return _Position()
    remove_leftovers(file)
    if not file.exists():
        return _Position()
    state = checkpoint.load(file, run, force)
    try:
        return _restore(state, pair, step)
    except Exception as error:  # torch raises many kinds for what does not fit
        raise checkpoint.CheckpointMismatch(
            f"{file}: the checkpoint does not fit this run ({_first_line(error)}); "
            "delete it to start afresh"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _seed_everything(seed: int) -> None:
    random.seed(seed)
    np.random.seed(seed % 2**32)
    torch.manual_seed(seed)


def _describe(pair: Pair, train: tuple[Tensor, Tensor], options: Options, kind: str) -> dict:
    """What must be the same for a resumed run to end with the same bits."""
    return {
        "epochs": options.epochs,
        "batch_size": options.batch_size,
        "lr": options.lr,
        "lr_schedule": options.lr_schedule,
        "kl_warmup": list(options.kl_warmup),
        **_overshoot(options),
        "kl_weighting": options.kl_weighting,
        "seed": options.seed,
        "shift": options.shift,
        **({"flip": True} if options.flip else {}),  # as of checkpoints that do not know it
        "step": kind,
        "threads": torch.get_num_threads(),
        "device": str(train[1].device),
        "torch": str(torch.__version__),
        "model": _summary(pair.model) + _summary(getattr(pair.model, "mixture", None)),
        "guide": _summary(pair.guide),
        "network": repr(pair.model.get_submodule("net")),
        "parameters": [f"{k} {tuple(p.shape)}" for k, p in pair.named_parameters()],
        "data": checkpoint.fingerprint(*tensors(train)),
    } | _teacher(pair.model)


def _overshoot(options: Options) -> dict:
    """Nothing where there is none, as of checkpoints that do not know it."""
    factor, last = options.kl_overshoot
    return {} if factor == 1.0 else {"kl_overshoot": [factor, last]}


def _teacher(model: nn.Module) -> dict:
    """What tells a model's teacher, if it has one: it is no part of the pair's state."""
    teacher = getattr(model, "teacher", None)
    if teacher is None:
        return {}
    return {"teacher": checkpoint.fingerprint(*teacher.net.state_dict().values())}


def _summary(thing: object) -> str:
    """Its class and its plain settings, such as a prior's scale; empty for None."""
    if thing is None:
        return ""
    plain = {
        key: value
        for key, value in getattr(thing, "__dict__", {}).items()
        if _is_plain(value) and key != "training" and key[0] != "_"
    }
    return f"{type(thing).__name__}({', '.join(f'{k}={v!r}' for k, v in plain.items())})"


def _is_plain(value: object) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(isinstance(part, int) for part in value)
    return isinstance(value, int | float | str)


def _state(pair: Pair, step: EagerStep | CompiledStep, position: _Position) -> dict:
    return {
        "module": pair.state_dict(),
        "optimizer": step.state(),
        "generators": checkpoint.generators(),
        "step": position.step,
        "sums": position.sums,
        "history": [vars(epoch) for epoch in position.history],
    }


def _restore(state: dict, pair: Pair, step: EagerStep | CompiledStep) -> _Position:
    checkpoint.check_state(state)
    pair.load_state_dict(state["module"])
    step.load_state(state["optimizer"])
    checkpoint.restore_generators(state["generators"])
    return _Position(state["step"], state["sums"], [Epoch(**e) for e in state["history"]])
