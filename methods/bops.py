"""What method bayesian-bits says of a run: bit operations, layer by layer, and how they came."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from ..distributions.bops_price import FLOAT_BITS, INPUT_BITS
from ..guides.bops import relative_bops
from ..guides.gate_chain import GateChain
from ..training import Epoch


@torch.no_grad()
def bops_figures(guide: GateChain, target: float | None) -> dict[str, Any]:
    """Plain numbers for JSON.

    `relative` is the BOPs of the gates by which compression goes, over those of the network at 32
    bits without pruning; `expected` those under q. `by_bits` is what they would be with all units,
    so that relative / by_bits is what pruning saved. `nonzero` counts the products with weights
    that are not 0 alone, in units that are kept: what it would come to where hardware skips zeros,
    with gates of units or without. `trajectory` has one entry for each epoch.
    """
    model, layers, all_units = guide.model, _layers(guide), {}
    for site, found in guide.inclusions().items():
        gate = (found > guide.threshold).to(found.dtype)
        gate[: model.units(site)] = 1
        all_units[site] = gate
    return {
        "relative": sum(guide.bops().values()).item(),
        "expected": sum(guide.bops(expected=True).values()).item(),
        "by_bits": sum(relative_bops(model, all_units).values()).item(),
        "nonzero": sum(layer["nonzero"] for layer in layers.values()),
        "target": target,
        "beta": model.beta.item(),
        "threshold": guide.threshold.item(),
        "moved": int(guide.moved),
        "layers": layers,
        "trajectory": guide.trajectory,
    }


def log_errors(guide: GateChain, history: Sequence[Epoch]) -> None:
    """Put the validation error after each epoch, percent, into the guide's trajectory."""
    for entry, epoch in zip(guide.trajectory[::-1], history[::-1], strict=False):
        entry["validation_error"] = epoch.validation_error


def _layers(guide: GateChain) -> dict[str, dict[str, Any]]:
    model, states, found = guide.model, guide.states(), {}
    relative, medians = guide.bops(), guide.median()
    for k, (name, (relu, before)) in enumerate(model.inputs.items()):
        units, bits = states[name]
        inputs = states[before][0] if before is not None else units[:0]
        width = states[relu][1] if relu is not None else FLOAT_BITS if k else INPUT_BITS
        nonzero = model.macs[k] * nonzero_share(medians[name], inputs) * bits * width
        found[name] = {
            "macs": int(model.macs[k]),
            "relative": relative[name].item(),
            "nonzero": (nonzero / (model.macs.sum() * FLOAT_BITS**2)).item(),
            "weight_bits": bits,
            "input_bits": None if relu is None else states[relu][1],
            "units_open": int(units.sum()) if len(units) else None,
        }
    return found


def nonzero_share(weight: Tensor, inputs: Tensor) -> float:
    """The share of a weight's entries that are not 0 and whose input is kept.

    :param inputs: which units of the layer before are open (bool), each of which feeds equally many
        inputs in a row, as in flattened feature maps; none if that is not known.
    """
    counts = (weight != 0).to(weight.dtype)
    if not len(inputs):
        return counts.mean().item()
    if weight.shape[1] % len(inputs):  # groups: which input is whose is not looked into
        return (counts.mean() * inputs.to(weight.dtype).mean()).item()
    alive = inputs.repeat_interleave(weight.shape[1] // len(inputs)).to(weight.dtype)
    return (counts * alive.reshape(1, -1, *[1] * (weight.dim() - 2))).mean().item()
