"""Shapes of movements, of constants and of sizes; see `graph_shapes`."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, prod

from .graph_shape_layers import along, positions
from .graph_shape_rules import (
    MAX_RESULTS,
    Rule,
    Shape,
    Values,
    axis_of,
    broadcast,
    need,
    resized,
)


def _reshape(v: Values) -> tuple[Shape, int]:
    sizes, total = list(v["shape"]), prod(v["input"])
    need(sizes.count(-1) < 2 and min(sizes, default=0) >= -1, "more than one unknown size")
    if -1 in sizes:
        rest = prod(n for n in sizes if n != -1)
        need(rest > 0 and total % rest == 0, f"{total} numbers do not fill {tuple(sizes)}")
        sizes[sizes.index(-1)] = total // rest
    need(prod(sizes) == total, f"{total} numbers do not fill {tuple(sizes)}")
    return tuple(sizes), 0


def _flatten(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    first, last = (axis_of(v[name], len(source)) for name in ("start_dim", "end_dim"))
    need(first <= last, "its axes are in the wrong order")
    return (*source[:first], prod(source[first : last + 1]), *source[last + 1 :]), 0


def _transpose(v: Values) -> tuple[Shape, int]:
    result = list(v["input"])
    a, b = (axis_of(v[name], len(result)) for name in ("dim0", "dim1"))
    result[a], result[b] = result[b], result[a]
    return tuple(result), 0


def _permute(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    dims = [axis_of(d, len(source)) for d in v["dims"]]
    need(sorted(dims) == list(range(len(source))), "its axes are no permutation")
    return tuple(source[d] for d in dims), 0


def _unsqueeze(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    axis = axis_of(v["dim"], len(source) + 1)
    return (*source[:axis], 1, *source[axis:]), 0


def _squeeze(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    gone = {axis_of(d, len(source)) for d in v["dim"]}
    return tuple(n for d, n in enumerate(source) if d not in gone or n != 1), 0


def _expand(v: Values) -> tuple[Shape, int]:
    source, sizes = v["input"], list(v["size"])
    extra = len(sizes) - len(source)
    need(extra >= 0, "it has more axes than its result")
    for axis, n in enumerate(source):
        if sizes[extra + axis] == -1:
            sizes[extra + axis] = n
        need(n in (1, sizes[extra + axis]), f"{source} does not expand to {tuple(sizes)}")
    return tuple(sizes), 0


def _cat(v: Values) -> tuple[Shape, int]:
    first, *others = v["tensors"]
    axis = axis_of(v["dim"], len(first))
    for other in others:
        need(resized(other, axis, 1) == resized(first, axis, 1), "its parts have other sizes")
    return resized(first, axis, sum(s[axis] for s in v["tensors"])), 0


def _stack(v: Values) -> tuple[Shape, int]:
    first = v["tensors"][0]
    need(all(other == first for other in v["tensors"]), "its parts have other sizes")
    axis = axis_of(v["dim"], len(first) + 1)
    return (*first[:axis], len(v["tensors"]), *first[axis:]), 0


def _split(v: Values) -> tuple[list[Shape], int]:
    source, sizes = v["input"], v["sizes"]
    axis = axis_of(v["dim"], len(source))
    need(sum(sizes) == source[axis], f"its parts {sizes} are not {source[axis]} together")
    return [resized(source, axis, n) for n in sizes], 0


def _slice(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    axis = axis_of(v["dim"], len(source))
    count = len(range(*slice(v["start"], v["end"], v["step"]).indices(source[axis])))
    return resized(source, axis, count), 0


def _select(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    axis = axis_of(v["dim"], len(source))
    need(-source[axis] <= v["index"] < source[axis], f"there is no entry {v['index']}")
    return (*source[:axis], *source[axis + 1 :]), 0


def _unbind(v: Values) -> tuple[list[Shape], int]:
    source = v["input"]
    axis = axis_of(v["dim"], len(source))
    need(source[axis] <= MAX_RESULTS, f"{source[axis]} results")
    return [(*source[:axis], *source[axis + 1 :])] * source[axis], 0


def _pad(v: Values) -> tuple[Shape, int]:
    sizes, pads = list(v["input"]), v["pad"]
    need(len(pads) % 2 == 0 and len(pads) <= 2 * len(sizes), "it pads other axes")
    for k in range(len(pads) // 2):
        sizes[-1 - k] += pads[2 * k] + pads[2 * k + 1]
    return tuple(sizes), 0


def _repeat(v: Values) -> tuple[Shape, int]:
    source, repeats = v["input"], v["repeats"]
    extra = len(repeats) - len(source)
    need(extra >= 0, "it has more axes than its result")
    return tuple(n * r for n, r in zip((1,) * extra + source, repeats, strict=True)), 0


def _interleave(v: Values) -> tuple[Shape, int]:
    source, dim = v["input"], v["dim"]
    if dim is None:
        return (prod(source) * v["repeats"],), 0
    return resized(source, dim, source[axis_of(dim, len(source))] * v["repeats"]), 0


def _pick(v: Values) -> tuple[Shape, int]:
    need(v["kept"] == v["input"][-1:], "its choice has another size")
    return (*v["input"][:-1], v["count"]), 0


def _shuffle(v: Values) -> tuple[Shape, int]:
    (*batch, channels, height, width), r = v["input"], v["upscale_factor"]
    need(channels % (r * r) == 0, "channels do not fit the factor")
    return (*batch, channels // (r * r), height * r, width * r), 0


def _unshuffle(v: Values) -> tuple[Shape, int]:
    (*batch, channels, height, width), r = v["input"], v["downscale_factor"]
    need(height % r == 0 and width % r == 0, "sizes do not fit the factor")
    return (*batch, channels * r * r, height // r, width // r), 0


def _index_select(v: Values) -> tuple[Shape, int]:
    return resized(v["input"], v["dim"], prod(v["index"])), 0


def _gather(v: Values) -> tuple[Shape, int]:
    axis_of(v["dim"], len(v["index"]))
    return v["index"], 0


def _index(v: Values) -> tuple[Shape, int]:
    need(0 < len(v["indices"]) <= len(v["input"]), "it has other axes")
    return (*broadcast(*v["indices"]), *v["input"][len(v["indices"]) :]), 0


def _topk(v: Values) -> tuple[list[Shape], int]:
    axis = axis_of(v["dim"], len(v["input"]))
    need(v["k"] <= v["input"][axis], "it takes more than there are")
    return [resized(v["input"], axis, v["k"])] * 2, prod(v["input"])


def _unfold(v: Values) -> tuple[Shape, int]:
    *batch, channels, height, width = v["input"]
    places = positions(v, (height, width), v["kernel_size"])
    return (*batch, channels * prod(v["kernel_size"]), prod(places)), 0


def _diagonal(v: Values) -> tuple[Shape, int]:
    source, offset = v["input"], v["offset"]
    rows, columns = (axis_of(v[name], len(source)) for name in ("dim1", "dim2"))
    need(rows != columns, "one axis has no diagonal")
    count = min(source[rows] + min(offset, 0), source[columns] - max(offset, 0))
    rest = tuple(n for d, n in enumerate(source) if d not in (rows, columns))
    return (*rest, max(count, 0)), 0


def _windows(v: Values) -> tuple[Shape, int]:
    source, size = v["input"], v["size"]
    axis = axis_of(v["dimension"], len(source))
    need(size <= source[axis], "windows larger than their axis")
    return (*resized(source, axis, (source[axis] - size) // v["step"] + 1), size), 0


def _fold(v: Values) -> tuple[Shape, int]:
    *batch, channels, count = v["input"]
    places = positions(v, v["output_size"], v["kernel_size"])
    need(count == prod(places), "its windows are not those of its output")
    need(channels % prod(v["kernel_size"]) == 0, "channels do not fit the kernel")
    return (*batch, channels // prod(v["kernel_size"]), *v["output_size"]), 0


def _sort(v: Values) -> tuple[list[Shape], int]:
    shape, work = along(v)
    return [shape, shape], work


def _grid_sample(v: Values) -> tuple[Shape, int]:
    source, grid = v["input"], v["grid"]
    need(len(source) == len(grid) and grid[-1] == len(source) - 2, "the grid has other axes")
    return (*source[:2], *grid[1:-1]), prod(grid)


def _one_hot(v: Values) -> tuple[Shape, int]:
    return (*v["input"], v["num_classes"]), 0


def _cdist(v: Values) -> tuple[Shape, int]:
    (*left, rows, width), (*right, columns, also) = v["x1"], v["x2"]
    need(width == also, "vectors of different sizes")
    result = (*broadcast(tuple(left), tuple(right)), rows, columns)
    return result, prod(result) * width


def _full(v: Values) -> tuple[Shape, int]:
    return tuple(v["size"]), 0


def _arange(v: Values) -> tuple[Shape, int]:
    need(v["step"] != 0, "a step of zero")
    return (max(ceil((v["end"] - v["start"]) / v["step"]), 0),), 0


def _linspace(v: Values) -> tuple[Shape, int]:
    return (v["steps"],), 0


def _eye(v: Values) -> tuple[Shape, int]:
    return (v["rows"], v["columns"]), 0


def _size(v: Values) -> tuple[int, int]:
    return v["input"][axis_of(v["dim"], len(v["input"]))], 0


def _arithmetic(compute: Callable[[int, int], int]) -> Rule:
    return lambda v: (compute(v["left"], v["right"]), 0)


RULES: dict[str, Rule] = {
    "reshape": _reshape,
    "flatten": _flatten,
    "transpose": _transpose,
    "permute": _permute,
    "unsqueeze": _unsqueeze,
    "squeeze": _squeeze,
    "expand": _expand,
    "cat": _cat,
    "stack": _stack,
    "split": _split,
    "slice": _slice,
    "select": _select,
    "unbind": _unbind,
    "pad": _pad,
    "repeat": _repeat,
    "pick": _pick,
    "pixel_shuffle": _shuffle,
    "pixel_unshuffle": _unshuffle,
    "index_select": _index_select,
    "gather": _gather,
    "repeat_interleave": _interleave,
    "index": _index,
    "topk": _topk,
    "unfold": _unfold,
    "full": _full,
    "arange": _arange,
    "size": _size,
    "diagonal": _diagonal,
    "windows": _windows,
    "fold": _fold,
    "sort": _sort,
    "grid_sample": _grid_sample,
    "one_hot": _one_hot,
    "cdist": _cdist,
    "linspace": _linspace,
    "eye": _eye,
    "int_add": _arithmetic(lambda a, b: a + b),
    "int_sub": _arithmetic(lambda a, b: a - b),
    "int_mul": _arithmetic(lambda a, b: a * b),
    "int_floordiv": _arithmetic(lambda a, b: a // b),
    "int_mod": _arithmetic(lambda a, b: a % b),
}
