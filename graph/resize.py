"""Numbers among an operator's arguments that change with the number of units: sizes, groups."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .ir import Node, Ref

if TYPE_CHECKING:
    from .removal import Plan


def resize(plan: Plan, old: Node, new: Node) -> None:
    """Numbers among a node's arguments that depend on how many units there are; in place."""
    resize = _RESIZE.get(old.operator)
    if resize is not None:
        resize(plan, old, new)


def _counts(plan: Plan, ref: Ref) -> list[int]:
    """The sizes of a value's axes that are left."""
    shape = plan.facts.shape(ref)
    parts = plan.kept(ref)
    return [
        size if stay is None else int(stay.sum()) for size, stay in zip(shape, parts, strict=True)
    ]


def _resize_shape(name: str):
    def resize(plan: Plan, old: Node, new: Node) -> None:
        counts, shape = _counts(plan, Ref(old)), plan.facts.shape(Ref(old))
        sizes = list(old.arguments[name])
        offset = len(sizes) - len(counts)
        for axis, (count, size) in enumerate(zip(counts, shape, strict=True)):
            if count != size and sizes[axis + offset] != -1:
                sizes[axis + offset] = count
        moved = {
            Ref(a, 0): Ref(b, 0) for a, b in zip(_int_nodes(old), _int_nodes(new), strict=True)
        }
        new.arguments[name] = tuple(moved.get(s, s) if isinstance(s, Ref) else s for s in sizes)

    return resize


def _int_nodes(node: Node) -> list[Node]:
    return [ref.node for ref in node.refs()]


def _resize_split(plan: Plan, old: Node, new: Node) -> None:
    axis = old.arguments["dim"]
    new.arguments["sizes"] = tuple(
        _counts(plan, Ref(old, index))[axis] for index in range(len(old.arguments["sizes"]))
    )


def _resize_slice(plan: Plan, old: Node, new: Node) -> None:
    source, axis = old.arguments["input"], old.arguments["dim"]
    stay = plan.kept(source)[axis]
    if stay is not None:
        part = range(len(stay))[old.arguments["start"] : old.arguments["end"]]
        start = int(stay[: part.start].sum())
        new.arguments["start"] = start
        new.arguments["end"] = start + int(stay[part.start : part.stop].sum())


def _resize_pad(plan: Plan, old: Node, new: Node) -> None:
    pads, parts = list(old.arguments["pad"]), plan.kept(Ref(old))
    for place in range(len(pads) // 2):
        stay = parts[len(parts) - 1 - place]
        before, after = pads[2 * place : 2 * place + 2]
        if stay is not None and (before or after):
            pads[2 * place] = int(stay[:before].sum())
            pads[2 * place + 1] = int(stay[len(stay) - after :].sum()) if after else 0
    new.arguments["pad"] = tuple(pads)


def _resize_groups(plan: Plan, old: Node, new: Node) -> None:
    groups, weight = old.arguments["groups"], old.arguments["weight"]
    stay = plan.kept(weight)[0]
    if groups > 1 and stay is not None:
        new.arguments["groups"] = int(stay.reshape(groups, -1).any(1).sum())


def _resize_group_norm(plan: Plan, old: Node, new: Node) -> None:
    groups = old.arguments["num_groups"]
    stay = plan.kept(old.arguments["input"])[1]
    if stay is not None:
        new.arguments["num_groups"] = int(stay.reshape(groups, -1).any(1).sum())


def _resize_attention(plan: Plan, old: Node, new: Node) -> None:
    """The scale of scores stays what it was, the inverse root of the size of the whole heads."""
    if old.arguments["scale"] is None and plan.kept(old.arguments["query"])[-1] is not None:
        new.arguments["scale"] = plan.facts.shape(old.arguments["query"])[-1] ** -0.5


_RESIZE = {
    "attention": _resize_attention,
    "attention_dropout": _resize_attention,
    "reshape": _resize_shape("shape"),
    "full": _resize_shape("size"),
    "expand": _resize_shape("size"),
    "split": _resize_split,
    "slice": _resize_slice,
    "pad": _resize_pad,
    "group_norm": _resize_group_norm,
    **{f"conv{n}d": _resize_groups for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _resize_groups for n in (1, 2, 3)},
}
