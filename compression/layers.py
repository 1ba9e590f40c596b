"""The torch.nn layers that a file can rebuild by itself: one line for each in `KINDS`.

A kind's number is part of the file format: never change or reuse one. `inplace` is not kept,
since it does not change what a layer computes. Options that a line does not name must have
their defaults for the layer to be described (`torch_layers.describe_layer` says so). No torch
here: a file is read into arrays without it.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from .option_limits import MAX_BITS, check_options
from .options import Axis, Choice, Count, Flag, Padding, Real, Shape, Sizes, Step
from .wire import Reader, varint

_REQUIRED = object()
Entry = tuple[str, tuple[int, ...], str]  # a tensor's name within its layer, shape and role


@dataclass(frozen=True)
class Option:
    """One constructor argument: its name, its type and its default (required if it has none)."""

    name: str
    type: Any
    default: Any = _REQUIRED


@dataclass(frozen=True)
class Kind:
    """What is known of one layer class.

    :param number: the byte that names it in a file, 1..127; 128 is added if there are options.
    :param name: of its class, in torch.nn or here.
    :param stem: the canonical name of such a layer, without its ordinal.
    :param tensors: its state_dict entries in order, from its options; statistics' counters,
        the only integers, are called `num_batches_tracked`.
    """

    number: int
    name: str
    stem: str
    options: tuple[Option, ...] = ()
    tensors: Callable[[Mapping[str, Any]], list[Entry]] = lambda options: []


@dataclass(frozen=True)
class Layer:
    """One described layer: its kind, and every option with its value."""

    kind: Kind
    options: Mapping[str, Any]

    def tensors(self) -> list[Entry]:
        """Its state_dict entries in order."""
        return self.kind.tensors(self.options)

    def to_bytes(self) -> bytes:
        """Kind byte; required options; then, if any differ from their defaults, which and what."""
        required, flags, rest = b"", 0, b""
        optional = 0
        for option in self.kind.options:
            value = self.options[option.name]
            if option.default is _REQUIRED:
                required += option.type.write(value)
                continue
            if value != option.type.check(option.default):
                flags |= 1 << optional
                rest += option.type.write(value)
            optional += 1
        kind = self.kind.number | (128 if flags else 0)
        return bytes([kind]) + required + (varint(flags) + rest if flags else b"")


def read_layer(reader: Reader, first: int) -> Layer:
    """The layer whose kind byte was `first`; ValueError or CorruptFile if there is none such."""
    kind = BY_NUMBER.get(first & 127)
    if kind is None:
        raise ValueError(f"layer kind {first & 127} is unknown")
    optional = [option for option in kind.options if option.default is not _REQUIRED]
    options = {o.name: o.type.read(reader) for o in kind.options if o.default is _REQUIRED}
    flags = reader.varint((1 << len(optional)) - 1) if first & 128 else 0
    for place, option in enumerate(optional):
        given = flags >> place & 1
        options[option.name] = (
            option.type.read(reader) if given else option.type.check(option.default)
        )
    check_options(options)
    return Layer(kind, {option.name: options[option.name] for option in kind.options})


def _bias(o: Mapping[str, Any], size: int) -> list[Entry]:
    return [("bias", (size,), "bias")] if o["bias"] else []


def _linear(o: Mapping[str, Any]) -> list[Entry]:
    shape = (o["out_features"], o["in_features"])
    return [("weight", shape, "weight"), *_bias(o, shape[0])]


def _conv(o: Mapping[str, Any]) -> list[Entry]:
    shape = (o["out_channels"], o["in_channels"] // o["groups"], *o["kernel_size"])
    return [("weight", shape, "weight"), *_bias(o, shape[0])]


def _batch_norm(o: Mapping[str, Any]) -> list[Entry]:
    size = (o["num_features"],)
    entries = [("weight", size, "raw"), ("bias", size, "raw")] if o["affine"] else []
    if o["track_running_stats"]:
        entries += [("running_mean", size, "raw"), ("running_var", size, "raw")]
        entries += [("num_batches_tracked", (), "raw")]
    return entries


def _layer_norm(o: Mapping[str, Any]) -> list[Entry]:
    shape, affine = o["normalized_shape"], o["elementwise_affine"]
    bias = [("bias", shape, "raw")] if affine and o["bias"] else []
    return [("weight", shape, "raw"), *bias] if affine else []


def _select(o: Mapping[str, Any]) -> list[Entry]:
    return [("kept", (o["of"],), "mask")]


def _conv_options(dims: int) -> tuple[Option, ...]:
    return (
        Option("in_channels", Count()),
        Option("out_channels", Count()),
        Option("kernel_size", Sizes(dims)),
        Option("bias", Flag(True), True),
        Option("stride", Sizes(dims), 1),
        Option("padding", Padding(dims), 0),
        Option("dilation", Sizes(dims), 1),
        Option("groups", Count(), 1),
        Option("padding_mode", Choice(("zeros", "reflect", "replicate", "circular")), "zeros"),
    )


def _pool_options(dims: int, *more: Option) -> tuple[Option, ...]:
    return (
        Option("kernel_size", Sizes(dims)),
        Option("stride", Sizes(dims), None),
        Option("padding", Sizes(dims, 0), 0),
        Option("ceil_mode", Flag(False), False),
        *more,
    )


_LINEAR = (
    Option("in_features", Count()),
    Option("out_features", Count()),
    Option("bias", Flag(True), True),
)
_BATCH_NORM = (
    Option("num_features", Count()),
    Option("eps", Real(), 1e-5),
    Option("momentum", Real(optional=True), 0.1),
    Option("affine", Flag(True), True),
    Option("track_running_stats", Flag(True), True),
)
_LAYER_NORM = (
    Option("normalized_shape", Shape()),
    Option("eps", Real(), 1e-5),
    Option("elementwise_affine", Flag(True), True),
    Option("bias", Flag(True), True),
)
_PAD_COUNTS = Option("count_include_pad", Flag(True), True)
_DROPOUT = (Option("p", Real(), 0.5),)
_FLATTEN = (Option("start_dim", Axis(), 1), Option("end_dim", Axis(), -1))
_SOFTPLUS = (Option("beta", Real(), 1.0), Option("threshold", Real(), 20.0))
_HARDTANH = (Option("min_val", Real(), -1.0), Option("max_val", Real(), 1.0))
_DIM = (Option("dim", Axis()),)
_QUANTISED = (Option("step", Step()), Option("bits", Count(1, MAX_BITS)))


KINDS = (
    Kind(1, "Linear", "fc", _LINEAR, _linear),
    Kind(2, "Conv1d", "conv", _conv_options(1), _conv),
    Kind(3, "Conv2d", "conv", _conv_options(2), _conv),
    Kind(4, "BatchNorm1d", "bn", _BATCH_NORM, _batch_norm),
    Kind(5, "BatchNorm2d", "bn", _BATCH_NORM, _batch_norm),
    Kind(6, "LayerNorm", "ln", _LAYER_NORM, _layer_norm),
    Kind(7, "Select", "select", (Option("of", Count()),), _select),
    Kind(8, "Flatten", "flatten", _FLATTEN),
    Kind(9, "Identity", "identity"),
    Kind(10, "ReLU", "relu"),
    Kind(11, "LeakyReLU", "relu", (Option("negative_slope", Real(), 0.01),)),
    Kind(12, "ELU", "elu", (Option("alpha", Real(), 1.0),)),
    Kind(13, "GELU", "gelu", (Option("approximate", Choice(("none", "tanh")), "none"),)),
    Kind(14, "SiLU", "silu"),
    Kind(15, "Tanh", "tanh"),
    Kind(16, "Sigmoid", "sigmoid"),
    Kind(17, "Softplus", "softplus", _SOFTPLUS),
    Kind(18, "Hardtanh", "hardtanh", _HARDTANH),
    Kind(19, "ReLU6", "relu"),
    Kind(20, "Mish", "mish"),
    Kind(21, "Hardswish", "hardswish"),
    Kind(22, "Softmax", "softmax", _DIM),
    Kind(23, "LogSoftmax", "softmax", _DIM),
    Kind(24, "Dropout", "dropout", _DROPOUT),
    Kind(25, "Dropout1d", "dropout", _DROPOUT),
    Kind(26, "Dropout2d", "dropout", _DROPOUT),
    Kind(27, "AlphaDropout", "dropout", _DROPOUT),
    Kind(28, "MaxPool1d", "pool", _pool_options(1, Option("dilation", Sizes(1), 1))),
    Kind(29, "MaxPool2d", "pool", _pool_options(2, Option("dilation", Sizes(2), 1))),
    Kind(30, "AvgPool1d", "pool", _pool_options(1, _PAD_COUNTS)),
    Kind(31, "AvgPool2d", "pool", _pool_options(2, _PAD_COUNTS)),
    Kind(32, "AdaptiveAvgPool1d", "pool", (Option("output_size", Sizes(1)),)),
    Kind(33, "AdaptiveAvgPool2d", "pool", (Option("output_size", Sizes(2)),)),
    Kind(34, "AdaptiveMaxPool1d", "pool", (Option("output_size", Sizes(1)),)),
    Kind(35, "AdaptiveMaxPool2d", "pool", (Option("output_size", Sizes(2)),)),
    Kind(36, "QuantisedReLU", "relu", _QUANTISED),
)  # fmt: skip
BY_NUMBER = {kind.number: kind for kind in KINDS}
BY_NAME = {kind.name: kind for kind in KINDS}
LINEAR, CONV2D, SELECT = BY_NAME["Linear"], BY_NAME["Conv2d"], BY_NAME["Select"]
