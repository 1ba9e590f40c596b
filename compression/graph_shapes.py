"""The shape of every value of a graph, by one rule for each operator, without computing anything.

A reader of a file works shapes out while it reads the graph: they say what the next parameter can
look like, and they bound the memory and the time that the network would take. The rules are plain
Python, so that they are the same in every version of torch and take no time to load. The batch has
`BATCH` examples. A size that depends on the batch is a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil, prod
from typing import Any

from ..graph.operators import Family
from ..graph.table import OPERATORS

BATCH = 2
MAX_DIMS = 8
MAX_ELEMENTS = 1 << 31  # of one value, at `BATCH` examples
MAX_WORK = 1 << 46  # multiply-adds of one run of the network, at `BATCH` examples
MAX_RESULTS = 1024  # of one operator
MAX_SIZE = 1 << 40  # of a number that is computed from sizes

Shape = tuple[int, ...]
Values = Mapping[str, Any]  # arguments by name: shapes for tensors, ints for sizes, else attributes
Rule = Callable[[Values], tuple[Any, int]]  # gives the shape or number, and the multiply-adds


def result_of(operator: str, given: Values) -> tuple[Any, int]:
    """What an operator gives: a shape, a number, or a list of shapes; and its multiply-adds.

    :raises ValueError: the operator cannot take these, or its results are beyond the limits.
    """
    row = OPERATORS[operator]
    rule = _BY_NAME.get(operator) or _BY_FAMILY.get(row.family)
    if rule is None:
        raise ValueError(f"the file has no rule for the shapes of operator {operator}")
    try:
        result, work = rule(given)
    except (ValueError, IndexError, TypeError, ArithmeticError) as error:
        raise ValueError(f"operator {operator} cannot take what it is given: {error}") from None
    for shape in result if isinstance(result, list) else [result]:
        _check(operator, shape)
    return result, work


def _check(operator: str, shape: Any) -> None:
    if isinstance(shape, int):
        if abs(shape) > MAX_SIZE:
            raise ValueError(f"a size that operator {operator} computes is too large")
        return
    if len(shape) > MAX_DIMS or min(shape, default=0) < 0 or prod(shape) > MAX_ELEMENTS:
        raise ValueError(f"operator {operator} gives a value of shape {shape}")


def is_shape(value: Any) -> bool:
    """Whether an argument is a tensor's shape; a number among them is a computed size."""
    return isinstance(value, tuple)


def _need(condition: bool, what: str) -> None:
    if not condition:
        raise ValueError(what)


def broadcast(*shapes: Shape) -> Shape:
    """The shape of an elementwise result."""
    rank = max(map(len, shapes), default=0)
    result = []
    for axis in range(rank):
        sizes = {s[axis - rank + len(s)] for s in shapes if axis - rank + len(s) >= 0}
        sizes.discard(1)
        _need(len(sizes) < 2, f"shapes {shapes} do not go together")
        result.append(sizes.pop() if sizes else 1)
    return tuple(result)


def _axis(dim: int, rank: int) -> int:
    _need(-max(rank, 1) <= dim < max(rank, 1), f"there is no axis {dim}")
    return dim % max(rank, 1)


def _with(shape: Shape, dim: int, size: int) -> Shape:
    axis = _axis(dim, len(shape))
    return (*shape[:axis], size, *shape[axis + 1 :])


def _vector(v: Values, size: int, *names: str) -> None:
    for name in names:
        given = v.get(name)
        _need(given is None or prod(given) == size, f"{name} has shape {given}, not ({size},)")


# --- Contractions ----------------------------------------------------------------------------------


def _linear(v: Values) -> tuple[Shape, int]:
    source, (rows, columns) = v["input"], v["weight"]
    _need(source[-1] == columns, f"{columns} columns for {source[-1]} features")
    _vector(v, rows, "bias")
    result = (*source[:-1], rows)
    return result, prod(result) * columns


def _positions(v: Values, sizes: Shape, kernel: Shape) -> Shape:
    if v["padding"] == "same":
        return sizes
    windows = zip(sizes, kernel, v["stride"], v["padding"], v["dilation"], strict=True)
    result = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in windows)
    _need(min(result) > 0, "its kernel is larger than its input")
    return result


def _convolution(v: Values) -> tuple[Shape, int]:
    (batch, channels, *sizes), (rows, columns, *kernel) = v["input"], v["weight"]
    groups = v["groups"]
    _need(columns * groups == channels and rows % groups == 0, "channels do not fit the kernels")
    _vector(v, rows, "bias")
    result = (batch, rows, *_positions(v, tuple(sizes), tuple(kernel)))
    return result, prod(result) * columns * prod(kernel)


def _transposed(v: Values) -> tuple[Shape, int]:
    (batch, channels, *sizes), (rows, columns, *kernel) = v["input"], v["weight"]
    groups = v["groups"]
    _need(rows == channels and rows % groups == 0, "channels do not fit the kernels")
    _vector(v, columns * groups, "bias")
    names = ("stride", "padding", "dilation", "output_padding")
    windows = zip(sizes, kernel, *(v[name] for name in names), strict=True)
    spatial = tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, d, o in windows)
    _need(min(spatial) > 0, "its padding takes all positions")
    work = batch * channels * prod(sizes) * columns * prod(kernel)
    return (batch, columns * groups, *spatial), work


def _embedding(v: Values) -> tuple[Shape, int]:
    _, width = v["weight"]
    return (*v["indices"], width), 0


def _matmul(v: Values) -> tuple[Shape, int]:
    a, b = v["input"], v["other"]
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    _need(left[-1] == right[-2], f"{a} times {b}")
    batch = broadcast(left[:-2], right[:-2])
    result = (*batch, *(left[-2:-1] if len(a) > 1 else ()), *(right[-1:] if len(b) > 1 else ()))
    return result, prod(result) * left[-1]


def _addmm(v: Values) -> tuple[Shape, int]:
    (rows, inner), (also, columns) = v["mat1"], v["mat2"]
    _need(inner == also, "matrices do not fit")
    return broadcast(v["input"], (rows, columns)), rows * columns * inner


def _baddbmm(v: Values) -> tuple[Shape, int]:
    result, work = _matmul({"input": v["batch1"], "other": v["batch2"]})
    return broadcast(v["input"], result), work


def _bilinear(v: Values) -> tuple[Shape, int]:
    rows, left, right = v["weight"]
    _need((v["input1"][-1], v["input2"][-1]) == (left, right), "features do not fit")
    result = (*v["input1"][:-1], rows)
    return result, prod(result) * left * right


def _einsum(v: Values) -> tuple[Shape, int]:
    terms, arrow, out = v["equation"].replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    lists = terms.split(",")
    _need(len(lists) == len(v["tensors"]), "an equation of other operands")
    for letters, shape in zip(lists, v["tensors"], strict=True):
        _need(letters.isalpha() and len(letters) == len(shape), "an equation of other axes")
        for letter, size in zip(letters, shape, strict=True):
            _need(sizes.setdefault(letter, size) in (size, 1), "axes of different sizes")
            sizes[letter] = max(size, sizes[letter])
    if not arrow:
        out = "".join(sorted(k for k in sizes if terms.count(k) == 1))
    return tuple(sizes[letter] for letter in out), prod(sizes.values())


def _recurrent(gates: int, results: int) -> Rule:
    def rule(v: Values) -> tuple[list[Shape], int]:
        source, params, layers = v["input"], v["params"], v["num_layers"]
        states = v["hx"] if results == 3 else (v["hx"],)
        directions = 1 + v["bidirectional"]
        each = 4 if v["has_biases"] else 2
        _need(len(source) == 3 and len(states) == results - 1, "no sequence, or no states")
        _need(len(params) == each * directions * layers, f"{len(params)} parameters")
        hidden, inputs = states[0][-1], source[-1]
        for place in range(0, len(params), each):
            first, second, *biases = params[place : place + each]
            _need(first == (gates * hidden, inputs), f"a parameter of shape {first}")
            _need(second == (gates * hidden, hidden), f"a parameter of shape {second}")
            _need(all(b == (gates * hidden,) for b in biases), "biases do not fit")
            if place // each % directions == directions - 1:
                inputs = directions * hidden
        batch, steps = source[:2] if v["batch_first"] else source[1::-1]
        _need(all(s == (layers * directions, batch, hidden) for s in states), "states do not fit")
        work = batch * steps * sum(map(prod, params))
        return [(*source[:2], directions * hidden), *states], work

    return rule


# --- One value in, one out -------------------------------------------------------------------------


def _elementwise(v: Values) -> tuple[Shape, int]:
    result = broadcast(*(value for name, value in v.items() if is_shape(value)))
    return result, prod(result)


def _same(v: Values) -> tuple[Shape, int]:
    return v["input"], prod(v["input"])


def _prelu(v: Values) -> tuple[Shape, int]:
    _need(prod(v["weight"]) in (1, v["input"][1]), "slopes do not fit")
    return _same(v)


def _channel_norm(v: Values) -> tuple[Shape, int]:
    names = ("weight", "bias", "running_mean", "running_var")
    _vector(v, v["input"][1], *names)
    return _same(v)


def _group_norm(v: Values) -> tuple[Shape, int]:
    _need(v["input"][1] % v.get("num_groups", 1) == 0, "groups do not fit")
    return _channel_norm(v)


def _layer_norm(v: Values) -> tuple[Shape, int]:
    normalized = v["normalized_shape"]
    _need(0 < len(normalized) and v["input"][-len(normalized) :] == normalized, "other sizes")
    _vector(v, prod(normalized), "weight", "bias")
    return _same(v)


def _along(v: Values) -> tuple[Shape, int]:
    _axis(v["dim"], len(v["input"]))
    return _same(v)


def _pool(v: Values) -> tuple[Shape, int]:
    kernel, source = v["kernel_size"], v["input"]
    stride = v["stride"] if any(v["stride"]) else kernel
    dilation = v.get("dilation", (1,) * len(kernel))
    keep, sizes = source[: -len(kernel)], source[-len(kernel) :]
    result = []
    for n, k, s, p, d in zip(sizes, kernel, stride, v["padding"], dilation, strict=True):
        _need(2 * p <= k and s > 0, "its padding or stride does not fit its kernel")
        room = n + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if v["ceil_mode"] else room // s) + 1
        if v["ceil_mode"] and (count - 1) * s >= n + p:
            count -= 1
        _need(room >= 0 or count > 0, "its kernel is larger than its input")
        result.append(count)
    shape = (*keep, *result)
    return shape, prod(shape) * prod(kernel)


def _adaptive(v: Values) -> tuple[Shape, int]:
    sizes = v["output_size"]
    return (*v["input"][: -len(sizes)], *sizes), prod(v["input"])


def _interpolate(v: Values) -> tuple[Shape, int]:
    (batch, channels, *sizes), size, scale = v["input"], v["size"], v["scale"]
    _need((size is None) != (scale is None) and len(size or scale) == len(sizes), "other axes")
    if size is None:
        size = [n * s for n, s in zip(sizes, scale, strict=True)]
    return (batch, channels, *size), batch * channels * prod(size)


def _reduce(v: Values) -> tuple[Shape, int]:
    source, dims = v["input"], v["dim"]
    dims = (dims,) if isinstance(dims, int) else dims
    gone = {_axis(d, len(source)) for d in (range(len(source)) if dims is None else dims)}
    if dims == ():
        gone = set(range(len(source)))
    sizes = [1 if d in gone else n for d, n in enumerate(source)]
    return tuple(n for d, n in enumerate(sizes) if v["keepdim"] or d not in gone), prod(source)


def _both(v: Values) -> tuple[list[Shape], int]:
    result, work = _reduce(v)
    return [result, result], work


# --- Movements -------------------------------------------------------------------------------------


def _reshape(v: Values) -> tuple[Shape, int]:
    sizes, total = list(v["shape"]), prod(v["input"])
    _need(sizes.count(-1) < 2 and min(sizes, default=0) >= -1, "more than one unknown size")
    if -1 in sizes:
        rest = prod(n for n in sizes if n != -1)
        _need(rest > 0 and total % rest == 0, f"{total} numbers do not fill {tuple(sizes)}")
        sizes[sizes.index(-1)] = total // rest
    _need(prod(sizes) == total, f"{total} numbers do not fill {tuple(sizes)}")
    return tuple(sizes), 0


def _flatten(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    first, last = (_axis(v[name], len(source)) for name in ("start_dim", "end_dim"))
    _need(first <= last, "its axes are in the wrong order")
    return (*source[:first], prod(source[first : last + 1]), *source[last + 1 :]), 0


def _transpose(v: Values) -> tuple[Shape, int]:
    result = list(v["input"])
    a, b = (_axis(v[name], len(result)) for name in ("dim0", "dim1"))
    result[a], result[b] = result[b], result[a]
    return tuple(result), 0


def _permute(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    dims = [_axis(d, len(source)) for d in v["dims"]]
    _need(sorted(dims) == list(range(len(source))), "its axes are no permutation")
    return tuple(source[d] for d in dims), 0


def _unsqueeze(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    axis = _axis(v["dim"], len(source) + 1)
    return (*source[:axis], 1, *source[axis:]), 0


def _squeeze(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    gone = {_axis(d, len(source)) for d in v["dim"]}
    return tuple(n for d, n in enumerate(source) if d not in gone or n != 1), 0


def _expand(v: Values) -> tuple[Shape, int]:
    source, sizes = v["input"], list(v["size"])
    extra = len(sizes) - len(source)
    _need(extra >= 0, "it has more axes than its result")
    for axis, n in enumerate(source):
        if sizes[extra + axis] == -1:
            sizes[extra + axis] = n
        _need(n in (1, sizes[extra + axis]), f"{source} does not expand to {tuple(sizes)}")
    return tuple(sizes), 0


def _cat(v: Values) -> tuple[Shape, int]:
    first, *others = v["tensors"]
    axis = _axis(v["dim"], len(first))
    for other in others:
        _need(_with(other, axis, 1) == _with(first, axis, 1), "its parts have other sizes")
    return _with(first, axis, sum(s[axis] for s in v["tensors"])), 0


def _stack(v: Values) -> tuple[Shape, int]:
    first = v["tensors"][0]
    _need(all(other == first for other in v["tensors"]), "its parts have other sizes")
    axis = _axis(v["dim"], len(first) + 1)
    return (*first[:axis], len(v["tensors"]), *first[axis:]), 0


def _split(v: Values) -> tuple[list[Shape], int]:
    source, sizes = v["input"], v["sizes"]
    axis = _axis(v["dim"], len(source))
    _need(sum(sizes) == source[axis], f"its parts {sizes} are not {source[axis]} together")
    return [_with(source, axis, n) for n in sizes], 0


def _slice(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    axis = _axis(v["dim"], len(source))
    count = len(range(*slice(v["start"], v["end"], v["step"]).indices(source[axis])))
    return _with(source, axis, count), 0


def _select(v: Values) -> tuple[Shape, int]:
    source = v["input"]
    axis = _axis(v["dim"], len(source))
    _need(-source[axis] <= v["index"] < source[axis], f"there is no entry {v['index']}")
    return (*source[:axis], *source[axis + 1 :]), 0


def _unbind(v: Values) -> tuple[list[Shape], int]:
    source = v["input"]
    axis = _axis(v["dim"], len(source))
    _need(source[axis] <= MAX_RESULTS, f"{source[axis]} results")
    return [(*source[:axis], *source[axis + 1 :])] * source[axis], 0


def _pad(v: Values) -> tuple[Shape, int]:
    sizes, pads = list(v["input"]), v["pad"]
    _need(len(pads) % 2 == 0 and len(pads) <= 2 * len(sizes), "it pads other axes")
    for k in range(len(pads) // 2):
        sizes[-1 - k] += pads[2 * k] + pads[2 * k + 1]
    return tuple(sizes), 0


def _repeat(v: Values) -> tuple[Shape, int]:
    source, repeats = v["input"], v["repeats"]
    extra = len(repeats) - len(source)
    _need(extra >= 0, "it has more axes than its result")
    return tuple(n * r for n, r in zip((1,) * extra + source, repeats, strict=True)), 0


def _interleave(v: Values) -> tuple[Shape, int]:
    source, dim = v["input"], v["dim"]
    if dim is None:
        return (prod(source) * v["repeats"],), 0
    return _with(source, dim, source[_axis(dim, len(source))] * v["repeats"]), 0


def _pick(v: Values) -> tuple[Shape, int]:
    _need(v["kept"] == v["input"][-1:], "its choice has another size")
    return (*v["input"][:-1], v["count"]), 0


def _shuffle(v: Values) -> tuple[Shape, int]:
    (*batch, channels, height, width), r = v["input"], v["upscale_factor"]
    _need(channels % (r * r) == 0, "channels do not fit the factor")
    return (*batch, channels // (r * r), height * r, width * r), 0


def _unshuffle(v: Values) -> tuple[Shape, int]:
    (*batch, channels, height, width), r = v["input"], v["downscale_factor"]
    _need(height % r == 0 and width % r == 0, "sizes do not fit the factor")
    return (*batch, channels * r * r, height // r, width // r), 0


def _index_select(v: Values) -> tuple[Shape, int]:
    return _with(v["input"], v["dim"], prod(v["index"])), 0


def _gather(v: Values) -> tuple[Shape, int]:
    _axis(v["dim"], len(v["index"]))
    return v["index"], 0


def _index(v: Values) -> tuple[Shape, int]:
    _need(0 < len(v["indices"]) <= len(v["input"]), "it has other axes")
    return (*broadcast(*v["indices"]), *v["input"][len(v["indices"]) :]), 0


def _topk(v: Values) -> tuple[list[Shape], int]:
    axis = _axis(v["dim"], len(v["input"]))
    _need(v["k"] <= v["input"][axis], "it takes more than there are")
    return [_with(v["input"], axis, v["k"])] * 2, prod(v["input"])


def _unfold(v: Values) -> tuple[Shape, int]:
    *batch, channels, height, width = v["input"]
    places = _positions(v, (height, width), v["kernel_size"])
    return (*batch, channels * prod(v["kernel_size"]), prod(places)), 0


def _diagonal(v: Values) -> tuple[Shape, int]:
    source, offset = v["input"], v["offset"]
    rows, columns = (_axis(v[name], len(source)) for name in ("dim1", "dim2"))
    _need(rows != columns, "one axis has no diagonal")
    count = min(source[rows] + min(offset, 0), source[columns] - max(offset, 0))
    rest = tuple(n for d, n in enumerate(source) if d not in (rows, columns))
    return (*rest, max(count, 0)), 0


def _windows(v: Values) -> tuple[Shape, int]:
    source, size = v["input"], v["size"]
    axis = _axis(v["dimension"], len(source))
    _need(size <= source[axis], "windows larger than their axis")
    return (*_with(source, axis, (source[axis] - size) // v["step"] + 1), size), 0


def _fold(v: Values) -> tuple[Shape, int]:
    *batch, channels, count = v["input"]
    places = _positions(v, v["output_size"], v["kernel_size"])
    _need(count == prod(places), "its windows are not those of its output")
    _need(channels % prod(v["kernel_size"]) == 0, "channels do not fit the kernel")
    return (*batch, channels // prod(v["kernel_size"]), *v["output_size"]), 0


def _sort(v: Values) -> tuple[list[Shape], int]:
    shape, work = _along(v)
    return [shape, shape], work


def _grid_sample(v: Values) -> tuple[Shape, int]:
    source, grid = v["input"], v["grid"]
    _need(len(source) == len(grid) and grid[-1] == len(source) - 2, "the grid has other axes")
    return (*source[:2], *grid[1:-1]), prod(grid)


def _one_hot(v: Values) -> tuple[Shape, int]:
    return (*v["input"], v["num_classes"]), 0


def _cdist(v: Values) -> tuple[Shape, int]:
    (*left, rows, width), (*right, columns, also) = v["x1"], v["x2"]
    _need(width == also, "vectors of different sizes")
    result = (*broadcast(tuple(left), tuple(right)), rows, columns)
    return result, prod(result) * width


def _glu(v: Values) -> tuple[Shape, int]:
    axis = _axis(v["dim"], len(v["input"]))
    _need(v["input"][axis] % 2 == 0, "it halves an odd size")
    return _with(v["input"], axis, v["input"][axis] // 2), prod(v["input"])


def _attention(v: Values) -> tuple[Shape, int]:
    query, key, value = v["query"], v["key"], v["value"]
    _need(min(len(query), len(key), len(value)) > 1, "no sequences")
    _need(query[-1] == key[-1] and key[-2] == value[-2], "heads do not fit")
    if v["enable_gqa"]:
        _need(query[-3] % key[-3] == 0 and key[:-2] == value[:-2], "heads do not fit")
        batch = query[:-2]
    else:
        batch = broadcast(query[:-2], key[:-2], value[:-2])
    scores = (*batch, query[-2], key[-2])
    _need(prod(scores) <= MAX_ELEMENTS, "too many scores")
    if v["attn_mask"] is not None:
        broadcast(v["attn_mask"], scores)
    return (*batch, query[-2], value[-1]), prod(scores) * (query[-1] + value[-1])


def _full(v: Values) -> tuple[Shape, int]:
    return tuple(v["size"]), 0


def _arange(v: Values) -> tuple[Shape, int]:
    _need(v["step"] != 0, "a step of zero")
    return (max(ceil((v["end"] - v["start"]) / v["step"]), 0),), 0


def _linspace(v: Values) -> tuple[Shape, int]:
    return (v["steps"],), 0


def _eye(v: Values) -> tuple[Shape, int]:
    return (v["rows"], v["columns"]), 0


def _size(v: Values) -> tuple[int, int]:
    return v["input"][_axis(v["dim"], len(v["input"]))], 0


def _arithmetic(compute: Callable[[int, int], int]) -> Rule:
    return lambda v: (compute(v["left"], v["right"]), 0)


_BY_FAMILY: dict[Family, Rule] = {
    Family.ELEMENTWISE: _elementwise,
    Family.REDUCE: _reduce,
    Family.ALONG: _along,
    Family.CHANNEL_NORM: _channel_norm,
    Family.GROUP_NORM: _group_norm,
    Family.ATTENTION: _attention,
}
_BY_NAME: dict[str, Rule] = {
    "linear": _linear, "embedding": _embedding, "matmul": _matmul, "addmm": _addmm,
    "bilinear": _bilinear, "baddbmm": _baddbmm, "einsum": _einsum,
    **{f"conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _transposed for n in (1, 2, 3)},
    **{f"{kind}_pool{n}d": _pool for kind in ("max", "avg") for n in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{n}d": _adaptive for kind in ("max", "avg") for n in (1, 2, 3)},
    "lstm": _recurrent(4, 3), "gru": _recurrent(3, 2), "rnn_tanh": _recurrent(1, 2),
    "rnn_relu": _recurrent(1, 2),
    "layer_norm": _layer_norm, "rms_norm": _layer_norm, "prelu": _prelu,
    "weight_norm": lambda v: (v["v"], prod(v["v"])),
    "interpolate": _interpolate, "argmax": _reduce, "reshape": _reshape, "flatten": _flatten,
    "transpose": _transpose, "permute": _permute, "unsqueeze": _unsqueeze, "squeeze": _squeeze,
    "expand": _expand, "cat": _cat, "stack": _stack, "split": _split, "slice": _slice,
    "select": _select, "unbind": _unbind, "pad": _pad, "flip": _same, "roll": _same,
    "repeat": _repeat, "pick": _pick, "pixel_shuffle": _shuffle, "pixel_unshuffle": _unshuffle,
    "index_select": _index_select, "gather": _gather, "tril": _same, "triu": _same,
    "repeat_interleave": _interleave, "index": _index, "topk": _topk, "max_along": _both,
    "min_along": _both, "unfold": _unfold, "glu": _glu, "full": _full, "arange": _arange,
    "size": _size, "argmin": _reduce, "diagonal": _diagonal, "windows": _windows, "fold": _fold,
    "sort": _sort, "grid_sample": _grid_sample, "scatter": _same, "scatter_add": _same,
    "index_put": _same, "one_hot": _one_hot, "slice_scatter": _same, "select_scatter": _same,
    "cdist": _cdist, "linspace": _linspace, "eye": _eye, "linalg_cross": _elementwise,
    "int_add": _arithmetic(lambda a, b: a + b), "int_sub": _arithmetic(lambda a, b: a - b),
    "int_mul": _arithmetic(lambda a, b: a * b), "int_floordiv": _arithmetic(lambda a, b: a // b),
    "int_mod": _arithmetic(lambda a, b: a % b),
}  # fmt: skip
