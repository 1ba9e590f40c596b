"""Training defaults that several methods share."""

from typing import Any

from ..compression.margins import MARGIN_ERROR, MARGIN_NLL


def training(
    epochs: int, lr: float, kl_warmup: float = 0.0, pretrain_epochs: int = 10,
    batch_size: int = 128, **more: Any,
) -> dict[str, Any]:  # fmt: skip
    """Defaults of a method: see `training.Options` and `compression.compress`."""
    return {
        "pretrain_epochs": pretrain_epochs,
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "lr_schedule": "linear",
        "kl_warmup": (0.0, kl_warmup),
        "kl_overshoot": (1.0, 0.0),  # the factor at first, and the share of epochs till it is 1
        "shift": 0,
        "margin_nll": MARGIN_NLL,
        "margin_error": MARGIN_ERROR,
        **more,
    }


def digits(epochs: int, lr: float, kl_warmup: float = 50.0, **more: Any) -> dict[str, Any]:
    """Presets of the reference network for digits, which small data sets take too."""
    return {"digits-mlp": training(epochs, lr, kl_warmup, 40, 64, **more)}


# Of the baselines that train points from a trained network.
POINTS = training(30, 1e-3)
POINTS_DIGITS = digits(100, 1e-3, 0.0)

MIXTURE = {"weight": 0.02, "zero_proportion": 0.999}
