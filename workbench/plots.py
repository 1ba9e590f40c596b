"""Plots of the commands, as PNG bytes."""

from collections.abc import Mapping
from typing import Any

from ..methods.plots import panels, png


def tau0_png(result: Mapping[str, Any]) -> bytes:
    """Bound, validation NLL and bytes over tau0; `result` is the JSON of `bitsback tau0`.

    The bound is drawn as its paired difference to the largest, with two standard errors: the values
    share their draws, so that the errors of the bounds themselves would hide what is known.
    """
    figure, (upper, middle, lower) = panels()
    rows = result["values"]
    tau0 = [row["tau0"] for row in rows]

    def curve(axes, key: str, label: str, style: str = "o-"):
        axes.plot(tau0, [row["figures"][key] for row in rows], style, label=label)

    errors = [2 * row["bound_below_stderr"] for row in rows]
    upper.errorbar(tau0, [-row["bound_below"] for row in rows], errors, fmt="o-", capsize=3)
    upper.set(ylabel="bound less the largest,\nnats per datum", xscale="log")
    curve(middle, "validation_nll", "average over q")
    curve(middle, "file_nll", "compressed file", "s--")
    middle.set(ylabel="validation NLL, nats")
    curve(lower, "bytes", "compressed file", "s--")
    lower.set(ylabel="bytes", xlabel="tau0")
    marks = (
        ("evidence", result["evidence"]["tau0"], "tab:red"),
        ("smallest file without loss", result["compression"]["tau0"], "tab:green"),
        ("published", 1e-5, "0.5"),
    )
    for axes in (upper, middle, lower):
        for label, value, color in marks:
            axes.axvline(value, color=color, linestyle=":", label=label)
    for axes in (middle, lower):
        axes.legend(fontsize="small")
    return png(figure)
