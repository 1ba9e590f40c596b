"""After the training of `rate`: single integers are changed, then steps and biases are trained.

Integers and steps that were trained together, on mini-batches, with gradients that pass through the
rounding, are no minimum of the loss. Steps and biases that were trained at changed integers are
others, and there other changes pay.
"""

import math
from dataclasses import replace

from rich.console import Console
from torch import Tensor, nn

from ..training import Epoch, fit
from ..training.augment import mirrored, shifted
from ..training.options import SMALL_BATCH, Options
from ..training.progress import ProgressLine

ROUNDS = {9: 2, 8: 1, 7: 1, 6: 1, 5: 1}  # by effort; none with less, as a sweep is long
# Of the epochs of training, and at which rate: steps and biases are few and almost right.
TUNING, TUNING_RATE = 0.05, 1e-3


def polish(
    model: nn.Module, guide: nn.Module, train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor], options: Options, console: Console, title: str, effort: int,
) -> list[Epoch]:  # fmt: skip
    """Rounds of two parts: coordinate descent over the integers, then training of steps and biases.

    :param options: those of the training that came before.
    :param effort: 1 to 9; `ROUNDS` has the number of rounds.
    :returns: the epochs of the last round's training, none without rounds. Nothing is kept for
        `--resume`.
    """
    history: list[Epoch] = []
    for number in range(ROUNDS.get(effort, 0)):
        name = f"{title}-{number + 1}"
        _descend(guide, _moved(train[0], options, number), train[1], console, name)
        history = _tune(model, guide, train, validation, options, console, name)
    return history


def _tune(
    model: nn.Module, guide: nn.Module, train: tuple[Tensor, Tensor],
    validation: tuple[Tensor, Tensor], options: Options, console: Console, title: str,
) -> list[Epoch]:  # fmt: skip
    """Train steps and biases at the integers as they are."""
    guide.hold()
    short = replace(
        options,
        epochs=math.ceil(TUNING * options.epochs),
        batch_size=min(options.batch_size, SMALL_BATCH),
        lr=TUNING_RATE,
        lr_schedule="linear",
        kl_warmup=(0.0, 0.0),
        kl_overshoot=(1.0, 0.0),
        step="eager",  # nearly all parameters have no gradient
    )
    try:
        return fit(
            model,
            guide,
            train,
            validation=validation,
            options=short,
            console=console,
            title=f"{title}, steps and biases",
        )
    finally:
        guide.release()


def _descend(guide: nn.Module, x: Tensor, y: Tensor, console: Console, title: str) -> None:
    """One sweep over single integers, with a line for each layer."""
    lines: dict[str, ProgressLine] = {}

    def show(layer: str, done: int, total: int) -> None:
        if layer not in lines:
            lines[layer] = ProgressLine(console, f"{title}, integers of {layer}", total)
        lines[layer].update(done, "")
        if done == total:
            lines[layer].close()

    try:
        guide.descend(x, y, show)
    finally:
        for line in lines.values():
            line.close()


def _moved(x: Tensor, options: Options, number: int) -> Tensor:
    """Training images as training had them: moved and mirrored, in each round otherwise."""
    x = shifted(x, options.shift, options.seed + number) if options.shift else x
    return mirrored(x, options.seed + number) if options.flip else x
