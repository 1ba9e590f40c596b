"""Exported operators that move numbers, where they are not a row of the table as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from .errors import Untraceable
from .exported import dtype_of, place_of, rank_of, shape_of, stem_of
from .ir import Ref
from .operators import MAX_INT
from .table import OPERATORS

if TYPE_CHECKING:
    from .converter import Converter

Conversion = Callable[["Converter", Any, dict[str, Any]], None]


def _reshape(self: Converter, exported: Any, arguments: dict) -> None:
    """Any change of shape, by the result's: one size that depends on the batch becomes -1."""
    shape = shape_of(exported)
    open_ = [axis for axis, size in enumerate(shape) if size is None]
    sizes = tuple(-1 if size is None else size for size in shape)
    if len(open_) > 1:
        sizes = arguments.get("size") or arguments.get("shape") or ()
        if len(sizes) != len(shape):
            raise Untraceable(f"{place_of(exported)}: a reshape to several sizes of the batch's")
    self.emit(exported, OPERATORS["reshape"], {"input": arguments["self"], "shape": sizes})


def _flatten(self: Converter, exported: Any, arguments: dict) -> None:
    if rank_of(exported.args[0]) == 0:
        _reshape(self, exported, {"self": arguments["self"]})
        return
    given = {"input": arguments["self"]}
    ends = {"start_dim": arguments["start_dim"], "end_dim": arguments["end_dim"]}
    self.emit(exported, OPERATORS["flatten"], given | ends)


def _squeeze(self: Converter, exported: Any, arguments: dict) -> None:
    source = exported.args[0].meta["val"]
    dims = arguments.get("dim")
    dims = tuple(range(source.dim())) if dims is None else dims
    dims = dims if isinstance(dims, tuple) else (dims,)
    ones = tuple(d % source.dim() for d in dims if source.dim() and source.shape[d] == 1)
    self.emit(exported, OPERATORS["squeeze"], {"input": arguments["self"], "dim": ones})


def _transpose_last(self: Converter, exported: Any, arguments: dict) -> None:
    rank = rank_of(exported)
    all_ = stem_of(exported) in ("t", "numpy_T")
    dims = tuple(range(rank))[::-1] if all_ else (*range(rank - 2), rank - 1, rank - 2)
    self.emit(exported, OPERATORS["permute"], {"input": arguments["self"], "dims": dims})


def _move_axes(self: Converter, exported: Any, arguments: dict) -> None:
    """movedim."""
    rank = rank_of(exported)
    source, goal = arguments["source"], arguments["destination"]
    source = source if isinstance(source, tuple) else (source,)
    goal = goal if isinstance(goal, tuple) else (goal,)
    places = dict(zip((g % rank for g in goal), (s % rank for s in source), strict=True))
    rest = iter(d for d in range(rank) if d not in places.values())
    dims = tuple(places[d] if d in places else next(rest) for d in range(rank))
    self.emit(exported, OPERATORS["permute"], {"input": arguments["self"], "dims": dims})


def _swap(self: Converter, exported: Any, arguments: dict) -> None:
    a, b = (arguments.get(f"dim{i}", arguments.get(f"axis{i}")) for i in (0, 1))
    given = {"input": arguments["self"], "dim0": a, "dim1": b}
    self.emit(exported, OPERATORS["transpose"], given)


def _split(self: Converter, exported: Any, arguments: dict) -> None:
    dim = arguments.get("dim", 0)
    sizes = tuple(part.shape[dim] for part in exported.meta["val"])
    if not all(isinstance(size, int) for size in sizes):
        raise Untraceable(f"{place_of(exported)} splits the batch")
    row, source = OPERATORS["split"], arguments["self"]
    self.emit(exported, row, {"input": source, "sizes": sizes, "dim": dim})


def _slice(self: Converter, exported: Any, arguments: dict) -> None:
    dim = arguments["dim"]
    whole = exported.args[0].meta["val"].shape[dim]
    start, end, step = (arguments.get(k) for k in ("start", "end", "step"))
    start = 0 if start is None else start
    if end is not None and not isinstance(end, Ref) and end >= MAX_INT:
        end = None
    if (start, end, step) == (0, None, 1) or (
        isinstance(whole, int) and end == whole and not start and step == 1
    ):
        self.share(exported, exported.args[0])
        return
    if isinstance(start, Ref) or isinstance(end, Ref):
        raise Untraceable(f"{place_of(exported)} takes a slice whose ends depend on the batch")
    given = {"input": arguments["self"], "dim": dim, "start": start, "end": end, "step": step}
    self.emit(exported, OPERATORS["slice"], given)


def _select(self: Converter, exported: Any, arguments: dict) -> None:
    pieces = self.pieces.get(arguments["self"])
    given = {"input": arguments["self"], "dim": arguments["dim"], "index": arguments["index"]}
    if pieces and arguments["dim"] == 0:
        given |= {"input": pieces[arguments["index"]], "index": 0}
    self.emit(exported, OPERATORS["select"], given)


def _unbind(self: Converter, exported: Any, arguments: dict) -> None:
    pieces = self.pieces.get(arguments["self"])
    if pieces and arguments["dim"] == 0:
        parts = [self.insert(exported, "select", input=part, dim=0, index=0) for part in pieces]
        self.stand_for(exported, *parts)
        return
    self.emit(exported, OPERATORS["unbind"], arguments)


def _slice_scatter(self: Converter, exported: Any, arguments: dict) -> None:
    """A slice is written; an end beyond all sizes is none."""
    for which in ("start", "end"):
        if isinstance(arguments[which], int) and arguments[which] >= MAX_INT:
            arguments[which] = None
    self.emit(exported, OPERATORS["slice_scatter"], arguments)


def _scatter(self: Converter, exported: Any, arguments: dict) -> None:
    given = {key: arguments[key] for key in ("dim", "index")} | {"input": arguments["self"]}
    given["src"] = arguments["src"] if "src" in arguments else arguments["value"]
    self.emit(exported, OPERATORS["scatter"], given)


def _narrow(self: Converter, exported: Any, arguments: dict) -> None:
    start, length = arguments["start"], arguments["length"]
    if not isinstance(start, int) or not isinstance(length, int):
        raise Untraceable(f"{place_of(exported)} takes a slice whose ends depend on the batch")
    start = start + exported.args[0].meta["val"].shape[arguments["dim"]] if start < 0 else start
    given = {"input": arguments["self"], "dim": arguments["dim"], "start": start}
    self.emit(exported, OPERATORS["slice"], given | {"end": start + length, "step": 1})


def _expand_as(self: Converter, exported: Any, arguments: dict) -> None:
    sizes = _sizes_like(self, exported, arguments["other"])
    self.emit(exported, OPERATORS["expand"], {"input": arguments["self"], "size": sizes})


def _sizes_like(self: Converter, exported: Any, source: Ref) -> tuple[int | Ref, ...]:
    """The sizes of an exported value, those of the batch's read off `source`."""
    return tuple(
        self.insert(exported, "size", input=source, dim=axis) if size is None else size
        for axis, size in enumerate(shape_of(exported))
    )


def _copy(self: Converter, exported: Any, arguments: dict) -> None:
    """`src` in the shape and dtype of what it overwrites."""
    source, ref = exported.args[1], arguments["src"]
    if dtype_of(exported) != dtype_of(source):
        ref = self.insert(exported, "to", input=ref, dtype=dtype_of(exported))
    sizes = _sizes_like(self, exported, arguments["self"])
    self.emit(exported, OPERATORS["expand"], {"input": ref, "size": sizes})


def _pad(self: Converter, exported: Any, arguments: dict) -> None:
    given = {"input": arguments["self"], "pad": arguments["pad"]}
    given["mode"] = arguments.get("mode", "constant")
    given["value"] = arguments.get("value") or 0
    self.emit(exported, OPERATORS["pad"], given)


def _filled(value: Any) -> Conversion:
    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        size = arguments.get("size")
        if size is None:  # zeros_like and the like
            size = _sizes_like(self, exported, arguments["self"])
        fill = arguments.get("fill_value", arguments.get("value")) if value is None else value
        given = {"size": size, "value": fill, "dtype": dtype_of(exported)}
        if isinstance(fill, Ref):  # a tensor of one number
            if dtype_of(exported) != "float32":
                raise Untraceable(f"{place_of(exported)} fills a tensor with a tensor")
            self.emit(exported, OPERATORS["expand"], {"input": fill, "size": size})
            return
        self.emit(exported, OPERATORS["full"], given)

    return convert


def _bernoulli(self: Converter, exported: Any, arguments: dict) -> None:
    """Ones with a given probability, else zeros, as a dropout of ones: its mean in eval mode."""
    p = arguments.get("p")
    if not self.noisy or not isinstance(p, float) or not 0 < p <= 1:
        raise Untraceable(f"{place_of(exported)} draws at random in eval mode")
    sizes = _sizes_like(self, exported, arguments["self"])
    ones = self.insert(exported, "full", size=sizes, value=1, dtype=dtype_of(exported))
    drawn = self.insert(exported, "dropout", input=ones, p=1 - p)
    self.emit(exported, OPERATORS["mul"], {"input": drawn, "other": p})


def _scalar(self: Converter, exported: Any, arguments: dict) -> None:
    given = {"size": (), "value": arguments["s"], "dtype": dtype_of(exported)}
    self.emit(exported, OPERATORS["full"], given)


def _arange(self: Converter, exported: Any, arguments: dict) -> None:
    given = {"start": arguments.get("start", 0), "end": arguments["end"]}
    given |= {"step": arguments.get("step", 1), "dtype": dtype_of(exported)}
    self.emit(exported, OPERATORS["arange"], given)


def _linspace(self: Converter, exported: Any, arguments: dict) -> None:
    given = {k: arguments[k] for k in ("start", "end", "steps")} | {"dtype": dtype_of(exported)}
    self.emit(exported, OPERATORS["linspace"], given)


def _eye(self: Converter, exported: Any, arguments: dict) -> None:
    given = {"rows": arguments["n"], "columns": arguments.get("m", arguments["n"])}
    self.emit(exported, OPERATORS["eye"], given | {"dtype": dtype_of(exported)})


def _chooses_last(self: Converter, exported: Any) -> bool:
    """Whether an index is a choice of entries of the last axis: known flags, and nothing else."""
    source, (*others, last) = exported.args
    return (
        all(other is None for other in others)
        and isinstance(last, torch.fx.Node)
        and self.is_constant(last)
        and last.meta["val"].dtype == torch.bool
        and last.meta["val"].dim() == 1
        and source.meta["val"].dim() == len(others) + 1
    )


def _index(self: Converter, exported: Any, arguments: dict) -> None:
    """Indexing by tensors; axes in front that are left whole are moved behind."""
    indices, source = arguments["indices"], arguments["self"]
    if _chooses_last(self, exported):
        self.emit(exported, OPERATORS["pick"], {"input": source, "kept": indices[-1]})
        return
    first = next(i for i, index in enumerate(indices) if index is not None)
    used = indices[first:]
    if any(index is None for index in used):
        raise Untraceable(f"{place_of(exported)}: an index by tensors that leaves out axes between")
    flags = [n for n in exported.args[1][first:] if n.meta["val"].dtype == torch.bool]
    if not all(map(self.is_constant, flags)):
        raise Untraceable(f"{place_of(exported)} needs a size that depends on its inputs")
    if exported.args[1][first].meta["val"].dtype.is_floating_point:
        raise Untraceable(f"{place_of(exported)}: an index of floating-point numbers")
    if not first:
        self.emit(exported, OPERATORS["index"], {"input": source, "indices": used})
        return
    rank = rank_of(exported.args[0])
    dims = (*range(first, rank), *range(first))
    moved = self.insert(exported, "permute", input=source, dims=dims)
    found = self.insert(exported, "index", input=moved, indices=used)
    rank = rank_of(exported)
    back = (*range(rank - first, rank), *range(rank - first))
    self.emit(exported, OPERATORS["permute"], {"input": found, "dims": back})


def _channel_shuffle(self: Converter, exported: Any, arguments: dict) -> None:
    shape, groups = shape_of(exported), arguments["groups"]
    rest = tuple(-1 if size is None else size for size in shape)
    split = (rest[0], groups, rest[1] // groups, *rest[2:])
    parts = self.insert(exported, "reshape", input=arguments["self"], shape=split)
    swapped = self.insert(exported, "transpose", input=parts, dim0=1, dim1=2)
    self.emit(exported, OPERATORS["reshape"], {"input": swapped, "shape": rest})


# What an empty tensor holds is undefined; who reads it before writing gets zeros.
_ZEROS = ("zeros", "zeros_like", "new_zeros", "zero", "empty", "empty_like", "new_empty")
SHAPE_CONVERSIONS: dict[str, Conversion] = {
    **dict.fromkeys(("view", "reshape", "unflatten", "view_as", "reshape_as", "ravel"), _reshape),
    "flatten": _flatten,
    "squeeze": _squeeze,
    **dict.fromkeys(("t", "numpy_T", "mT", "adjoint"), _transpose_last),
    **dict.fromkeys(("movedim", "moveaxis"), _move_axes),
    **dict.fromkeys(("swapaxes", "swapdims"), _swap),
    **dict.fromkeys(("split", "chunk", "unsafe_chunk", "split_with_sizes", "tensor_split"), _split),
    "slice": _slice,
    "select": _select,
    "unbind": _unbind,
    "scatter": _scatter,
    "slice_scatter": _slice_scatter,
    "narrow": _narrow,
    "expand_as": _expand_as,
    "copy": _copy,
    "pad": _pad,
    **dict.fromkeys(_ZEROS, _filled(0)),
    **dict.fromkeys(("ones", "ones_like", "new_ones"), _filled(1)),
    **dict.fromkeys(("full", "full_like", "new_full", "fill"), _filled(None)),
    "bernoulli": _bernoulli,
    "scalar_tensor": _scalar,
    "arange": _arange,
    "linspace": _linspace,
    "eye": _eye,
    "index": _index,
    "channel_shuffle": _channel_shuffle,
}
