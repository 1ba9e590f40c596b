"""ONNX forms of pooling, resizing, and windows as columns."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ...graph.calls import stride_of
from ...graph.ir import Ref
from .elementwise import number
from .forms import form
from .moves import known
from .writer import Writer

Ints = tuple[int, ...]


def _pads(w: Writer, input: Ref, size: Ints, stride: Ints, padding: Ints, reach: Ints) -> Ints:
    """Padding at the ends of the axes so that pooling without ceil_mode gives torch's sizes.

    torch drops a last window that would start in the padding; ONNX runtimes differ there.

    :param reach: of a window, dilation included.
    """
    ends = []
    for n, s, p, r in zip(w.spatial(input, "ceil_mode"), stride, padding, reach, strict=True):
        count = -(-(n + 2 * p - r) // s) + 1
        count -= (count - 1) * s >= n + p
        ends.append(max((count - 1) * s + r - n - p, 0))
    return tuple(ends)


def _check_rank(w: Writer, input: Ref, kernel_size: Ints) -> None:
    if len(w.shape(input)) != len(kernel_size) + 2:
        raise ValueError("takes inputs without a batch axis, which cannot be exported")


@form("max_pool1d", "max_pool2d", "max_pool3d")
def max_pool(
    w: Writer, input: Ref, kernel_size: Ints, stride: Ints, padding: Ints, dilation: Ints,
    ceil_mode: bool,
) -> str:  # fmt: skip
    _check_rank(w, input, kernel_size)
    stride = stride_of(stride, kernel_size)
    reach = tuple(d * (k - 1) + 1 for d, k in zip(dilation, kernel_size, strict=True))
    ends, ceil = padding, 0
    if (
        ceil_mode
        and any(size is None for size in w.shape(input)[2:])
        and _is_plain(stride, padding, reach)
    ):
        ceil = 1
    elif ceil_mode:
        ends = _pads(w, input, kernel_size, stride, padding, reach)
    name, pads = w(input), [*padding, *ends]
    if any(p >= k for p, k in zip(pads, 2 * kernel_size, strict=True)):  # runtimes refuse it
        low = (
            number(w, -torch.inf, input)
            if input not in w.codes
            else w.constant(torch.zeros((), dtype=torch.uint8))
        )
        rank = len(kernel_size)
        name = w.op("Pad", name, w.ints(0, 0, *padding, 0, 0, *ends), low)
        pads = [0] * 2 * rank
    return w.op(
        "MaxPool", name, kernel_shape=kernel_size, strides=stride, pads=pads, dilations=dilation,
        ceil_mode=ceil,
    )  # fmt: skip


def _is_plain(stride: Ints, padding: Ints, reach: Ints) -> bool:
    """Whether no window can start behind the inputs, so that all runtimes agree on ceil_mode."""
    return not any(padding) and all(s <= r for s, r in zip(stride, reach, strict=True))


@form("avg_pool1d", "avg_pool2d", "avg_pool3d")
def avg_pool(
    w: Writer, input: Ref, kernel_size: Ints, stride: Ints, padding: Ints, ceil_mode: bool,
    count_include_pad: bool, divisor_override: int | None,
) -> str:  # fmt: skip
    """Means over whole windows, times what torch divides by in place of the window's size."""
    _check_rank(w, input, kernel_size)
    stride = stride_of(stride, kernel_size)
    plain = not ceil_mode and divisor_override is None
    if plain:
        return w.op(
            "AveragePool", w(input), kernel_shape=kernel_size, strides=stride,
            pads=[*padding, *padding], count_include_pad=int(count_include_pad),
        )  # fmt: skip
    dims, sizes = len(kernel_size), w.spatial(input, "pooling by means with these options")
    ends = _pads(w, input, kernel_size, stride, padding, kernel_size) if ceil_mode else padding
    ones = torch.ones(1, 1, *sizes, dtype=torch.float64)
    pool = getattr(F, f"avg_pool{dims}d")
    further = () if dims == 1 else (divisor_override,)
    wanted = pool(ones, kernel_size, stride, padding, ceil_mode, count_include_pad, *further)
    around = [n for start, end in zip(padding[::-1], ends[::-1], strict=True) for n in (start, end)]
    found = pool(F.pad(ones, around), kernel_size, stride)
    padded = w.op("Pad", w(input), w.ints(0, 0, *padding, 0, 0, *ends), number(w, 0, input))
    means = w.op("AveragePool", padded, kernel_shape=kernel_size, strides=stride)
    return w.op("Mul", means, w.constant((wanted / found).to(w.shapes.dtype(input))))


@form("adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_avg_pool3d")
def adaptive_avg_pool(w: Writer, input: Ref, output_size: Ints) -> str:
    return _adaptive(w, "Average", input, output_size)


@form("adaptive_max_pool1d", "adaptive_max_pool2d", "adaptive_max_pool3d")
def adaptive_max_pool(w: Writer, input: Ref, output_size: Ints) -> str:
    return _adaptive(w, "Max", input, output_size)


def _adaptive(w: Writer, kind: str, input: Ref, output_size: Ints) -> str:
    _check_rank(w, input, output_size)
    if set(output_size) == {1}:
        return w.op(f"Global{kind}Pool", w(input))
    sizes = w.spatial(input, f"pooling to {output_size}")
    if any(n % m for n, m in zip(sizes, output_size, strict=True)):
        raise ValueError(
            f"pools {tuple(sizes)} to {output_size}, windows of several sizes, which cannot be "
            "exported"
        )
    kernel = [n // m for n, m in zip(sizes, output_size, strict=True)]
    return w.op(f"{kind}Pool", w(input), kernel_shape=kernel, strides=kernel)


_MODES = {"nearest": "nearest", "linear": "linear", "bilinear": "linear", "trilinear": "linear",
          "bicubic": "cubic"}  # fmt: skip


@form("interpolate")
def interpolate(
    w: Writer, input: Ref, size: Ints | None, scale: Ints | None, mode: str, align_corners: bool
) -> str:
    if mode not in _MODES:
        raise ValueError(f"interpolates by {mode!r}, which cannot be exported")
    place = "align_corners" if align_corners else "pytorch_half_pixel"
    attributes = {"mode": _MODES[mode], "coordinate_transformation_mode": place}
    if mode == "nearest":
        attributes |= {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    if mode == "bicubic":
        attributes |= {"cubic_coeff_a": -0.75}
    if scale is not None:
        factors = w.constant(torch.tensor([1.0, 1.0, *scale]))
        return w.op("Resize", w(input), "", factors, **attributes)
    axes = list(range(2, 2 + len(size)))
    return w.op("Resize", w(input), "", "", w.ints(*size), axes=axes, **attributes)


@form("unfold")
def unfold(
    w: Writer, input: Ref, kernel_size: Ints, dilation: Ints, padding: Ints, stride: Ints
) -> str:
    """A convolution of each channel by as many kernels of a single one as a window has places."""
    if len(w.shape(input)) != 4:
        raise ValueError("takes inputs without a batch axis, which cannot be exported")
    channels, places = known(w, input, 1, "unfolds"), kernel_size[0] * kernel_size[1]
    kernels = torch.eye(places).reshape(places, 1, *kernel_size).repeat(channels, 1, 1, 1)
    columns = w.op(
        "Conv", w(input), w.constant(kernels.to(w.shapes.dtype(input))), group=channels,
        dilations=dilation, pads=[*padding, *padding], strides=stride,
    )  # fmt: skip
    return w.op("Reshape", columns, w.ints(0, channels * places, -1))
