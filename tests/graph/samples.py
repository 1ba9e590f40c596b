"""For each row of the operator table: sample arguments, and torch calls that are traced to it.

A sample is (arguments by name, calls): tensors among the arguments are what the row is computed on,
and each call is a function of the first tensors, written as a user writes it, whose results are the
row's at the same arguments.
"""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

from .sample_inputs import FLAGS, IMAGE, PAIR, POSITIVE, SMALL, WHOLE, M, Sample, V, randn
from .samples_layers import LAYERS, WINDOWS


def _unary(name: str, x: Tensor = V, *more: Callable) -> Sample:
    return {"input": x}, [getattr(torch, name, None) or getattr(F, name), *more]


def _binary(name: str, scalar: float | None, *more: Callable, x: Tensor = V, y: Tensor = PAIR):
    function = getattr(torch, name)
    calls = [function, *more]
    if scalar is not None:
        calls.append(("scalar", lambda a, b: function(a, scalar)))
    return {"input": x, "other": y}, calls


_NAMES = """
    relu tanh sigmoid silu mish hardswish hardsigmoid relu6 selu exp abs neg sin cos erf square
    floor round sign expm1 ceil tan atan isnan isinf erfc exp2 trunc frac sinh cosh asinh
"""
UNARY = {name: _unary(name) for name in _NAMES.split()}
_POSITIVE = ("log", "sqrt", "rsqrt", "reciprocal", "log1p", "log2")
UNARY |= {name: _unary(name, POSITIVE) for name in _POSITIVE}
UNARY |= {name: _unary(name, POSITIVE) for name in ("log10", "lgamma")}
UNARY |= {name: _unary(name, SMALL) for name in ("asin", "acos", "atanh")}
UNARY |= {
    "acosh": _unary("acosh", POSITIVE + 1),
    "logical_not": _unary("logical_not", FLAGS),
    "bitwise_not": _unary("bitwise_not", WHOLE),
    "log_sigmoid": ({"input": V}, [F.logsigmoid]),
    "square": ({"input": V}, [torch.square]),
    "logit": ({"input": V.sigmoid()}, [torch.logit, torch.special.logit]),
    "nan_to_num": ({"input": V}, [torch.nan_to_num]),
}
UNARY["isinf"] = _unary("isinf")
UNARY["erfc"] = _unary("erfc", V, torch.special.erfc)
UNARY["exp2"] = _unary("exp2", V, torch.special.exp2)
UNARY["lgamma"] = _unary("lgamma", POSITIVE, torch.special.gammaln)
UNARY["trunc"] = _unary("trunc", V, torch.fix)
for _name in ("asin", "acos", "sinh", "asinh", "acosh", "atanh"):
    _long = _name.replace("a", "arc", 1) if _name.startswith("a") else _name
    if hasattr(torch, _long):
        UNARY[_name] = (UNARY[_name][0], [getattr(torch, _name), getattr(torch, _long)])

SHAPED: dict[str, Sample] = {
    "leaky_relu": ({"input": V, "negative_slope": 0.3}, [lambda x: F.leaky_relu(x, 0.3)]),
    "elu": ({"input": V, "alpha": 0.7}, [lambda x: F.elu(x, 0.7)]),
    "celu": ({"input": V, "alpha": 0.7}, [lambda x: F.celu(x, 0.7)]),
    "gelu": ({"input": V, "approximate": "tanh"}, [lambda x: F.gelu(x, approximate="tanh")]),
    "softplus": ({"input": V, "beta": 2.0}, [lambda x: F.softplus(x, 2)]),
    "hardtanh": ({"input": V, "min_val": -0.5}, [lambda x: F.hardtanh(x, -0.5)]),
    "clamp": (
        {"input": V, "min": -0.2},
        [lambda x: x.clamp(min=-0.2), lambda x: x.clamp_min(-0.2), lambda x: torch.clip(x, -0.2)],
    ),
    "threshold": (
        {"input": V, "threshold": 0.1, "value": 2.0}, [lambda x: F.threshold(x, 0.1, 2.0)],
    ),
    "prelu": ({"input": V, "weight": randn(6)}, [F.prelu]),
    "softshrink": ({"input": V, "lambd": 0.3}, [lambda x: F.softshrink(x, 0.3)]),
    "hardshrink": ({"input": V, "lambd": 0.3}, [lambda x: F.hardshrink(x, 0.3)]),
    "dropout": ({"input": V}, [lambda x: F.dropout(x, training=False)]),
    "feature_dropout": ({"input": IMAGE}, [lambda x: F.dropout2d(x, training=False)]),
    "alpha_dropout": ({"input": V}, [lambda x: F.alpha_dropout(x, training=False)]),
    "rrelu": ({"input": V}, [lambda x: F.rrelu(x)]),
    "feature_alpha_dropout": (
        {"input": IMAGE}, [lambda x: F.feature_alpha_dropout(x, training=False)],
    ),
    "quantised_relu": (
        {"input": V, "step": 0.25, "bits": 2},
        [("untraced", lambda x: torch.fake_quantize_per_tensor_affine(x, 0.25, 0, 0, 3))],
    ),
    "to": ({"input": V, "dtype": "float64"}, [lambda x: x.double(), lambda x: x.to(torch.float64)]),
    "where": (
        {"condition": FLAGS, "input": V, "other": PAIR},
        [
            torch.where,
            ("scalar", lambda c, a, b: torch.where(c, a, 0.5)),
            ("scalar", lambda c, a, b: torch.where(c, 0.5, a)),
            ("scalar", lambda c, a, b: torch.where(c, 0.5, 1.0) + 0 * a),
        ],
    ),
    "masked_fill": (
        {"input": V, "mask": FLAGS, "value": -9.0}, [lambda x, m: x.masked_fill(m, -9.0)],
    ),
    "rpow": ({"exponent": V, "base": 2.5}, [lambda x: 2.5**x]),
    "lerp": (
        {"input": V, "end": PAIR, "weight": SMALL},
        [torch.lerp, ("scalar", lambda a, b, w: torch.lerp(a, b, 0.3))],
    ),
    "addcmul": (
        {"input": V, "tensor1": PAIR, "tensor2": SMALL, "value": 2.0},
        [lambda x, a, b: torch.addcmul(x, a, b, value=2)],
    ),
    "addcdiv": (
        {"input": V, "tensor1": PAIR, "tensor2": POSITIVE, "value": 2.0},
        [lambda x, a, b: torch.addcdiv(x, a, b, value=2)],
    ),
}  # fmt: skip

BINARY: dict[str, Sample] = {
    "add": _binary("add", 2.0),
    "sub": _binary("sub", 2.0),
    "mul": _binary("mul", 2.0),
    "div": _binary("div", 2.0),
    "rsub": _binary("rsub", 2.0),
    "pow": _binary("pow", 3.0, x=POSITIVE),
    "maximum": _binary("maximum", None, torch.max),
    "minimum": _binary("minimum", None, torch.min),
    **{name: _binary(name, 0.1) for name in ("eq", "ne", "lt", "le", "gt", "ge")},
    **{
        name: _binary(name, None, x=FLAGS, y=PAIR > 0)
        for name in ("logical_and", "logical_or", "logical_xor")
    },
    "bitwise_and": _binary(
        "bitwise_and",
        3,
        lambda a, b: a & b,
        ("scalar", lambda a, b: a & 3),
        x=WHOLE,
        y=WHOLE.flip(0),
    ),
    "bitwise_or": _binary(
        "bitwise_or",
        3,
        lambda a, b: a | b,
        ("scalar", lambda a, b: a | 3),
        x=WHOLE,
        y=WHOLE.flip(0),
    ),
    "bitwise_xor": _binary(
        "bitwise_xor",
        3,
        lambda a, b: a ^ b,
        ("scalar", lambda a, b: a ^ 3),
        x=WHOLE,
        y=WHOLE.flip(0),
    ),
    "remainder": _binary("remainder", 0.7, y=POSITIVE),
    "floor_divide": _binary("floor_divide", 0.7, y=POSITIVE),
    "fmod": _binary("fmod", 0.7, y=POSITIVE),
    "atan2": _binary("atan2", None, torch.arctan2),
    "hypot": _binary("hypot", None),
}

_LAST = {"dim": (-1,), "keepdim": True}
ALONG: dict[str, Sample] = {
    "mean": ({"input": M, **_LAST}, [lambda x: x.mean(-1, True)]),
    "sum": ({"input": M, **_LAST}, [lambda x: x.sum(-1, True)]),
    "amax": ({"input": M, **_LAST}, [lambda x: x.amax(-1, True)]),
    "amin": ({"input": M, **_LAST}, [lambda x: x.amin(-1, True)]),
    "var": ({"input": M, **_LAST}, [lambda x: x.var(-1, keepdim=True)]),
    "prod": ({"input": M, **_LAST}, [lambda x: x.prod(-1, True)]),
    "logsumexp": ({"input": M, **_LAST}, [lambda x: x.logsumexp(-1, True)]),
    "any": ({"input": M > 0, **_LAST}, [lambda x: x.any(-1, True)]),
    "all": ({"input": M > 0, **_LAST}, [lambda x: x.all(-1, True)]),
    "vector_norm": (
        {"input": M, **_LAST}, [lambda x: x.norm(dim=-1, keepdim=True),
                                lambda x: torch.linalg.vector_norm(x, dim=-1, keepdim=True)],
    ),
    "argmax": ({"input": V, "dim": 1}, [lambda x: x.argmax(1)]),
    "argmin": ({"input": V, "dim": 1}, [lambda x: x.argmin(1)]),
    "softmax": ({"input": V, "dim": 1}, [lambda x: x.softmax(1)]),
    "log_softmax": ({"input": V, "dim": 1}, [lambda x: x.log_softmax(1)]),
    "cumsum": ({"input": V, "dim": 1}, [lambda x: x.cumsum(1)]),
    "cumprod": ({"input": V, "dim": 1}, [lambda x: x.cumprod(1)]),
    "max_along": ({"input": V, "dim": 1}, [lambda x: tuple(x.max(1))]),
    "min_along": ({"input": V, "dim": 1}, [lambda x: tuple(x.min(1))]),
    "topk": ({"input": V, "k": 2}, [lambda x: tuple(x.topk(2))]),
    "sort": (
        {"input": V, "descending": True},
        [lambda x: tuple(x.sort(descending=True)),
         lambda x: tuple(x.sort(stable=True, descending=True))],
    ),
    "glu": ({"input": V}, [F.glu]),
}  # fmt: skip

_INDEX = torch.tensor([2, 0])
MOVES: dict[str, Sample] = {
    "reshape": (
        {"input": M, "shape": (-1, 30)},
        [lambda x: x.view(-1, 30), lambda x: x.reshape(-1, 30)],
    ),
    "flatten": ({"input": M}, [lambda x: x.flatten(1)]),
    "transpose": ({"input": M, "dim0": 1, "dim1": 2}, [lambda x: x.transpose(1, 2)]),
    "permute": ({"input": M, "dims": (0, 2, 1)}, [lambda x: x.permute(0, 2, 1), lambda x: x.mT]),
    "unsqueeze": ({"input": M, "dim": 1}, [lambda x: x[:, None], lambda x: x.unsqueeze(1)]),
    "squeeze": ({"input": M[:, :1], "dim": (1,)}, [lambda x: x.squeeze(1)]),
    "expand": ({"input": M[:, :1], "size": (-1, 4, -1)}, [lambda x: x.expand(-1, 4, -1)]),
    "cat": (
        {"tensors": (M, M), "dim": 1},
        [lambda a, b: torch.cat([a, b], 1), lambda a, b: torch.concat([a, b], 1),
         lambda a, b: torch.concatenate([a, b], 1)],
    ),
    "stack": ({"tensors": (M, M), "dim": 1}, [lambda a, b: torch.stack([a, b], 1)]),
    "split": (
        {"input": M, "sizes": (2, 3), "dim": 1},
        [lambda x: x.split([2, 3], 1), lambda x: x.tensor_split([2], 1)],
    ),
    "slice": (
        {"input": M, "dim": 1, "start": 1, "end": 4}, [lambda x: x[:, 1:4],
                                                       lambda x: x.narrow(1, 1, 3)],
    ),
    "select": ({"input": M, "dim": 1, "index": -1}, [lambda x: x[:, -1]]),
    "unbind": ({"input": M, "dim": 1}, [lambda x: x.unbind(1)]),
    "pad": (
        {"input": IMAGE, "pad": (1, 0, 2, 1), "mode": "reflect"},
        [lambda x: F.pad(x, (1, 0, 2, 1), mode="reflect")],
    ),
    "flip": ({"input": M, "dims": (1,)}, [lambda x: x.flip(1)]),
    "roll": ({"input": M, "shifts": (2,), "dims": (1,)}, [lambda x: x.roll(2, 1)]),
    "repeat": ({"input": M, "repeats": (1, 2, 1)}, [lambda x: x.repeat(1, 2, 1)]),
    "pick": (
        {"input": V, "kept": torch.tensor([True, False, True, True, False, True])},
        [("untraced", lambda x, kept: x[:, kept])],
    ),
    "repeat_interleave": (
        {"input": M, "repeats": 2, "dim": 1}, [lambda x: x.repeat_interleave(2, 1)],
    ),
    "pixel_shuffle": ({"input": IMAGE, "upscale_factor": 2}, [lambda x: F.pixel_shuffle(x, 2)]),
    "pixel_unshuffle": (
        {"input": IMAGE, "downscale_factor": 2}, [lambda x: F.pixel_unshuffle(x, 2)],
    ),
    "index_select": ({"input": V, "dim": 1, "index": _INDEX}, [lambda x, i: x.index_select(1, i)]),
    "gather": ({"input": V, "dim": 1, "index": WHOLE}, [lambda x, i: x.gather(1, i)]),
    "tril": ({"input": M}, [torch.tril]),
    "triu": ({"input": M}, [torch.triu]),
    "index": ({"input": M, "indices": (_INDEX,)}, [lambda x, i: x[i]]),
    "unfold": (
        {"input": IMAGE, "kernel_size": (2,), "dilation": (1,), "padding": (1,), "stride": (2,)},
        [lambda x: F.unfold(x, 2, padding=1, stride=2)],
    ),
    "fold": (
        {"input": randn(3, 8, 9), "output_size": (6,), "kernel_size": (2,), "dilation": (1,),
         "padding": (0,), "stride": (2,)},
        [lambda x: F.fold(x, (6, 6), 2, stride=2)],
    ),
    "windows": ({"input": M, "dimension": 1, "size": 3, "step": 1}, [lambda x: x.unfold(1, 3, 1)]),
    "diagonal": ({"input": M, "dim1": 1, "dim2": 2}, [lambda x: x.diagonal(0, 1, 2)]),
    "scatter": (
        {"input": V, "dim": 1, "index": WHOLE[:, :2], "src": PAIR},
        [lambda x, i, s: x.scatter(1, i, s),
         ("scalar", lambda x, i, s: x.scatter(1, i, 2.0))],
    ),
    "scatter_add": (
        {"input": V, "dim": 1, "index": WHOLE[:, :2], "src": PAIR},
        [lambda x, i, s: x.scatter_add(1, i, s)],
    ),
    "index_put": (
        {"input": V, "indices": (_INDEX,), "values": PAIR[:2]},
        [lambda x, i, v: torch.index_put(x, (i,), v)],
    ),
    "slice_scatter": (
        {"input": V, "src": PAIR[:, :2], "dim": 1, "end": 2},
        [lambda x, s: x.slice_scatter(s, 1, 0, 2)],
    ),
    "select_scatter": (
        {"input": V, "src": PAIR[:, 0], "dim": 1, "index": 2},
        [lambda x, s: x.select_scatter(s, 1, 2)],
    ),
    "grid_sample": (
        {"input": IMAGE, "grid": randn(3, 4, 4, 2).tanh(), "interpolation_mode": 0,
         "padding_mode": 0, "align_corners": False},
        [lambda x, g: F.grid_sample(x, g, align_corners=False)],
    ),
    "one_hot": ({"input": WHOLE, "num_classes": 5}, [lambda x: F.one_hot(x, 5)]),
    "cdist": ({"x1": M, "x2": M.flip(1)}, [torch.cdist]),
    "linalg_cross": ({"input": randn(3, 3), "other": randn(3, 3) + 1}, [torch.linalg.cross]),
}  # fmt: skip

SAMPLES: dict[str, Sample] = {**UNARY, **SHAPED, **BINARY, **LAYERS, **WINDOWS, **ALONG, **MOVES}
# Rows without tensors among their arguments, and those of sizes: see test_table.
WITHOUT = {
    "full", "arange", "linspace", "eye", "size", "int_add", "int_sub", "int_mul", "int_floordiv",
    "int_mod",
}  # fmt: skip
