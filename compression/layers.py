"""The torch.nn layers that a file can rebuild by itself: one line for each in `KINDS`.

A kind's number is part of the file format: never change or reuse one. `inplace` is not kept,
since it does not change what a layer computes. Options that a line does not name must have
their defaults for the layer to be described (`describe_layer` says so).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .option_limits import check_options
from .options import Axis, Choice, Count, Flag, Padding, Real, Shape, Sizes, Step
from .quantised_relu import MAX_BITS, QuantisedReLU
from .select import Select
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
    :param stem: the canonical name of such a layer, without its ordinal.
    :param tensors: its state_dict entries in order, from its options; statistics' counters,
        the only integers, are called `num_batches_tracked`.
    """

    number: int
    make: Callable[..., nn.Module]
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

    def build(self) -> nn.Module:
        """The layer, with torch's initial weights."""
        given = {
            name: value[0] if _all_equal(value) and name != "normalized_shape" else value
            for name, value in self.options.items()
            if value is not None or name == "momentum"
        }
        return self.kind.make(**given)

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


def describe_layer(module: nn.Module) -> Layer:
    """The description of one layer; ValueError if it has none that would rebuild it exactly."""
    kind = BY_CLASS.get(type(module))
    if kind is None or "forward" in vars(module) or _hooked(module):
        raise ValueError(f"{type(module).__name__} is not a layer that a file can rebuild")
    options = {o.name: o.type.check(_value(module, o.name)) for o in kind.options}
    if "stride" in options and options["stride"] == options["kernel_size"] and _is_pool(kind):
        options["stride"] = None
    check_options(options)
    layer = Layer(kind, options)
    own = [(name, tuple(tensor.shape)) for name, tensor in module.state_dict().items()]
    if own != [(name, shape) for name, shape, _ in layer.tensors()] or _unusual(module):
        raise ValueError(f"{type(module).__name__} has tensors or options that are not described")
    return layer


def _value(module: nn.Module, name: str) -> Any:
    """The value of a constructor argument."""
    if name == "bias":
        return module.bias is not None
    if name == "of":
        return module.kept.numel()
    return getattr(module, name)


def _hooked(module: nn.Module) -> bool:
    """Whether hooks (weight normalisation of the old kind, say) take part in the layer."""
    return bool(module._forward_hooks or module._forward_pre_hooks)


def _unusual(module: nn.Module) -> bool:
    """Whether an option that is not described differs from its default."""
    return bool(
        getattr(module, "return_indices", False) or getattr(module, "divisor_override", None)
    )


def _is_pool(kind: Kind) -> bool:
    return kind.stem == "pool"


def _all_equal(value: Any) -> bool:
    return isinstance(value, tuple) and len(set(value)) == 1


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


def _make_select(of: int) -> Select:
    return Select(torch.zeros(of, dtype=torch.bool))


KINDS = (
    Kind(1, nn.Linear, "fc", _LINEAR, _linear),
    Kind(2, nn.Conv1d, "conv", _conv_options(1), _conv),
    Kind(3, nn.Conv2d, "conv", _conv_options(2), _conv),
    Kind(4, nn.BatchNorm1d, "bn", _BATCH_NORM, _batch_norm),
    Kind(5, nn.BatchNorm2d, "bn", _BATCH_NORM, _batch_norm),
    Kind(6, nn.LayerNorm, "ln", _LAYER_NORM, _layer_norm),
    Kind(7, _make_select, "select", (Option("of", Count()),), _select),
    Kind(8, nn.Flatten, "flatten", _FLATTEN),
    Kind(9, nn.Identity, "identity"),
    Kind(10, nn.ReLU, "relu"),
    Kind(11, nn.LeakyReLU, "relu", (Option("negative_slope", Real(), 0.01),)),
    Kind(12, nn.ELU, "elu", (Option("alpha", Real(), 1.0),)),
    Kind(13, nn.GELU, "gelu", (Option("approximate", Choice(("none", "tanh")), "none"),)),
    Kind(14, nn.SiLU, "silu"),
    Kind(15, nn.Tanh, "tanh"),
    Kind(16, nn.Sigmoid, "sigmoid"),
    Kind(17, nn.Softplus, "softplus", _SOFTPLUS),
    Kind(18, nn.Hardtanh, "hardtanh", _HARDTANH),
    Kind(19, nn.ReLU6, "relu"),
    Kind(20, nn.Mish, "mish"),
    Kind(21, nn.Hardswish, "hardswish"),
    Kind(22, nn.Softmax, "softmax", _DIM),
    Kind(23, nn.LogSoftmax, "softmax", _DIM),
    Kind(24, nn.Dropout, "dropout", _DROPOUT),
    Kind(25, nn.Dropout1d, "dropout", _DROPOUT),
    Kind(26, nn.Dropout2d, "dropout", _DROPOUT),
    Kind(27, nn.AlphaDropout, "dropout", _DROPOUT),
    Kind(28, nn.MaxPool1d, "pool", _pool_options(1, Option("dilation", Sizes(1), 1))),
    Kind(29, nn.MaxPool2d, "pool", _pool_options(2, Option("dilation", Sizes(2), 1))),
    Kind(30, nn.AvgPool1d, "pool", _pool_options(1, _PAD_COUNTS)),
    Kind(31, nn.AvgPool2d, "pool", _pool_options(2, _PAD_COUNTS)),
    Kind(32, nn.AdaptiveAvgPool1d, "pool", (Option("output_size", Sizes(1)),)),
    Kind(33, nn.AdaptiveAvgPool2d, "pool", (Option("output_size", Sizes(2)),)),
    Kind(34, nn.AdaptiveMaxPool1d, "pool", (Option("output_size", Sizes(1)),)),
    Kind(35, nn.AdaptiveMaxPool2d, "pool", (Option("output_size", Sizes(2)),)),
    Kind(36, QuantisedReLU, "relu", _QUANTISED),
)  # fmt: skip
BY_NUMBER = {kind.number: kind for kind in KINDS}
BY_CLASS = {Select if kind.stem == "select" else kind.make: kind for kind in KINDS}
