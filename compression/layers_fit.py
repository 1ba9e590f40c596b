"""Whether the layers of a description fit each other."""

from collections.abc import Iterator

from .layers import BY_NAME, LINEAR, SELECT, Layer
from .limits import check_growth
from .nodes import Chain
from .option_limits import growth_of

_KEEP_WIDTH = ("relu", "elu", "gelu", "silu", "tanh", "sigmoid", "softplus", "hardtanh", "mish")
_KEEP_WIDTH += ("hardswish", "softmax", "identity", "ln", "bn")


def check_fit(root: Layer | Chain) -> None:
    """Refuse layers that do not fit each other, or that together make an input too large.

    :raises ValueError: names the layer.
    """
    grown = {1: 0, 2: 0}
    width = None  # of the last axis, where the layers so far say it
    for path, layer in _leaves(root, ""):
        try:
            if growth := growth_of(layer.options):
                grown[len(growth)] += max(growth)
                check_growth(len(growth), grown[len(growth)])
            width = _width_after(layer, width)
        except ValueError as error:
            raise ValueError(f"layer {path!r}: {error}") from None


def _leaves(node: Layer | Chain, path: str) -> Iterator[tuple[str, Layer]]:
    if isinstance(node, Layer):
        yield path, node
        return
    for name, child in zip(node.names, node.children, strict=True):
        yield from _leaves(child, f"{path}.{name}" if path else name)


def _width_after(layer: Layer, width: int | None) -> int | None:
    """The length of the last axis behind a layer, given that before it; None if unknown."""
    if layer.kind is LINEAR:
        wanted, behind = layer.options["in_features"], layer.options["out_features"]
    elif layer.kind is SELECT:
        wanted, behind = layer.options["of"], None
    else:
        keeps = layer.kind.stem in _KEEP_WIDTH or layer.kind in _ELEMENTWISE
        return width if keeps else None
    if width not in (None, wanted):
        raise ValueError(f"it takes {wanted} inputs, the layer before gives {width}")
    return behind


_ELEMENTWISE = (BY_NAME["Dropout"], BY_NAME["AlphaDropout"])
