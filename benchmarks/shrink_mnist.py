"""`shrink` on plainly trained LeNets, beside magnitude pruning with 4-bit rounding and xz.

    python benchmarks/shrink_mnist.py --network lenet-300-100 --data mnist [--examples 500]
        [--data-dir DIR] [--json FILE]

The network is trained by Adam on the training images. The 5,000 validation images judge both ways,
and the test images are reported. Both may lose 0.2 points on the judges. `shrink` calibrates on
training images without labels, drawn by seeds 100 to 102. The rival prunes the weights of least
magnitude in each layer, rounds the rest to 15 levels (one step for each layer, that of the least
squared error) and packs two integers to a byte before xz -9e. Of the shares to prune (0 to 95 %)
the largest that fits is taken; if none fits, that of the least error on the judges.
"""

import argparse
import json
import lzma
import statistics
import time
from pathlib import Path

import bitsback
import torch
from bitsback.workbench.data import load_data
from record import made_by
from torch import Tensor, nn
from torch.nn import functional as F

DRAWS = (100, 101, 102)
MAX_DROP = 0.2  # points
SHARES = [0, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95]  # pruned
LEVELS = 7  # on either side of 0
CLIPPED = (0.2, 0.3, 0.4, 0.5, 0.6, 0.8, 1.0)  # the largest level, of the largest weight


def trained(name: str, x: Tensor, y: Tensor, epochs: int) -> nn.Module:
    torch.manual_seed(0)
    net = bitsback.network(name)
    optimizer = torch.optim.Adam(net.parameters(), 1e-3)
    updates = epochs * len(x) // 128
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, updates)
    for _ in range(updates):
        chosen = torch.randint(len(x), (128,))
        optimizer.zero_grad()
        F.cross_entropy(net(x[chosen]), y[chosen]).backward()
        optimizer.step()
        schedule.step()
    return net.eval().requires_grad_(False)


@torch.no_grad()
def error(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """In percent."""
    wrong = sum(
        int((net(a).argmax(1) != b).sum()) for a, b in zip(x.split(500), y.split(500), strict=True)
    )
    return 100 * wrong / len(y)


def pruned(net: nn.Module, name: str, share: float) -> tuple[int, nn.Module]:
    """Bytes and network of magnitude pruning, 4-bit rounding and xz."""
    state, integers, floats = net.state_dict(), [], []
    for key, weight in state.items():
        if weight.dim() < 2:
            floats.append(weight.numpy().tobytes())
            continue
        sizes = weight.abs()
        kept = sizes >= sizes.flatten().kthvalue(1 + int(share * (weight.numel() - 1))).values
        steps = [part * weight.abs().max() / LEVELS for part in CLIPPED]
        rounded = [((weight * kept / step).round().clamp(-LEVELS, LEVELS), step) for step in steps]
        codes, step = min(rounded, key=lambda r: float((r[0] * r[1] - weight).square().sum()))
        integers.append(codes.flatten().to(torch.int8))
        floats.append(step.reshape(1).numpy().tobytes())
        state[key] = codes * step
    codes = F.pad(torch.cat(integers), (0, sum(map(len, integers)) % 2)).view(-1, 2) & 15
    data = (codes[:, 0] << 4 | codes[:, 1]).to(torch.uint8).numpy().tobytes()
    small = bitsback.network(name).eval().requires_grad_(False)
    small.load_state_dict(state)
    size = len(lzma.compress(data + b"".join(floats), preset=9 | lzma.PRESET_EXTREME))
    return size, small


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
    train, judges, test = ((p.x, p.y) for p in (data.train, data.validation, data.test))
    net = trained(options.network, *train, options.epochs)
    found = made_by() | {"max_drop": MAX_DROP, "calibration_images": options.examples}
    found |= {"weights": sum(p.numel() for p in net.parameters() if p.dim() > 1)}
    found |= {"float": {"validation": error(net, *judges), "test": error(net, *test)}}
    allowed = found["float"]["validation"] + MAX_DROP + 1e-9
    tried = [(share, *pruned(net, options.network, share)) for share in SHARES]
    errors = [error(small, *judges) for *_, small in tried]
    within = [i for i, value in enumerate(errors) if value <= allowed]
    best = within[-1] if within else errors.index(min(errors))
    share, size, small = tried[best]
    rival = {"share": share, "bytes": size, "rise_on_judges": errors[best] - allowed + MAX_DROP}
    rival |= {"test": error(small, *test)}
    found["pruned, 4 bits, xz"] = rival
    print(found, flush=True)
    found["draws"] = []
    for seed in DRAWS:
        order = torch.randperm(len(train[0]), generator=torch.Generator().manual_seed(seed))
        x = train[0][order[: options.examples]]
        start, before = time.perf_counter(), time.process_time()
        small = bitsback.shrink(net, x, validation=judges, max_drop=MAX_DROP)
        row = {"seed": seed, "bytes": len(small.data), "test": error(small.network, *test)}
        row |= {"seconds": round(time.perf_counter() - start, 1)}
        row |= {"cpu_seconds": round(time.process_time() - before, 1)}
        row |= {"rise_on_judges": small.report["judged"]["rise"]["error"]}
        found["draws"].append(row)
        print(row, flush=True)
    for name, kind in (("mean", statistics.mean), ("standard_deviation", statistics.stdev)):
        found[name] = {k: kind(row[k] for row in found["draws"]) for k in ("bytes", "test")}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
