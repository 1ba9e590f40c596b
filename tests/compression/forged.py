"""Compressed files that no writer makes, all with a right checksum: by name, as bytes.

`named()` has one of every kind that a review and a fuzzer found, each of which once took seconds,
gigabytes, or a traceback, or printed what a terminal obeys.
"""

import zlib

import numpy as np
from bitsback.compression import codec
from bitsback.compression.architecture import Architecture
from bitsback.compression.archive import Archive, Quantised, Uniform
from bitsback.compression.layers import Layer
from bitsback.compression.nodes import Chain, TensorSpec, canonical_names
from bitsback.compression.torch_layers import BY_CLASS
from bitsback.compression.wire import varint
from torch import nn

MOST = (1 << 30) - 1
NAMES = (
    "T_destination", "__class__", "__dict__", "__init__", "_modules", "append", "dump_patches",
    "eval", "forward", "state_dict", "to", "training",
)  # fmt: skip
ODD = {"markup": "[/red]", "unicode": "\u202e\0\x1b[2J" + "é" * 100}
LABELS = {"ansi": "\x1b]0;x\x07\x1b[31m", "markup": "[/nope]", "nul-newline": "a\0b\nc"}


def repaired(data: bytes) -> bytes:
    """The same bytes with the right checksum, so that what is behind it is reached."""
    return data[:-4] + zlib.crc32(data[:-4]).to_bytes(4, "little")


def file(architecture: Architecture, stream: bytes = b"\0", coder: str = "small") -> bytes:
    """A file of a description, whatever it is."""
    shapes = architecture.to_bytes(1)
    version = 1 + (codec.FAST if coder == "fast" else 0)
    head = codec.MAGIC + bytes([version]) + varint(2 * len(shapes) + (coder == "huffman"))
    if coder == "fast":  # a stream of nothing before that of the weights
        stream = b"\1\0" + stream
    return repaired(head + shapes + stream + bytes(4))


def whole(architecture: Architecture) -> bytes:
    """A file of a description with numbers that are all zero, so that nothing else is wrong."""
    tensors = {}
    for spec in architecture.tensors():
        zeros = np.zeros(spec.shape, dtype=spec.dtype)
        coded = spec.role in ("weight", "bias")
        tensors[spec.name] = Quantised(zeros.astype(np.int32), Uniform(1.0)) if coded else zeros
    return codec.encode(Archive(architecture, tensors))


def layer(module: type[nn.Module], **given) -> Layer:
    """A layer with these options, unchecked, and the defaults of the others."""
    kind = BY_CLASS[module]
    left = {o.name: o.type.check(o.default) for o in kind.options if o.name not in given}
    return Layer(kind, {o.name: {**left, **given}[o.name] for o in kind.options})


def chain(*layers: Layer | Chain, names: tuple[str, ...] | None = None) -> Architecture:
    """A sequence of layers."""
    return Architecture(Chain(names or canonical_names(layers), layers))


def listed(*shapes: tuple[int, ...], role: str = "weight", dtype: str = "float32") -> Architecture:
    """Tensors of these shapes, called "0", "1", ..."""
    specs = (TensorSpec(str(k), shape, role, dtype) for k, shape in enumerate(shapes))
    return Architecture(None, tuple(specs))


def linear(inputs: int = 2, outputs: int = 2) -> Layer:
    return layer(nn.Linear, in_features=inputs, out_features=outputs)


def pool(module: type[nn.Module], dims: int, **given) -> Architecture:
    sizes = {name: (value,) * dims for name, value in given.items() if name != "ceil_mode"}
    return chain(layer(module, **{**given, **sizes}))


def conv(**given) -> Architecture:
    sizes = {k: (v,) * 2 if k in ("padding", "stride", "dilation") else v for k, v in given.items()}
    if isinstance(given.get("padding"), str):
        sizes["padding"] = given["padding"]
    options = {"in_channels": 1, "out_channels": 1, "kernel_size": (3, 3), **sizes}
    return chain(layer(nn.Conv2d, **options))


def ones(*shapes: tuple[int, ...], role: str = "weight") -> bytes:
    """A file whose tensors are all 1: as many symbols for a byte as there can be."""
    architecture = listed(*shapes, role=role, dtype="bool" if role == "mask" else "float32")
    tensors = {}
    for spec in architecture.tensors():
        grid = Uniform(1.0)
        ones = np.ones(spec.shape, dtype=np.int32)
        tensors[spec.name] = ones.astype(bool) if role == "mask" else Quantised(ones, grid)
    return codec.encode(Archive(architecture, tensors))


def named() -> dict[str, bytes]:
    """Every one of them."""
    descriptions = {**_layers(), **_windows(), **_names()}
    found = {name: whole(architecture) for name, architecture in descriptions.items()}
    found |= _large()
    good = bytearray(whole(chain(linear())))
    for version in (0, 4, 255):
        good[len(codec.MAGIC)] = version
        found[f"version-{version}"] = repaired(bytes(good))
    return found


def _layers() -> dict[str, Architecture]:
    deep: Layer | Chain = layer(nn.ReLU)
    for _ in range(16):
        deep = Chain(("0",), (deep,))
    return {
        "relus": chain(Chain(canonical_names(r := (layer(nn.ReLU),) * 980), r)),
        "bn-huge": chain(
            layer(nn.BatchNorm1d, num_features=2 * MOST, affine=False, track_running_stats=False)
        ),
        "ln-huge": chain(
            layer(nn.LayerNorm, normalized_shape=(2 * MOST,) * 2, elementwise_affine=False)
        ),
        "deep16": Architecture(deep),
        "dropout-p2": chain(linear(), layer(nn.Dropout, p=2.0)),
        "empty-chain": chain(),
        "flatten-dim7": chain(layer(nn.Flatten, start_dim=7), linear(64, 10)),
        "flatten-backwards": chain(layer(nn.Flatten, start_dim=3, end_dim=1)),
        "hardtanh": chain(linear(), layer(nn.Hardtanh, min_val=5.0, max_val=1.0)),
        "softplus-beta0": chain(layer(nn.Flatten), linear(64, 10), layer(nn.Softplus, beta=0.0)),
        "softmax-axis": chain(layer(nn.Flatten), linear(64, 10), layer(nn.Softmax, dim=7)),
        "leaky-infinity": chain(linear(), layer(nn.LeakyReLU, negative_slope=float("inf"))),
        "no-shape-in-onnx": chain(
            *conv(kernel_size=(5, 5)).root.children,
            layer(nn.MaxPool2d, kernel_size=(2, 2)),
            *conv(kernel_size=(5, 5)).root.children,
            layer(nn.Flatten),
            linear(7, 10),
        ),
        "widths": chain(linear(2, 3), layer(nn.ReLU), linear(4, 2)),
    }


def _windows() -> dict[str, Architecture]:
    """What turns a few bytes into a large or long forward pass."""
    found = {
        f"adaptive-{module.__name__}-{size}": pool(module, dims, output_size=size)
        for dims, modules in (
            (1, (nn.AdaptiveAvgPool1d, nn.AdaptiveMaxPool1d)),
            (2, (nn.AdaptiveAvgPool2d, nn.AdaptiveMaxPool2d)),
        )
        for module in modules
        for size in (20_000, MOST)
    }
    for dims, modules in ((1, (nn.AvgPool1d, nn.MaxPool1d)), (2, (nn.AvgPool2d, nn.MaxPool2d))):
        for module in modules:
            cases = {
                "ceil": {"kernel_size": 3, "stride": MOST, "ceil_mode": True},
                "kmax": {"kernel_size": MOST},
                "kpadmax": {"kernel_size": MOST, "stride": MOST, "padding": MOST // 2},
                "padstride1": {"kernel_size": MOST, "stride": 1, "padding": MOST // 2},
                "overpadded": {"kernel_size": 2, "padding": 2},
            }
            for name, given in cases.items():
                found[f"pool-{module.__name__}-{name}"] = pool(module, dims, **given)
    return found | {
        "conv-circular": conv(padding=30_000, padding_mode="circular"),
        "conv-replicate": conv(padding=30_000, padding_mode="replicate"),
        "conv-dilation": conv(dilation=MOST),
        "conv-same": conv(dilation=MOST, padding="same"),
        "conv-padding": conv(padding=MOST),
        "conv-stride": conv(padding=MOST, stride=MOST),
        "conv-same-stride2": conv(padding="same", stride=2),
        "conv-groups": conv(groups=2),
        "conv-many-paddings": chain(*conv(padding=500).root.children * 6),
    }


def _names() -> dict[str, Architecture]:
    found = {f"name-{name}": chain(linear(), names=(name,)) for name in (*NAMES, *ODD.values())}
    labels = {f"label-{k}": chain(linear()) for k in LABELS}
    for name, label in LABELS.items():
        made = labels[f"label-{name}"]
        labels[f"label-{name}"] = Architecture(made.root, label=label)
    return found | labels


def _large() -> dict[str, bytes]:
    """What is declared larger than it is, and what is large and cheap."""
    empty = {
        "zero-3GB": [(0, 20_000, 20_000)],
        "zero-huge": [(0, 400_000, 400_000)],
        "zero-many": [(0, 10_000, 10_000)] * 60,
        "zero-no-array": [(0, 5000, 5000, 1000, 2000, 5000, 1, 16), (3, 5000)],
        "zero-rows": [(5_500_000, 0)],
    }
    found = {name: file(listed(*shapes)) for name, shapes in empty.items()}
    small = {"zero-0x0x0": (0, 0, 0), "zero-3x0": (3, 0), "scalar": (), "8d": (1,) * 8}
    found |= {name: whole(listed(shape)) for name, shape in small.items()}
    found["zero-300000-rows"] = file(listed((300_000, 0)), b"\xff" * 58)
    one = {"shape": (1,), "role": "weight", "dtype": "float32"}
    overlap = (TensorSpec("a", **one), TensorSpec("a.b", **one))
    found["overlap"] = whole(Architecture(None, overlap))
    found["f16"] = whole(listed((2, 2), dtype="float16"))
    found["mask-20000000"] = file(listed((20_000_000,), role="mask", dtype="bool"), bytes(892))
    found["garbage"] = file(listed((400_000,), role="mask", dtype="bool"), bytes(range(40)))
    found["column"] = ones((1_000_000, 1))
    found["row"] = ones((1, 1_000_000))
    found["kernels"] = ones((4, 1, 512, 512))
    found["many"] = ones(*[(1, 1, 127, 129)] * 20)
    found["mask-4000000"] = ones((4_000_000,), role="mask")
    return found
