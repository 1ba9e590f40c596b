"""Plots of the commands, as PNG bytes."""

import io
from collections.abc import Mapping
from typing import Any


def tau0_png(result: Mapping[str, Any]) -> bytes:
    """Bound, validation NLL and bytes over tau0; `result` is the JSON of `bitsback tau0`."""
    # Without pyplot: no window, no state of the caller's that could change.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    upper, middle, lower = figure.subplots(3, 1, sharex=True)
    rows = result["values"]
    tau0 = [row["tau0"] for row in rows]

    def curve(axes, key: str, label: str, style: str = "o-"):
        axes.plot(tau0, [row["figures"][key] for row in rows], style, label=label)

    errors = [2 * row["elbo_stderr"] for row in rows]
    upper.errorbar(tau0, [row["elbo"] for row in rows], errors, fmt="o-", capsize=3)
    upper.set(ylabel="ELBO, nats per datum", xscale="log")
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
    png = io.BytesIO()
    # Without its version, so that the same figures give the same file.
    figure.savefig(png, format="png", dpi=100, metadata={"Software": None})
    return png.getvalue()
