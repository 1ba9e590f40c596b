"""Which options of a layer make sense: those that torch takes, and that run in bounded time."""

from collections.abc import Mapping
from math import isfinite, prod
from typing import Any

from . import limits

MAX_BITS = 16  # of a quantised ReLU; beyond them float32 has no room for the sums
_FINITE = ("eps", "negative_slope", "alpha", "beta", "threshold")  # Hardtanh may end at infinity


def check_options(options: Mapping[str, Any]) -> None:
    """Raise ValueError for options of one layer, by their names in torch, that make no sense."""
    if "kernel_size" in options:
        _check_window(options)
    if "output_size" in options:
        limits.check_outputs(options["output_size"])
    features = options.get("num_features", 1) * prod(options.get("normalized_shape", ()))
    if features > limits.MAX_FEATURES:
        raise ValueError(f"a normalisation of {features} features, over {limits.MAX_FEATURES}")
    _check_numbers(options)
    start, end = options.get("start_dim", 0), options.get("end_dim", -1)
    if (start < 0) == (end < 0) and start > end:
        raise ValueError(f"there is nothing to flatten from axis {start} to axis {end}")


def padding_of(options: Mapping[str, Any]) -> tuple[int, ...]:
    """The rows or columns of padding that a layer adds on a side; () for one that adds none."""
    if "in_channels" not in options:
        return ()
    if isinstance(options["padding"], str):
        sides = zip(options["kernel_size"], options["dilation"], strict=True)
        same = options["padding"] == "same"
        return tuple((size - 1) * step // 2 * same for size, step in sides)
    return options["padding"]


def growth_of(options: Mapping[str, Any]) -> tuple[int, ...]:
    """By how much a convolution's padding exceeds its kernel; () for any other layer."""
    sides = zip(
        padding_of(options), options.get("kernel_size", ()), options.get("dilation", ()),
        strict=False,
    )  # fmt: skip
    return tuple(max(2 * padding - (size - 1) * step, 0) for padding, size, step in sides)


def _check_window(options: Mapping[str, Any]) -> None:
    """The options of a convolution, or of a pooling layer with a kernel."""
    kernel = options["kernel_size"]
    dims = len(kernel)
    dilation = options.get("dilation", (1,) * dims)
    limits.check_kernel(dims, kernel, dilation)
    limits.check_stride(dims, options["stride"] or kernel)
    if "in_channels" in options:
        limits.check_padding(dims, padding_of(options))
        groups = options["groups"]
        if options["in_channels"] % groups or options["out_channels"] % groups:
            raise ValueError("a convolution's groups do not divide its channels")
        if options["padding"] == "same" and any(step != 1 for step in options["stride"]):
            raise ValueError("padding='same' is not supported with strides, here as in torch")
        return
    for size, step, padding in zip(kernel, dilation, options["padding"], strict=True):
        if 2 * padding > (size - 1) * step + 1:
            raise ValueError(f"a padding of {padding} is over half the kernel of {size}")


def _check_numbers(options: Mapping[str, Any]) -> None:
    for name in _FINITE:
        if not isfinite(options.get(name, 0.0)):
            raise ValueError(f"{name} is {options[name]}, which is not finite")
    if options.get("eps", 0.0) < 0:
        raise ValueError(f"eps is {options['eps']}, below 0")
    if not 0 <= options.get("p", 0.0) <= 1:
        raise ValueError(f"a dropout rate of {options['p']} is not within 0..1")
    if options.get("beta", 1.0) == 0:
        raise ValueError("beta is 0, by which Softplus divides")
    if "min_val" in options and not options["min_val"] < options["max_val"]:
        raise ValueError(f"min_val {options['min_val']} is not below {options['max_val']}")
