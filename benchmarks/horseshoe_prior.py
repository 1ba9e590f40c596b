"""What the horseshoe's global scale does to a network before it has seen data.

    python benchmarks/horseshoe_prior.py --json FILE

For each variant of `models.Horseshoe` over digits-mlp, prior draws of its weights give, for the
first layer, how much of the variance of log|w| is common to the whole layer, common to a group, or
the weight's own; how often the whole layer is large or small together (the median over groups of
their scale beyond 10 times, or below a tenth of, its median over draws); and for the network on
the digits' training images, how often its predictions are saturated (mean largest probability above
0.99) or constant (standard deviation over images below 0.01 for every logit). tau0 is 1, and in
the last rows the published default.
"""

import argparse
import json
import math
from pathlib import Path

import bitsback
import torch
from bitsback.models import Horseshoe
from record import made_by

VARIANTS = {
    "both": {},
    "global": {"scales": "global"},
    "local": {"scales": "local"},
    "slab 1": {"slab": 1.0},
    "slab 0.1": {"slab": 0.1},
    "tau0 1e-5": {"tau0": 1e-5},
    "tau0 1e-5, slab 0.1": {"tau0": 1e-5, "slab": 0.1},
}


@torch.no_grad()
def study(options: dict, draws: int, x: torch.Tensor) -> dict[str, float]:
    """The figures of one variant."""
    model = Horseshoe(bitsback.network("digits-mlp"), len(x), **{"tau0": 1.0, **options})
    name = model.weight_names[0]
    logs, largest, spread = [], [], []
    for _ in range(draws):
        weights = model.sample_weights()
        # float32 normals are exactly 0 about once in 10 million draws.
        logs.append(weights[name].abs().clamp(min=1e-30).log())
        output = model.output(x, weights)
        largest.append(output.softmax(-1).max(-1).values.mean())
        spread.append(output.std(0).max())
    logs, largest, spread = torch.stack(logs).double(), torch.stack(largest), torch.stack(spread)
    assert logs.isfinite().all() and largest.isfinite().all()
    size = logs.mean(1).median(1).values  # log size of the middle group: log|w| less its mean
    beyond = size - size.median()
    return {
        **shares(logs),
        "layer_10_times_larger": float((beyond > math.log(10)).double().mean()),
        "layer_10_times_smaller": float((beyond < -math.log(10)).double().mean()),
        "saturated": float((largest > 0.99).double().mean()),
        "constant": float((spread < 0.01).double().mean()),
    }


def shares(logs: torch.Tensor) -> dict[str, float]:
    """Shares of the variance of log|w| (draws, outputs, groups), estimated without bias."""
    _, outputs, groups = logs.shape
    own = logs.var(1).mean()
    group = logs.mean(1).var(1).mean() - own / outputs
    layer = logs.mean((1, 2)).var() - group / groups - own / (outputs * groups)
    total = own + group + layer
    return {k: float(v / total) for k, v in (("layer", layer), ("group", group), ("own", own))}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--draws", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(options.seed)
    x = bitsback.load_data("digits").train.x[:200]
    figures = {}
    for name, variant in VARIANTS.items():
        figures[name] = study(variant, options.draws, x)
        print(name, {k: round(v, 3) for k, v in figures[name].items()})
    if options.json:
        result = {
            **made_by(),
            "seed": options.seed,
            "draws": options.draws,
            "figures": figures,
        }
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
