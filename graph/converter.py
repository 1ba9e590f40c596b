"""Exported operators (ATen) to nodes of a graph.

An exported program may change tensors in place. A change is followed where it overwrites a whole
tensor and nobody reads what was there before; `ChangedInPlace` is raised otherwise, and the program
is converted again with all changes written as operators (see `trace`).
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from .conversions import CONVERSIONS
from .conversions_reduce import REDUCE_CONVERSIONS
from .conversions_shape import SHAPE_CONVERSIONS
from .errors import Untraceable
from .exported import constant_name, overload_of, place_of, scope_of
from .ir import PARAMETER, Node, Ref
from .operators import Operator
from .table import BY_ATEN, OPERATORS

# Operators that give their first argument; the second set may give a copy, the third always does.
_SAME = {"detach", "alias", "detach_", "positive"}
_MAYBE_SAME = {"contiguous"}
_COPIES = {"clone", "lift_fresh_copy"}
# Operators whose result shares memory with their first argument, or may.
_VIEWS = {
    "transpose", "permute", "t", "select", "slice", "split", "chunk", "unbind", "squeeze", "view",
    "unsqueeze", "expand", "split_with_sizes", "view_as", "numpy_T", "mT", "narrow", "expand_as",
    "swapaxes", "movedim", "diagonal", "unfold", "reshape", "flatten", "unflatten", "to", "ravel",
    "tensor_split", "adjoint", "moveaxis", "swapdims", "reshape_as", "type_as", "unsafe_chunk",
    "pad",
}  # fmt: skip
# Arguments that say where numbers lie, or how fast they are computed, but not what they are.
_IGNORED = {
    "memory_format", "pin_memory", "device", "layout", "cudnn_enabled", "cudnn_enable", "copy",
    "non_blocking", "sparse_grad", "scale_grad_by_freq", "sparse", "implicit", "padding_idx",
    "sorted", "stable",
}  # fmt: skip
_ARITHMETIC: dict[Callable, str] = {
    python.add: "int_add", python.sub: "int_sub", python.mul: "int_mul",
    python.floordiv: "int_floordiv", python.mod: "int_mod",
}  # fmt: skip


_CONVERSIONS = {**CONVERSIONS, **SHAPE_CONVERSIONS, **REDUCE_CONVERSIONS}


def is_known(target: Any) -> bool:
    """Whether an exported operator can be converted, for some arguments at least."""
    name = overload_of(target)
    stem = name.partition(".")[0]
    if stem.endswith("_") and not stem.startswith("__"):
        name, stem = stem[:-1] + name[len(stem) :], stem[:-1]
    known = stem in _CONVERSIONS or name in BY_ATEN or stem in _SAME | _MAYBE_SAME | _COPIES
    return known or stem.startswith("_assert")


class Unknown(Untraceable):
    """An operator that is not in the table, but that torch may be able to say by others."""


class ChangedInPlace(Unknown):
    """A change in place that cannot be followed."""


_SYMBOLIC = (torch.sym_max, torch.sym_min, torch.sym_float, torch.sym_int, torch.sym_not)


_COMPARISONS = {python.ge, python.gt, python.le, python.lt, python.eq, python.ne}


def _is_check(exported: Any) -> bool:
    """Whether a node only checks sizes: an assertion, or a comparison for nothing else."""
    if exported.target in _COMPARISONS:
        return all(map(_is_check, exported.users))
    stem = overload_of(exported.target).partition(".")[0]
    return stem.startswith(("_assert", "sym_constrain"))


class Converter:
    """Turns the nodes of an exported program into nodes of a graph, one after the other.

    :param numbers: the network's parameters and buffers, by name.
    :param computes_constants: whether operators that are not in the table, but that depend on
        parameters alone, are computed now, once and for all.
    :param noisy: whether the program is that of training mode, so that its noise is drawn in
        training mode only.
    """

    def __init__(
        self, numbers: Mapping[str, Tensor], computes_constants: bool = False, noisy: bool = False
    ) -> None:
        self._numbers, self.noisy = numbers, noisy
        self.computes_constants = computes_constants
        #: Values that the table cannot compute, but that do not depend on the inputs, by name.
        self.constants: dict[str, Tensor] = {}
        self.nodes: list[Node] = []
        #: Values that were put together of pieces of length 1 along axis 0.
        self.pieces: dict[Ref, tuple[Ref, ...]] = {}
        self._refs: dict[Any, Ref | tuple[Ref, ...]] = {}
        self._parameters: dict[str, Node] = {}
        self._base: dict[Any, Any] = {}  # of each exported node the one whose memory it shares
        self._unsure: set[Any] = set()  # nodes of which it is not known whether they share it
        self._written: set[Any] = set()  # memory that was changed in place

    def add(self, exported: Any, node: Node) -> None:
        """A node that stands for an exported one."""
        self.nodes.append(node)
        self._refs[exported] = Ref(node)

    def stand_for(self, exported: Any, *refs: Ref | None) -> None:
        """Values that stand for the results of an exported operator."""
        self._refs[exported] = refs[0] if len(refs) == 1 else refs

    def add_parameter(self, exported: Any, name: str) -> None:
        """The node of a parameter or buffer; one for all of its places."""
        found = self._parameters.get(name)
        if found is None:
            found = self._parameters[name] = Node(PARAMETER, name=name)
            self.nodes.append(found)
        self._refs[exported] = Ref(found)

    def ref(self, exported: Any) -> Ref:
        """The value of an exported node.

        :raises ChangedInPlace: it was changed in place through another view of its memory.
        """
        found, base = self._refs[exported], self._base.get(exported, exported)
        if base in self._written and found != self._refs[base]:
            raise ChangedInPlace(
                f"{place_of(exported)} reads a view of a tensor that was changed in place since: "
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
            self.emit(exported, OPERATORS[_ARITHMETIC[target]], {"left": left, "right": right})
            return
        if _is_check(exported):
            return
        if getattr(target, "__module__", "") in ("_operator", "math") or target in _SYMBOLIC:
            raise Untraceable(f"{place_of(exported)} needs a size that depends on its inputs")
        name = overload_of(target)
        stem = name.partition(".")[0]
        if stem.startswith("_assert"):
            return
        arguments = self._bound(exported)
        if stem in _SAME | _MAYBE_SAME | _COPIES:
            self.share(exported, exported.args[0], stem in _MAYBE_SAME, stem in _COPIES)
            return
        inplace = stem.endswith("_") and not stem.startswith("__")
        if inplace:
            name = stem[:-1] + name[len(stem) :]
        self._translate(exported, name, arguments)
        if inplace:
            self._overwrite(exported)
        elif stem in _VIEWS and exported not in self._base:
            first = exported.args[0]
            self._base[exported] = self._base.get(first, first)

    def _translate(self, exported: Any, name: str, arguments: dict[str, Any]) -> None:
        stem = name.partition(".")[0]
        special = _CONVERSIONS.get(stem)
        row = BY_ATEN.get(name)
        if special is not None:
            special(self, exported, arguments)
        elif row is not None:
            self.emit(exported, row, arguments)
        elif self.computes_constants and self.is_constant(exported):
            self._add_constant(exported)
        else:
            raise Unknown(f"operator {name} of {place_of(exported)} is not in the table")

    def is_constant(self, exported: Any) -> bool:
        """Whether a value depends on parameters alone, and not on chance."""
        if exported.op == "placeholder":
            ref = self._refs.get(exported)
            return isinstance(ref, Ref) and ref.node.operator == PARAMETER
        if torch.Tag.nondeterministic_seeded in getattr(exported.target, "tags", ()):
            return False
        return all(self.is_constant(source) for source in exported.all_input_nodes)

    def _add_constant(self, exported: Any) -> None:
        """A value that depends on parameters alone, as a parameter itself."""
        value = self._constant(exported)
        if not isinstance(value, Tensor):
            raise Untraceable(
                f"operator {overload_of(exported.target)} of {place_of(exported)} "
                "gives several results and is not in the table"
            )
        name = constant_name(exported, self.constants.keys() | self._numbers.keys())
        self.constants[name] = value.detach().clone()
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

    def emit(self, exported: Any, row: Operator, given: dict[str, Any]) -> Node:
        """A node of a row, from arguments by ATen's names, that stands for an exported one."""
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
                        f"operator {row.name} of {place_of(exported)} with {name}={value!r} "
                        "is not in the table"
                    )
                continue
            arguments[key] = value
        ref = self.insert(exported, row.name, **arguments)
        self._refs[exported] = ref
        return ref.node

    def insert(self, exported: Any, operator: str, **arguments: Any) -> Ref:
        """A node that no exported one stands for; its value."""
        try:
            node = Node(operator, OPERATORS[operator].bind(arguments), scope=scope_of(exported))
        except ValueError as error:
            raise Untraceable(f"{place_of(exported)}: {error}") from None
        self.nodes.append(node)
        return Ref(node)

    def _bound(self, exported: Any) -> dict[str, Any]:
        """The arguments of an exported operator by ATen's names, with defaults."""
        schema = getattr(exported.target, "_schema", None)
        if schema is None:
            raise Untraceable(f"{place_of(exported)} calls {exported.target}, no torch operator")
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

    def _take(self, exported: Any) -> None:
        """One of several results."""
        source, index = exported.args
        found = self._refs[source]
        found = found[index] if isinstance(found, tuple) else Ref(found.node, index)
        self._refs[exported] = found
        if source in self._base:
            self._base[exported] = self._base[source]

    def share(self, exported: Any, source: Any, unsure: bool = False, copy: bool = False) -> None:
        """The value of another node under this one's name.

        :param unsure: it may be a copy, or the same memory.
        :param copy: it is a copy.
        """
        self._refs[exported] = self.ref(source)
        self._base[exported] = exported if copy else self._base.get(source, source)
        if not copy and (unsure or source in self._unsure):
            self._unsure.add(exported)

    def _overwrite(self, exported: Any) -> None:
        """What was computed stands in the memory of the first argument from now on."""
        source = exported.args[0]
        base = self._base.get(source, source)
        ref = self._refs[base]
        if self._refs[source] != ref or source in self._unsure:
            raise ChangedInPlace(f"{place_of(exported)} changes a part of a tensor in place")
        if isinstance(ref, Ref) and ref.node.operator == PARAMETER:
            raise Untraceable(
                f"{place_of(exported)} changes the parameter or buffer {ref.node.name!r}"
            )
        self._refs[source] = self._refs[base] = self._refs[exported]
        self._base[exported] = base
        self._written.add(base)
