"""Beta moved to a size or an error, coordinate descent at the end, and the description in bits."""

import math
from collections.abc import Mapping
from typing import Any

from .hooks import Hooks, Outcome, Trained

NEAR = 0.05  # of the size asked for, relative
LEAST_BETA = 1e-3  # below it the size of the weights hardly counts


class RateHooks(Hooks):
    """See the module."""

    no_code_length = "the code length of its weights is in the description"

    @property
    def overshoots(self) -> bool:
        return not self.given.keys() & {"target_bytes", "target_error"}

    def target(self, model, guide, validation, options, compression):
        from .target import TargetBytes, TargetError

        if "target_error" in self.given:
            return TargetError(self.given["target_error"], model, guide, validation, options)
        if "target_bytes" in self.given:
            wanted = self.given["target_bytes"]
            return TargetBytes(wanted, model, guide, validation, options, compression)
        return None

    def finish(self, trained: Trained) -> None:
        # What a target is reached by is beta in training: after it files would be smaller again.
        if trained.phase == "train" and not trained.targeted:
            from .polish import polish

            polish(
                trained.model, trained.guide, trained.train, trained.validation, trained.options,
                trained.console, trained.phase, trained.effort,
            )  # fmt: skip

    def figures(self, outcome: Outcome) -> dict[str, Any]:
        from .code_lengths import code_lengths

        result = outcome.result
        lengths = code_lengths(result.archive, result.data, result.network, outcome.data.train)
        return {
            "description": {**lengths, "beta": outcome.guide.model.beta.item()},
            "target_bytes": self.given.get("target_bytes"),
            "target_error": self.given.get("target_error"),
            "validation_examples": outcome.validation.n,
        }

    def rows(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        found = result["description"]
        said = (
            f"{found['label_bits']:,.0f} bits of training labels + {found['weight_bits']:,.0f} of "
            f"weights by the prior ({found['coded_bits']:,.0f} in the file), beta "
            f"{found['beta']:.3g}"
        )
        return [("description", said)]

    def remarks(self, result: Mapping[str, Any]) -> list[str]:
        said = []
        if result["target_bytes"] and abs(result["bytes"] / result["target_bytes"] - 1) > NEAR:
            said.append(_missed(result))
        if result["target_error"] is not None:
            said.append(_error_reached(result))
        return said


def _missed(result: Mapping[str, Any]) -> str:
    """Why a file is not of the size asked for."""
    wanted, found = result["target_bytes"], result["bytes"]
    besides = found - result["description"]["coded_bits"] / 8
    if besides > wanted:
        why = f"What is no weight (header, shapes, steps, biases) takes {besides:.0f} of them"
    elif found < wanted and result["description"]["beta"] < LEAST_BETA:
        why = "Larger than that pays for nothing in the labels"
    else:
        why = "Beta had not settled when training ended: train longer (--epochs)"
    return f"Not within {100 * NEAR:.0f} % of {wanted:,} bytes: the file has {found:,}. {why}."


def _error_reached(result: Mapping[str, Any]) -> str:
    """How near a file came to the validation error asked for, whose own standard error is said."""
    wanted, found = result["target_error"], result["validation_error"]
    stderr = math.sqrt(found * (100 - found) / result["validation_examples"])
    said = f"Validation error {found:.2f} % (standard error {stderr:.2f}), {wanted:g} % asked for."
    if abs(found - wanted) <= stderr:
        return said
    if found > wanted:
        return f"{said} Train longer (--epochs), or another network may reach it."
    return f"{said} Ask for more, or use --target-bytes, which is met more exactly."
