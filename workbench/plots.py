"""Plots of the commands, as PNG bytes."""

import io
from collections.abc import Mapping
from typing import Any


def tau0_png(result: Mapping[str, Any]) -> bytes:
    """Bound, validation NLL and bytes over tau0; `result` is the JSON of `bitsback tau0`.

    The bound is drawn as its paired difference to the largest, with two standard errors: the values
    share their draws, so that the errors of the bounds themselves would hide what is known.
    """
    figure, (upper, middle, lower) = _panels()
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
    return _png(figure)


def gates_png(bops: Mapping[str, Any]) -> bytes:
    """BOPs, validation error and each tensor's gates over the epochs.

    :param bops: `bops` of the JSON of `bitsback compress --method bayesian-bits`.
    :raises ValueError: if it has no epochs.
    """
    rows = bops["trajectory"]
    if not rows:
        raise ValueError("no epochs were trained in this run, so there is nothing to plot")
    figure, (upper, middle, lower) = _panels()
    epochs = range(1, len(rows) + 1)
    upper.plot(epochs, [row["relative_bops"] for row in rows], label="gates of compression")
    upper.plot(epochs, [row["expected_bops"] for row in rows], "--", label="expected under q")
    if bops["target"] is not None:
        upper.axhline(bops["target"], color="0.5", linestyle=":", label="target")
    upper.set(ylabel="relative BOPs", yscale="log")
    upper.legend(fontsize="small")
    middle.plot(epochs, [row.get("validation_error") for row in rows])
    middle.set(ylabel="validation error, %")
    for number, site in enumerate(rows[0]["gates"]):
        for k, style in zip(range(len(rows[0]["gates"][site]["widths"])), _STYLES, strict=False):
            label = f"{site}" if k == 0 else None
            curve = [row["gates"][site]["widths"][k] for row in rows]
            lower.plot(epochs, curve, style, color=f"C{number % 10}", label=label)
    lower.set(ylabel="q(z > 0) of widths", xlabel="epoch", ylim=(0, 1.02))
    lower.axhline(bops["threshold"], color="0.5", linestyle=":", label="threshold")
    lower.legend(fontsize="x-small", ncols=2)
    return _png(figure)


_STYLES = ("-", "--", ":", "-.")  # of the gates of a tensor, the narrowest width first


def _panels():
    """A figure of three panels above one another, with one axis of x."""
    # Without pyplot: no window, no state of the caller's that could change.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(3, 1, sharex=True)


def _png(figure) -> bytes:
    png = io.BytesIO()
    # Without its version, so that the same figures give the same file.
    figure.savefig(png, format="png", dpi=100, metadata={"Software": None})
    return png.getvalue()
