"""Exported layers and functions, where they are not a row of the table as they are."""

from __future__ import annotations

import string
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .errors import Untraceable
from .exported import dtype_of, place_of, rank_of, stem_of
from .ir import Ref
from .recurrent_layers import split_recurrent
from .table import OPERATORS

if TYPE_CHECKING:
    from .converter import Converter

Conversion = Callable[["Converter", Any, dict[str, Any]], None]


# --- Layers ---------------------------------------------------------------------------------------
def _conv(self: Converter, exported: Any, arguments: dict) -> None:
    dims = int(stem_of(exported).partition("d")[0][-1])
    if rank_of(exported.args[0]) != dims + 2:
        raise Untraceable(f"{place_of(exported)}: a convolution of inputs without a batch axis")
    padding = arguments["padding"]
    if isinstance(padding, str):
        kernel = exported.args[1].meta["val"].shape[2:]
        dilation = arguments["dilation"]
        dilation = dilation * dims if len(dilation) == 1 else dilation
        both = [d * (k - 1) for d, k in zip(dilation, kernel, strict=True)]
        if padding == "valid":
            padding = (0,) * dims
        elif all(total % 2 == 0 for total in both):
            padding = tuple(total // 2 for total in both)
        arguments["padding"] = padding
    self.emit(exported, OPERATORS[stem_of(exported)], arguments)


def _addmm(self: Converter, exported: Any, arguments: dict) -> None:
    given = {"input": arguments["self"], "mat1": arguments["mat1"], "mat2": arguments["mat2"]}
    if (arguments.get("beta", 1), arguments.get("alpha", 1)) != (1, 1):
        raise Untraceable(f"{place_of(exported)}: addmm with factors is not in the table")
    self.emit(exported, OPERATORS["addmm"], given)


def _matmul(self: Converter, exported: Any, arguments: dict) -> None:
    other = next(arguments[k] for k in ("other", "mat2", "vec", "tensor") if k in arguments)
    self.emit(exported, OPERATORS["matmul"], {"input": arguments["self"], "other": other})


def _batch_norm(self: Converter, exported: Any, arguments: dict) -> None:
    if arguments["running_mean"] is None or arguments.pop("training"):
        raise Untraceable(
            f"{place_of(exported)}: a BatchNorm that uses the statistics of its batch in eval mode"
        )
    self.emit(exported, OPERATORS["batch_norm"], arguments)


def _instance_norm(self: Converter, exported: Any, arguments: dict) -> None:
    if not arguments["use_input_stats"]:
        given = {k: arguments[k] for k in ("weight", "bias", "running_mean", "running_var", "eps")}
        self.emit(exported, OPERATORS["batch_norm"], {"input": arguments["input"], **given})
        return
    given = {k: arguments[k] for k in ("input", "weight", "bias", "eps")}
    self.emit(exported, OPERATORS["instance_norm"], given)


def _dropout(self: Converter, exported: Any, arguments: dict) -> None:
    if arguments.pop("train") and not self.noisy:
        raise Untraceable(
            f"{place_of(exported)} drops at random in eval mode: pass training=self.training"
        )
    self.emit(exported, OPERATORS[stem_of(exported)], arguments)


def _attention(self: Converter, exported: Any, arguments: dict) -> None:
    p = arguments.pop("dropout_p")
    if p and not self.noisy:
        raise Untraceable(
            f"{place_of(exported)}: attention that drops at random in eval mode: pass "
            "dropout_p=0 there"
        )
    if p:
        self.emit(exported, OPERATORS["attention_dropout"], {**arguments, "p": p})
    else:
        self.emit(exported, OPERATORS["attention"], arguments)


def _recurrent(self: Converter, exported: Any, arguments: dict) -> None:
    if arguments.pop("train", False) and arguments["dropout"]:
        raise Untraceable(f"{place_of(exported)} drops at random in eval mode")
    if "batch_sizes" in arguments:
        raise Untraceable(f"{place_of(exported)}: packed sequences are not in the table")
    each = 4 if arguments["has_biases"] else 2
    directions = 2 if arguments["bidirectional"] else 1
    if len(arguments["params"]) != each * directions * arguments["num_layers"]:
        raise Untraceable(f"{place_of(exported)}: proj_size is not in the table")
    if not split_recurrent(self, exported, arguments):
        self.emit(exported, OPERATORS[stem_of(exported)], arguments)


def _einsum(self: Converter, exported: Any, arguments: dict) -> None:
    """The equation with letters for "...", and with a result."""
    refs, equation = arguments["tensors"], arguments["equation"].replace(" ", "")
    operands, arrow, result = equation.partition("->")
    free_letters = [c for c in string.ascii_letters if c not in equation]
    ranks = [rank_of(node) for node in exported.args[1]]
    parts, most = operands.split(","), 0
    for i, (part, rank) in enumerate(zip(parts, ranks, strict=True)):
        extra = rank - len(part) + 3
        if "..." in part:
            most = max(most, extra)
            parts[i] = part.replace("...", "".join(free_letters[:extra][::-1]))
    rest = "".join(free_letters[:most][::-1])
    if not arrow:
        once = [c for c in operands if c.isalpha() and operands.count(c) == 1]
        result = "..." + "".join(sorted(once))
    given = {"equation": f"{','.join(parts)}->{result.replace('...', rest)}", "tensors": refs}
    self.emit(exported, OPERATORS["einsum"], given)


# --- Functions of each number ---------------------------------------------------------------------
def _scaled(name: str, which: str = "other") -> Conversion:
    """add, sub and rsub, one of whose operands may be scaled."""

    def convert(self: Converter, exported: Any, arguments: dict) -> None:
        alpha, operand = arguments.pop("alpha", 1), arguments[which]
        if alpha != 1:
            if isinstance(operand, Ref):
                arguments[which] = self.insert(exported, "mul", input=operand, other=alpha)
            else:
                arguments[which] = operand * alpha
        self.emit(exported, OPERATORS[name], arguments)

    return convert


def _to(self: Converter, exported: Any, arguments: dict) -> None:
    if dtype_of(exported) == dtype_of(exported.args[0]):
        copy = bool(arguments.get("copy")) or stem_of(exported) == "_to_copy"
        self.share(exported, exported.args[0], copy=copy)
        return
    given = {"input": arguments["self"], "dtype": dtype_of(exported)}
    self.emit(exported, OPERATORS["to"], given)


def _divide(self: Converter, exported: Any, arguments: dict) -> None:
    mode = arguments.pop("rounding_mode", None)
    if mode == "trunc" and exported.meta["val"].is_floating_point():
        ratio = self.insert(exported, "div", input=arguments["self"], other=arguments["other"])
        self.emit(exported, OPERATORS["trunc"], {"input": ratio})
        return
    if mode == "trunc":
        raise Untraceable(f"{place_of(exported)}: a division of integers rounded by 'trunc'")
    self.emit(exported, OPERATORS["floor_divide" if mode else "div"], arguments)


def _pow(self: Converter, exported: Any, arguments: dict) -> None:
    base, exponent = arguments["self"], arguments["exponent"]
    if not isinstance(base, Ref):
        self.emit(exported, OPERATORS["rpow"], {"exponent": exponent, "base": base})
        return
    self.emit(exported, OPERATORS["pow"], {"input": base, "other": exponent})


def _elu(self: Converter, exported: Any, arguments: dict) -> None:
    if (arguments["scale"], arguments["input_scale"]) != (1, 1):
        raise Untraceable(f"{place_of(exported)}: elu with a scale is not in the table")
    given = {"input": arguments["self"], "alpha": arguments["alpha"]}
    self.emit(exported, OPERATORS["elu"], given)


def _rrelu(self: Converter, exported: Any, arguments: dict) -> None:
    if arguments["training"] and not self.noisy:
        raise Untraceable(f"{place_of(exported)} draws slopes at random in eval mode")
    given = {"input": arguments["self"], "lower": arguments["lower"], "upper": arguments["upper"]}
    self.emit(exported, OPERATORS["rrelu"], given)


def _clamp(self: Converter, exported: Any, arguments: dict) -> None:
    """clamp, clamp_min and clamp_max; between tensors they are maximum and minimum."""
    value, bounds = arguments["self"], {k: arguments.get(k) for k in ("min", "max")}
    if not any(isinstance(bound, Ref) for bound in bounds.values()):
        self.emit(exported, OPERATORS["clamp"], {"input": value, **bounds})
        return
    for name, bound in bounds.items():
        if isinstance(bound, Ref):
            function = {"min": "maximum", "max": "minimum"}[name]
            value = self.insert(exported, function, input=value, other=bound)
        elif bound is not None:
            value = self.insert(exported, "clamp", input=value, **{name: bound})
    self.stand_for(exported, value)


def _masked_fill(self: Converter, exported: Any, arguments: dict) -> None:
    if isinstance(arguments["value"], Ref):
        given = {"condition": arguments["mask"], "input": arguments["value"]}
        self.emit(exported, OPERATORS["where"], given | {"other": arguments["self"]})
        return
    self.emit(exported, OPERATORS["masked_fill"], arguments)


_DROPOUTS = ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout")
CONVERSIONS: dict[str, Conversion] = {
    **{f"conv{n}d": _conv for n in (1, 2, 3)},
    **{f"conv_transpose{n}d": _conv for n in (1, 2, 3)},
    "addmm": _addmm,
    **dict.fromkeys(("mm", "bmm", "mv", "linalg_matmul"), _matmul),
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    **dict.fromkeys(_DROPOUTS, _dropout),
    "scaled_dot_product_attention": _attention,
    "einsum": _einsum,
    **dict.fromkeys(("lstm", "gru", "rnn_tanh", "rnn_relu"), _recurrent),
    "add": _scaled("add"),
    "sub": _scaled("sub"),
    "rsub": _scaled("rsub", "self"),
    **dict.fromkeys(("to", "_to_copy", "type_as"), _to),
    "div": _divide,
    "pow": _pow,
    "elu": _elu,
    "rrelu": _rrelu,
    **dict.fromkeys(("clamp", "clamp_min", "clamp_max", "clip"), _clamp),
    "masked_fill": _masked_fill,
}
