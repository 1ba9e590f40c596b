"""The operator table: one row for each operator that a graph may hold.

A new operator is one row, a number that nobody has had, and its tests. See docs/design.md.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

import torch
from torch.nn import functional as F

from . import calls
from .operators import Family, Operator, parse_arguments

_ROWS: list[Operator] = []


def _row(
    number: int,
    name: str,
    call: Callable,
    arguments: str,
    family: Family,
    aten: str = "",
    **traits: Any,
) -> None:
    _ROWS.append(
        Operator(
            number, name, family, call, parse_arguments(arguments), tuple(aten.split()), **traits
        )
    )


# --- Contractions: sums over an axis, weighted by a parameter --------------------------------------
_C = Family.CONTRACT
_WB = {"weights": ("weight",), "vectors": ("bias",)}
_row(1, "linear", F.linear, "input weight bias?", _C, "linear.default", **_WB)
for _n, _conv, _up in (
    (1, torch.conv1d, torch.conv_transpose1d),
    (2, torch.conv2d, torch.conv_transpose2d),
    (3, torch.conv3d, torch.conv_transpose3d),
):
    _row(
        1 + _n,
        f"conv{_n}d",
        _conv,
        f"input weight bias? stride:ints{_n}=1 padding:pads{_n}=0 dilation:ints{_n}=1 groups:int=1",
        _C,
        f"conv{_n}d.default conv{_n}d.padding",
        **_WB,
    )
    _row(
        4 + _n, f"conv_transpose{_n}d", _up,
        f"input weight bias? stride:ints{_n}=1 padding:ints{_n}=0 output_padding:ints{_n}=0 "
        f"groups:int=1 dilation:ints{_n}=1",
        _C, f"conv_transpose{_n}d.{'default' if _n == 1 else 'input'}", **_WB,
    )  # fmt: skip
_row(
    8, "embedding", calls.embedding, "weight indices", _C, "embedding.default", weights=("weight",)
)
_row(9, "matmul", torch.matmul, "input other", _C, "matmul.default bmm.default mm.default")
_row(10, "addmm", torch.addmm, "input mat1 mat2", _C, "addmm.default", vectors=("input",))
_row(
    11,
    "bilinear",
    F.bilinear,
    "input1 input2 weight bias?",
    Family.OTHER,
    "bilinear.default",
    **_WB,
)

# --- Recurrent layers ------------------------------------------------------------------------------
_R = Family.RECURRENT
_LAYERS = (
    "params* has_biases:flag num_layers:int dropout:real=0 bidirectional:flag=False "
    "batch_first:flag=False"
)
_row(
    12, "lstm", calls.lstm, f"input hx* {_LAYERS}", _R, "lstm.input",
    results=3, weights=("params",), vectors=("params",), trains=True,
)  # fmt: skip
for _number, _name in ((13, "gru"), (14, "rnn_tanh"), (15, "rnn_relu")):
    _row(
        _number, _name, calls.recurrent(_name), f"input hx {_LAYERS}", _R, f"{_name}.input",
        results=2, weights=("params",), vectors=("params",), trains=True,
    )  # fmt: skip

# --- Norms -----------------------------------------------------------------------------------------
_SCALES = {"vectors": ("weight", "bias")}
_row(
    16, "batch_norm", calls.batch_norm,
    "input weight? bias? running_mean running_var momentum:real=0.1 eps:real=1e-5",
    Family.CHANNEL_NORM, "batch_norm.default", trains=True,
    vectors=("weight", "bias", "running_mean", "running_var"),
)  # fmt: skip
_row(
    17, "layer_norm", F.layer_norm,
    "input normalized_shape:ints weight? bias? eps:real=1e-5",
    Family.OTHER, "layer_norm.default", **_SCALES,
)  # fmt: skip
_row(
    18, "group_norm", F.group_norm, "input num_groups:int weight? bias? eps:real=1e-5",
    Family.GROUP_NORM, "group_norm.default", **_SCALES,
)  # fmt: skip
_row(
    19, "instance_norm", calls.instance_norm, "input weight? bias? eps:real=1e-5",
    Family.GROUP_NORM, "instance_norm.default", **_SCALES,
)  # fmt: skip
_row(
    20, "rms_norm", F.rms_norm, "input normalized_shape:ints weight? eps:real?=None",
    Family.OTHER, "rms_norm.default", vectors=("weight",),
)  # fmt: skip
#: What is left of a BatchNorm in eval mode that no convolution can take in.
_row(
    21, "affine", calls.affine, "input weight bias", Family.CHANNEL_NORM, vectors=("weight", "bias")
)
_row(22, "weight_norm", torch._weight_norm, "v g dim:int=0", Family.OTHER, "_weight_norm.default")

# --- Elementwise functions -------------------------------------------------------------------------
_E = Family.ELEMENTWISE
for _number, _name, _call, _zero, _onnx in (
    (30, "relu", torch.relu, True, "Relu"),
    (31, "tanh", torch.tanh, True, "Tanh"),
    (32, "sigmoid", torch.sigmoid, False, "Sigmoid"),
    (33, "silu", F.silu, True, None),
    (34, "mish", F.mish, True, "Mish"),
    (35, "hardswish", F.hardswish, True, "HardSwish"),
    (36, "hardsigmoid", F.hardsigmoid, False, None),
    (37, "relu6", F.relu6, True, None),
    (38, "selu", torch.selu, True, "Selu"),
    (39, "log_sigmoid", F.logsigmoid, False, None),
    (40, "exp", torch.exp, False, "Exp"),
    (41, "log", torch.log, False, "Log"),
    (42, "sqrt", torch.sqrt, True, "Sqrt"),
    (43, "rsqrt", torch.rsqrt, False, None),
    (44, "abs", torch.abs, True, "Abs"),
    (45, "neg", torch.neg, True, "Neg"),
    (46, "sin", torch.sin, True, "Sin"),
    (47, "cos", torch.cos, False, "Cos"),
    (48, "erf", torch.erf, True, "Erf"),
    (49, "reciprocal", torch.reciprocal, False, "Reciprocal"),
    (50, "square", torch.square, True, None),
    (51, "floor", torch.floor, True, "Floor"),
    (52, "round", torch.round, True, "Round"),
    (53, "sign", torch.sign, True, "Sign"),
    (54, "logical_not", torch.logical_not, False, "Not"),
    (55, "log1p", torch.log1p, True, None),
    (56, "expm1", torch.expm1, True, None),
    (57, "ceil", torch.ceil, True, "Ceil"),
    (58, "bitwise_not", torch.bitwise_not, False, None),
    (59, "tan", torch.tan, True, "Tan"),
    (60, "atan", torch.atan, True, "Atan"),
):
    _row(_number, _name, _call, "input", _E, f"{_name}.default", zero=_zero, onnx=_onnx)
_row(
    70, "leaky_relu", F.leaky_relu, "input negative_slope:real=0.01", _E, "leaky_relu.default",
    zero=True,
)  # fmt: skip
_row(71, "elu", F.elu, "input alpha:real=1", _E, "elu.default", zero=True)
_row(72, "celu", F.celu, "input alpha:real=1", _E, "celu.default", zero=True)
_row(73, "gelu", calls.gelu, "input approximate:text=none", _E, "gelu.default", zero=True)
_row(74, "softplus", F.softplus, "input beta:real=1 threshold:real=20", _E, "softplus.default")
_row(75, "hardtanh", F.hardtanh, "input min_val:real=-1 max_val:real=1", _E, "hardtanh.default")
_row(76, "clamp", torch.clamp, "input min:real?=None max:real?=None", _E, "clamp.default")
_row(77, "threshold", F.threshold, "input threshold:real value:real", _E, "threshold.default")
_row(78, "prelu", F.prelu, "input weight", _E, "prelu.default", vectors=("weight",), zero=True)
_row(79, "softshrink", F.softshrink, "input lambd:real=0.5", _E, "softshrink.default", zero=True)
_row(80, "hardshrink", F.hardshrink, "input lambd:real=0.5", _E, "hardshrink.default", zero=True)
_row(
    81, "dropout", calls.dropout, "input p:real=0.5", _E, "dropout.default", trains=True, zero=True
)
_row(
    82, "feature_dropout", calls.feature_dropout, "input p:real=0.5", _E,
    "feature_dropout.default", trains=True, zero=True,
)  # fmt: skip
_row(
    83, "alpha_dropout", calls.alpha_dropout, "input p:real=0.5", _E, "alpha_dropout.default",
    trains=True,
)  # fmt: skip
#: A ReLU whose outputs are multiples of a step: `step * clamp(round(x / step), 0, 2^bits - 1)`.
_row(84, "quantised_relu", calls.quantised_relu, "input step:real bits:int", _E, zero=True)
_row(85, "to", calls.to, "input dtype:dtype", _E, zero=True)
_row(86, "nan_to_num", torch.nan_to_num, "input", _E, "nan_to_num.default", zero=True)

_BINARY = "input other~"
for _number, _name, _call, _aten, _zero, _onnx in (
    (90, "add", torch.add, "add.Tensor add.Scalar", True, "Add"),
    (91, "sub", torch.sub, "sub.Tensor sub.Scalar", True, "Sub"),
    (92, "mul", torch.mul, "mul.Tensor mul.Scalar", True, "Mul"),
    (93, "div", torch.div, "div.Tensor div.Scalar", False, "Div"),
    (94, "pow", torch.pow, "pow.Tensor_Scalar pow.Tensor_Tensor", False, "Pow"),
    (95, "maximum", torch.maximum, "maximum.default max.other", True, "Max"),
    (96, "minimum", torch.minimum, "minimum.default min.other", True, "Min"),
    (97, "rsub", torch.rsub, "rsub.Tensor rsub.Scalar", True, None),
    (98, "eq", torch.eq, "eq.Tensor eq.Scalar", False, "Equal"),
    (99, "ne", torch.ne, "ne.Tensor ne.Scalar", False, None),
    (100, "lt", torch.lt, "lt.Tensor lt.Scalar", False, "Less"),
    (101, "le", torch.le, "le.Tensor le.Scalar", False, "LessOrEqual"),
    (102, "gt", torch.gt, "gt.Tensor gt.Scalar", False, "Greater"),
    (103, "ge", torch.ge, "ge.Tensor ge.Scalar", False, "GreaterOrEqual"),
    (104, "logical_and", torch.logical_and, "logical_and.default", False, "And"),
    (105, "logical_or", torch.logical_or, "logical_or.default", False, "Or"),
    (106, "bitwise_and", torch.bitwise_and, "bitwise_and.Tensor __and__.Tensor", False, None),
    (107, "bitwise_or", torch.bitwise_or, "bitwise_or.Tensor __or__.Tensor", False, None),
    (108, "remainder", torch.remainder, "remainder.Tensor remainder.Scalar", False, None),
    (109, "floor_divide", torch.floor_divide, "floor_divide.default", False, None),
):
    _row(_number, _name, _call, _BINARY, _E, _aten, zero=_zero, onnx=_onnx)
_row(
    110,
    "where",
    torch.where,
    "condition input~ other~",
    _E,
    "where.self where.ScalarOther where.ScalarSelf where.Scalar",
)
_row(111, "masked_fill", torch.masked_fill, "input mask value:number", _E, "masked_fill.Scalar")
_row(112, "rpow", calls.rpow, "exponent base:number", _E, "pow.Scalar")

# --- Windows: each channel by itself ---------------------------------------------------------------
_W = Family.WINDOW
for _n in (1, 2, 3):
    _pool = f"input kernel_size:ints{_n} stride:ints{_n}=0 padding:ints{_n}=0 "
    _row(
        119 + _n, f"max_pool{_n}d", calls.max_pool(_n),
        _pool + f"dilation:ints{_n}=1 ceil_mode:flag=False",
        _W, f"max_pool{_n}d.default", zero=True, shifts=True,
    )  # fmt: skip
    _row(
        122 + _n, f"avg_pool{_n}d", calls.avg_pool(_n),
        _pool + "ceil_mode:flag=False count_include_pad:flag=True divisor_override:int?=None",
        _W, f"avg_pool{_n}d.default", zero=True, shifts=True,
    )  # fmt: skip
    for _number, _name in ((125, "avg"), (128, "max")):
        _row(
            _number + _n, f"adaptive_{_name}_pool{_n}d",
            getattr(F, f"adaptive_{_name}_pool{_n}d"), f"input output_size:ints{_n}",
            _W, f"adaptive_{_name}_pool{_n}d.default", zero=True, shifts=True,
        )  # fmt: skip
_row(
    140, "interpolate", calls.interpolate,
    "input size:ints?=None scale:ints?=None mode:text=nearest align_corners:flag=False",
    _W, zero=True, shifts=True,
)  # fmt: skip

# --- Reductions and functions along an axis --------------------------------------------------------
_REDUCED = "input dim:ints? keepdim:flag=False"
for _number, _name, _zero, _shifts in (
    (150, "mean", True, True),
    (151, "sum", True, False),
    (152, "amax", True, True),
    (153, "amin", True, True),
):
    _aten = {"mean": "", "sum": "", "amax": "amax.default", "amin": "amin.default"}[_name]
    _row(
        _number, _name, calls.reduction(_name), _REDUCED, Family.REDUCE, _aten,
        zero=_zero, shifts=_shifts,
    )  # fmt: skip
_row(
    154, "var", calls.variance, "input dim:ints? correction:real=1 keepdim:flag=False",
    Family.REDUCE, zero=True,
)  # fmt: skip
_row(
    155, "vector_norm", torch.linalg.vector_norm, "input ord:real=2 dim:ints?=None keepdim:flag=False",
    Family.REDUCE, "linalg_vector_norm.default", zero=True,
)  # fmt: skip
_row(
    156, "argmax", torch.argmax, "input dim:int? keepdim:flag=False", Family.OTHER, "argmax.default"
)
_A = Family.ALONG
_row(160, "softmax", torch.softmax, "input dim:int", _A)
_row(161, "log_softmax", torch.log_softmax, "input dim:int", _A)
_row(162, "cumsum", torch.cumsum, "input dim:int", _A, zero=True)

# --- Movements -------------------------------------------------------------------------------------
_M = Family.MOVE
_MOVES = {"zero": True, "shifts": True}
_row(170, "reshape", torch.reshape, "input shape:sizes", _M, **_MOVES)
_row(171, "flatten", torch.flatten, "input start_dim:int=1 end_dim:int=-1", _M, **_MOVES)
_row(172, "transpose", torch.transpose, "input dim0:int dim1:int", _M, "transpose.int", **_MOVES)
_row(173, "permute", torch.permute, "input dims:ints", _M, "permute.default", **_MOVES)
_row(174, "unsqueeze", torch.unsqueeze, "input dim:int", _M, "unsqueeze.default", **_MOVES)
_row(175, "squeeze", torch.squeeze, "input dim:ints", _M, **_MOVES)
_row(176, "expand", calls.expand, "input size:sizes", _M, "expand.default", **_MOVES)
_row(177, "cat", torch.cat, "tensors* dim:int=0", _M, "cat.default", **_MOVES)
_row(178, "stack", torch.stack, "tensors* dim:int=0", _M, "stack.default", **_MOVES)
_row(179, "split", calls.split, "input sizes:ints dim:int=0", _M, results=0, **_MOVES)
_row(
    180, "slice", calls.slice_, "input dim:int=0 start:int=0 end:int?=None step:int=1", _M, **_MOVES
)
_row(181, "select", torch.select, "input dim:int index:int", _M, "select.int", **_MOVES)
_row(182, "unbind", torch.unbind, "input dim:int=0", _M, "unbind.int", results=0, **_MOVES)
_row(
    183, "pad", calls.pad, "input pad:ints mode:text=constant value:real=0", _M,
    "pad.default constant_pad_nd.default", zero=False,
)  # fmt: skip
_row(184, "flip", torch.flip, "input dims:ints", _M, "flip.default", **_MOVES)
_row(185, "roll", torch.roll, "input shifts:ints dims:ints", _M, "roll.default", **_MOVES)
_row(186, "repeat", calls.repeat, "input repeats:ints", _M, "repeat.default", **_MOVES)
_row(187, "pick", calls.pick, "input kept", _M, **_MOVES)
_row(
    188,
    "pixel_shuffle",
    F.pixel_shuffle,
    "input upscale_factor:int",
    Family.OTHER,
    "pixel_shuffle.default",
)
_row(
    189,
    "pixel_unshuffle",
    F.pixel_unshuffle,
    "input downscale_factor:int",
    Family.OTHER,
    "pixel_unshuffle.default",
)
_row(
    190,
    "index_select",
    torch.index_select,
    "input dim:int index",
    Family.OTHER,
    "index_select.default",
)
_row(191, "gather", torch.gather, "input dim:int index", Family.OTHER, "gather.default")
_row(192, "tril", torch.tril, "input diagonal:int=0", Family.OTHER, "tril.default")
_row(193, "triu", torch.triu, "input diagonal:int=0", Family.OTHER, "triu.default")
_row(
    194,
    "repeat_interleave",
    torch.repeat_interleave,
    "input repeats:int dim:int?=None",
    Family.OTHER,
    "repeat_interleave.self_int",
)
_row(195, "index", calls.index, "input indices*", Family.OTHER)
_row(
    196,
    "topk",
    calls.topk,
    "input k:int dim:int=-1 largest:flag=True",
    Family.OTHER,
    "topk.default",
    results=2,
)
_row(
    197,
    "max_along",
    calls.max_along,
    "input dim:int keepdim:flag=False",
    Family.OTHER,
    "max.dim",
    results=2,
)
_row(
    198,
    "min_along",
    calls.min_along,
    "input dim:int keepdim:flag=False",
    Family.OTHER,
    "min.dim",
    results=2,
)
_row(
    199,
    "unfold",
    calls.unfold,
    "input kernel_size:ints2 dilation:ints2 padding:ints2 stride:ints2",
    Family.OTHER,
    "im2col.default",
)
_row(200, "glu", F.glu, "input dim:int=-1", Family.OTHER, "glu.default", zero=True)
_row(201, "einsum", calls.einsum, "equation:text tensors*", Family.OTHER, "einsum.default")
_row(
    202,
    "baddbmm",
    calls.baddbmm,
    "input batch1 batch2 beta:number=1 alpha:number=1",
    Family.OTHER,
    "baddbmm.default",
)

# --- Attention -------------------------------------------------------------------------------------
_row(
    210, "attention", calls.attention,
    "query key value attn_mask? dropout_p:real=0 is_causal:flag=False scale:real?=None "
    "enable_gqa:flag=False",
    Family.ATTENTION, "scaled_dot_product_attention.default", trains=True,
)  # fmt: skip

# --- Constants and sizes ---------------------------------------------------------------------------
_row(220, "full", calls.full, "size:sizes value:number dtype:dtype", Family.FACTORY)
_row(221, "arange", calls.arange, "start:int end:int step:int dtype:dtype", Family.FACTORY)
_I = Family.INTEGER
_row(230, "size", calls.size, "input dim:int", _I, "sym_size.int")
for _number, _name, _call in (
    (231, "int_add", python.add),
    (232, "int_sub", python.sub),
    (233, "int_mul", python.mul),
    (234, "int_floordiv", python.floordiv),
    (235, "int_mod", python.mod),
):
    _row(_number, _name, _call, "left:int right:int", _I)

OPERATORS: dict[str, Operator] = {row.name: row for row in _ROWS}
BY_NUMBER: dict[int, Operator] = {row.number: row for row in _ROWS}
BY_ATEN: dict[str, Operator] = {name: row for row in _ROWS for name in row.aten}
