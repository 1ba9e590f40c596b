"""Plots of a run as PNG bytes, and what all plots share."""

import io
from collections.abc import Mapping
from typing import Any

_STYLES = ("-", "--", ":", "-.")  # of the gates of a tensor, the narrowest width first


def panels():
    """A figure of three panels above one another, with one axis of x."""
    # Without pyplot: no window, no state of the caller's that could change.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 7.5), layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots(3, 1, sharex=True)


def png(figure) -> bytes:
    file = io.BytesIO()
    # Without its version, so that the same figures give the same file.
    figure.savefig(file, format="png", dpi=100, metadata={"Software": None})
    return file.getvalue()


def gates_png(bops: Mapping[str, Any]) -> bytes:
    """BOPs, validation error and each tensor's gates over the epochs.

    :param bops: `bops` of the JSON of the run.
    :raises ValueError: if it has no epochs.
    """
    rows = bops["trajectory"]
    if not rows:
        raise ValueError("no epochs were trained in this run, so there is nothing to plot")
    figure, (upper, middle, lower) = panels()
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
    return png(figure)
