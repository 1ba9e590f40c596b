"""What a post-training compression did, as plain numbers that JSON can hold."""

from collections.abc import Sequence

from ..graph.ir import TensorType
from .architecture import Architecture
from .file import inspect
from .report import float_bytes


def describe_shrunk(
    data: bytes,
    original: Architecture,
    origin: Sequence[TensorType] | None,
    weights: int,
    rate: float,
    calibration: dict,
    untraced: str | None,
    judged: dict | None,
) -> dict:
    """The report of `shrink`.

    :param origin: the tensors of the network that was traced, if it came as a graph.
    :param weights: how many weights the network has, pruned ones included.
    :param rate: the price of a bit; see `sequential`.
    :param calibration: which inputs were used, and how.
    :param untraced: why there is no graph; None if there is one.
    :param judged: of `Judge.report`; None if there was nothing to judge by.
    """
    file = inspect(data)
    float32_bytes = float_bytes(original.tensors() if origin is None else origin)
    return {
        "bytes": len(data),
        "float32_bytes": float32_bytes,
        "ratio": float32_bytes / len(data),
        "weights": weights,
        "nonzero_fraction": sum(layer["kept"] for layer in file["layers"]) / weights,
        "bits_per_weight": 8 * len(data) / weights,
        "price": rate,
        "calibration": calibration,
        "untraced": untraced,
        "judged": judged,
        "layers": file["layers"],
        "items": file["items"],
    }
