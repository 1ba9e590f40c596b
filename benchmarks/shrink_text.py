"""`shrink` on character models of text: bits a weight at one percent more loss.

    python benchmarks/shrink_text.py --network gpt|lstm [--updates N] [--json FILE]

The text is Python's own standard library: the sources of its modules by name, other characters
than printable ASCII left out, 4 million characters. The last tenth is not trained on. Its first
half judges: the price of a bit is the highest found at which the loss there is at most 1 % above
the float network's. Its second half is reported. `shrink` calibrates on 200 windows of the training
text, drawn by seeds 100 to 102; next characters are not shown to it. Beside it, rounding with a
step for each row, then xz (pack.py).

Training is short (minutes): the networks are no good models of text, but trained ones.
"""

import argparse
import json
import math
import statistics
import sysconfig
import time
from pathlib import Path

import torch
from bitsback.compression.price_search import boundary
from bitsback.compression.rounding import with_weights
from bitsback.compression.shrink_work import Work
from bitsback.compression.traced import as_graph
from bitsback.posterior import Posterior
from pack import rounded
from record import made_by
from torch import Tensor, nn
from torch.nn import functional as F

DRAWS = (100, 101, 102)
CHARACTERS, LENGTH, WINDOW, CALIBRATION = 96, 4_000_000, 128, 200
MORE = 0.01  # of the loss


class Layer(nn.Module):
    """Causal attention and a perceptron, each beside a shortcut."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.up, self.down = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.qkv(self.norm1(x)).chunk(3, -1)
        q, k, v = (p.unflatten(-1, (self.heads, -1)).transpose(1, 2) for p in parts)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + self.out(y.transpose(1, 2).flatten(2))
        return x + self.down(F.gelu(self.up(self.norm2(x))))


class Gpt(nn.Module):
    """A transformer of one million weights, logits (n, steps, characters)."""

    def __init__(self, width: int = 128, layers: int = 5, heads: int = 4) -> None:
        super().__init__()
        self.characters = nn.Embedding(CHARACTERS, width)
        self.places = nn.Parameter(0.02 * torch.randn(WINDOW, width))
        self.layers = nn.Sequential(*(Layer(width, heads) for _ in range(layers)))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, CHARACTERS)
        nn.init.normal_(self.characters.weight, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.norm(self.layers(self.characters(x) + self.places)))


class Lstm(nn.Module):
    """An LSTM of 0.7 million weights, logits (n, steps, characters)."""

    def __init__(self, width: int = 64, units: int = 352) -> None:
        super().__init__()
        self.characters = nn.Embedding(CHARACTERS, width)
        self.lstm = nn.LSTM(width, units, batch_first=True)
        self.head = nn.Linear(units, CHARACTERS)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.lstm(self.characters(x))[0])


def text() -> Tensor:
    """The standard library's sources as numbers below `CHARACTERS`."""
    parts, size = [], 0
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("*.py")):
        data = torch.frombuffer(bytearray(path.read_bytes() + b"\n"), dtype=torch.uint8)
        data = data[(data == 10) | ((data >= 32) & (data < 127))].long()
        parts.append(torch.where(data == 10, CHARACTERS - 1, data - 32))
        size += len(parts[-1])
        if size > LENGTH:
            break
    return torch.cat(parts)[:LENGTH]


def windows(numbers: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
    """Inputs and next characters, each (n, WINDOW)."""
    places = starts[:, None] + torch.arange(WINDOW + 1)
    found = numbers[places]
    return found[:, :-1], found[:, 1:]


def trained(net: nn.Module, numbers: Tensor, updates: int) -> nn.Module:
    optimizer = torch.optim.AdamW(net.parameters(), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, updates)
    for i in range(updates):
        x, y = windows(numbers, torch.randint(len(numbers) - WINDOW - 1, (16,)))
        optimizer.zero_grad()
        found = F.cross_entropy(net(x).mT, y)
        found.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if i % 50 == 0:
            print(f"update {i}: {float(found):.3f} nats", flush=True)
    return net.eval().requires_grad_(False)


@torch.no_grad()
def loss(net: nn.Module, x: Tensor, y: Tensor) -> float:
    """Nats a character."""
    parts = zip(x.split(20), y.split(20), strict=True)
    return sum(float(F.cross_entropy(net(a).mT, b)) * len(a) for a, b in parts) / len(x)


def shrunk(net: nn.Module, x: Tensor, judges: tuple, before: float) -> tuple[bytes, nn.Module]:
    """The smallest file found of at most `MORE` more loss on the judges."""
    whole = as_graph(net, Posterior({}), x)[0].requires_grad_(False)
    work = Work(whole, x, "categorical", -1, 0, None, None)
    best = []

    def excess(rate: float) -> float:
        trial = work.trial(rate)
        more = loss(with_weights(whole, trial.codes), *judges) / before - 1
        print(f"price {rate:.3g}: loss {100 * more:+.2f} %", flush=True)
        if more <= MORE:
            best[:] = [trial]
        return math.log(max(more, 1e-4) / MORE)

    boundary(excess, work.first_rate() * WINDOW, 1.0)
    data, network, _ = work.finish(best[0], net)
    return data, network


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("gpt", "lstm"), required=True)
    parser.add_argument("--updates", type=int, default=500, metavar="N")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    numbers = text()
    edge = len(numbers) * 9 // 10
    rest = (len(numbers) - edge) // 2
    starts = torch.arange(0, rest - WINDOW - 1, 8 * WINDOW)
    judges, test = windows(numbers, edge + starts), windows(numbers, edge + rest + starts)
    torch.manual_seed(0)
    net = trained({"gpt": Gpt, "lstm": Lstm}[options.network](), numbers[:edge], options.updates)
    weights = sum(p.numel() for p in net.parameters() if p.dim() > 1)
    before = {"judges": loss(net, *judges), "test": loss(net, *test)}
    found = made_by() | {"weights": weights, "characters": len(numbers), "float_loss": before}
    found["rounding and xz"] = {}
    for bits in (8, 4):
        size, state = rounded(net.state_dict(), bits)
        other = type(net)().eval()
        other.load_state_dict(state)
        more = 100 * (loss(other, *test) / before["test"] - 1)
        found["rounding and xz"][f"int{bits}"] = {"bits_a_weight": 8 * size / weights, "more": more}
    print(found, flush=True)
    found["draws"] = []
    for seed in DRAWS:
        generator = torch.Generator().manual_seed(seed)
        some = torch.randint(edge - WINDOW - 1, (CALIBRATION,), generator=generator)
        start = time.process_time()
        data, small = shrunk(net, windows(numbers, some)[0], judges, before["judges"])
        row = {"seed": seed, "bytes": len(data), "bits_a_weight": 8 * len(data) / weights}
        row |= {"more": 100 * (loss(small, *test) / before["test"] - 1)}
        row |= {"cpu_seconds": round(time.process_time() - start, 1)}
        found["draws"].append(row)
        print(row, flush=True)
    for name, kind in (("mean", statistics.mean), ("standard_deviation", statistics.stdev)):
        found[name] = {k: kind(r[k] for r in found["draws"]) for k in ("bits_a_weight", "more")}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
