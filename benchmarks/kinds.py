"""Kinds of networks: bytes of small compressed ones, of graph sections, and the time of a load.

    python benchmarks/kinds.py [--epochs 15] [--seed 0] [--json FILE]

Each network classifies scikit-learn's digits, read as a sequence of 8 rows of 8 pixels. It is
trained, then `log-uniform` and `compress` run for it with their margins chosen on validation data;
the test data are looked at once. "float32_bytes" are those of the state_dict's tensors. "graph" has
the bytes that a file spends on operators, shapes and names. "load_over_import" is the processor
time of a process that loads such a file, over that of one that runs `import torch`: the smallest of
`RUNS` each, one after the other.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

import bitsback
import torch
from bitsback.compression.describe import describe
from bitsback.compression.file import inspect
from bitsback.methods import METHODS
from bitsback.training import Options
from record import made_by
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

RUNS = 5
GRAPHS = {
    "resnet-8": (3, 32, 32), "resnet-20": (3, 32, 32), "lenet-300-100": (1, 28, 28),
}  # fmt: skip


class Rows(nn.Module):
    """Pixels as rows, a body that keeps or changes the sequence, a mean and a dense layer."""

    def __init__(self, body: nn.Module, width: int, channels_first: bool = False) -> None:
        super().__init__()
        self.body, self.head, self.channels_first = body, nn.Linear(width, 10), channels_first

    def forward(self, x: Tensor) -> Tensor:
        x = x.flatten(1, 2)
        if self.channels_first:
            return self.head(self.body(x.transpose(1, 2)).mean(2))
        x = self.body(x)
        return self.head((x[0] if isinstance(x, tuple) else x).mean(1))


def networks() -> dict[str, nn.Module]:
    layer = nn.TransformerEncoderLayer(64, 4, 96, dropout=0.0, batch_first=True)
    normed = [weight_norm(nn.Conv1d(n, 64, 3, padding=1)) for n in (8, 64)]
    up = nn.ConvTranspose1d(32, 48, 4, stride=2, padding=1)
    return {
        "LSTM": Rows(nn.LSTM(8, 86, batch_first=True), 86),
        "transformer layer": Rows(nn.Sequential(nn.Linear(8, 64), layer), 64),
        "weight_norm": Rows(nn.Sequential(normed[0], nn.ReLU(), normed[1], nn.ReLU()), 64, True),
        "ConvTranspose1d": Rows(
            nn.Sequential(nn.Conv1d(8, 32, 3, padding=1), nn.ReLU(), up, nn.ReLU()), 48, True
        ),
    }


def train(net: nn.Module, data, epochs: int) -> None:
    """Adam on the training part."""
    optimizer = torch.optim.Adam(net.parameters(), lr=3e-3)
    for _ in range(epochs):
        for chosen in torch.randperm(len(data.train)).split(64):
            optimizer.zero_grad()
            loss = nn.functional.cross_entropy(net(data.train.x[chosen]), data.train.y[chosen])
            loss.backward()
            optimizer.step()


@torch.no_grad()
def error(net: nn.Module, part) -> float:
    """Percent of wrong labels."""
    return round(100 * float((net.eval()(part.x).argmax(1) != part.y).float().mean()), 2)


def compressed(net: nn.Module, data, epochs: int, seed: int) -> tuple[dict, bytes]:
    """Train and compress one network; what came of it, and the file."""
    train(net, data, epochs)
    model, guide = METHODS["log-uniform"].pair(net, len(data.train))
    options = Options(epochs=2 * epochs, batch_size=64, lr=5e-3, kl_warmup=(0.0, 10.0), seed=seed)
    bitsback.fit(model, guide, (data.train.x, data.train.y), options=options)
    result = bitsback.compress(
        model.trained(), guide.posterior(), validation=(data.validation.x, data.validation.y),
        training=data.train.x, given=net, effort=1,
    )  # fmt: skip
    size = sum(t.numel() * 4 for t in net.state_dict().values())
    found = {
        "float32_bytes": size,
        "file_bytes": len(result.data),
        "ratio": round(size / len(result.data), 1),
        "graph_bytes": inspect(result.data)["items"]["shapes"],
        "within_margin": result.report["within_margin"],
        "untraced": result.report["untraced"],
        "test_error_before": error(net, data.test),
        "test_error_after": error(result.network, data.test),
    }
    return found, result.data


def graphs() -> dict[str, int]:
    """Bytes of the graph sections of networks of the workbench."""
    return {
        name: len(describe(bitsback.trace(bitsback.network(name).eval(), torch.randn(2, *shape)))
                  .to_bytes())
        for name, shape in GRAPHS.items()
    }  # fmt: skip


def load_over_import(data: bytes) -> dict[str, float]:
    """Processor seconds of loading a file and of `import torch`, each in a process of its own."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.bb"
        path.write_bytes(data)
        ways = {
            "import": "import torch",
            "load": f"import torch, bitsback; bitsback.load({str(path)!r})",
        }
        best = dict.fromkeys(ways, float("inf"))
        for _ in range(RUNS):
            for name, code in ways.items():
                before = processor_seconds()
                subprocess.run([sys.executable, "-P", "-c", code], check=True)
                best[name] = min(best[name], processor_seconds() - before)
    return {**{k: round(v, 3) for k, v in best.items()}, "ratio": best["load"] / best["import"]}


def processor_seconds() -> float:
    """Of all processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--epochs", type=int, default=15, help="of training; twice of log-uniform")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    found = {**made_by(), "graph": graphs(), "kinds": {}}
    print(found["graph"], flush=True)
    data = bitsback.load_data("digits")
    torch.manual_seed(given.seed)
    for name, net in networks().items():
        found["kinds"][name], file = compressed(net, data, given.epochs, given.seed)
        print(name, found["kinds"][name], flush=True)
        found.setdefault("load_over_import", {})[name] = load_over_import(file)
        if given.json:
            given.json.write_text(json.dumps(found, indent=1) + "\n")
    print(found["load_over_import"])


if __name__ == "__main__":
    main()
