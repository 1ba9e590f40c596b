"""What an operator is: its arguments, its kind, how it is computed.

The rows themselves are in `table`. A row's arguments are written as one string:

    "input weight bias? stride:ints2=1 groups:int=1"

A bare word is a tensor, `word?` a tensor or None, `word*` a tuple of tensors, `word~` a tensor or a
number. `word:type` is an attribute, with its default behind `=`. The types are the keys of `TYPES`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import Enum
from functools import cache, cached_property
from typing import Any

from .later import Later, found

MAX_INT = (1 << 31) - 1
_INTS = {"uint8", "int8", "int16", "int32", "int64"}
DTYPES = frozenset({"float16", "bfloat16", "float32", "float64", "bool"} | _INTS)


class Family(Enum):
    """How an operator treats the axes of what it takes: which rules of `axes` and `facts` hold."""

    ELEMENTWISE = "elementwise"  # each output element is a function of the elements in its place
    MOVE = "move"  # each output element is one input element, or a constant
    CONTRACT = "contract"  # sums over an axis, weighted by a static operand
    WINDOW = "window"  # each channel by itself, over windows of the axes behind it
    REDUCE = "reduce"  # over the axes `dim`, each other position by itself
    ALONG = "along"  # a function of all elements along `dim`, of the same shape
    CHANNEL_NORM = "channel norm"  # batch norm: an affine function of each channel
    GROUP_NORM = "group norm"  # normalization over groups of channels and all positions
    ATTENTION = "attention"
    RECURRENT = "recurrent"
    FACTORY = "factory"  # a constant of a given shape
    INTEGER = "integer"  # a size, or arithmetic with sizes: Python numbers
    OTHER = "other"  # nothing is known: the axes that it touches are frozen


def window_axes(name: str, rank: int) -> int:
    """How many axes, the last ones, an operator of the WINDOW family pools: avg_pool2d two."""
    return int(name[-2]) if name.endswith("d") else rank - 2


def _is_int(value: Any) -> bool:
    return type(value) is int and abs(value) <= MAX_INT


#: What a value of each attribute type must be; a `Ref` to an integer may stand for an "int" or a
#: "size", and within "sizes".
TYPES: dict[str, Callable[[Any], bool]] = {
    "int": _is_int,
    "int?": lambda v: v is None or _is_int(v),
    "ints": lambda v: isinstance(v, tuple) and all(map(_is_int, v)),
    "ints?": lambda v: v is None or (isinstance(v, tuple) and all(map(_is_int, v))),
    "size": lambda v: type(v) in (int, float),
    "sizes": lambda v: isinstance(v, tuple),
    "pads": lambda v: v == "same" or (isinstance(v, tuple) and all(map(_is_int, v))),
    "real": lambda v: type(v) in (int, float),
    "real?": lambda v: v is None or type(v) in (int, float),
    "number": lambda v: type(v) in (int, float, bool),
    "flag": lambda v: type(v) is bool,
    "text": lambda v: isinstance(v, str),
    "dtype": lambda v: v is None or (isinstance(v, str) and v in DTYPES),
}


@dataclass(frozen=True)
class Argument:
    """One argument of an operator.

    :param kind: "tensor", "tensor?", "tensors", "operand" (a tensor or a number), or a type of
        `TYPES`; "ints" and "pads" of a fixed length have that length as `count`.
    :param required: whether there is no default.
    """

    name: str
    kind: str
    required: bool = True
    default: Any = None
    count: int = 0

    @property
    def is_tensor(self) -> bool:
        return self.kind in ("tensor", "tensor?", "tensors", "operand")


@dataclass(frozen=True)
class Operator:
    """One row of the operator table.

    :param number: its number in compressed files; never changed, never used again.
    :param function: what `call` is, maybe not loaded yet.
    :param aten: names of the ATen overloads that it is traced from, such as "conv2d.default".
    :param results: number of results; 0 if that depends on the arguments.
    :param weights: arguments that hold a weight: a matrix or kernel that gets a prior.
    :param vectors: arguments that hold a vector of weights' scale: biases, scales of norms.
    :param zero: whether it gives zeros where all of its tensors are zeros, whatever its attributes.
    :param shifts: whether it commutes with adding a constant: f(x + c) = f(x) + f(c), where c is
        the same at all places that one result looks at: for a maximum over channels, in all of
        them. Pooling that pads does not at the border.
    :param jumps: whether it is discontinuous, so that a rounding error may change its result.
    :param trains: whether it computes something else while the network trains.
    :param onnx: the ONNX operator of the same meaning, if that takes the arguments as they are, in
        their order, and needs no attributes.
    :param rule: what `products` is, maybe not loaded yet.
    """

    number: int
    name: str
    family: Family
    function: Callable[..., Any] | Later
    arguments: tuple[Argument, ...]
    aten: tuple[str, ...] = ()
    results: int = 1
    weights: tuple[str, ...] = ()
    vectors: tuple[str, ...] = ()
    zero: bool = False
    shifts: bool = False
    jumps: bool = False
    trains: bool = False
    onnx: str | None = None
    rule: Later | None = None

    @cached_property
    def call(self) -> Callable[..., Any]:
        """Computes the operator.

        It takes the arguments by position, in their order, and for operators with `trains` the
        network's training flag last. It returns a tensor, or a tuple of tensors where `results` is
        not 1.
        """
        return found(self.function)

    @cached_property
    def products(self) -> Callable[..., Any] | None:
        """What the operator multiplies its weights by, a rule of `products`.

        None: no weight of it is a matrix that multiplies vectors.
        """
        return found(self.rule)

    def argument(self, name: str) -> Argument:
        """The argument of that name."""
        return next(a for a in self.arguments if a.name == name)

    def bind(self, given: Mapping[str, Any]) -> dict[str, Any]:
        """The arguments in their order, with defaults, checked.

        :raises ValueError: an argument is missing, unknown, or of another type.
        """
        unknown = given.keys() - {a.name for a in self.arguments}
        if unknown:
            raise ValueError(f"operator {self.name} has no argument {min(unknown)!r}")
        bound = {}
        for argument in self.arguments:
            if argument.name not in given and argument.required:
                raise ValueError(f"operator {self.name} needs its argument {argument.name!r}")
            bound[argument.name] = _checked(
                self.name, argument, given.get(argument.name, argument.default)
            )
        return bound


def _checked(name: str, argument: Argument, value: Any) -> Any:
    from .ir import Ref

    kind = argument.kind
    if argument.is_tensor:
        right = {
            "tensor": isinstance(value, Ref),
            "tensor?": value is None or isinstance(value, Ref),
            "operand": isinstance(value, Ref) or TYPES["number"](value),
            "tensors": isinstance(value, tuple) and all(isinstance(v, Ref) for v in value),
        }[kind]
    elif kind in ("int", "size") and isinstance(value, Ref):
        right = True
    elif kind == "sizes":
        right = isinstance(value, tuple) and all(isinstance(v, Ref) or _is_int(v) for v in value)
    else:
        right = TYPES[kind](value)
        if right and argument.count and isinstance(value, tuple):
            value = value * argument.count if len(value) == 1 else value
            right = len(value) == argument.count
    if not right:
        raise ValueError(f"operator {name}: {argument.name} must be {kind}, not {value!r}")
    return value


@cache  # many rows have the same
def parse_arguments(spec: str) -> tuple[Argument, ...]:
    """The arguments that a row's string lists; see the module's docstring."""
    return tuple(_parse(word) for word in spec.split())


_MARKS = {"?": "tensor?", "*": "tensors", "~": "operand"}


def _parse(word: str) -> Argument:
    name, typed, kind = word.partition(":")
    if not typed:
        mark = _MARKS.get(name[-1])
        return Argument(name[:-1] if mark else name, mark or "tensor", mark != "tensor?")
    kind, given, text = kind.partition("=")
    count = int(kind[-1]) if kind[-1].isdigit() else 0
    kind = kind.rstrip("0123456789")
    if kind not in TYPES:
        raise ValueError(f"unknown type {kind!r} of argument {name!r}")
    default = _default(kind, count, text) if given else None
    return Argument(name, kind, not given, default, count)


def _default(kind: str, count: int, text: str) -> Any:
    if text == "None":
        return None
    if kind == "flag":
        return text == "True"
    if kind in ("ints", "pads"):
        return tuple(int(part) for part in text.split(",") if part) * (count or 1)
    if kind == "text":
        return text
    return int(text) if kind.startswith("int") else float(text)
