"""The operator table: one row for each operator that a graph may hold.

A new operator is one row, a number that nobody has had, and its tests: see docs/graph.md. Numbers
stand in compressed files, so that they are never changed and never used again. The functions are
loaded when something is computed (`later`), because reading a file needs the rows alone.
"""

from __future__ import annotations

import operator as python
from collections.abc import Callable
from typing import Any

from .later import Later
from .operators import Family, Operator, parse_arguments

torch, F = Later("torch"), Later("torch.nn.functional")
calls, products = Later(f"{__package__}.calls"), Later(f"{__package__}.products")

_ROWS: list[Operator] = []


def _row(
    number: int,
    name: str,
    call: Callable | Later,
    arguments: str,
    family: Family,
    aten: str = "",
    **traits: Any,
) -> None:
    parsed = parse_arguments(arguments)
    _ROWS.append(Operator(number, name, family, call, parsed, tuple(aten.split()), **traits))


_CONTRACT, _RECURRENT, _OTHER, _EACH, _MOVE = (
    Family.CONTRACT,
    Family.RECURRENT,
    Family.OTHER,
    Family.ELEMENTWISE,
    Family.MOVE,
)
_CHANNELS, _GROUPS, _WINDOW, _REDUCE, _ALONG = (
    Family.CHANNEL_NORM,
    Family.GROUP_NORM,
    Family.WINDOW,
    Family.REDUCE,
    Family.ALONG,
)

# Arguments that several rows share.
_CONV = "input weight bias? stride:ints{0}=1 padding:pads{0}=0 dilation:ints{0}=1 groups:int=1"
_CONV_UP = "input weight bias? stride:ints{0}=1 padding:ints{0}=0 output_padding:ints{0}=0 groups:int=1 dilation:ints{0}=1"
_RNN = "input hx params* has_biases:flag num_layers:int dropout:real=0 bidirectional:flag=False batch_first:flag=False"
_LSTM = _RNN.replace("hx", "hx*")
_NORM = "input weight? bias? running_mean running_var momentum:real=0.1 eps:real=1e-5"
_MAX_POOL = "input kernel_size:ints{0} stride:ints{0}=0 padding:ints{0}=0 dilation:ints{0}=1 ceil_mode:flag=False"
_AVG_POOL = "input kernel_size:ints{0} stride:ints{0}=0 padding:ints{0}=0 ceil_mode:flag=False count_include_pad:flag=True divisor_override:int?=None"
_RESIZE = "input size:ints?=None scale:ints?=None mode:text=nearest align_corners:flag=False"
_BOTH = "input other~"
_REDUCED = "input dim:ints? keepdim:flag=False"

# Traits that several rows share.
_WB = {"weights": ("weight",), "vectors": ("bias",)}
_DENSE = {**_WB, "rule": products.dense}
_KERNEL = {**_WB, "rule": products.convolution}
_KERNEL_UP = {**_WB, "rule": products.transposed_convolution}
_SCALES = {"vectors": ("weight", "bias")}
_PARAMS = {
    "weights": ("params",),
    "vectors": ("params",),
    "trains": True,
    "rule": products.recurrent,
}
_MOVES = {"zero": True, "shifts": True}

# fmt: off
# --- Contractions: sums over an axis, weighted by a parameter ---------------------------------------
_row(1, "linear", F.linear, "input weight bias?", _CONTRACT, "linear.default", **_DENSE)
_row(2, "conv1d", torch.conv1d, _CONV.format(1), _CONTRACT, "conv1d.default conv1d.padding", **_KERNEL)
_row(3, "conv2d", torch.conv2d, _CONV.format(2), _CONTRACT, "conv2d.default conv2d.padding", **_KERNEL)
_row(4, "conv3d", torch.conv3d, _CONV.format(3), _CONTRACT, "conv3d.default conv3d.padding", **_KERNEL)
_row(5, "conv_transpose1d", torch.conv_transpose1d, _CONV_UP.format(1), _CONTRACT, "conv_transpose1d.default", **_KERNEL_UP)
_row(6, "conv_transpose2d", torch.conv_transpose2d, _CONV_UP.format(2), _CONTRACT, "conv_transpose2d.input", **_KERNEL_UP)
_row(7, "conv_transpose3d", torch.conv_transpose3d, _CONV_UP.format(3), _CONTRACT, "conv_transpose3d.input", **_KERNEL_UP)
_row(8, "embedding", calls.embedding, "weight indices", _CONTRACT, "embedding.default", weights=("weight",), onnx="Gather", rule=products.embedding)
_row(9, "matmul", torch.matmul, "input other", _CONTRACT, "matmul.default", zero=True, onnx="MatMul", rule=products.matmul)
_row(10, "addmm", torch.addmm, "input mat1 mat2", _CONTRACT, "addmm.default", vectors=("input",), zero=True, rule=products.addmm)
_row(11, "bilinear", F.bilinear, "input1 input2 weight bias?", _OTHER, "bilinear.default", **_WB, rule=products.bilinear)

# --- Recurrent layers --------------------------------------------------------------------------------
_row(12, "lstm", calls.lstm, _LSTM, _RECURRENT, "lstm.input", results=3, **_PARAMS)
_row(13, "gru", calls.recurrent("gru"), _RNN, _RECURRENT, "gru.input", results=2, **_PARAMS)
_row(14, "rnn_tanh", calls.recurrent("rnn_tanh"), _RNN, _RECURRENT, "rnn_tanh.input", results=2, **_PARAMS)
_row(15, "rnn_relu", calls.recurrent("rnn_relu"), _RNN, _RECURRENT, "rnn_relu.input", results=2, **_PARAMS)

# --- Norms -------------------------------------------------------------------------------------------
_row(16, "batch_norm", calls.batch_norm, _NORM, _CHANNELS, "batch_norm.default", trains=True, vectors=("weight", "bias", "running_mean", "running_var"))
_row(17, "layer_norm", F.layer_norm, "input normalized_shape:ints weight? bias? eps:real=1e-5", _OTHER, "layer_norm.default", **_SCALES)
_row(18, "group_norm", F.group_norm, "input num_groups:int weight? bias? eps:real=1e-5", _GROUPS, "group_norm.default", **_SCALES)
_row(19, "instance_norm", calls.instance_norm, "input weight? bias? eps:real=1e-5", _GROUPS, "instance_norm.default", **_SCALES)
_row(20, "rms_norm", F.rms_norm, "input normalized_shape:ints weight? eps:real?=None", _OTHER, "rms_norm.default", vectors=("weight",), zero=True)
#: What is left of a BatchNorm in eval mode that no convolution can take in.
_row(21, "affine", calls.affine, "input weight bias", _CHANNELS, **_SCALES)
_row(22, "weight_norm", torch._weight_norm, "v g dim:int=0", _OTHER, "_weight_norm.default")

# --- Functions of each number ------------------------------------------------------------------------
_row(30, "relu", torch.relu, "input", _EACH, "relu.default", zero=True, onnx="Relu")
_row(31, "tanh", torch.tanh, "input", _EACH, "tanh.default", zero=True, onnx="Tanh")
_row(32, "sigmoid", torch.sigmoid, "input", _EACH, "sigmoid.default", onnx="Sigmoid")
_row(33, "silu", F.silu, "input", _EACH, "silu.default", zero=True)
_row(34, "mish", F.mish, "input", _EACH, "mish.default", zero=True, onnx="Mish")
_row(35, "hardswish", F.hardswish, "input", _EACH, "hardswish.default", zero=True, onnx="HardSwish")
_row(36, "hardsigmoid", F.hardsigmoid, "input", _EACH, "hardsigmoid.default")
_row(37, "relu6", F.relu6, "input", _EACH, "relu6.default", zero=True)
_row(38, "selu", torch.selu, "input", _EACH, "selu.default", zero=True, onnx="Selu")
_row(39, "log_sigmoid", F.logsigmoid, "input", _EACH, "log_sigmoid.default")
_row(40, "exp", torch.exp, "input", _EACH, "exp.default", onnx="Exp")
_row(41, "log", torch.log, "input", _EACH, "log.default", onnx="Log")
_row(42, "sqrt", torch.sqrt, "input", _EACH, "sqrt.default", zero=True, onnx="Sqrt")
_row(43, "rsqrt", torch.rsqrt, "input", _EACH, "rsqrt.default")
_row(44, "abs", torch.abs, "input", _EACH, "abs.default", zero=True, onnx="Abs")
_row(45, "neg", torch.neg, "input", _EACH, "neg.default", zero=True, onnx="Neg")
_row(46, "sin", torch.sin, "input", _EACH, "sin.default", zero=True, onnx="Sin")
_row(47, "cos", torch.cos, "input", _EACH, "cos.default", onnx="Cos")
_row(48, "erf", torch.erf, "input", _EACH, "erf.default", zero=True, onnx="Erf")
_row(49, "reciprocal", torch.reciprocal, "input", _EACH, "reciprocal.default", onnx="Reciprocal")
_row(50, "square", torch.square, "input", _EACH, "square.default", zero=True)
_row(51, "floor", torch.floor, "input", _EACH, "floor.default", zero=True, jumps=True, onnx="Floor")
_row(52, "round", torch.round, "input", _EACH, "round.default", zero=True, jumps=True, onnx="Round")
_row(53, "sign", torch.sign, "input", _EACH, "sign.default", zero=True, jumps=True, onnx="Sign")
_row(54, "logical_not", torch.logical_not, "input", _EACH, "logical_not.default", jumps=True)
_row(55, "log1p", torch.log1p, "input", _EACH, "log1p.default", zero=True)
_row(56, "expm1", torch.expm1, "input", _EACH, "expm1.default", zero=True)
_row(57, "ceil", torch.ceil, "input", _EACH, "ceil.default", zero=True, jumps=True, onnx="Ceil")
_row(58, "bitwise_not", torch.bitwise_not, "input", _EACH, "bitwise_not.default")
_row(59, "tan", torch.tan, "input", _EACH, "tan.default", zero=True, onnx="Tan")
_row(60, "atan", torch.atan, "input", _EACH, "atan.default", zero=True, onnx="Atan")
_row(70, "leaky_relu", F.leaky_relu, "input negative_slope:real=0.01", _EACH, "leaky_relu.default", zero=True)
_row(71, "elu", F.elu, "input alpha:real=1", _EACH, "elu.default", zero=True)
_row(72, "celu", F.celu, "input alpha:real=1", _EACH, "celu.default", zero=True)
_row(73, "gelu", calls.gelu, "input approximate:text=none", _EACH, "gelu.default", zero=True)
_row(74, "softplus", F.softplus, "input beta:real=1 threshold:real=20", _EACH, "softplus.default")
_row(75, "hardtanh", F.hardtanh, "input min_val:real=-1 max_val:real=1", _EACH, "hardtanh.default")
_row(76, "clamp", torch.clamp, "input min:real?=None max:real?=None", _EACH, "clamp.default")
_row(77, "threshold", F.threshold, "input threshold:real value:real", _EACH, "threshold.default", jumps=True)
_row(78, "prelu", F.prelu, "input weight", _EACH, "prelu.default", vectors=("weight",), zero=True)
_row(79, "softshrink", F.softshrink, "input lambd:real=0.5", _EACH, "softshrink.default", zero=True)
_row(80, "hardshrink", F.hardshrink, "input lambd:real=0.5", _EACH, "hardshrink.default", zero=True, jumps=True)
_row(81, "dropout", calls.dropout, "input p:real=0.5", _EACH, "dropout.default", trains=True, zero=True)
_row(82, "feature_dropout", calls.feature_dropout, "input p:real=0.5", _EACH, "feature_dropout.default", trains=True, zero=True)
_row(83, "alpha_dropout", calls.alpha_dropout, "input p:real=0.5", _EACH, "alpha_dropout.default", trains=True)
#: A ReLU whose outputs are multiples of a step: `step * clamp(round(x / step), 0, 2^bits - 1)`.
_row(84, "quantised_relu", calls.quantised_relu, "input step:real bits:int", _EACH, zero=True, jumps=True)
_row(85, "to", calls.to, "input dtype:dtype", _EACH, zero=True, jumps=True)
_row(86, "nan_to_num", torch.nan_to_num, "input nan:real?=None posinf:real?=None neginf:real?=None", _EACH, "nan_to_num.default", zero=True)
_row(90, "add", torch.add, _BOTH, _EACH, "add.Tensor", zero=True, onnx="Add")
_row(91, "sub", torch.sub, _BOTH, _EACH, "sub.Tensor", zero=True, onnx="Sub")
_row(92, "mul", torch.mul, _BOTH, _EACH, "mul.Tensor", zero=True, onnx="Mul")
_row(93, "div", torch.div, _BOTH, _EACH, "div.Tensor", onnx="Div")
_row(94, "pow", torch.pow, _BOTH, _EACH, "pow.Tensor_Scalar pow.Tensor_Tensor", onnx="Pow")
_row(95, "maximum", torch.maximum, "input other", _EACH, "maximum.default max.other", zero=True, onnx="Max")
_row(96, "minimum", torch.minimum, "input other", _EACH, "minimum.default min.other", zero=True, onnx="Min")
_row(97, "rsub", torch.rsub, _BOTH, _EACH, "rsub.Tensor rsub.Scalar", zero=True)
_row(98, "eq", torch.eq, _BOTH, _EACH, "eq.Tensor eq.Scalar", jumps=True, onnx="Equal")
_row(99, "ne", torch.ne, _BOTH, _EACH, "ne.Tensor ne.Scalar", jumps=True, zero=True)
_row(100, "lt", torch.lt, _BOTH, _EACH, "lt.Tensor lt.Scalar", jumps=True, zero=True, onnx="Less")
_row(101, "le", torch.le, _BOTH, _EACH, "le.Tensor le.Scalar", jumps=True, onnx="LessOrEqual")
_row(102, "gt", torch.gt, _BOTH, _EACH, "gt.Tensor gt.Scalar", jumps=True, zero=True, onnx="Greater")
_row(103, "ge", torch.ge, _BOTH, _EACH, "ge.Tensor ge.Scalar", jumps=True, onnx="GreaterOrEqual")
_row(104, "logical_and", torch.logical_and, "input other", _EACH, "logical_and.default", jumps=True, zero=True)
_row(105, "logical_or", torch.logical_or, "input other", _EACH, "logical_or.default", jumps=True, zero=True)
_row(106, "bitwise_and", torch.bitwise_and, _BOTH, _EACH, "bitwise_and.Tensor bitwise_and.Scalar __and__.Tensor __and__.Scalar", zero=True)
_row(107, "bitwise_or", torch.bitwise_or, _BOTH, _EACH, "bitwise_or.Tensor bitwise_or.Scalar __or__.Tensor __or__.Scalar", zero=True)
_row(108, "remainder", torch.remainder, _BOTH, _EACH, "remainder.Tensor remainder.Scalar", jumps=True)
_row(109, "floor_divide", torch.floor_divide, _BOTH, _EACH, "floor_divide.default", jumps=True)
_row(110, "where", torch.where, "condition input~ other~", _EACH, "where.self where.ScalarOther where.ScalarSelf where.Scalar", zero=True, onnx="Where")
_row(111, "masked_fill", torch.masked_fill, "input mask value:number", _EACH)
_row(112, "rpow", calls.rpow, "exponent base:number", _EACH)

# --- Windows: each channel by itself -----------------------------------------------------------------
_row(120, "max_pool1d", calls.max_pool(1), _MAX_POOL.format(1), _WINDOW, **_MOVES)
_row(121, "max_pool2d", calls.max_pool(2), _MAX_POOL.format(2), _WINDOW, **_MOVES)
_row(122, "max_pool3d", calls.max_pool(3), _MAX_POOL.format(3), _WINDOW, **_MOVES)
_row(123, "avg_pool1d", calls.avg_pool(1), _AVG_POOL.format(1), _WINDOW, **_MOVES)
_row(124, "avg_pool2d", calls.avg_pool(2), _AVG_POOL.format(2), _WINDOW, **_MOVES)
_row(125, "avg_pool3d", calls.avg_pool(3), _AVG_POOL.format(3), _WINDOW, **_MOVES)
_row(126, "adaptive_avg_pool1d", F.adaptive_avg_pool1d, "input output_size:ints1", _WINDOW, "adaptive_avg_pool1d.default", **_MOVES)
_row(127, "adaptive_avg_pool2d", F.adaptive_avg_pool2d, "input output_size:ints2", _WINDOW, "adaptive_avg_pool2d.default", **_MOVES)
_row(128, "adaptive_avg_pool3d", F.adaptive_avg_pool3d, "input output_size:ints3", _WINDOW, "adaptive_avg_pool3d.default", **_MOVES)
_row(129, "adaptive_max_pool1d", F.adaptive_max_pool1d, "input output_size:ints1", _WINDOW, **_MOVES)
_row(130, "adaptive_max_pool2d", F.adaptive_max_pool2d, "input output_size:ints2", _WINDOW, **_MOVES)
_row(131, "adaptive_max_pool3d", F.adaptive_max_pool3d, "input output_size:ints3", _WINDOW, **_MOVES)
_row(140, "interpolate", calls.interpolate, _RESIZE, _WINDOW, **_MOVES)

# --- Reductions and functions along an axis ----------------------------------------------------------
_row(150, "mean", calls.reduction("mean"), _REDUCED, _REDUCE, **_MOVES)
_row(151, "sum", calls.reduction("sum"), _REDUCED, _REDUCE, zero=True)
_row(152, "amax", calls.reduction("amax"), _REDUCED, _REDUCE, **_MOVES)
_row(153, "amin", calls.reduction("amin"), _REDUCED, _REDUCE, **_MOVES)
_row(154, "var", calls.variance, "input dim:ints? correction:real=1 keepdim:flag=False", _REDUCE, zero=True)
_row(155, "vector_norm", torch.linalg.vector_norm, "input ord:real=2 dim:ints?=None keepdim:flag=False", _REDUCE, zero=True)
_row(156, "argmax", torch.argmax, "input dim:int? keepdim:flag=False", _OTHER, "argmax.default")
_row(160, "softmax", torch.softmax, "input dim:int", _ALONG)
_row(161, "log_softmax", torch.log_softmax, "input dim:int", _ALONG)
_row(162, "cumsum", torch.cumsum, "input dim:int", _ALONG, zero=True)

# --- Movements ---------------------------------------------------------------------------------------
_row(170, "reshape", torch.reshape, "input shape:sizes", _MOVE, **_MOVES)
_row(171, "flatten", torch.flatten, "input start_dim:int=1 end_dim:int=-1", _MOVE, **_MOVES)
_row(172, "transpose", torch.transpose, "input dim0:int dim1:int", _MOVE, "transpose.int", **_MOVES)
_row(173, "permute", torch.permute, "input dims:ints", _MOVE, "permute.default", **_MOVES)
_row(174, "unsqueeze", torch.unsqueeze, "input dim:int", _MOVE, "unsqueeze.default", **_MOVES)
_row(175, "squeeze", torch.squeeze, "input dim:ints", _MOVE, **_MOVES)
_row(176, "expand", calls.expand, "input size:sizes", _MOVE, "expand.default", **_MOVES)
_row(177, "cat", torch.cat, "tensors* dim:int=0", _MOVE, "cat.default concatenate.default concat.default", **_MOVES)
_row(178, "stack", torch.stack, "tensors* dim:int=0", _MOVE, "stack.default", **_MOVES)
_row(179, "split", calls.split, "input sizes:ints dim:int=0", _MOVE, results=0, **_MOVES)
_row(180, "slice", calls.slice_, "input dim:int=0 start:int=0 end:int?=None step:int=1", _MOVE, **_MOVES)
_row(181, "select", torch.select, "input dim:int index:int", _MOVE, **_MOVES)
_row(182, "unbind", torch.unbind, "input dim:int=0", _MOVE, results=0, **_MOVES)
_row(183, "pad", calls.pad, "input pad:ints mode:text=constant value:real=0", _MOVE)
_row(184, "flip", torch.flip, "input dims:ints", _MOVE, "flip.default", **_MOVES)
_row(185, "roll", torch.roll, "input shifts:ints dims:ints", _MOVE, "roll.default", **_MOVES)
_row(186, "repeat", calls.repeat, "input repeats:ints", _MOVE, "repeat.default", **_MOVES)
_row(187, "pick", calls.pick, "input kept", _MOVE, **_MOVES)
_row(188, "pixel_shuffle", F.pixel_shuffle, "input upscale_factor:int", _MOVE, "pixel_shuffle.default", **_MOVES)
_row(189, "pixel_unshuffle", F.pixel_unshuffle, "input downscale_factor:int", _MOVE, "pixel_unshuffle.default", **_MOVES)
_row(190, "index_select", torch.index_select, "input dim:int index", _OTHER, "index_select.default", zero=True)
_row(191, "gather", torch.gather, "input dim:int index", _OTHER, "gather.default", zero=True)
_row(192, "tril", torch.tril, "input diagonal:int=0", _OTHER, "tril.default", zero=True)
_row(193, "triu", torch.triu, "input diagonal:int=0", _OTHER, "triu.default", zero=True)
_row(194, "repeat_interleave", torch.repeat_interleave, "input repeats:int dim:int?=None", _MOVE, "repeat_interleave.self_int", **_MOVES)
_row(195, "index", calls.index, "input indices*", _OTHER, zero=True)
_row(196, "topk", calls.topk, "input k:int dim:int=-1 largest:flag=True", _OTHER, "topk.default", results=2)
_row(197, "max_along", calls.max_along, "input dim:int keepdim:flag=False", _OTHER, results=2)
_row(198, "min_along", calls.min_along, "input dim:int keepdim:flag=False", _OTHER, results=2)
_row(199, "unfold", F.unfold, "input kernel_size:ints2 dilation:ints2 padding:ints2 stride:ints2", _OTHER, "im2col.default", zero=True)
_row(200, "glu", F.glu, "input dim:int=-1", _OTHER, "glu.default", zero=True)
_row(201, "einsum", calls.einsum, "equation:text tensors*", _OTHER, "einsum.default", zero=True)
_row(202, "baddbmm", calls.baddbmm, "input batch1 batch2 beta:number=1 alpha:number=1", _OTHER, "baddbmm.default", zero=True)

# --- Attention ---------------------------------------------------------------------------------------
_row(210, "attention", calls.attention, "query key value attn_mask? is_causal:flag=False scale:real?=None enable_gqa:flag=False", Family.ATTENTION, "scaled_dot_product_attention.default")

# --- Constants and sizes -----------------------------------------------------------------------------
_row(220, "full", calls.full, "size:sizes value:number dtype:dtype", Family.FACTORY)
_row(221, "arange", calls.arange, "start:size end:size step:size dtype:dtype", Family.FACTORY)
_row(230, "size", calls.size, "input dim:int", Family.INTEGER, "sym_size.int")
_row(231, "int_add", python.add, "left:int right:int", Family.INTEGER)
_row(232, "int_sub", python.sub, "left:int right:int", Family.INTEGER)
_row(233, "int_mul", python.mul, "left:int right:int", Family.INTEGER)
_row(234, "int_floordiv", python.floordiv, "left:int right:int", Family.INTEGER)
_row(235, "int_mod", python.mod, "left:int right:int", Family.INTEGER)

# --- Added later, in the order of their numbers ------------------------------------------------------
_row(250, "isnan", torch.isnan, "input", _EACH, "isnan.default", zero=True, onnx="IsNaN")
_row(251, "isinf", torch.isinf, "input", _EACH, "isinf.default", zero=True, onnx="IsInf")
_row(252, "erfc", torch.erfc, "input", _EACH, "erfc.default special_erfc.default")
_row(253, "exp2", torch.exp2, "input", _EACH, "exp2.default special_exp2.default")
_row(254, "log2", torch.log2, "input", _EACH, "log2.default")
_row(255, "log10", torch.log10, "input", _EACH, "log10.default")
_row(256, "trunc", torch.trunc, "input", _EACH, "trunc.default fix.default", zero=True, jumps=True)
_row(257, "frac", torch.frac, "input", _EACH, "frac.default", zero=True, jumps=True)
_row(258, "asin", torch.asin, "input", _EACH, "asin.default arcsin.default", zero=True, onnx="Asin")
_row(259, "acos", torch.acos, "input", _EACH, "acos.default arccos.default", onnx="Acos")
_row(260, "sinh", torch.sinh, "input", _EACH, "sinh.default", zero=True, onnx="Sinh")
_row(261, "cosh", torch.cosh, "input", _EACH, "cosh.default", onnx="Cosh")
_row(262, "asinh", torch.asinh, "input", _EACH, "asinh.default arcsinh.default", zero=True, onnx="Asinh")
_row(263, "acosh", torch.acosh, "input", _EACH, "acosh.default arccosh.default", onnx="Acosh")
_row(264, "atanh", torch.atanh, "input", _EACH, "atanh.default arctanh.default", zero=True, onnx="Atanh")
_row(265, "logit", torch.logit, "input eps:real?=None", _EACH, "logit.default special_logit.default")
_row(266, "lgamma", torch.lgamma, "input", _EACH, "lgamma.default special_gammaln.default")
_row(267, "atan2", torch.atan2, "input other", _EACH, "atan2.default arctan2.default", zero=True, jumps=True)
_row(268, "fmod", torch.fmod, _BOTH, _EACH, "fmod.Tensor fmod.Scalar", jumps=True)
_row(269, "logical_xor", torch.logical_xor, "input other", _EACH, "logical_xor.default", zero=True, jumps=True)
_row(270, "bitwise_xor", torch.bitwise_xor, _BOTH, _EACH, "bitwise_xor.Tensor bitwise_xor.Scalar __xor__.Tensor __xor__.Scalar", zero=True)
_row(271, "hypot", torch.hypot, "input other", _EACH, "hypot.default", zero=True)
_row(272, "lerp", torch.lerp, "input end weight~", _EACH, "lerp.Tensor lerp.Scalar", zero=True)
_row(273, "addcmul", calls.addcmul, "input tensor1 tensor2 value:number=1", _EACH, "addcmul.default", zero=True)
_row(274, "addcdiv", calls.addcdiv, "input tensor1 tensor2 value:number=1", _EACH, "addcdiv.default")
_row(280, "prod", calls.prod, _REDUCED, _REDUCE, zero=True)
_row(281, "logsumexp", calls.reduction("logsumexp"), _REDUCED, _REDUCE)
_row(282, "any", calls.reduction("any"), _REDUCED, _REDUCE, zero=True)
_row(283, "all", calls.reduction("all"), _REDUCED, _REDUCE, zero=True)
_row(284, "argmin", torch.argmin, "input dim:int? keepdim:flag=False", _OTHER, "argmin.default")
_row(285, "cumprod", torch.cumprod, "input dim:int", _ALONG, zero=True)
_row(290, "diagonal", torch.diagonal, "input offset:int=0 dim1:int=0 dim2:int=1", _OTHER, "diagonal.default", zero=True)
_row(291, "windows", calls.windows, "input dimension:int size:int step:int", _OTHER, "unfold.default", zero=True)
_row(292, "fold", F.fold, "input output_size:ints2 kernel_size:ints2 dilation:ints2 padding:ints2 stride:ints2", _OTHER, "col2im.default", zero=True)
_row(293, "sort", calls.sort, "input dim:int=-1 descending:flag=False", _OTHER, "sort.default sort.stable", results=2)
_row(294, "grid_sample", torch.grid_sampler, "input grid interpolation_mode:int padding_mode:int align_corners:flag", _OTHER, "grid_sampler.default")
_row(295, "scatter", torch.scatter, "input dim:int index src~", _OTHER, zero=True)
_row(296, "scatter_add", torch.scatter_add, "input dim:int index src", _OTHER, "scatter_add.default", zero=True)
_row(297, "index_put", calls.index_put, "input indices* values accumulate:flag=False", _OTHER, "index_put.default", zero=True)
_row(298, "one_hot", calls.one_hot, "input num_classes:int", _OTHER, "one_hot.default")
_row(299, "slice_scatter", torch.slice_scatter, "input src dim:int=0 start:int?=None end:int?=None step:int=1", _OTHER, "slice_scatter.default", zero=True)
_row(300, "select_scatter", torch.select_scatter, "input src dim:int index:int", _OTHER, "select_scatter.default", zero=True)
_row(301, "cdist", torch.cdist, "x1 x2 p:real=2", _OTHER, "cdist.default", zero=True)
_row(302, "linspace", calls.linspace, "start:number end:number steps:int dtype:dtype", Family.FACTORY)
_row(303, "eye", calls.eye, "rows:int columns:int dtype:dtype", Family.FACTORY)
_row(304, "linalg_cross", calls.cross, "input other dim:int=-1", _OTHER, "linalg_cross.default", zero=True)
_row(305, "feature_alpha_dropout", calls.feature_alpha_dropout, "input p:real=0.5", _EACH, trains=True)
_row(306, "attention_dropout", calls.attention_dropout, "query key value attn_mask? is_causal:flag=False scale:real?=None enable_gqa:flag=False p:real=0.5", Family.ATTENTION, trains=True)
_row(307, "rrelu", calls.rrelu, "input lower:real=0.125 upper:real=0.3333333333333333", _EACH, zero=True, trains=True)
# fmt: on

OPERATORS: dict[str, Operator] = {row.name: row for row in _ROWS}
BY_NUMBER: dict[int, Operator] = {row.number: row for row in _ROWS}
BY_ATEN: dict[str, Operator] = {name: row for row in _ROWS for name in row.aten}
