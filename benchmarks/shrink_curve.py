"""Bytes against error of a trained ResNet-20: `shrink` at given sizes, and rivals.

    python benchmarks/shrink_curve.py --weights FILE --data-dir DIR [--only PART ...]
        [--nncodec PYTHON] [--json FILE]

Errors, and KL(float || file) of the predictions in nats, are of the half of CIFAR-10's test images
that chooses nothing: see pack.py. No labels are used, and no setting is chosen here.

- shrink: `target_bytes` as listed, 500 training images without labels; draws 100 to 102.
- gptq: error feedback in the order of GPTQ under the second moments of the same images, no price
  of bits; one step for each tensor, a multiple of its root mean square; our coder.
- rounding: to the nearest, with such steps and without data; our coder.
- pack: `bitsback pack --max-error`, without data.
- int: rounding to the nearest with a step for each output unit, then xz -9e; without data.
- nncodec: the reference software's trellis quantization, without data (nncodec_file.py).

Parts that are not run keep the figures that the file of --json already has.
"""

import argparse
import json
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import bitsback
import numpy as np
import torch
from bitsback.compression.price_of_integers import flat_prices
from bitsback.compression.rate_distortion import feedback
from bitsback.compression.rate_tensor import RateTensor, damped
from bitsback.compression.rounding import with_weights
from bitsback.compression.sequential import round_vectors
from bitsback.compression.shrink_work import Work
from bitsback.compression.traced import as_graph
from bitsback.compression.uniform import rounded as on_grid
from bitsback.graph import input_moments
from bitsback.posterior import Posterior
from bitsback.workbench.cifar import records
from pack import Half, halves, packed, rounded
from record import made_by
from safetensors.torch import load_file
from shrink_resnet20 import DRAWS, IMAGES, examples
from torch import Tensor, nn

TARGETS = (35_000, 50_000, 75_000, 110_000)
STEPS = (0.6, 0.9, 1.3)  # of a tensor's root mean square
ERRORS = (0.3, 0.5, 0.7)
QPS = (-26, -22, -19)


class Reported(Half):
    """The reporting half, for networks and for state_dicts."""

    def logits(self, state: dict[str, Tensor] | nn.Module) -> Tensor:
        if not isinstance(state, nn.Module):
            return super().logits(state)
        with torch.no_grad():
            return torch.cat([state(part) for part in self.x.split(100)])


@dataclass
class Given:
    """What all parts start from: the network and its graph, calibration images, the test half."""

    options: argparse.Namespace
    state: dict[str, Tensor]
    net: nn.Module
    draws: dict[int, Tensor]
    half: Half

    def __post_init__(self) -> None:
        some = self.draws[DRAWS[0]]
        self.whole = as_graph(self.net, Posterior({}), some)[0].requires_grad_(False)


def shrunk(given: Given) -> Iterator[dict]:
    for target in TARGETS:
        for seed, x in given.draws.items():
            small = bitsback.shrink(given.net, x, target_bytes=target)
            row = {"target_bytes": target, "draw": seed, "bytes": len(small.data)}
            yield row | given.half.figures(small.network)


def gptq(given: Given) -> Iterator[dict]:
    for seed, x in given.draws.items():
        moments = input_moments(given.whole, x.split(100)).weights

        def values(name: str, weight: Tensor, size: float, moments=moments) -> Tensor:
            matrix, second = RateTensor(weight).matrix, damped(moments[name].inputs)
            prices = flat_prices(*matrix.flatten(0, 1).shape)
            codes = feedback(matrix, second, torch.ones(1, 1), size, 0.0, prices)
            return size * codes.reshape(weight.shape)

        for step in STEPS:
            yield {"step": step, "draw": seed} | on_steps(given, step, values)


def nearest(given: Given) -> Iterator[dict]:
    for step in STEPS:
        yield {"step": step} | on_steps(given, step, lambda name, weight, size: weight)


def on_steps(given: Given, step: float, values: Callable[..., Tensor]) -> dict:
    """The figures of the network with each weight on multiples of `step` root mean squares."""
    work = Work(given.whole, None, "categorical", -1, 0, None, None)
    state = given.whole.state_dict()
    codes = round_vectors(state, work.vectors)
    for name in work.weights:
        size = step * float(state[name].square().mean().sqrt())
        codes[name] = on_grid(values(name, state[name], size).double().numpy(), size)
    net = with_weights(given.whole, codes)
    return {"bytes": len(work.encoded(net, codes)[0])} | given.half.figures(net)


def of_nncodec(given: Given) -> Iterator[dict]:
    if not given.options.nncodec:
        raise SystemExit("--nncodec: give the Python of an environment that has it")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(__file__).with_name("nncodec_file.py")
        command = [given.options.nncodec, script, given.options.weights, folder, *map(str, QPS)]
        lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        for line in lines.strip().splitlines():
            qp, size = map(int, line.split())
            out = given.state | load_file(Path(folder) / f"{qp}.safetensors")
            yield {"qp": qp, "bytes": size} | given.half.figures(out)


def of_pack(given: Given) -> Iterator[dict]:
    for max_error in ERRORS:
        size, out = packed(given.state, max_error)
        yield {"max_error": max_error, "bytes": size} | given.half.figures(out)


def of_int(given: Given) -> Iterator[dict]:
    for bits in (8, 4):
        size, out = rounded(given.state, bits)
        yield {"bits": bits, "bytes": size} | given.half.figures(out)


PARTS = {
    "int": of_int, "pack": of_pack, "rounding": nearest, "nncodec": of_nncodec, "gptq": gptq,
    "shrink": shrunk,
}  # fmt: skip


def given_by(options: argparse.Namespace) -> Given:
    state = load_file(options.weights)
    net = bitsback.network("resnet-20").eval().requires_grad_(False)
    net.load_state_dict(state)
    half = halves(options.data_dir, state)[1]
    half.__class__ = Reported
    train, _ = records(options.data_dir)
    draws = {}
    for seed in DRAWS:
        chosen = np.random.RandomState(seed).permutation(len(train))[:IMAGES]
        draws[seed], _ = examples(train[chosen])
    return Given(options, state, net, draws, half)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--weights", type=Path, required=True, metavar="FILE")
    parser.add_argument("--data-dir", type=Path, metavar="DIR")
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART")
    parser.add_argument("--nncodec", metavar="PYTHON", help="of an environment that has nncodec")
    parser.add_argument("--json", type=Path, metavar="FILE")
    options = parser.parse_args()
    given = given_by(options)
    found = {"float_error": given.half.error, "calibration_images": IMAGES, "parts": {}}
    if options.json and options.json.exists():
        found["parts"] = json.loads(options.json.read_text())["parts"]
    for part in options.only:
        found["parts"][part] = made_by() | {"rows": []}
        for row in PARTS[part](given):
            print(part, row, flush=True)
            found["parts"][part]["rows"].append(row)
            if options.json:
                options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
