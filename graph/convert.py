"""Exported operators (ATen) to rows of the operator table."""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor

from .errors import Untraceable
from .ir import PARAMETER, Node, Ref
from .operators import Operator
from .table import BY_ATEN, OPERATORS

# Operators that change nothing but where or how numbers lie.
_IDENTITIES = {
    "contiguous", "clone", "detach", "alias", "lift_fresh_copy", "detach_", "lift_fresh", "positive",
}  # fmt: skip
_CHECKS = {
    "_assert_async", "_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range",
    "sym_constrain_range_for_size", "_assert",
}  # fmt: skip
# Arguments that say where numbers lie, or how fast they are computed, but not what they are.
_IGNORED = {
    "memory_format", "pin_memory", "device", "layout", "cudnn_enabled", "cudnn_enable", "copy",
    "non_blocking", "sparse_grad", "scale_grad_by_freq", "sparse", "implicit", "padding_idx",
    "sorted", "train", "training",
}  # fmt: skip
_ARITHMETIC: dict[Callable, str] = {
    python.add: "int_add", python.sub: "int_sub", python.mul: "int_mul",
    python.floordiv: "int_floordiv", python.mod: "int_mod",
}  # fmt: skip


_COMPARISONS = {python.ge, python.gt, python.le, python.lt, python.eq, python.ne}


def _is_check(exported: Any) -> bool:
    """Whether a node only checks sizes: an assertion, or a comparison for nothing else."""
    if exported.target in _COMPARISONS:
        return all(map(_is_check, exported.users))
    stem = _name(exported.target).partition(".")[0]
    return stem in _CHECKS or stem.startswith("_assert")


class Converter:
    """Turns the nodes of an exported program into nodes of a graph, one after the other.

    :param numbers: the network's parameters and buffers, by name.
    """

    def __init__(self, numbers: Mapping[str, Tensor]) -> None:
        self._numbers = numbers
        #: Values that the table cannot compute, but that do not depend on the inputs, by name.
        self.constants: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        self._refs: dict[Any, Ref | tuple[Ref, ...]] = {}
        self._parameters: dict[str, Node] = {}
        self._base: dict[Any, Any] = {}  # of each exported node the one whose memory it shares
        self._written: dict[Any, Any] = {}  # memory that was changed in place, and by whom

    def add(self, exported: Any, node: Node) -> None:
        """A node that stands for an exported one."""
        self.nodes.append(node)
        self._refs[exported] = Ref(node)

    def add_parameter(self, exported: Any, name: str) -> None:
        """The node of a parameter or buffer; one for all of its places."""
        found = self._parameters.get(name)
        if found is None:
            found = self._parameters[name] = Node(PARAMETER, name=name)
            self.nodes.append(found)
        self._refs[exported] = Ref(found)

    def ref(self, exported: Any) -> Ref:
        """The value of an exported node.

        :raises Untraceable: it was changed in place through another view of its memory.
        """
        found, base = self._refs[exported], self._base.get(exported, exported)
        if base in self._written and found != self._refs[base]:
            raise Untraceable(
                f"{_place(exported)} reads a view of a tensor that was changed in place since: "
                "write the change as an operator that returns a new tensor"
            )
        return found

    def convert(self, exported: Any) -> None:
        """Add what an exported operator computes.

        :raises Untraceable: the operator is not in the table, or not with these arguments.
        """
        target = exported.target
        if target is python.getitem:
            self._take(exported)
            return
        if target in _ARITHMETIC:
            left, right = (self._value(part) for part in exported.args)
            self._emit(exported, OPERATORS[_ARITHMETIC[target]], {"left": left, "right": right})
            return
        if _is_check(exported):
            return
        name = _name(target)
        stem = name.partition(".")[0]
        arguments = self._bound(exported)
        if stem in _IDENTITIES or (stem == "dropout" and arguments.get("p") == 0):
            self._share(exported, exported.args[0])
            return
        inplace = stem.endswith("_") and not stem.startswith("__")
        if inplace:
            name = stem[:-1] + name[len(stem) :]
        self._translate(exported, name, arguments)
        if inplace:
            self._overwrite(exported)
        elif stem in _VIEWS:
            self._base[exported] = self._base.get(exported.args[0], exported.args[0])

    def _translate(self, exported: Any, name: str, arguments: dict[str, Any]) -> None:
        stem = name.partition(".")[0]
        special = _SPECIAL.get(stem)
        if special is not None:
            special(self, exported, arguments)
            return
        row = BY_ATEN.get(name)
        if row is None:
            if self._is_constant(exported):
                self._add_constant(exported)
                return
            raise Untraceable(f"operator {name} of {_place(exported)} is not in the table")
        self._emit(exported, row, arguments)

    def _is_constant(self, exported: Any) -> bool:
        """Whether a value depends on parameters alone."""
        if exported.op == "placeholder":
            ref = self._refs.get(exported)
            return isinstance(ref, Ref) and ref.node.operator == PARAMETER
        return all(self._is_constant(source) for source in exported.all_input_nodes)

    def _add_constant(self, exported: Any) -> None:
        """A value that depends on parameters alone, as a parameter itself."""
        value = self._constant(exported)
        if not isinstance(value, Tensor):
            raise Untraceable(f"operator {_name(exported.target)} of {_place(exported)}")
        name = _constant_name(exported, self.constants.keys() | self._numbers.keys())
        self.constants[name] = value
        self.add_parameter(exported, name)

    def _constant(self, value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            if value.op == "placeholder":
                return self._numbers[self.ref(value).node.name].detach()
            args, kwargs = (self._constant(part) for part in (value.args, value.kwargs))
            return value.target(*args, **kwargs)
        if isinstance(value, list | tuple):
            return type(value)(self._constant(part) for part in value)
        if isinstance(value, dict):
            return {key: self._constant(part) for key, part in value.items()}
        return value

    def _emit(self, exported: Any, row: Operator, given: dict[str, Any]) -> Node:
        """A node of a row, from arguments by ATen's names."""
        known = {argument.name for argument in row.arguments}
        schema = getattr(exported.target, "_schema", None)
        defaults = {a.name: a.default_value for a in schema.arguments} if schema else {}
        arguments = {}
        for name, value in given.items():
            key = "input" if name == "self" else name
            if key not in known:
                default = defaults.get(name)
                if name not in _IGNORED and value is not None and value != default:
                    raise Untraceable(
                        f"operator {row.name} of {_place(exported)} with {name}={value!r}"
                    )
                continue
            arguments[key] = value
        try:
            node = Node(row.name, row.bind(arguments), scope=_scope(exported))
        except ValueError as error:
            raise Untraceable(f"{_place(exported)}: {error}") from None
        self.add(exported, node)
        return node

    def _bound(self, exported: Any) -> dict[str, Any]:
        """The arguments of an exported operator by ATen's names, with defaults."""
        schema = getattr(exported.target, "_schema", None)
        if schema is None:
            raise Untraceable(f"{_place(exported)} calls {exported.target}, no torch operator")
        given = dict(zip((a.name for a in schema.arguments), exported.args, strict=False))
        given |= exported.kwargs
        for argument in schema.arguments:
            if argument.name not in given and argument.has_default_value():
                given[argument.name] = argument.default_value
        return {name: self._value(value) for name, value in given.items()}

    def _value(self, value: Any) -> Any:
        if isinstance(value, torch.fx.Node):
            return self.ref(value)
        if isinstance(value, list | tuple):
            return tuple(self._value(part) for part in value)
        if isinstance(value, torch.dtype):
            return str(value).removeprefix("torch.")
        return value

    def _size(self, source: Ref, axis: int) -> Ref:
        """The size of an axis that depends on the batch."""
        node = Node("size", {"input": source, "dim": axis})
        self.nodes.append(node)
        return Ref(node)

    def _take(self, exported: Any) -> None:
        """One of several results."""
        source, index = exported.args
        found = self._refs[source]
        if isinstance(found, tuple):
            self._refs[exported] = found[index]
        else:
            self._refs[exported] = Ref(found.node, index)
        if source in self._base:
            self._base[exported] = self._base[source]

    def _share(self, exported: Any, source: Any) -> None:
        """The value of another node under this one's name."""
        self._refs[exported] = self.ref(source)
        self._base[exported] = self._base.get(source, source)

    def _overwrite(self, exported: Any) -> None:
        """What was computed stands in the memory of the first argument from now on."""
        source = exported.args[0]
        base = self._base.get(source, source)
        if source is not base and self._refs[source] != self._refs[base]:
            raise Untraceable(f"{_place(exported)} changes a part of a tensor in place")
        self._refs[source] = self._refs[base] = self._refs[exported]
        self._base[exported] = base
        self._written[base] = exported


_VIEWS = {
    "view", "reshape", "flatten", "unflatten", "transpose", "permute", "t", "select", "slice",
    "split", "chunk", "unbind", "squeeze", "unsqueeze", "expand", "split_with_sizes", "view_as",
    "numpy_T", "mT", "narrow", "expand_as",
}  # fmt: skip


def _name(target: Any) -> str:
    """Such as "conv2d.default"."""
    return str(target).removeprefix("aten.").removeprefix("torch.ops.aten.")


def _scope(exported: Any) -> str:
    """The path of the module that the operator was called in."""
    stack = exported.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    path = paths[-1] if paths else ""
    return path.removeprefix("L['self'].").removeprefix("L['self']")


def _place(exported: Any) -> str:
    scope = _scope(exported)
    return f"module {scope!r}" if scope else "the network's forward"


def _constant_name(exported: Any, taken: Collection[str]) -> str:
    stem = ".".join(part for part in (_scope(exported).replace(".parametrizations", ""),) if part)
    name = f"{stem}.constant" if stem else "constant"
    while name in taken:
        name += "_"
    return name


def _rank(exported: Any) -> int:
    return exported.meta["val"].dim()


def _shape(exported: Any) -> tuple[int | None, ...]:
    """The shape of an exported value; None for sizes that depend on the batch."""
    return tuple(size if isinstance(size, int) else None for size in exported.meta["val"].shape)


def _reshape(self: Converter, exported: Any, arguments: dict) -> None:
    """Any change of shape, by the result's: one size that depends on the batch becomes -1."""
    shape = _shape(exported)
    open_ = [axis for axis, size in enumerate(shape) if size is None]
    if len(open_) > 1:
        given = arguments.get("size") or arguments.get("shape") or ()
        if len(given) != len(shape):
            raise Untraceable(f"{_place(exported)}: a shape of more than one size of its own")
        sizes = given
    else:
        sizes = tuple(-1 if size is None else size for size in shape)
    self._emit(exported, OPERATORS["reshape"], {"input": arguments["self"], "shape": sizes})


def _flatten(self: Converter, exported: Any, arguments: dict) -> None:
    given = {"input": arguments["self"]}
    ends = {"start_dim": arguments["start_dim"], "end_dim": arguments["end_dim"]}
    self._emit(exported, OPERATORS["flatten"], given | ends)


def _squeeze(self: Converter, exported: Any, arguments: dict) -> None:
    source = exported.args[0].meta["val"]
    dims = arguments.get("dim")
    dims = tuple(range(source.dim())) if dims is None else dims
    dims = dims if isinstance(dims, tuple) else (dims,)
    ones = tuple(d % source.dim() for d in dims if source.shape[d] == 1)
    self._emit(exported, OPERATORS["squeeze"], {"input": arguments["self"], "dim": ones})


def _transpose_all(self: Converter, exported: Any, arguments: dict) -> None:
    rank = _rank(exported)
    dims = tuple(range(rank))[::-1] if _name(exported.target).startswith(("t.", "numpy_T")) else ()
    dims = dims or (*range(rank - 2), rank - 1, rank - 2)
    self._emit(exported, OPERATORS["permute"], {"input": arguments["self"], "dims": dims})


def _split(self: Converter, exported: Any, arguments: dict) -> None:
    dim = arguments.get("dim", 0)
    sizes = tuple(part.shape[dim] for part in exported.meta["val"])
    if not all(isinstance(size, int) for size in sizes):
        raise Untraceable(f"{_place(exported)} splits the batch")
    row, source = OPERATORS["split"], arguments["self"]
    self._emit(exported, row, {"input": source, "sizes": sizes, "dim": dim})


def _slice(self: Converter, exported: Any, arguments: dict) -> None:
    dim = arguments["dim"]
    whole = exported.args[0].meta["val"].shape[dim]
    start, end, step = (arguments.get(k) for k in ("start", "end", "step"))
    start = 0 if start is None else start
    if end is not None and not isinstance(end, Ref) and end >= (1 << 31):
        end = None
    if (start, end, step) == (0, None, 1) or (
        isinstance(whole, int) and end == whole and not start and step == 1
    ):
        self._share(exported, exported.args[0])
        return
    if isinstance(start, Ref) or isinstance(end, Ref):
        raise Untraceable(f"{_place(exported)} takes a slice whose ends depend on the batch")
    given = {"input": arguments["self"], "dim": dim, "start": start, "end": end, "step": step}
    self._emit(exported, OPERATORS["slice"], given)


def _reduce(name: str) -> Callable:
    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        if arguments.get("dtype") is not None and name in ("mean", "sum"):
            raise Untraceable(f"{_place(exported)}: {name} into another dtype")
        dim = arguments.get("dim")
        dim = (dim,) if isinstance(dim, int) else dim
        given = {"input": arguments["self"], "dim": dim or None}
        given["keepdim"] = bool(arguments.get("keepdim", False))
        if name == "var":
            correction = arguments.get("correction", arguments.get("unbiased", 1))
            given["correction"] = 1.0 if correction is None else float(correction)
        self._emit(exported, OPERATORS[name], given)

    return convert


def _max(name: str) -> Callable:
    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        overload = _name(exported.target).partition(".")[2]
        if overload == "other":
            self._emit(exported, OPERATORS[f"{name}imum"], arguments)
        elif overload == "dim":
            self._emit(exported, OPERATORS[f"{name}_along"], arguments)
        else:
            given = {"input": arguments["self"], "dim": None}
            self._emit(exported, OPERATORS[f"a{name}"], given)

    return convert


def _scaled(name: str) -> Callable:
    """add and sub, whose second operand may be scaled."""

    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        alpha = arguments.pop("alpha", 1)
        if alpha != 1:
            factor = Node("mul", {"input": arguments["other"], "other": alpha})
            if not isinstance(arguments["other"], Ref):
                arguments["other"] = arguments["other"] * alpha
            else:
                self.nodes.append(factor)
                arguments["other"] = Ref(factor)
        self._emit(exported, OPERATORS[name], arguments)

    return convert


def _to(self: Converter, exported: Any, arguments: dict) -> None:
    new, old = exported.meta["val"].dtype, exported.args[0].meta["val"].dtype
    if new == old:
        self._share(exported, exported.args[0])
        return
    dtype = str(new).removeprefix("torch.")
    self._emit(exported, OPERATORS["to"], {"input": arguments["self"], "dtype": dtype})


def _along(name: str) -> Callable:
    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        given = {"input": arguments["self"], "dim": arguments["dim"]}
        self._emit(exported, OPERATORS[name], given)

    return convert


def _filled(value: Any) -> Callable:
    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        meta = exported.meta["val"]
        size = arguments.get("size")
        if size is None:  # zeros_like and the like
            shape = _shape(exported)
            source = arguments["self"]
            size = tuple(
                self._size(source, axis) if n is None else n for axis, n in enumerate(shape)
            )
        fill = arguments["fill_value"] if value is None else value
        dtype = str(meta.dtype).removeprefix("torch.")
        given = {"size": size, "value": fill, "dtype": dtype}
        self._emit(exported, OPERATORS["full"], given)

    return convert


def _arange(self: Converter, exported: Any, arguments: dict) -> None:
    given = {"start": arguments.get("start", 0), "end": arguments["end"]}
    given |= {"step": arguments.get("step", 1)}
    given["dtype"] = str(exported.meta["val"].dtype).removeprefix("torch.")
    self._emit(exported, OPERATORS["arange"], given)


def _elu(self: Converter, exported: Any, arguments: dict) -> None:
    if (arguments["scale"], arguments["input_scale"]) != (1, 1):
        raise Untraceable(f"{_place(exported)}: elu with a scale")
    given = {"input": arguments["self"], "alpha": arguments["alpha"]}
    self._emit(exported, OPERATORS["elu"], given)


def _pool(name: str) -> Callable:
    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        stem = _name(exported.target).partition(".")[0].removesuffix("_with_indices")
        stride, kernel = arguments.get("stride") or (0,), arguments["kernel_size"]
        dims = int(stem[-2])
        kernel = kernel * dims if len(kernel) == 1 else kernel
        stride = stride * dims if len(stride) == 1 else stride
        arguments["stride"] = (0,) * dims if stride == kernel else stride
        self._emit(exported, OPERATORS[stem], arguments)

    return convert


def _adaptive_max(self: Converter, exported: Any, arguments: dict) -> None:
    stem = _name(exported.target).partition(".")[0]
    self._emit(exported, OPERATORS[stem], arguments)
    found = self._refs[exported]
    self._refs[exported] = (found, None)


def _upsample(self: Converter, exported: Any, arguments: dict) -> None:
    stem = _name(exported.target).partition(".")[0]
    mode = stem.removeprefix("upsample_").rstrip("0123456789d").rstrip("123")
    source, result = exported.args[0].meta["val"], exported.meta["val"]
    sizes = tuple(result.shape[2:])
    old = tuple(source.shape[2:])
    whole = all(isinstance(n, int) for n in (*sizes, *old))
    if not whole:
        raise Untraceable(f"{_place(exported)}: an upsampling whose size depends on the batch")
    factors = tuple(new // now for new, now in zip(sizes, old, strict=True))
    exact = all(f * now == new for f, now, new in zip(factors, old, sizes, strict=True))
    source_ref = arguments.get("self", arguments.get("input"))
    given: dict[str, Any] = {"input": source_ref, "mode": mode}
    given |= {"scale": factors} if exact else {"size": sizes}
    given["align_corners"] = bool(arguments.get("align_corners", False))
    self._emit(exported, OPERATORS["interpolate"], given)


def _instance_norm(self: Converter, exported: Any, arguments: dict) -> None:
    if not arguments["use_input_stats"]:
        given = {k: arguments[k] for k in ("weight", "bias", "running_mean", "running_var", "eps")}
        self._emit(exported, OPERATORS["batch_norm"], {"input": arguments["input"], **given})
        return
    given = {k: arguments[k] for k in ("input", "weight", "bias", "eps")}
    self._emit(exported, OPERATORS["instance_norm"], given)


def _batch_norm(self: Converter, exported: Any, arguments: dict) -> None:
    if arguments["running_mean"] is None:
        raise Untraceable(
            f"{_place(exported)}: a BatchNorm without running statistics depends on its batch"
        )
    self._emit(exported, OPERATORS["batch_norm"], arguments)


def _constant_pad(self: Converter, exported: Any, arguments: dict) -> None:
    given = {"input": arguments["self"], "pad": arguments["pad"], "mode": "constant"}
    given["mode"] = arguments.get("mode", "constant")
    given["value"] = arguments.get("value") or 0
    self._emit(exported, OPERATORS["pad"], given)


def _divide(self: Converter, exported: Any, arguments: dict) -> None:
    mode = arguments.pop("rounding_mode", None)
    if mode == "floor":
        self._emit(exported, OPERATORS["floor_divide"], arguments)
    elif mode is None:
        self._emit(exported, OPERATORS["div"], arguments)
    else:
        raise Untraceable(f"{_place(exported)}: a division rounded by {mode!r}")


def _conv(self: Converter, exported: Any, arguments: dict) -> None:
    stem = _name(exported.target).partition(".")[0]
    row = OPERATORS[stem]
    padding = arguments["padding"]
    if isinstance(padding, str):
        dims = int(stem[-2])
        kernel = exported.args[1].meta["val"].shape[2:]
        dilation = arguments["dilation"]
        dilation = dilation * dims if len(dilation) == 1 else dilation
        both = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if padding == "valid":
            padding = (0,) * dims
        elif all(total % 2 == 0 for total in both):
            padding = tuple(total // 2 for total in both)
        arguments["padding"] = padding
    self._emit(exported, row, arguments)


def _index(self: Converter, exported: Any, arguments: dict) -> None:
    indices = arguments["indices"]
    if _chooses_last(exported):
        given = {"input": arguments["self"], "kept": indices[-1]}
        self._emit(exported, OPERATORS["pick"], given)
        return
    if any(not isinstance(index, Ref) for index in indices):
        raise Untraceable(f"{_place(exported)}: an index by tensors that leaves axes out")
    given = {"input": arguments["self"], "indices": indices}
    self._emit(exported, OPERATORS["index"], given)


def _chooses_last(exported: Any) -> bool:
    """Whether an index is a choice of entries of the last axis: flags, and nothing else."""
    source, (*others, last) = exported.args
    return (
        all(other is None for other in others)
        and isinstance(last, torch.fx.Node)
        and last.meta["val"].dtype == torch.bool
        and last.meta["val"].dim() == 1
        and source.meta["val"].dim() == len(others) + 1
    )


def _addmm(self: Converter, exported: Any, arguments: dict) -> None:
    given = {"input": arguments["self"], "mat1": arguments["mat1"], "mat2": arguments["mat2"]}
    if (arguments.get("beta", 1), arguments.get("alpha", 1)) != (1, 1):
        raise Untraceable(f"{_place(exported)}: addmm with factors")
    self._emit(exported, OPERATORS["addmm"], given)


def _mm(self: Converter, exported: Any, arguments: dict) -> None:
    other = arguments.get("other", arguments.get("mat2"))
    self._emit(exported, OPERATORS["matmul"], {"input": arguments["self"], "other": other})


def _like_shape(self: Converter, exported: Any, arguments: dict) -> None:
    """expand_as."""
    shape = _shape(exported)
    sizes = tuple(
        self._size(arguments["other"], a) if n is None else n for a, n in enumerate(shape)
    )
    self._emit(exported, OPERATORS["expand"], {"input": arguments["self"], "size": sizes})


def _masked_fill(self: Converter, exported: Any, arguments: dict) -> None:
    if isinstance(arguments["value"], Ref):
        given = {"condition": arguments["mask"], "input": arguments["value"]}
        self._emit(exported, OPERATORS["where"], given | {"other": arguments["self"]})
        return
    self._emit(exported, OPERATORS["masked_fill"], arguments)


def _pow(self: Converter, exported: Any, arguments: dict) -> None:
    if "exponent" in arguments and not isinstance(arguments["self"], Ref):
        given = {"exponent": arguments["exponent"], "base": arguments["self"]}
        self._emit(exported, OPERATORS["rpow"], given)
        return
    given = {"input": arguments["self"], "other": arguments["exponent"]}
    self._emit(exported, OPERATORS["pow"], given)


_SPECIAL: dict[str, Callable[[Converter, Any, dict], None]] = {
    **dict.fromkeys(("view", "reshape", "unflatten", "_unsafe_view", "view_as"), _reshape),
    "flatten": _flatten,
    "squeeze": _squeeze,
    **dict.fromkeys(("t", "numpy_T", "mT"), _transpose_all),
    **dict.fromkeys(("split", "chunk", "split_with_sizes"), _split),
    "slice": _slice,
    "mean": _reduce("mean"),
    "sum": _reduce("sum"),
    "amax": _reduce("amax"),
    "amin": _reduce("amin"),
    "var": _reduce("var"),
    "max": _max("max"),
    "min": _max("min"),
    "add": _scaled("add"),
    "sub": _scaled("sub"),
    "rsub": _scaled("rsub"),
    "to": _to,
    "_to_copy": _to,
    "type_as": _to,
    "softmax": _along("softmax"),
    "_softmax": _along("softmax"),
    "log_softmax": _along("log_softmax"),
    "cumsum": _along("cumsum"),
    "zeros": _filled(0),
    "ones": _filled(1),
    "full": _filled(None),
    "zeros_like": _filled(0),
    "ones_like": _filled(1),
    "full_like": _filled(None),
    "new_zeros": _filled(0),
    "new_ones": _filled(1),
    "new_full": _filled(None),
    "scalar_tensor": lambda self, e, a: _filled(None)(self, e, {"size": (), "fill_value": a["s"]}),
    "arange": _arange,
    "elu": _elu,
    **{f"{kind}_pool{n}d": _pool(kind) for kind in ("max", "avg") for n in (1, 2, 3)},
    **{f"adaptive_max_pool{n}d": _adaptive_max for n in (1, 2, 3)},
    **{
        f"upsample_{mode}{n}d": _upsample
        for mode, dims in (
            ("nearest", (1, 2, 3)),
            ("linear", (1,)),
            ("bilinear", (2,)),
            ("bicubic", (2,)),
        )
        for n in dims
    },
    "instance_norm": _instance_norm,
    "batch_norm": _batch_norm,
    "pad": _constant_pad,
    "constant_pad_nd": _constant_pad,
    "div": _divide,
    **{f"conv{n}d": _conv for n in (1, 2, 3)},
    "index": _index,
    "addmm": _addmm,
    "mm": _mm,
    "bmm": _mm,
    "expand_as": _like_shape,
    "masked_fill": _masked_fill,
    "pow": _pow,
}
