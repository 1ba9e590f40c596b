"""`bitsback pack` against xz, zstd and rounding: bytes, test error, speed.

    python benchmarks/pack.py --weights resnet20-cifar10.safetensors --data-dir DIR [--only PART]
        [--json FILE]

- resnet20: a trained ResNet-20 for CIFAR-10, without data. One seeded half of the test images
  chooses `max_error`: the smallest file whose error there is at most `MOST_LOST` points less one
  paired standard error above that of the float network. The other half is used once, for that
  file and for the peers. The curve and the ablations are of the choosing half. KL is the mean of
  KL(float || packed) over the predictions, in nats.
- peers: xz -9e and zstd -19 of the safetensors file; matrices rounded to 8 and 4 bits with a
  float32 step for each output unit, vectors in float32, then xz (of bytes or of packed halves of
  bytes, whichever is smaller).
- lossless: the same network in three types, against xz and zstd; and the exponents of its large
  float32 tensors by four coders.
- speed: 100 MB of normal weights in one tensor, in MB of weights a CPU second, one thread. xz -6
  has the first 8 MB of them.
"""

import argparse
import json
import lzma
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import bitsback
import numpy as np
import torch
from bitsback.compression.context import Model
from bitsback.compression.packed import lossy
from bitsback.compression.packed.checkpoint import of_tensors
from bitsback.compression.packed.dtypes import BY_NAME, to_bytes
from bitsback.compression.packed.planes import deflate, encode_planes
from bitsback.compression.packed.reader import PackedReader
from bitsback.compression.packed.small import SMALL
from bitsback.compression.packed.unpacking import _tensors
from bitsback.compression.packed.writer import encode
from bitsback.compression.range_coder import Stream
from bitsback.workbench.cifar import records
from record import made_by
from safetensors.torch import load_file, save
from torch import Tensor

MOST_LOST = 0.6  # points of test error
ERRORS = (0.3, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)  # values of max_error
ABLATED = (0.45, 0.6)
ABLATIONS = {
    "one bound for all matrices": ("LEAST", 1.0),
    "identity Hessian": ("MEAN", 0.0),
    "no price of bits": ("LAMBDA", 0.0),
}
State = dict[str, Tensor]


def xz(data: bytes, preset: int = 9 | lzma.PRESET_EXTREME) -> int:
    return len(lzma.compress(data, preset=preset))


def zstd(data: bytes) -> int | None:
    """None without the package zstandard."""
    try:
        import zstandard
    except ImportError:
        return None
    return len(zstandard.ZstdCompressor(level=19).compress(data))


def packed(state: State, max_error: float | None = None) -> tuple[int, State]:
    """Bytes of the file, and what comes out of it."""
    data = b"".join(encode(of_tensors(state), max_error).parts)
    return len(data), _tensors(PackedReader(data))


class Half:
    """One half of the test images."""

    def __init__(self, x: Tensor, y: Tensor, state: State) -> None:
        self.x, self.y = x, y
        self.net = bitsback.network("resnet-20")
        self.float = self.logits(state)
        self.error = 100 * float((self.float.argmax(1) != y).double().mean())

    def logits(self, state: State) -> Tensor:
        self.net.load_state_dict(state)
        with torch.no_grad():
            return torch.cat([self.net.eval()(part) for part in self.x.split(500)])

    def figures(self, state: State) -> dict[str, float]:
        """Error in percent, points lost with their paired standard error, KL in nats."""
        logits = self.logits(state)
        wrong, before = ((x.argmax(1) != self.y).double() for x in (logits, self.float))
        p, q = self.float.log_softmax(1).double(), logits.log_softmax(1).double()
        return {
            "error": round(100 * float(wrong.mean()), 3),
            "lost": round(100 * float((wrong - before).mean()), 3),
            "lost_stderr": round(100 * float((wrong - before).std()) / len(wrong) ** 0.5, 3),
            "kl": round(float((p.exp() * (p - q)).sum(1).mean()), 5),
        }


def halves(data_dir: Path | None, state: State) -> tuple[Half, Half]:
    _, test = records(data_dir)
    order = np.random.RandomState(0).permutation(len(test))
    middle = len(test) // 2
    parts = []
    for places in (order[:middle], order[middle:]):
        x = torch.from_numpy(test[places, 1:].reshape(-1, 3, 32, 32)).float() / 255
        parts.append(Half(x, torch.from_numpy(test[places, 0].astype(np.int64)), state))
    return parts[0], parts[1]


def rounded(state: State, bits: int) -> tuple[int, State]:
    """Matrices to integers of so many bits, a step for each output unit; then xz."""
    out, integers, floats = {}, [], []
    for name, tensor in state.items():
        out[name] = tensor
        if tensor.dim() < 2:
            floats.append(tensor.numpy().tobytes())
            continue
        rows = tensor.reshape(len(tensor), -1)
        step = rows.abs().amax(1, keepdim=True).clamp_min(1e-30) / (2 ** (bits - 1) - 1)
        codes = (rows / step).round()
        out[name] = (codes * step).reshape(tensor.shape)
        integers.append(codes.to(torch.int8).numpy().reshape(-1))
        floats.append(step.numpy().tobytes())
    codes, rest = np.concatenate(integers), b"".join(floats)
    forms = [codes.tobytes()]
    if bits == 4:
        pairs = (np.pad(codes, (0, len(codes) % 2)) & 15).astype(np.uint8).reshape(-1, 2)
        forms.append((pairs[:, 0] << 4 | pairs[:, 1]).tobytes())
    return min(xz(form + rest) for form in forms), out


def resnet20(state: State, data_dir: Path | None) -> dict:
    choosing, reporting = halves(data_dir, state)
    curve = []
    for max_error in ERRORS:
        size, out = packed(state, max_error)
        curve.append({"max_error": max_error, "bytes": size, **choosing.figures(out)})
        print(curve[-1], flush=True)
    fits = [row for row in curve if row["lost"] + row["lost_stderr"] <= MOST_LOST]
    chosen = min(fits, key=lambda row: row["bytes"])["max_error"]
    size, out = packed(state, chosen)
    reported = {"max_error": chosen, "bytes": size, **reporting.figures(out)}
    print("reported", reported, flush=True)
    peers = {}
    for bits in (8, 4):
        size, out = rounded(state, bits)
        peers[f"int{bits} + xz"] = {"bytes": size, **reporting.figures(out)}
    return {
        "float_error": {"choosing": choosing.error, "reporting": reporting.error},
        "curve_on_choosing_half": curve,
        "reported": reported,
        "peers_on_reporting_half": peers,
        "ablations_on_choosing_half": ablations(state, choosing),
    }


def ablations(state: State, half: Half) -> dict:
    found = {}
    for name, (constant, value) in ABLATIONS.items():
        before = getattr(lossy, constant)
        setattr(lossy, constant, value)
        rows = []
        for max_error in ABLATED:
            size, out = packed(state, max_error)
            rows.append({"max_error": max_error, "bytes": size, **half.figures(out)})
        setattr(lossy, constant, before)
        found[name] = rows
        print(name, rows, flush=True)
    return found


def lossless(state: State) -> dict:
    found = {}
    for name in ("float32", "float16", "bfloat16"):
        dtype = getattr(torch, name)
        cast = {k: v.to(dtype) if v.is_floating_point() else v for k, v in state.items()}
        file = save(cast)
        size, out = packed(cast)
        if any(not torch.equal(out[k], v) for k, v in cast.items()):
            raise RuntimeError(f"{name} did not come back")
        found[name] = {"file": len(file), "packed": size, "xz": xz(file), "zstd": zstd(file)}
        print(name, found[name], flush=True)
    return found | {"exponents": exponents(state)}


def exponents(state: State) -> dict[str, float]:
    """Bytes of the exponents of the large tensors, by coder.

    "entropy" is of zero order, without tables; "deflate" has the default strategy; "packed" is what
    a packed file has: here deflate with Huffman codes alone.
    """
    total = dict.fromkeys(("raw", "entropy", "deflate", "packed", "range", "xz"), 0.0)
    for tensor in state.values():
        if tensor.numel() <= SMALL:
            continue
        bits = tensor.numpy().reshape(-1).view(np.uint32)
        plane = np.ascontiguousarray(to_bytes(bits, BY_NAME["float32"])[:, 0])
        counts = np.bincount(plane)[np.unique(plane)]
        stream = Stream()
        Model(stream).octets(len(plane), 1, plane.tobytes())
        total["raw"] += len(plane)
        total["entropy"] += float(-(counts * np.log2(counts / len(plane))).sum() / 8)
        total["deflate"] += len(deflate(plane.tobytes()))
        total["packed"] += len(encode_planes(plane, BY_NAME["uint8"]))
        total["range"] += len(stream.finish())
        total["xz"] += xz(plane.tobytes())
    return {name: round(size) for name, size in total.items()}


def seconds(work: Callable[[], object]) -> float:
    before = time.process_time()
    work()
    return time.process_time() - before


def speed(megabytes: int) -> dict:
    found = {}
    chance = torch.Generator().manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.bb"
        for name, max_error in (("float32", None), ("bfloat16", None), ("float32", 0.5)):
            kind = BY_NAME[name]
            rows = megabytes * 1_000_000 // kind.width // 4096
            tensor = torch.randn(rows, 4096, generator=chance).to(getattr(torch, name))
            size = tensor.numel() * kind.width
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            pack = seconds(lambda: bitsback.pack({"w": tensor}, path, max_error))  # noqa: B023
            unpack = seconds(lambda: bitsback.unpack(path))
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            data = tensor.view(torch.uint8).numpy().tobytes()[:8_000_000]
            peer = seconds(lambda: xz(data, 6))  # noqa: B023
            found[name if max_error is None else f"{name}, max_error {max_error}"] = {
                "bytes": size,
                "share": round(path.stat().st_size / size, 4),
                "pack_mb_per_s": round(size / pack / 1e6, 1),
                "unpack_mb_per_s": round(size / unpack / 1e6, 1),
                "xz_share": round(xz(data, 6) / len(data), 4),
                "xz_mb_per_s": round(len(data) / peer / 1e6, 2),
                "peak_bytes_above_start": max(after - before, 0) * 1024,
            }
            print(list(found.items())[-1], flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--weights", type=Path, required=True, help="the network's safetensors file"
    )
    parser.add_argument("--data-dir", type=Path, help="where CIFAR-10 is looked for first")
    parser.add_argument("--megabytes", type=int, default=100, help="of weights, for the speed")
    parser.add_argument("--only", choices=("speed", "lossless", "resnet20"), help="default: all")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    torch.set_num_threads(1)
    state = load_file(options.weights)
    only = f" --only {options.only}" if options.only else ""
    command = (
        f"python benchmarks/pack.py --weights resnet20-cifar10.safetensors --data-dir DIR{only}"
    )
    result = made_by(f"{command} --megabytes {options.megabytes} --json FILE")
    if options.only in (None, "speed"):
        result["speed"] = speed(options.megabytes)
    if options.only in (None, "lossless"):
        result["lossless"] = lossless(state)
    if options.only in (None, "resnet20"):
        result["resnet20"] = resnet20(state, options.data_dir)
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
