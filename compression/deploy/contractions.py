"""ONNX forms of contractions: dense layers, convolutions, embeddings, products, attention."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...graph.ir import PARAMETER, Ref
from .elementwise import binary, common, number
from .forms import form
from .writer import Writer


def transposed(weight: Tensor) -> Tensor:
    """A matrix with its axes exchanged."""
    return weight.T.contiguous()


def step_of_inputs(w: Writer, input: Ref) -> float | None:
    """The step of a layer's inputs, if they are codes of 8 bits."""
    codes = w.codes.get(input)
    return codes.step if codes is not None and codes.kind is np.uint8 else None


def weight_and_bias(
    w: Writer, input: Ref, weight: Ref, bias: Ref | None, change: Any = None
) -> list[str]:
    """The names of both, integers where they can be."""
    if weight.node.operator != PARAMETER:
        return [w(weight), *([] if bias is None else [w(bias)])]
    step_in, offsets = step_of_inputs(w, input), np.zeros(w.shape(weight)[0], np.float32)
    if bias is not None and bias.node.operator == PARAMETER:
        offsets = w.shapes.static(bias).detach().cpu().float().numpy()
    elif bias is not None:
        step_in = None
    name, step = w.weight(weight, change, step_in, offsets)
    return [name, *([] if bias is None else [w.bias(bias, step, step_in)])]


@form("linear")
def linear(w: Writer, input: Ref, weight: Ref, bias: Ref | None) -> str:
    if len(w.shape(input)) == 2:
        values = weight_and_bias(w, input, weight, bias)
        return w.op("Gemm", w(input), *values, transB=1)
    if weight.node.operator == PARAMETER and not w.shapes.is_shared(weight):
        values = weight_and_bias(w, input, weight, bias, transposed)
    else:  # stored as others take it
        values = [w.op("Transpose", w(weight), perm=[1, 0])]
        values += [] if bias is None else [w(bias)]
    product = w.op("MatMul", w(input), values[0])
    return product if bias is None else w.op("Add", product, values[1])


@form("conv1d", "conv2d", "conv3d")
def conv(
    w: Writer, input: Ref, weight: Ref, bias: Ref | None, stride: tuple[int, ...], padding: Any,
    dilation: tuple[int, ...], groups: int,
) -> str:  # fmt: skip
    _batched(w, input, weight)
    if padding == "same":
        totals = [d * (k - 1) for d, k in zip(dilation, w.shape(weight)[2:], strict=True)]
        pads = [total // 2 for total in totals] + [total - total // 2 for total in totals]
    else:
        pads = [*padding, *padding]
    values = weight_and_bias(w, input, weight, bias)
    return w.op(
        "Conv", w(input), *values, strides=stride, pads=pads, dilations=dilation, group=groups
    )


@form("conv_transpose1d", "conv_transpose2d", "conv_transpose3d")
def conv_transpose(
    w: Writer, input: Ref, weight: Ref, bias: Ref | None, stride: tuple[int, ...],
    padding: tuple[int, ...], output_padding: tuple[int, ...], groups: int,
    dilation: tuple[int, ...],
) -> str:  # fmt: skip
    _batched(w, input, weight)
    values = [w(weight), *([] if bias is None else [w(bias)])]
    return w.op(
        "ConvTranspose", w(input), *values, strides=stride, pads=[*padding, *padding],
        output_padding=output_padding, dilations=dilation, group=groups,
    )  # fmt: skip


def _batched(w: Writer, input: Ref, weight: Ref) -> None:
    if len(w.shape(input)) != len(w.shape(weight)):
        raise ValueError("takes inputs without a batch axis, which cannot be exported")


@form("embedding")
def embedding(w: Writer, weight: Ref, indices: Ref) -> str:
    return w.op("Gather", w(weight), w(indices), axis=0)


@form("matmul")
def matmul(w: Writer, input: Ref, other: Ref) -> str:
    return binary(w, "MatMul", input, other)


@form("addmm")
def addmm(w: Writer, input: Ref, mat1: Ref, mat2: Ref) -> str:
    return w.op("Add", w(input), w.op("MatMul", w(mat1), w(mat2)))


@form("baddbmm")
def baddbmm(w: Writer, input: Ref, batch1: Ref, batch2: Ref, beta: float, alpha: float) -> str:
    product = w.op("MatMul", w(batch1), w(batch2))
    if alpha != 1:
        product = w.op("Mul", product, number(w, alpha, batch1))
    start = w(input) if beta == 1 else w.op("Mul", w(input), number(w, beta, input))
    return product if beta == 0 else w.op("Add", start, product)


@form("bilinear")
def bilinear(w: Writer, input1: Ref, input2: Ref, weight: Ref, bias: Ref | None) -> str:
    """x1 [..., i], w [o, i, j], x2 [..., j]: x1 times w as [i, o j], that times x2."""
    outputs, size1, size2 = w.shape(weight)
    flat = w.op("Transpose", w(weight), perm=[1, 0, 2])
    flat = w.op("Reshape", flat, w.ints(size1, outputs * size2))
    first = w.op("MatMul", w(input1), flat)
    leading = len(w.shape(input1)) - 1
    first = w.op("Reshape", first, w.ints(*[0] * leading, outputs, size2))
    second = w.op("Unsqueeze", w(input2), w.ints(-1))
    product = w.op("Squeeze", w.op("MatMul", first, second), w.ints(-1))
    return product if bias is None else w.op("Add", product, w(bias))


@form("einsum")
def einsum(w: Writer, equation: str, tensors: tuple[Ref, ...]) -> str:
    dtype = w.shapes.dtype(tensors[0])
    for ref in tensors[1:]:
        dtype = torch.promote_types(dtype, w.shapes.dtype(ref))
    names = [w(ref, dtype) for ref in tensors]
    return w.op("Einsum", *names, equation=equation.replace(" ", ""))


@form("attention", "attention_dropout")
def attention(
    w: Writer, query: Ref, key: Ref, value: Ref, attn_mask: Ref | None, is_causal: bool,
    scale: float | None, enable_gqa: bool, **_: float,
) -> str:  # fmt: skip
    """softmax(query @ key^T * scale + mask) @ value."""
    shape, keys = w.shape(query), w.shape(key)
    k, v = w(key), w(value)
    if enable_gqa:
        k, v = (_repeat_heads(w, ref, shape[-3]) for ref in (key, value))
    rank = len(keys)
    k = w.op("Transpose", k, perm=[*range(rank - 2), rank - 1, rank - 2])
    factor = 1 / math.sqrt(shape[-1]) if scale is None else scale
    scores = w.op("MatMul", w.op("Mul", w(query), number(w, factor, query)), k)
    if is_causal:
        rows, columns = shape[-2], keys[-2]
        if rows is None or columns is None:
            raise ValueError("is causal over a length that depends on the batch")
        seen = w.constant(torch.ones(rows, columns, dtype=torch.bool).tril())
        scores = w.op("Where", seen, scores, number(w, -math.inf, query))
    if attn_mask is not None and w.shapes.dtype(attn_mask) == torch.bool:
        scores = w.op("Where", w(attn_mask), scores, number(w, -math.inf, query))
    elif attn_mask is not None:
        scores = w.op("Add", scores, w(attn_mask, common(w, query, key)))
    return w.op("MatMul", w.op("Softmax", scores, axis=-1), v)


def _repeat_heads(w: Writer, ref: Ref, heads: int | None) -> str:
    own = w.shape(ref)[-3]
    if own is None or heads is None:
        raise ValueError("shares keys among heads whose number depends on the batch")
    places = torch.arange(own).repeat_interleave(heads // own)
    return w.op("Gather", w(ref), w.constant(places), axis=len(w.shape(ref)) - 3)
