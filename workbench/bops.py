"""What method bayesian-bits says of a run: bit operations, layer by layer, and how they came."""

from typing import Any

import torch

from ..guides.bops import relative_bops
from ..guides.gate_chain import GateChain


@torch.no_grad()
def bops_figures(guide: GateChain, target: float | None) -> dict[str, Any]:
    """Plain numbers for JSON.

    `relative` is the BOPs of the gates by which compression goes, over those of the network at 32
    bits without pruning; `expected` those under q. `by_bits` is what they would be with all units,
    so that relative / by_bits is what pruning saved. `trajectory` has one entry for each epoch.
    """
    model, states = guide.model, guide.states()
    layers, all_units = guide.bops(), {}
    for site, found in guide.inclusions().items():
        gate = (found > guide.threshold).to(found.dtype)
        gate[: model.units(site)] = 1
        all_units[site] = gate
    share = {}
    for k, (name, (relu, _)) in enumerate(model.inputs.items()):
        units, bits = states[name]
        share[name] = {
            "macs": int(model.macs[k]),
            "relative": layers[name].item(),
            "weight_bits": bits,
            "input_bits": None if relu is None else states[relu][1],
            "units_open": int(units.sum()) if len(units) else None,
        }
    return {
        "relative": sum(layers.values()).item(),
        "expected": sum(guide.bops(expected=True).values()).item(),
        "by_bits": sum(relative_bops(model, all_units).values()).item(),
        "target": target,
        "beta": model.beta.item(),
        "threshold": guide.threshold.item(),
        "layers": share,
        "trajectory": guide.trajectory,
    }
