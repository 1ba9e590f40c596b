"""Shapes of contractions, recurrent layers, norms, poolings and reductions; see `graph_shapes`."""

from __future__ import annotations

from math import prod

from ..graph.operators import Family
from .graph_shape_rules import (
    MAX_ELEMENTS,
    Rule,
    Shape,
    Values,
    axis_of,
    broadcast,
    is_shape,
    need,
    need_vector,
    resized,
)


def _linear(v: Values) -> tuple[Shape, int]:
    source, (rows, columns) = v["input"], v["weight"]
    need(source[-1] == columns, f"{columns} columns for {source[-1]} features")
    need_vector(v, rows, "bias")
    result = (*source[:-1], rows)
    return result, prod(result) * columns


def positions(v: Values, sizes: Shape, kernel: Shape) -> Shape:
    if v["padding"] == "same":
        return sizes
    windows = zip(sizes, kernel, v["stride"], v["padding"], v["dilation"], strict=True)
    result = tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in windows)
    need(min(result) > 0, "its kernel is larger than its input")
    return result


def _convolution(v: Values) -> tuple[Shape, int]:
    (batch, channels, *sizes), (rows, columns, *kernel) = v["input"], v["weight"]
    groups = v["groups"]
    need(columns * groups == channels and rows % groups == 0, "channels do not fit the kernels")
    need_vector(v, rows, "bias")
    result = (batch, rows, *positions(v, tuple(sizes), tuple(kernel)))
    return result, prod(result) * columns * prod(kernel)


def _transposed(v: Values) -> tuple[Shape, int]:
    (batch, channels, *sizes), (rows, columns, *kernel) = v["input"], v["weight"]
    groups = v["groups"]
    need(rows == channels and rows % groups == 0, "channels do not fit the kernels")
    need_vector(v, columns * groups, "bias")
    names = ("stride", "padding", "dilation", "output_padding")
    windows = zip(sizes, kernel, *(v[name] for name in names), strict=True)
    spatial = tuple((n - 1) * s - 2 * p + d * (k - 1) + o + 1 for n, k, s, p, d, o in windows)
    need(min(spatial) > 0, "its padding takes all positions")
    work = batch * channels * prod(sizes) * columns * prod(kernel)
    return (batch, columns * groups, *spatial), work


def _embedding(v: Values) -> tuple[Shape, int]:
    _, width = v["weight"]
    return (*v["indices"], width), 0


def _matmul(v: Values) -> tuple[Shape, int]:
    a, b = v["input"], v["other"]
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    need(left[-1] == right[-2], f"{a} times {b}")
    batch = broadcast(left[:-2], right[:-2])
    result = (*batch, *(left[-2:-1] if len(a) > 1 else ()), *(right[-1:] if len(b) > 1 else ()))
    return result, prod(result) * left[-1]


def _addmm(v: Values) -> tuple[Shape, int]:
    (rows, inner), (also, columns) = v["mat1"], v["mat2"]
    need(inner == also, "matrices do not fit")
    return broadcast(v["input"], (rows, columns)), rows * columns * inner


def _baddbmm(v: Values) -> tuple[Shape, int]:
    result, work = _matmul({"input": v["batch1"], "other": v["batch2"]})
    return broadcast(v["input"], result), work


def _bilinear(v: Values) -> tuple[Shape, int]:
    rows, left, right = v["weight"]
    need((v["input1"][-1], v["input2"][-1]) == (left, right), "features do not fit")
    result = (*v["input1"][:-1], rows)
    return result, prod(result) * left * right


def _einsum(v: Values) -> tuple[Shape, int]:
    terms, arrow, out = v["equation"].replace(" ", "").partition("->")
    sizes: dict[str, int] = {}
    lists = terms.split(",")
    need(len(lists) == len(v["tensors"]), "an equation of other operands")
    for letters, shape in zip(lists, v["tensors"], strict=True):
        need(letters.isalpha() and len(letters) == len(shape), "an equation of other axes")
        for letter, size in zip(letters, shape, strict=True):
            need(sizes.setdefault(letter, size) in (size, 1), "axes of different sizes")
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
        need(len(source) == 3 and len(states) == results - 1, "no sequence, or no states")
        need(len(params) == each * directions * layers, f"{len(params)} parameters")
        hidden, inputs = states[0][-1], source[-1]
        for place in range(0, len(params), each):
            first, second, *biases = params[place : place + each]
            need(first == (gates * hidden, inputs), f"a parameter of shape {first}")
            need(second == (gates * hidden, hidden), f"a parameter of shape {second}")
            need(all(b == (gates * hidden,) for b in biases), "biases do not fit")
            if place // each % directions == directions - 1:
                inputs = directions * hidden
        batch, steps = source[:2] if v["batch_first"] else source[1::-1]
        need(all(s == (layers * directions, batch, hidden) for s in states), "states do not fit")
        work = batch * steps * sum(map(prod, params))
        return [(*source[:2], directions * hidden), *states], work

    return rule


# --- One value in, one out ------------------------------------------------------------------------


def _elementwise(v: Values) -> tuple[Shape, int]:
    result = broadcast(*(value for name, value in v.items() if is_shape(value)))
    return result, prod(result)


def _same(v: Values) -> tuple[Shape, int]:
    return v["input"], prod(v["input"])


def _prelu(v: Values) -> tuple[Shape, int]:
    need(prod(v["weight"]) in (1, v["input"][1]), "slopes do not fit")
    return _same(v)


def _channel_norm(v: Values) -> tuple[Shape, int]:
    names = ("weight", "bias", "running_mean", "running_var")
    need_vector(v, v["input"][1], *names)
    return _same(v)


def _group_norm(v: Values) -> tuple[Shape, int]:
    need(v["input"][1] % v.get("num_groups", 1) == 0, "groups do not fit")
    return _channel_norm(v)


def _layer_norm(v: Values) -> tuple[Shape, int]:
    normalized = v["normalized_shape"]
    need(len(normalized) > 0 and v["input"][-len(normalized) :] == normalized, "other sizes")
    need_vector(v, prod(normalized), "weight", "bias")
    return _same(v)


def along(v: Values) -> tuple[Shape, int]:
    axis_of(v["dim"], len(v["input"]))
    return _same(v)


def _pool(v: Values) -> tuple[Shape, int]:
    kernel, source = v["kernel_size"], v["input"]
    stride = v["stride"] if any(v["stride"]) else kernel
    dilation = v.get("dilation", (1,) * len(kernel))
    keep, sizes = source[: -len(kernel)], source[-len(kernel) :]
    result = []
    for n, k, s, p, d in zip(sizes, kernel, stride, v["padding"], dilation, strict=True):
        need(2 * p <= k and s > 0, "its padding or stride does not fit its kernel")
        room = n + 2 * p - d * (k - 1) - 1
        count = (-(-room // s) if v["ceil_mode"] else room // s) + 1
        if v["ceil_mode"] and (count - 1) * s >= n + p:
            count -= 1
        need(room >= 0 or count > 0, "its kernel is larger than its input")
        result.append(count)
    shape = (*keep, *result)
    return shape, prod(shape) * prod(kernel)


def _adaptive(v: Values) -> tuple[Shape, int]:
    sizes = v["output_size"]
    return (*v["input"][: -len(sizes)], *sizes), prod(v["input"])


def _interpolate(v: Values) -> tuple[Shape, int]:
    (batch, channels, *sizes), size, scale = v["input"], v["size"], v["scale"]
    need((size is None) != (scale is None) and len(size or scale) == len(sizes), "other axes")
    if size is None:
        size = [n * s for n, s in zip(sizes, scale, strict=True)]
    return (batch, channels, *size), batch * channels * prod(size)


def _reduce(v: Values) -> tuple[Shape, int]:
    source, dims = v["input"], v["dim"]
    dims = (dims,) if isinstance(dims, int) else dims
    gone = {axis_of(d, len(source)) for d in (range(len(source)) if dims is None else dims)}
    if dims == ():
        gone = set(range(len(source)))
    sizes = [1 if d in gone else n for d, n in enumerate(source)]
    return tuple(n for d, n in enumerate(sizes) if v["keepdim"] or d not in gone), prod(source)


def _both(v: Values) -> tuple[list[Shape], int]:
    result, work = _reduce(v)
    return [result, result], work


def _glu(v: Values) -> tuple[Shape, int]:
    axis = axis_of(v["dim"], len(v["input"]))
    need(v["input"][axis] % 2 == 0, "it halves an odd size")
    return resized(v["input"], axis, v["input"][axis] // 2), prod(v["input"])


def _attention(v: Values) -> tuple[Shape, int]:
    query, key, value = v["query"], v["key"], v["value"]
    need(min(len(query), len(key), len(value)) > 1, "no sequences")
    need(query[-1] == key[-1] and key[-2] == value[-2], "heads do not fit")
    if v["enable_gqa"]:
        need(query[-3] % key[-3] == 0 and key[:-2] == value[:-2], "heads do not fit")
        batch = query[:-2]
    else:
        batch = broadcast(query[:-2], key[:-2], value[:-2])
    scores = (*batch, query[-2], key[-2])
    need(prod(scores) <= MAX_ELEMENTS, "too many scores")
    if v["attn_mask"] is not None:
        broadcast(v["attn_mask"], scores)
    return (*batch, query[-2], value[-1]), prod(scores) * (query[-1] + value[-1])


BY_FAMILY: dict[Family, Rule] = {
    Family.ELEMENTWISE: _elementwise,
    Family.REDUCE: _reduce,
    Family.ALONG: along,
    Family.CHANNEL_NORM: _channel_norm,
    Family.GROUP_NORM: _group_norm,
    Family.ATTENTION: _attention,
}
RULES: dict[str, Rule] = {
    "glu": _glu,
    "linear": _linear,
    "embedding": _embedding,
    "matmul": _matmul,
    "addmm": _addmm,
    "bilinear": _bilinear,
    "baddbmm": _baddbmm,
    "einsum": _einsum,
    **{f"conv{n}d": _convolution for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _transposed for n in (1, 2, 3)},
    **{f"{kind}_pool{n}d": _pool for kind in ("max", "avg") for n in (1, 2, 3)},
    **{f"adaptive_{kind}_pool{n}d": _adaptive for kind in ("max", "avg") for n in (1, 2, 3)},
    "lstm": _recurrent(4, 3),
    "gru": _recurrent(3, 2),
    "rnn_tanh": _recurrent(1, 2),
    "rnn_relu": _recurrent(1, 2),
    "layer_norm": _layer_norm,
    "rms_norm": _layer_norm,
    "prelu": _prelu,
    "weight_norm": lambda v: (v["v"], prod(v["v"])),
    "interpolate": _interpolate,
    "argmax": _reduce,
    "flip": _same,
    "roll": _same,
    "tril": _same,
    "triu": _same,
    "max_along": _both,
    "min_along": _both,
    "argmin": _reduce,
    "scatter": _same,
    "scatter_add": _same,
    "index_put": _same,
    "slice_scatter": _same,
    "select_scatter": _same,
    "linalg_cross": _elementwise,
}
