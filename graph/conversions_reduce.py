"""Exported poolings, resamplings and reductions that are no row of the table as they are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import Untraceable
from .exported import dtype_of, overload_of, place_of, rank_of, stem_of
from .ir import Ref
from .table import OPERATORS

if TYPE_CHECKING:
    from .converter import Converter

Conversion = Callable[["Converter", Any, dict[str, Any]], None]


def _pool(self: Converter, exported: Any, arguments: dict) -> None:
    full_name = stem_of(exported)
    stem = full_name.removesuffix("_with_indices")
    stride, kernel = arguments.get("stride") or (0,), arguments["kernel_size"]
    dims = int(stem[-2])
    kernel = kernel * dims if len(kernel) == 1 else kernel
    stride = stride * dims if len(stride) == 1 else stride
    arguments["stride"] = (0,) * dims if stride == kernel else stride
    node = self.emit(exported, OPERATORS[stem], arguments)
    if stem != full_name:
        self.stand_for(exported, Ref(node), None)


def _adaptive_max(self: Converter, exported: Any, arguments: dict) -> None:
    node = self.emit(exported, OPERATORS[stem_of(exported)], arguments)
    self.stand_for(exported, Ref(node), None)


def _upsample(self: Converter, exported: Any, arguments: dict) -> None:
    mode = stem_of(exported).removeprefix("_").removeprefix("upsample_").rstrip("123d")
    mode = mode.replace("_", "-")
    source, result = exported.args[0].meta["val"], exported.meta["val"]
    new, old = tuple(result.shape[2:]), tuple(source.shape[2:])
    if not all(isinstance(n, int) for n in (*new, *old)):
        raise Untraceable(f"{place_of(exported)}: an upsampling whose size depends on the batch")
    factors = arguments.get("scale_factors")
    exact = tuple(n // o for n, o in zip(new, old, strict=True))
    whole = all(f * o == n for f, o, n in zip(exact, old, new, strict=True))
    if factors and any(f * o != n for f, o, n in zip(factors, old, new, strict=True)):
        raise Untraceable(f"{place_of(exported)}: an upsampling of {old} by {tuple(factors)}")
    given: dict[str, Any] = {"input": arguments.get("self", arguments.get("input")), "mode": mode}
    given |= {"scale": exact} if whole else {"size": new}
    given["align_corners"] = bool(arguments.get("align_corners", False))
    self.emit(exported, OPERATORS["interpolate"], given)


def _dims(arguments: dict) -> tuple[int, ...] | None:
    """The axes that are reduced; None for all."""
    dim = arguments.get("dim")
    return ((dim,) if isinstance(dim, int) else dim) or None


def _cast(self: Converter, exported: Any, source: Ref, arguments: dict) -> Ref:
    """The operand in the dtype that a reduction is asked to compute in."""
    dtype = arguments.get("dtype")
    if dtype is None or dtype == dtype_of(exported.args[0]):
        return source
    return self.insert(exported, "to", input=source, dtype=dtype)


def _reduce(name: str) -> Conversion:
    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        given = {"input": _cast(self, exported, arguments["self"], arguments)}
        given |= {"dim": _dims(arguments), "keepdim": bool(arguments.get("keepdim", False))}
        self.emit(exported, OPERATORS[name], given)

    return convert


def _variance(self: Converter, exported: Any, arguments: dict) -> None:
    """var, std, var_mean and std_mean."""
    correction = arguments.get("correction", arguments.get("unbiased", True))
    given: dict[str, Any] = {"input": arguments["self"], "dim": _dims(arguments)}
    given["keepdim"] = bool(arguments.get("keepdim", False))
    stem = stem_of(exported)
    number = 1.0 if correction is None else float(correction)
    spread = self.insert(exported, "var", correction=number, **given)
    if stem.startswith("std"):
        spread = self.insert(exported, "sqrt", input=spread)
    if stem.endswith("_mean"):
        self.stand_for(exported, spread, self.insert(exported, "mean", **given))
    else:
        self.stand_for(exported, spread)


def _extreme(name: str) -> Conversion:
    """max and min, of two tensors, along an axis, or of all numbers."""

    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        overload = overload_of(exported.target).partition(".")[2]
        if overload == "other":
            self.emit(exported, OPERATORS[f"{name}imum"], arguments)
        elif overload == "dim":
            self.emit(exported, OPERATORS[f"{name}_along"], arguments)
        else:
            given = {"input": arguments["self"], "dim": None}
            self.emit(exported, OPERATORS[f"a{name}"], given)

    return convert


def _norm(self: Converter, exported: Any, arguments: dict) -> None:
    order = next((v for v in (arguments.get("p"), arguments.get("ord")) if v is not None), 2)
    source = _cast(self, exported, arguments["self"], arguments)
    given = {"input": source, "ord": order, "dim": _dims(arguments)}
    given["keepdim"] = bool(arguments.get("keepdim", False))
    self.emit(exported, OPERATORS["vector_norm"], given)


def _along(name: str) -> Conversion:
    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        source = _cast(self, exported, arguments["self"], arguments)
        dim = arguments["dim"]
        if rank_of(exported) == 0:
            raise Untraceable(f"{place_of(exported)}: {name} of a single number")
        self.emit(exported, OPERATORS[name], {"input": source, "dim": dim})

    return convert


def _argsort(self: Converter, exported: Any, arguments: dict) -> None:
    given = {k: arguments[k] for k in ("dim", "descending") if k in arguments}
    ref = self.insert(exported, "sort", input=arguments["self"], **given)
    self.stand_for(exported, Ref(ref.node, 1))


REDUCE_CONVERSIONS: dict[str, Conversion] = {
    **{f"{kind}_pool{n}d": _pool for kind in ("max", "avg") for n in (1, 2, 3)},
    **{f"max_pool{n}d_with_indices": _pool for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive_max for n in (1, 2, 3)},
    **{
        f"{mark}upsample_{mode}": _upsample
        for mark, modes in (
            ("", ("nearest1d", "nearest2d", "nearest3d", "linear1d", "bilinear2d")),
            ("", ("bicubic2d", "trilinear3d")),
            ("_", ("nearest_exact1d", "nearest_exact2d", "nearest_exact3d")),
        )
        for mode in modes
    },
    **{name: _reduce(name) for name in ("mean", "sum", "amax", "amin", "logsumexp", "any", "all")},
    "prod": _reduce("prod"),
    **dict.fromkeys(("var", "std", "var_mean", "std_mean"), _variance),
    "max": _extreme("max"),
    "min": _extreme("min"),
    **dict.fromkeys(("norm", "linalg_vector_norm"), _norm),
    **{name: _along(name) for name in ("softmax", "log_softmax", "cumsum", "cumprod")},
    "argsort": _argsort,
}
