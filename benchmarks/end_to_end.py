"""Integers by layers, and after all of them descended together: bytes and KL on other images.

    python benchmarks/end_to_end.py --network lenet-300-100 --data fashion-mnist [--examples 1000]
        [--data-dir DIR] [--json FILE]

The networks are those of shrink_mnist.py. Prices are multiples of the one that `shrink` begins
with. KL(original || file) [nats an image] and errors are those of the validation images; nothing is
chosen by them, and test images are not used. Bytes are those of files without sorted units. "no
mixtures" descends on the calibration images themselves. Three draws of calibration images.
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import torch
from bitsback.compression import mixtures
from bitsback.compression.rounding import with_weights
from bitsback.compression.shrink_work import Work
from bitsback.compression.traced import as_graph
from bitsback.posterior import Posterior
from bitsback.workbench.data import load_data
from record import made_by
from shrink_mnist import DRAWS, error, trained
from torch import Tensor, nn

PRICES = (0.5, 1.0, 2.0)
VARIANTS = ("layers", "together", "together, no mixtures")


@torch.no_grad()
def kl(net: nn.Module, small: nn.Module, x: Tensor) -> float:
    p, q = net(x).log_softmax(-1), small(x).log_softmax(-1)
    return float((p.exp() * (p - q)).sum(-1).mean())


def rows(net: nn.Module, x: Tensor, judges: tuple[Tensor, Tensor]) -> list[dict]:
    """Of one draw: every variant at every price."""
    work = Work(as_graph(net, Posterior({}), x)[0], x, "categorical", -1, 0, None, None)
    found = []
    for price in PRICES:
        by_layers = work.calibrated.quantised(price * work.first_rate())
        for variant in VARIANTS:
            mixtures.MIXED = 0.0 if variant == VARIANTS[2] else 0.5
            start = time.process_time()
            codes = by_layers
            if variant != "layers":
                codes = work.end_to_end.descended(by_layers)
            seconds = round(time.process_time() - start, 1)
            small = with_weights(work.net, codes)
            row = {"price": price, "variant": variant, "bytes": len(work.encoded(small, codes)[0])}
            row |= {"kl": kl(net, small, judges[0]), "kl_calibration": kl(net, small, x)}
            row |= {"error": error(small, *judges), "cpu_seconds": seconds}
            print(row, flush=True)
            found.append(row)
    return found


def mean(same: tuple[dict, ...]) -> dict:
    """Of the draws."""
    numbers = [key for key, value in same[0].items() if isinstance(value, int | float)]
    return same[0] | {key: statistics.mean(row[key] for row in same) for key in numbers}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", default="lenet-300-100", metavar="N")
    parser.add_argument("--data", default="mnist", metavar="D")
    parser.add_argument("--examples", type=int, default=500, metavar="N")
    parser.add_argument("--epochs", type=int, default=10, metavar="N")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    data = load_data(options.data, options.data_dir)
    net = trained(options.network, data.train.x, data.train.y, options.epochs)
    judges = data.validation.x, data.validation.y
    found = made_by() | {"calibration_images": options.examples, "error_float": error(net, *judges)}
    draws = []
    for seed in DRAWS:
        order = torch.randperm(len(data.train.x), generator=torch.Generator().manual_seed(seed))
        draws.append(rows(net, data.train.x[order[: options.examples]], judges))
    found["mean"] = [mean(same) for same in zip(*draws, strict=True)]
    found["draws"] = dict(zip(map(str, DRAWS), draws, strict=True))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
