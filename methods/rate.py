"""Integers under the entropy coder's own probability model: a size, or an error, to aim at."""

from collections.abc import Mapping
from typing import Any

from .options import Option
from .presets import digits, training
from .spec import Method

_RATE = {"quantiser": "grid", "prune": "none", "beta": 0.2, "coarseness": 0.4}
# A step of one root mean square: with finer ones a layer that starts dense stays dense. Tighter
# margins: one more bit for every bias costs about 14 bytes, less than the 30 bytes of label code
# length that the default margin gives away at beta = 1. Nor does an error of less than 1 % have 0.2
# points to spare.
_LENETS = {
    **_RATE, "beta": 1.0, "coarseness": 1.0, "margin_nll": 0.001, "margin_error": 0.1
}  # fmt: skip
# Small batches' noise pushes weights across the border between two integers. A price that is too
# high at first prunes what a right one would leave for good. What comes back as it falls is worth
# its bits.
_LENET_5 = training(
    75, 5e-3, 5.0, batch_size=512, shift=1, kl_overshoot=(5.0, 2 / 3),
    **_LENETS | {"beta": 0.65},
)  # fmt: skip


def _check(given: Mapping[str, Any]) -> None:
    if "target_error" in given and "target_bytes" in given:
        raise ValueError("--target-error: beta cannot reach --target-bytes too; give one")


def _arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    found = {"beta": given["beta"]} if "beta" in given else {}
    return found | ({"teacher": True} if given.get("distill") else {})


RATE = Method(
    name="rate",
    model="Rate",
    guide="Rounding",
    prior="w = step x integer; p(integer) is the coder's own probability model",
    paper="Oktay et al. 2020, Scalable Model Compression by Entropy Penalized Reparameterization",
    proper=True,
    defaults=training(100, 4e-3, 10.0, **_RATE),
    networks={
        **digits(200, 1e-2, **_RATE),
        "lenet-5-caffe": _LENET_5,
        "lenet-5-caffe-relu": _LENET_5,
        "lenet-300-100": training(100, 4e-3, 5.0, shift=1, **_LENETS | {"beta": 0.5}),
    },
    tuned=("beta", "coarseness"),
    options=(
        Option(
            "beta", float,
            "Bits of the labels that one bit of the weights is worth; 1 is the description length.",
            above=0,
        ),
        Option("target_bytes", int, "Size of the file to reach by moving beta.", least=1),
        Option(
            "target_error", float, "Validation error to reach by moving beta, in percent.",
            above=0, below=100,
        ),
        Option("distill", bool, "The network that training starts from teaches (distillation)."),
    ),
    check=_check,
    arguments=_arguments,
    hooks="rate_hooks.RateHooks",
)  # fmt: skip
