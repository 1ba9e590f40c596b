"""What the nodes of an exported program tell: names, places, shapes."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any


def overload_of(target: Any) -> str:
    """The name of an ATen operator, such as "conv2d.default"."""
    return str(target).removeprefix("torch.ops.").removeprefix("aten.")


def stem_of(exported: Any) -> str:
    """The name without the overload, and without the mark of a change in place: "relu"."""
    stem = overload_of(exported.target).partition(".")[0]
    return stem if stem.startswith("__") else stem.removesuffix("_")


def scope_of(exported: Any) -> str:
    """The path of the module that the operator was called in."""
    stack = exported.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    path = paths[-1] if paths else ""
    if path.startswith("_empty_nn_module_stack"):  # torch's own bookkeeping
        return ""
    return path.removeprefix("L['self'].").removeprefix("L['self']")


def place_of(exported: Any) -> str:
    """How messages call the place of an operator."""
    scope = scope_of(exported)
    return f"module {scope!r}" if scope else "the network's forward"


def rank_of(exported: Any) -> int:
    return exported.meta["val"].dim()


def shape_of(exported: Any) -> tuple[int | None, ...]:
    """The shape of an exported value; None for sizes that depend on the batch."""
    return tuple(size if isinstance(size, int) else None for size in exported.meta["val"].shape)


def dtype_of(exported: Any) -> str:
    """The dtype of an exported value, such as "float32"."""
    return str(exported.meta["val"].dtype).removeprefix("torch.")


def constant_name(exported: Any, taken: Collection[str]) -> str:
    """A free name for a value that depends on parameters alone."""
    scope = scope_of(exported).replace(".parametrizations", "")
    name = f"{scope}.constant" if scope else "constant"
    while name in taken:
        name += "_"
    return name
