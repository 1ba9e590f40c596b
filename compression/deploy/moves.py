"""ONNX forms of movements: each output element is an input element, or a constant."""

from __future__ import annotations

from typing import Any

import torch

from ...graph.ir import Ref
from .elementwise import number
from .forms import form
from .writer import Writer

Ints = tuple[int, ...]
_FIRST, _LAST = -(1 << 62), 1 << 62  # beyond the ends of any axis


def slice_(w: Writer, name: str, axis: int, start: int, end: int | None, step: int = 1) -> str:
    """A part of an axis."""
    end = (_LAST if step > 0 else _FIRST) if end is None else end
    return w.op("Slice", name, w.ints(start), w.ints(end), w.ints(axis), w.ints(step))


def known(w: Writer, ref: Ref, axis: int, what: str) -> int:
    """The size of an axis.

    :raises ValueError: it depends on the inputs.
    """
    size = w.shape(ref)[axis]
    if size is None:
        raise ValueError(f"{what} an axis whose size depends on the inputs")
    return size


@form("reshape")
def reshape(w: Writer, input: Ref, shape: tuple[Any, ...]) -> str:
    if shape == ():
        shape = w.constant(torch.zeros(0, dtype=torch.int64))
        return w.op("Reshape", w(input), shape)
    zeros = 1 if 0 in shape else None
    return w.op("Reshape", w(input), w.sizes(shape), allowzero=zeros)


@form("flatten")
def flatten(w: Writer, input: Ref, start_dim: int, end_dim: int) -> str:
    rank = len(w.shape(input))
    if rank == 0:
        return w.op("Reshape", w(input), w.ints(-1))
    start, end = start_dim % rank, end_dim % rank
    if (start, end) == (1, rank - 1):
        return w.op("Flatten", w(input), axis=1)
    return merged(w, w(input), input, start, end)


def merged(w: Writer, name: str, like: Ref, start: int, end: int) -> str:
    """Axes start..end of a value as one; those in front keep their sizes, those behind `like`'s."""
    behind = [known(w, like, axis, "flattens") for axis in range(end + 1, len(w.shape(like)))]
    return w.op("Reshape", name, w.ints(*[0] * start, -1, *behind))


@form("transpose")
def transpose(w: Writer, input: Ref, dim0: int, dim1: int) -> str:
    order = list(range(len(w.shape(input))))
    order[dim0], order[dim1] = order[dim1], order[dim0]
    return w.op("Transpose", w(input), perm=order)


@form("permute")
def permute(w: Writer, input: Ref, dims: Ints) -> str:
    return w.op("Transpose", w(input), perm=[dim % len(dims) for dim in dims])


@form("unsqueeze")
def unsqueeze(w: Writer, input: Ref, dim: int) -> str:
    return w.op("Unsqueeze", w(input), w.ints(dim))


@form("squeeze")
def squeeze(w: Writer, input: Ref, dim: Ints) -> str:
    if not dim:
        return w.op("Identity", w(input))
    return w.op("Squeeze", w(input), w.ints(*dim))


@form("expand")
def expand(w: Writer, input: Ref, size: tuple[Any, ...]) -> str:
    shape = tuple(1 if part == -1 else part for part in size)
    return w.op("Expand", w(input), w.sizes(shape))


@form("cat")
def cat(w: Writer, tensors: tuple[Ref, ...], dim: int) -> str:
    full = [ref for ref in tensors if w.shape(ref) != (0,)] or tensors
    return w.op("Concat", *_alike(w, full), axis=dim)


@form("stack")
def stack(w: Writer, tensors: tuple[Ref, ...], dim: int) -> str:
    parts = [w.op("Unsqueeze", name, w.ints(dim)) for name in _alike(w, tensors)]
    return w.op("Concat", *parts, axis=dim)


def _alike(w: Writer, tensors: Any) -> list[str]:
    dtype = w.shapes.dtype(tensors[0])
    for ref in tensors[1:]:
        dtype = torch.promote_types(dtype, w.shapes.dtype(ref))
    return [w(ref, dtype) for ref in tensors]


@form("split")
def split(w: Writer, input: Ref, sizes: Ints, dim: int) -> tuple[str, ...]:
    if len(sizes) == 1:
        return (w.op("Identity", w(input)),)
    return w.op("Split", w(input), w.ints(*sizes), results=len(sizes), axis=dim)


@form("unbind")
def unbind(w: Writer, input: Ref, dim: int) -> tuple[str, ...]:
    count = known(w, input, dim, "takes apart")
    places = (w.constant(torch.tensor(i)) for i in range(count))
    return tuple(w.op("Gather", w(input), place, axis=dim) for place in places)


@form("slice")
def slice_of(w: Writer, input: Ref, dim: int, start: int, end: int | None, step: int) -> str:
    return slice_(w, w(input), dim, start, end, step)


@form("select")
def select(w: Writer, input: Ref, dim: int, index: int) -> str:
    return w.op("Gather", w(input), w.constant(torch.tensor(index)), axis=dim)


@form("pad")
def pad(w: Writer, input: Ref, pad: Ints, mode: str, value: float) -> str:
    rank = len(w.shape(input))
    if mode == "circular":
        return _wrapped(w, input, pad)
    starts, ends = [0] * rank, [0] * rank
    for k in range(len(pad) // 2):
        starts[rank - 1 - k], ends[rank - 1 - k] = pad[2 * k], pad[2 * k + 1]
    kind = {"constant": "constant", "reflect": "reflect", "replicate": "edge"}[mode]
    constant = [number(w, value, input)] if mode == "constant" else []
    return w.op("Pad", w(input), w.ints(*starts, *ends), *constant, mode=kind)


def _wrapped(w: Writer, input: Ref, pad: Ints) -> str:
    name, rank = w(input), len(w.shape(input))
    for k in range(len(pad) // 2):
        axis, (start, end) = rank - 1 - k, pad[2 * k : 2 * k + 2]
        parts = [name]
        if start > 0:
            parts.insert(0, slice_(w, name, axis, -start, None))
        if end > 0:
            parts.append(slice_(w, name, axis, 0, end))
        name = w.op("Concat", *parts, axis=axis) if len(parts) > 1 else name
        if start < 0 or end < 0:
            name = slice_(w, name, axis, max(-start, 0), None if end >= 0 else end)
    return name


@form("flip")
def flip(w: Writer, input: Ref, dims: Ints) -> str:
    name = w(input)
    for dim in dims:
        name = slice_(w, name, dim, -1, None, -1)
    return name if dims else w.op("Identity", name)


@form("roll")
def roll(w: Writer, input: Ref, shifts: Ints, dims: Ints) -> str:
    name = w(input)
    if not dims:
        name = _rolled(w, w.op("Reshape", name, w.ints(-1)), 0, shifts[0])
        return w.op("Reshape", name, w.op("Shape", w(input)))
    for shift, dim in zip(shifts, dims, strict=True):
        size = w.shape(input)[dim]
        name = _rolled(w, name, dim, shift if size is None else shift % max(size, 1))
    return name


def _rolled(w: Writer, name: str, axis: int, shift: int) -> str:
    if shift == 0:
        return w.op("Identity", name)
    parts = (slice_(w, name, axis, -shift, None), slice_(w, name, axis, 0, -shift))
    return w.op("Concat", *parts, axis=axis)


@form("repeat")
def repeat(w: Writer, input: Ref, repeats: Ints) -> str:
    name, further = w(input), len(repeats) - len(w.shape(input))
    if further:
        name = w.op("Unsqueeze", name, w.ints(*range(further)))
    return w.op("Tile", name, w.ints(*repeats))


@form("pick")
def pick(w: Writer, input: Ref, kept: Ref) -> str:
    value = w.shapes.static(kept)
    if value is None:
        raise ValueError("picks entries that depend on the inputs, which cannot be exported")
    name = w.constant(value.nonzero()[:, 0], f"{kept.node.name}" if kept.node.name else "")
    return w.op("Gather", w(input), name, axis=-1)


@form("pixel_shuffle")
def pixel_shuffle(w: Writer, input: Ref, upscale_factor: int) -> str:
    if len(w.shape(input)) != 4:
        raise ValueError("shuffles pixels of other than 4 axes, which cannot be exported")
    return w.op("DepthToSpace", w(input), blocksize=upscale_factor, mode="CRD")


@form("pixel_unshuffle")
def pixel_unshuffle(w: Writer, input: Ref, downscale_factor: int) -> str:
    if len(w.shape(input)) != 4:
        raise ValueError("shuffles pixels of other than 4 axes, which cannot be exported")
    r, (height, width) = downscale_factor, w.spatial(input, "shuffling pixels")
    channels = known(w, input, 1, "shuffles pixels of")
    parts = w.op("Reshape", w(input), w.ints(0, channels, height // r, r, width // r, r))
    parts = w.op("Transpose", parts, perm=[0, 1, 3, 5, 2, 4])
    return w.op("Reshape", parts, w.ints(0, channels * r * r, height // r, width // r))


@form("index_select")
def index_select(w: Writer, input: Ref, dim: int, index: Ref) -> str:
    return w.op("Gather", w(input), w(index), axis=dim)


@form("gather")
def gather(w: Writer, input: Ref, dim: int, index: Ref) -> str:
    return w.op("GatherElements", w(input), w(index), axis=dim)


@form("tril")
def tril(w: Writer, input: Ref, diagonal: int) -> str:
    return _triangle(w, input, diagonal, 0)


@form("triu")
def triu(w: Writer, input: Ref, diagonal: int) -> str:
    return _triangle(w, input, diagonal, 1)


def _triangle(w: Writer, input: Ref, diagonal: int, upper: int) -> str:
    dtype = w.shapes.dtype(input)
    whole = torch.int64 if dtype in (torch.bool, torch.int32) else dtype
    made = w.op("Trilu", w(input, whole), w.constant(torch.tensor(diagonal)), upper=upper)
    return made if whole == dtype else w.cast(made, dtype)


@form("repeat_interleave")
def repeat_interleave(w: Writer, input: Ref, repeats: int, dim: int | None) -> str:
    if dim is None:
        flat = w.op("Reshape", w(input), w.ints(-1, 1))
        return w.op("Reshape", w.op("Tile", flat, w.ints(1, repeats)), w.ints(-1))
    rank = len(w.shape(input))
    axis = dim % rank
    wide = w.op("Unsqueeze", w(input), w.ints(axis + 1))
    factors = [1] * (rank + 1)
    factors[axis + 1] = repeats
    wide = w.op("Tile", wide, w.ints(*factors))
    return merged(w, wide, input, axis, axis)


@form("index")
def index(w: Writer, input: Ref, indices: tuple[Ref, ...]) -> str:
    """All indices broadcast against each other, one for each of the first axes."""
    if any(w.shapes.dtype(ref) in (torch.bool, torch.uint8) for ref in indices):
        raise ValueError("is indexed by a mask, whose count depends on its values")
    if len(indices) == 1:
        return w.op("Gather", w(input), w(indices[0], torch.int64), axis=0)
    return w.op("GatherND", w(input), joined_indices(w, indices))


def joined_indices(w: Writer, indices: tuple[Ref, ...]) -> str:
    """Places along the first axes, on a last axis."""
    places = [w(ref, torch.int64) for ref in indices]
    zero = w.op("Mul", places[0], w.constant(torch.tensor(0)))
    for place in places[1:]:
        zero = w.op("Add", zero, w.op("Mul", place, w.constant(torch.tensor(0))))
    columns = [w.op("Unsqueeze", w.op("Add", place, zero), w.ints(-1)) for place in places]
    return w.op("Concat", *columns, axis=-1)
