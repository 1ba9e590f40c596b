"""What a compression did, as plain numbers that JSON can hold."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..graph.ir import TensorType
from .architecture import Architecture, TensorSpec
from .archive import Archive, Quantised
from .file import inspect
from .scores import Scores, rise, scores
from .verdict import verdict

if TYPE_CHECKING:
    from .search import Pruned, Trial


def describe_result(
    trial: "Trial",
    original: Architecture,
    net: nn.Module,
    archive: Archive,
    data: bytes,
    pruned: "Pruned",
    given: Scores | None,
    origin: Sequence[TensorType] | None = None,
) -> dict:
    """The report on a compression.

    Rises are paired, over the unpruned network of posterior means on the validation data:
    NLL in nats, error in percentage points. What `verdict` finds is beside them. `within_margin` is
    false for a file that does not beat a constant. Weights are the entries of Linear and Conv
    kernels, counted as the original network has them, before any layer was replaced by others.

    :param origin: the tensors of the network that was traced, whose float32 size the ratio is of;
        None: those of `original`.
    """
    after, before = scores(net, trial.x, trial.y, trial.likelihood), trial.reference
    found = rise(after, before)
    margins = (trial.spread * trial.margin_nll, trial.allowed_error)
    judged = verdict(after, before, given, trial.y, trial.likelihood, margins)
    file = inspect(data)
    layers = _layers(trial.architecture, archive, file["layers"])
    float32_bytes = float_bytes(original.tensors() if origin is None else origin)
    total = sum(
        torch.Size(spec.shape).numel() for spec in original.tensors() if spec.role == "weight"
    )
    return {
        "bytes": len(data),
        "float32_bytes": float32_bytes,
        "ratio": float32_bytes / len(data),
        "weights": total,
        "nonzero_fraction": sum(layer["kept"] for layer in layers) / total,
        "units": _units(layers),
        "layers": layers,
        "items": file["items"],
        "threshold": pruned.threshold if abs(pruned.threshold) < float("inf") else None,
        "threshold_rise": vars(pruned.rise),
        "rise": vars(found),
        "margin_nll": trial.margin_nll,
        "margin_error": trial.margin_error,
        "allowed_nll": trial.allowed_nll(found),
        "allowed_error": trial.allowed_error,
        "within_margin": trial.fits(found) and judged["beats_constant"],
        **judged,
        "batch_norm": _statistics(trial),
        "validation": {
            "examples": len(trial.y),
            "nll_given": None if given is None else float(given.nll.mean()),
            "error_given": None if given is None else float(given.error.mean()),
            "nll_before": float(before.nll.mean()),
            "nll": float(after.nll.mean()),
            "error_before": float(before.error.mean()),
            "error": float(after.error.mean()),
        },
    }


def _statistics(trial: "Trial") -> dict | None:
    """Whether BatchNorm statistics were re-estimated, and the reference's rise if they are."""
    if trial.batch_norm is None:
        return None
    return {"re_estimated": trial.recalibrates, "rise": vars(trial.batch_norm)}


def float_bytes(tensors: Iterable[TensorSpec | TensorType]) -> int:
    """Bytes of a state_dict's tensors, tied ones once, with floating-point ones in float32."""
    size = 0
    for spec in tensors:
        dtype = getattr(torch, spec.dtype)
        count = torch.Size(spec.shape).numel()
        size += count * (4 if dtype.is_floating_point else dtype.itemsize)
    return size


def _layers(architecture: Architecture, archive: Archive, inspected: list[dict]) -> list[dict]:
    """Each weight tensor: what is left of it, and what it costs in the file (`inspected`)."""
    cost = {layer["name"]: layer for layer in inspected}
    selects = _selected_inputs(archive)
    layers = []
    for spec in architecture.tensors():
        if spec.role != "weight":
            continue
        codes = archive.tensors[spec.name].codes
        total = torch.Size(spec.shape).numel()
        kept = int((codes != 0).sum())
        layers.append(
            {
                "name": spec.name,
                "kept": kept,
                "total": total,
                "inputs": [spec.shape[1] if len(spec.shape) > 1 else 1, _inputs(codes)],
                "outputs": [spec.shape[0], codes.shape[0]],
                "selected": selects.get(spec.name),
                "values": cost[spec.name]["levels"],
                "bytes": cost[spec.name]["bytes"],
                "parts": cost[spec.name]["parts"],
                "bits_per_weight": cost[spec.name]["bits_per_weight"],
            }
        )
    return layers


def _inputs(codes) -> int:
    return codes.shape[1] if codes.ndim > 1 else 1


def _selected_inputs(archive: Archive) -> dict[str, list[int]]:
    """[before, after] of the Select before a weight tensor, by the weight's name."""
    found, before = {}, None
    for spec in archive.architecture.tensors():
        tensor = archive.tensors[spec.name]
        if spec.role == "mask":
            before = [len(tensor), int(tensor.sum())]
        elif spec.role == "weight" and isinstance(tensor, Quantised):
            if before is not None:
                found[spec.name] = before
            before = None
    return found


def _units(layers: list[dict]) -> list[str]:
    """The network's widths as "before->after": the first inputs, then each layer's outputs."""
    widths = [layers[0]["inputs"], *(layer["outputs"] for layer in layers)]
    return [f"{before}->{after}" if before != after else f"{after}" for before, after in widths]
