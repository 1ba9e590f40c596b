"""Seconds of a quantised LeNet-5 in onnxruntime and torch on one thread, beside its BOPs.

    python benchmarks/integer_seconds.py [--rounds N] [--json FILE]

The network of van Baalen et al. 2020 (32C5-64C5-512-10, 28 x 28 images of random bytes) with
random weights: seconds do not depend on their values. `float32` is the network as it is, in
torch (eager) and in onnxruntime; `w8a8`, `w4a4` and `w2a2` have weights and ReLUs of so many
bits and inputs of 8, exported with QuantizeLinear and DequantizeLinear. onnxruntime has no kernels
below 8 bits, so that 4 and 2 bits are computed in 8. `integer reference` is `to_integer` of w8a8
in torch, and `float pass` the network that a file decodes to. All take turns in every round, in one
process on one thread, so that a busy machine slows all alike; times are medians over the rounds,
and `ratio` is the median over rounds of the time over that of float32 in onnxruntime in the same
round.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import bitsback
import onnxruntime
import torch
from bitsback.compression.archive import storable
from bitsback.compression.integer_layers import IntegerInput
from bitsback.compression.onnx_file import to_onnx
from bitsback.compression.quantised_relu import QuantisedReLU
from record import made_by
from torch import Tensor, nn

NETWORK = "lenet-5-bayesian-bits"
BATCHES = (1, 128)
BITS = (8, 4, 2)
WARM = 5  # rounds that are not counted
WEIGHTED = (nn.Linear, nn.Conv2d)


def images(count: int) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, 28, 28), generator=generator).float() / 255


def original() -> nn.Sequential:
    torch.manual_seed(0)
    return bitsback.network(NETWORK).eval()


@torch.no_grad()
def quantised(bits: int) -> nn.Sequential:
    """Weights on the grid of their largest, ReLUs on that of their largest output on 128 images."""
    net, x = original(), images(128)
    for name, layer in net.named_children():
        if isinstance(layer, WEIGHTED):
            most = 2 ** (bits - 1) - 1
            step = float(storable(layer.weight.abs().max().item() / (most + 0.5)))
            layer.weight.copy_((layer.weight / step).round().clamp(-most, most) * step)
        elif isinstance(layer, nn.ReLU):
            step = float(storable(layer(x).max().item() / (2**bits - 1)))
            setattr(net, name, QuantisedReLU(step, bits).eval())
        x = getattr(net, name)(x)
    return net


@torch.no_grad()
def relative_bops(bits: int) -> float:
    """MACs x bits of weights x bits of inputs, those of the network 8, over MACs x 32 x 32."""
    net, x, total, all_macs = original(), images(1), 0, 0
    for k, layer in enumerate(net):
        x = layer(x)
        if isinstance(layer, WEIGHTED):
            macs = layer.weight.numel() * x[0].numel() // layer.weight.shape[0]
            total += macs * bits * (8 if k == 0 else bits)
            all_macs += macs
    return total / (all_macs * 32 * 32)


def in_onnxruntime(net: nn.Module, inputs: IntegerInput | None) -> Callable[[Tensor], Tensor]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    model = to_onnx(net, inputs).SerializeToString()
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda x: torch.from_numpy(session.run(None, {"x": x.numpy()})[0])


def contenders() -> dict[str, Callable[[Tensor], Tensor]]:
    nets = {bits: quantised(bits) for bits in BITS}
    found = {
        "onnxruntime float32": in_onnxruntime(original(), None),
        "torch float32": original(),
        "torch w8a8, float pass": nets[8],
        "torch w8a8, integer reference": bitsback.to_integer(nets[8]),
    }
    for bits, net in nets.items():
        found[f"onnxruntime w{bits}a{bits} in 8 bits"] = in_onnxruntime(net, IntegerInput())
    return found


@torch.no_grad()
def times(batch: int, rounds: int) -> dict[str, dict[str, float]]:
    """Median seconds a batch, and ratios to the first contender with their quartiles."""
    x, run = images(batch), contenders()
    taken: dict[str, list[float]] = {name: [] for name in run}
    for number in range(WARM + rounds):
        for name, call in run.items():
            start = time.perf_counter()
            call(x)
            if number >= WARM:
                taken[name].append(time.perf_counter() - start)
    base, result = next(iter(taken.values())), {}
    for name, seconds in taken.items():
        low, middle, high = statistics.quantiles(
            [a / b for a, b in zip(seconds, base, strict=True)], n=4, method="inclusive"
        )
        result[name] = {
            "seconds": statistics.median(seconds),
            "ratio": middle,
            "ratio_quartiles": [low, high],
        }
        print(batch, name, json.dumps(result[name]), flush=True)
    return result


def agreement() -> dict[str, float]:
    """Share of 1,000 images that onnxruntime predicts as the float pass does, by bits.

    Of random weights, whose logits lie near each other: a trained network agrees more often.
    """
    x, found = images(1000), {}
    for bits in BITS:
        net = quantised(bits)
        ours = in_onnxruntime(net, IntegerInput())(x).argmax(1)
        with torch.no_grad():
            found[f"w{bits}a{bits}"] = (ours == net(x).argmax(1)).double().mean().item()
    return found


def instructions() -> list[str]:
    """Which of the processor's are of use to sums of 8-bit products, where Linux tells."""
    wanted = {"avx2", "avx512bw", "avx512_vnni", "avx_vnni", "amx_int8", "asimddp", "i8mm"}
    info = Path("/proc/cpuinfo")
    return sorted(wanted & set(info.read_text().split())) if info.exists() else []


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {
        "relative_bops": {"float32": 1.0} | {f"w{b}a{b}": relative_bops(b) for b in BITS},
        "same_predictions": agreement(),
        "batches": {str(batch): times(batch, options.rounds) for batch in BATCHES},
        "rounds": options.rounds,
        "onnxruntime": onnxruntime.__version__,
        "instructions": instructions(),
        **made_by(),
    }
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
