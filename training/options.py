"""How a run of `fit` trains: every option with its default, checked when it is made."""

from dataclasses import dataclass

from .schedules import LR_SCHEDULES, kl_factors

MAX_SEED = 2**31 - 1

SMALL_BATCH = 128  # examples a step, at most, of training that is not the method's own


@dataclass(frozen=True)
class Options:
    """How to train.

    :param epochs: passes over the data.
    :param batch_size: examples a step; a last smaller batch of an epoch is left out, and its
        examples come up in the epochs that follow.
    :param lr: Adam's learning rate at the start.
    :param lr_schedule: "constant", "linear" (to 0), "hold-linear" (to 0 from half-time on).
    :param kl_warmup: epochs at which the KL weight starts to rise from 0 and reaches 1.
    :param kl_overshoot: a factor of the KL weight, which falls linearly to 1, and the epoch at
        which it gets there.
    :param kl_weighting: how an epoch's KL is shared out among its mini-batches: "uniform", or
        "blundell" (`schedules.kl_factors`); on average over an epoch both weight it the same.
    :param seed: of data order and noise.
    :param shift: training images are moved by up to so many pixels along both axes, anew each
        epoch (see `augment.shifted`); 0 (default): they are not.
    :param flip: training images are mirrored left to right, each with probability 1/2, anew each
        epoch; default: they are not.
    :param step: "eager", "compiled", or "auto": compiled where it is possible and pays.
    :param checkpoint_seconds: seconds between checkpoints within an epoch.
    """

    epochs: int = 100
    batch_size: int = 128
    lr: float = 1e-3
    lr_schedule: str = "linear"
    kl_warmup: tuple[float, float] = (0.0, 0.0)
    kl_overshoot: tuple[float, float] = (1.0, 0.0)
    kl_weighting: str = "uniform"
    seed: int = 0
    shift: int = 0
    flip: bool = False
    step: str = "auto"
    checkpoint_seconds: float = 60.0

    def __post_init__(self) -> None:
        if self.epochs < 1 or self.batch_size < 1 or not 0 < self.lr < float("inf"):
            raise ValueError("epochs, batch_size and lr must be positive and finite")
        if self.shift < 0:
            raise ValueError(f"shift, pixels, must be 0 or more; got {self.shift}")
        if not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"seed must be within 0..{MAX_SEED}; got {self.seed}")
        if self.lr_schedule not in LR_SCHEDULES:
            known = ", ".join(LR_SCHEDULES)
            raise ValueError(f"unknown lr_schedule {self.lr_schedule!r}; known: {known}")
        factor, last = self.kl_overshoot
        if not (0 < factor < float("inf") and last >= 0):
            raise ValueError(
                "kl_overshoot must be a factor, positive and finite, and an epoch, 0 or more; "
                f"got {self.kl_overshoot}"
            )
        kl_factors(self.kl_weighting, 1)  # raises for an unknown one
        if self.step not in ("auto", "eager", "compiled"):
            raise ValueError(f"step must be auto, eager or compiled; got {self.step!r}")
