"""How operators that only move numbers treat axes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from .ir import Node, Ref
from .units import Axis, free, ids_of, regroup, size_of, tracked

if TYPE_CHECKING:
    from .axes import Axes

Rule = Callable[["Axes", Node], None]


def _reshape(axes: Axes, node: Node) -> None:
    result = regroup(axes.of(node.arguments["input"]), axes.shape(Ref(node)), axes.units)
    for axis, size in zip(result, node.arguments.get("shape", ()), strict=False):
        if isinstance(size, Ref):  # computed from the batch: it cannot shrink with the units
            axes.freeze(axis)
    axes.put(node, result)


def _transpose(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    a, b = node.arguments["dim0"], node.arguments["dim1"]
    result[a], result[b] = result[b], result[a]
    axes.put(node, result)


def _permute(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    axes.put(node, [source[d] for d in node.arguments["dims"]])


def _unsqueeze(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    result.insert(node.arguments["dim"] % (len(result) + 1), [])
    axes.put(node, result)


def _squeeze(axes: Axes, node: Node) -> None:
    source = axes.of(node.arguments["input"])
    gone = {d % len(source) for d in node.arguments["dim"]}
    axes.put(node, [axis for d, axis in enumerate(source) if d not in gone])


def _expand(axes: Axes, node: Node) -> None:
    source, shape = axes.of(node.arguments["input"]), axes.shape(Ref(node))
    source = [*[[]] * (len(shape) - len(source)), *source]
    axes.put(node, [a if size_of(a) == n else free(n) for a, n in zip(source, shape, strict=True)])


def _cat(axes: Axes, node: Node) -> None:
    operands = [axes.of(ref) for ref in node.arguments["tensors"]]
    rank = max(map(len, operands))
    operands = [operand for operand in operands if len(operand) == rank]
    dim = node.arguments["dim"] % rank
    result = []
    for d in range(rank):
        here = [operand[d] for operand in operands]
        if d == dim:
            if any(ids_of(axis, axes.units) is not None for axis in here):
                result.append(tracked(np.concatenate([axes.known_ids(axis) for axis in here])))
            else:
                result.append(free(sum(map(size_of, here))))
        else:
            result.append(_all_tied(axes, here))
    axes.put(node, result)


def _all_tied(axes: Axes, here: list[Axis]) -> Axis:
    axis = here[0]
    for other in here[1:]:
        axis = axes.tie(axis, other)
    return axis


def _stack(axes: Axes, node: Node) -> None:
    operands = [axes.of(ref) for ref in node.arguments["tensors"]]
    result = [_all_tied(axes, list(here)) for here in zip(*operands, strict=True)]
    result.insert(node.arguments["dim"] % (len(result) + 1), free(len(operands)))
    axes.put(node, result)


def _cut(axis: Axis, part: slice, axes: Axes) -> Axis:
    """Some positions of an axis."""
    ids = ids_of(axis, axes.units)
    if ids is None:
        return free(len(range(size_of(axis))[part]))
    return tracked(ids[part])


def _split(axes: Axes, node: Node) -> None:
    source, start, results = axes.of(node.arguments["input"]), 0, []
    dim = node.arguments["dim"] % len(source)
    for size in node.arguments["sizes"]:
        part = list(source)
        part[dim] = _cut(source[dim], slice(start, start + size), axes)
        results.append(part)
        start += size
    axes.put(node, *results)


def _slice(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    dim = node.arguments["dim"]
    start, end, step = (node.arguments[name] for name in ("start", "end", "step"))
    if step != 1:
        axes.freeze(result[dim])
    result[dim] = _cut(result[dim], slice(start, end, step), axes)
    axes.put(node, result)


def _one_of(axis: Axis, axes: Axes) -> None:
    """One slice is taken: of a split axis, slices are tied; other units stay."""
    if len(axis) == 1 and axis[0].axis is not None and axis[0].axis.is_open:
        axis[0].axis.joint.tie(axis[0].axis)
    else:
        axes.freeze(axis)


def _select(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    _one_of(result.pop(node.arguments["dim"]), axes)
    axes.put(node, result)


def _unbind(axes: Axes, node: Node) -> None:
    result = list(axes.of(node.arguments["input"]))
    _one_of(result.pop(node.arguments["dim"]), axes)
    axes.put(node, *[result] * axes.evaluation.results(node))


def _pad(axes: Axes, node: Node) -> None:
    result, pads = list(axes.of(node.arguments["input"])), node.arguments["pad"]
    shape = axes.shape(Ref(node))
    for place in range(len(pads) // 2):
        dim, (before, after) = len(result) - 1 - place, pads[2 * place : 2 * place + 2]
        ids = ids_of(result[dim], axes.units)
        if (before, after) == (0, 0):
            continue
        if ids is None or node.arguments["mode"] != "constant" or min(before, after) < 0:
            axes.freeze(result[dim])
            result[dim] = free(shape[dim])
        else:
            ends = axes.units.new(before), axes.units.new(after)
            result[dim] = tracked(np.concatenate([ends[0], ids, ends[1]]))
    axes.put(node, result)


def _turn(axes: Axes, node: Node) -> None:
    """flip and roll: the order of positions matters, so that none can go."""
    result = list(axes.of(node.arguments["input"]))
    for dim in node.arguments["dims"] or range(len(result)):
        axes.freeze(result[dim])
    axes.put(node, result)


def _interleave(axes: Axes, node: Node) -> None:
    """repeat_interleave: each position stands several times in a row."""
    dim, source = node.arguments["dim"], list(axes.of(node.arguments["input"]))
    if dim is None:
        axes.give_up(node)
        return
    ids, times = ids_of(source[dim], axes.units), node.arguments["repeats"]
    count = size_of(source[dim]) * times
    source[dim] = free(count) if ids is None else tracked(np.repeat(ids, times))
    axes.put(node, source)


def _index(axes: Axes, node: Node) -> None:
    """Axes that no index takes from go on as they are."""
    source, refs = axes.of(node.arguments["input"]), node.arguments["indices"]
    if any(axes.evaluation.is_bool(ref) for ref in refs):
        axes.give_up(node)
        return
    for axis in source[: len(refs)]:
        axes.freeze(axis)
    rest, shape = source[len(refs) :], axes.shape(Ref(node))
    axes.put(node, [*map(free, shape[: len(shape) - len(rest)]), *rest])


def _repeat(axes: Axes, node: Node) -> None:
    source, repeats = axes.of(node.arguments["input"]), node.arguments["repeats"]
    source = [*[[]] * (len(repeats) - len(source)), *source]
    result = []
    for axis, count in zip(source, repeats, strict=True):
        ids = ids_of(axis, axes.units)
        if count == 1:
            result.append(axis)
        elif ids is None or len(ids) == 1:
            axes.freeze(axis)
            result.append(free(size_of(axis) * count))
        else:
            result.append(tracked(np.tile(ids, count)))
    axes.put(node, result)


def _pixel_shuffle(axes: Axes, node: Node) -> None:
    """Channels that become one channel's pixels go together."""
    source, times = axes.of(node.arguments["input"]), node.arguments["upscale_factor"] ** 2
    ids = ids_of(source[-3], axes.units)
    channels = free(size_of(source[-3]) // times)
    if ids is not None:
        rows = ids.reshape(-1, times)
        axes.units.join(rows[:, :1], rows)
        channels = tracked(rows[:, 0])
    _put_pixels(axes, node, source, channels)


def _pixel_unshuffle(axes: Axes, node: Node) -> None:
    source, times = axes.of(node.arguments["input"]), node.arguments["downscale_factor"] ** 2
    ids = ids_of(source[-3], axes.units)
    channels = free(size_of(source[-3]) * times) if ids is None else tracked(np.repeat(ids, times))
    _put_pixels(axes, node, source, channels)


def _put_pixels(axes: Axes, node: Node, source: list[Axis], channels: Axis) -> None:
    for axis in source[-2:]:
        axes.freeze(axis)
    axes.put(node, [*source[:-3], channels, *map(free, axes.shape(Ref(node))[-2:])])


def _pick(axes: Axes, node: Node) -> None:
    source, kept = axes.of(node.arguments["input"]), node.arguments["kept"]
    axes.tie(source[-1], axes.of(kept)[0])
    ids = axes.known_ids(source[-1])
    chosen = axes.evaluation.static(kept).cpu().numpy()
    axes.put(node, [*source[:-1], tracked(ids[chosen])])


MOVE_RULES: dict[str, Rule] = {
    "reshape": _reshape,
    "flatten": _reshape,
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
    "flip": _turn,
    "roll": _turn,
    "repeat": _repeat,
    "repeat_interleave": _interleave,
    "index": _index,
    "pick": _pick,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
}
