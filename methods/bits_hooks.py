"""Gates moved to the bit operations asked for, and what a run says of them."""

from collections.abc import Mapping
from typing import Any

from .hooks import Hooks, Outcome, Trained, percent


class BitsHooks(Hooks):
    """See the module."""

    def check(self) -> None:
        from ..distributions.quantiser import check_widths

        if "widths" in self.given:
            try:
                check_widths(self.given["widths"])
            except ValueError as error:
                raise ValueError(f"--widths: {error}") from None

    def prepare(self, model, x) -> None:
        model.measure(x)

    def target(self, model, guide, validation, options, compression):
        from .target import BopsTarget

        wanted = self.given.get("target_bops")
        return None if wanted is None else BopsTarget(wanted, model, guide, options)

    def finish(self, trained: Trained) -> None:
        from .bops import log_errors

        log_errors(trained.guide, trained.history)

    def figures(self, outcome: Outcome) -> dict[str, Any]:
        from .bops import bops_figures
        from .integers import integer_figures

        return {
            "bops": bops_figures(outcome.guide, self.given.get("target_bops")),
            "integer": integer_figures(outcome.decoded, outcome.data),
        }

    def rows(self, result: Mapping[str, Any]) -> list[tuple[str, str]]:
        return [
            ("bit operations", _bops(result["bops"])),
            ("integer network", _integer(result["integer"])),
        ]

    def plot(self, result: Mapping[str, Any]) -> bytes:
        from .plots import gates_png

        return gates_png(result["bops"])


def _bops(found: Mapping[str, Any]) -> str:
    """Relative BOPs, what the bits alone would give, and the layers' bits of weights and inputs."""
    said = f"{100 * found['relative']:.3g} % of those at 32 bits"
    if found["target"] is not None:
        said += f" ({100 * found['target']:.3g} % asked for)"
    widths = ", ".join(
        f"{layer['weight_bits']}x{layer['input_bits'] or '-'}" for layer in found["layers"].values()
    )
    return f"{said}; bits of weights x inputs: {widths}"


def _integer(found: Mapping[str, Any]) -> str:
    """The error of the file's network in integers, and how often it is not the float one."""
    if found["obstacle"]:
        return f"none: {found['obstacle']}"
    return (
        f"test error {percent(found['test_error'])}; differs from the float pass in "
        f"{found['codes_differ']:,} of {found['codes']:,} codes and "
        f"{found['predictions_differ']:,} of {found['predictions']:,} predictions"
    )
