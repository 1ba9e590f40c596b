"""How the operators are computed that torch has under another name or with other arguments.

Every function takes its arguments by position, in the order of its row in `table`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


def embedding(weight: Tensor, indices: Tensor) -> Tensor:
    return F.embedding(indices, weight)


def lstm(
    input: Tensor, hx: Sequence[Tensor], params: Sequence[Tensor], has_biases: bool,
    num_layers: int, dropout: float, bidirectional: bool, batch_first: bool, training: bool = False,
) -> tuple[Tensor, ...]:  # fmt: skip
    flags = (has_biases, num_layers, float(dropout), training, bidirectional, batch_first)
    return torch.lstm(input, list(hx), list(params), *flags)


def recurrent(name: str) -> Callable[..., tuple[Tensor, ...]]:
    """The call of "gru", "rnn_tanh" or "rnn_relu"."""
    function = getattr(torch, name)

    def call(
        input: Tensor, hx: Tensor, params: Sequence[Tensor], has_biases: bool, num_layers: int,
        dropout: float, bidirectional: bool, batch_first: bool, training: bool = False,
    ) -> tuple[Tensor, ...]:  # fmt: skip
        flags = (has_biases, num_layers, float(dropout), training, bidirectional, batch_first)
        return function(input, hx, list(params), *flags)

    return call


def batch_norm(
    input: Tensor, weight: Tensor | None, bias: Tensor | None, mean: Tensor, var: Tensor,
    momentum: float, eps: float, training: bool = False,
) -> Tensor:  # fmt: skip
    return F.batch_norm(input, mean, var, weight, bias, training, momentum, eps)


def instance_norm(input: Tensor, weight: Tensor | None, bias: Tensor | None, eps: float) -> Tensor:
    return F.instance_norm(input, None, None, weight, bias, True, 0.1, eps)


def affine(input: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """`weight * input + bias`, channel by channel: both of shape (channels,), axis 1 of input."""
    shape = (-1, *[1] * (input.dim() - 2))
    return input * weight.reshape(shape) + bias.reshape(shape)


def gelu(input: Tensor, approximate: str) -> Tensor:
    return F.gelu(input, approximate=approximate)


def dropout(input: Tensor, p: float, training: bool = False) -> Tensor:
    return F.dropout(input, p, training)


def feature_dropout(input: Tensor, p: float, training: bool = False) -> Tensor:
    return torch.feature_dropout(input, p, training)


def alpha_dropout(input: Tensor, p: float, training: bool = False) -> Tensor:
    return F.alpha_dropout(input, p, training)


def quantised_relu(input: Tensor, step: float, bits: int) -> Tensor:
    return torch.clamp(torch.round(input / step), 0, 2**bits - 1) * step


def to(input: Tensor, dtype: str) -> Tensor:
    return input.to(getattr(torch, dtype))


def rpow(exponent: Tensor, base: float) -> Tensor:
    return torch.pow(base, exponent)


def max_pool(dims: int) -> Callable[..., Tensor]:
    function = getattr(F, f"max_pool{dims}d")

    def call(input, kernel_size, stride, padding, dilation, ceil_mode):
        return function(
            input, kernel_size, stride_of(stride, kernel_size), padding, dilation, ceil_mode
        )

    return call


def avg_pool(dims: int) -> Callable[..., Tensor]:
    function = getattr(F, f"avg_pool{dims}d")

    def call(input, kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override):
        stride = stride_of(stride, kernel_size)
        arguments = (kernel_size, stride, padding, ceil_mode, count_include_pad)
        if dims == 1:
            return function(input, *arguments)
        return function(input, *arguments, divisor_override)

    return call


def stride_of(stride: tuple[int, ...], kernel_size: tuple[int, ...]) -> tuple[int, ...]:
    """The stride of a pooling; zeros stand for the size of its kernel."""
    return stride if any(stride) else kernel_size


def interpolate(
    input: Tensor, size: tuple[int, ...] | None, scale: tuple[int, ...] | None, mode: str,
    align_corners: bool,
) -> Tensor:  # fmt: skip
    factor = None if scale is None else [float(s) for s in scale]
    aligned = None if mode.startswith("nearest") else align_corners
    return F.interpolate(input, size, factor, mode, aligned)


def reduction(name: str) -> Callable[..., Tensor]:
    function = getattr(torch, name)

    def call(input: Tensor, dim: tuple[int, ...] | None, keepdim: bool) -> Tensor:
        return function(input, tuple(range(input.dim())) if dim is None else dim, keepdim=keepdim)

    return call


def variance(
    input: Tensor, dim: tuple[int, ...] | None, correction: float, keepdim: bool
) -> Tensor:
    return torch.var(input, dim, correction=correction, keepdim=keepdim)


def expand(input: Tensor, size: tuple[int, ...]) -> Tensor:
    return input.expand(size)


def split(input: Tensor, sizes: tuple[int, ...], dim: int) -> tuple[Tensor, ...]:
    return torch.split(input, list(sizes), dim)


def slice_(input: Tensor, dim: int, start: int, end: int | None, step: int) -> Tensor:
    index = [slice(None)] * (dim % input.dim()) + [slice(start, end, step)]
    return input[tuple(index)]


def pad(input: Tensor, pad: tuple[int, ...], mode: str, value: float) -> Tensor:
    return F.pad(input, pad, mode, value if mode == "constant" else None)


def repeat(input: Tensor, repeats: tuple[int, ...]) -> Tensor:
    return input.repeat(repeats)


def pick(input: Tensor, kept: Tensor) -> Tensor:
    """The entries of the last axis where `kept`, bool of shape (n,), is true."""
    return input[..., kept]


def index(input: Tensor, indices: Sequence[Tensor]) -> Tensor:
    return input[tuple(indices)]


def topk(input: Tensor, k: int, dim: int, largest: bool) -> tuple[Tensor, ...]:
    return tuple(torch.topk(input, k, dim, largest))


def max_along(input: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, ...]:
    return tuple(torch.max(input, dim, keepdim))


def min_along(input: Tensor, dim: int, keepdim: bool) -> tuple[Tensor, ...]:
    return tuple(torch.min(input, dim, keepdim))


def einsum(equation: str, tensors: Sequence[Tensor]) -> Tensor:
    return torch.einsum(equation, *tensors)


def baddbmm(input: Tensor, batch1: Tensor, batch2: Tensor, beta: float, alpha: float) -> Tensor:
    return torch.baddbmm(input, batch1, batch2, beta=beta, alpha=alpha)


def attention(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool,
    scale: float | None, enable_gqa: bool,
) -> Tensor:  # fmt: skip
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask, 0.0, is_causal, scale=scale, enable_gqa=enable_gqa
    )


def attention_dropout(
    query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None, is_causal: bool,
    scale: float | None, enable_gqa: bool, p: float, training: bool = False,
) -> Tensor:  # fmt: skip
    return F.scaled_dot_product_attention(
        query, key, value, attn_mask, p if training else 0.0, is_causal, scale=scale,
        enable_gqa=enable_gqa,
    )  # fmt: skip


def rrelu(input: Tensor, lower: float, upper: float, training: bool = False) -> Tensor:
    return F.rrelu(input, lower, upper, training)


def addcmul(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: float) -> Tensor:
    return torch.addcmul(input, tensor1, tensor2, value=value)


def addcdiv(input: Tensor, tensor1: Tensor, tensor2: Tensor, value: float) -> Tensor:
    return torch.addcdiv(input, tensor1, tensor2, value=value)


def prod(input: Tensor, dim: tuple[int, ...] | None, keepdim: bool) -> Tensor:
    dims = {d % input.dim() for d in (range(input.dim()) if dim is None else dim)}
    for d in sorted(dims, reverse=True):
        input = torch.prod(input, d, keepdim)
    return input


def windows(input: Tensor, dimension: int, size: int, step: int) -> Tensor:
    """The windows of one axis, on a new last axis."""
    return input.unfold(dimension, size, step)


def sort(input: Tensor, dim: int, descending: bool) -> tuple[Tensor, ...]:
    return tuple(torch.sort(input, dim=dim, descending=descending, stable=True))


def index_put(input: Tensor, indices: Sequence[Tensor], values: Tensor, accumulate: bool) -> Tensor:
    return torch.index_put(input, tuple(indices), values, accumulate)


def one_hot(input: Tensor, num_classes: int) -> Tensor:
    return F.one_hot(input, num_classes)


def cross(input: Tensor, other: Tensor, dim: int) -> Tensor:
    return torch.linalg.cross(input, other, dim=dim)


def feature_alpha_dropout(input: Tensor, p: float, training: bool = False) -> Tensor:
    return F.feature_alpha_dropout(input, p, training)


def full(
    size: tuple[int, ...], value: float, dtype: str | None, device: torch.device | None = None
) -> Tensor:
    return torch.full(size, value, dtype=_dtype(dtype), device=device)


def arange(
    start: float, end: float, step: float, dtype: str | None, device: torch.device | None = None
) -> Tensor:
    return torch.arange(start, end, step, dtype=_dtype(dtype), device=device)


def linspace(
    start: float, end: float, steps: int, dtype: str | None, device: torch.device | None = None
) -> Tensor:
    return torch.linspace(start, end, steps, dtype=_dtype(dtype), device=device)


def eye(rows: int, columns: int, dtype: str | None, device: torch.device | None = None) -> Tensor:
    return torch.eye(rows, columns, dtype=_dtype(dtype), device=device)


def _dtype(name: str | None) -> torch.dtype | None:
    return None if name is None else getattr(torch, name)


def size(input: Tensor, dim: int) -> int:
    return input.shape[dim]
