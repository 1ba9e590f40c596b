"""Samples of layers and windows; see samples.py."""

from collections.abc import Callable

import torch
from torch.nn import functional as F

from .sample_inputs import IMAGE, SIGNAL, VOLUME, WHOLE, M, Sample, V, randn

LAYERS: dict[str, Sample] = {
    "linear": ({"input": V, "weight": randn(4, 6), "bias": randn(4)}, [F.linear]),
    "matmul": (
        {"input": M, "other": randn(3, 6, 5)},
        [torch.matmul, torch.bmm, lambda a, b: torch.mm(a[:, 0], b[0])],
    ),
    "addmm": ({"input": randn(4), "mat1": V, "mat2": randn(6, 4)}, [torch.addmm]),
    "baddbmm": (
        {"input": randn(3, 5, 5), "batch1": M, "batch2": M.mT, "beta": 0.5, "alpha": 2.0},
        [lambda x, a, b: torch.baddbmm(x, a, b, beta=0.5, alpha=2)],
    ),
    "bilinear": (
        {"input1": V, "input2": V, "weight": randn(2, 6, 6), "bias": randn(2)}, [F.bilinear],
    ),
    "embedding": ({"weight": randn(5, 4), "indices": WHOLE}, [lambda w, i: F.embedding(i, w)]),
    "einsum": (
        {"equation": "bti,bsi->bts", "tensors": (M, M)},
        [lambda a, b: torch.einsum("bti,bsi->bts", a, b)],
    ),
    "weight_norm": (
        {"v": randn(4, 6), "g": randn(4, 1)}, [lambda v, g: torch._weight_norm(v, g, 0)],
    ),
    "attention": (
        {"query": randn(3, 2, 5, 4), "key": randn(3, 2, 5, 4), "value": randn(3, 2, 5, 4),
         "is_causal": True},
        [lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True)],
    ),
    "attention_dropout": (
        {"query": randn(3, 2, 5, 4), "key": randn(3, 2, 5, 4), "value": randn(3, 2, 5, 4)},
        [("untraced", F.scaled_dot_product_attention)],
    ),
    "batch_norm": (
        {"input": IMAGE, "weight": randn(4), "bias": randn(4), "running_mean": randn(4),
         "running_var": randn(4).abs()},
        [lambda x, w, b, m, v: F.batch_norm(x, m, v, w, b)],
    ),
    "affine": (
        {"input": IMAGE, "weight": randn(4), "bias": randn(4)},
        [("untraced", lambda x, w, b: x * w[:, None, None] + b[:, None, None])],
    ),
    "layer_norm": (
        {"input": V, "normalized_shape": (6,), "weight": randn(6), "bias": randn(6)},
        [lambda x, w, b: F.layer_norm(x, (6,), w, b)],
    ),
    "rms_norm": (
        {"input": V, "normalized_shape": (6,), "weight": randn(6), "eps": 1e-5},
        [lambda x, w: F.rms_norm(x, (6,), w, 1e-5)],
    ),
    "group_norm": (
        {"input": IMAGE, "num_groups": 2, "weight": randn(4), "bias": randn(4)},
        [lambda x, w, b: F.group_norm(x, 2, w, b)],
    ),
    "instance_norm": (
        {"input": IMAGE, "weight": randn(4), "bias": randn(4)},
        [lambda x, w, b: F.instance_norm(x, weight=w, bias=b)],
    ),
}  # fmt: skip
for _n, _x in ((1, SIGNAL), (2, IMAGE), (3, VOLUME)):
    _c, _k = _x.shape[1], (3,) * _n
    _conv, _up = getattr(F, f"conv{_n}d"), getattr(F, f"conv_transpose{_n}d")
    LAYERS[f"conv{_n}d"] = (
        {"input": _x, "weight": randn(6, _c // 2, *_k), "bias": randn(6), "padding": (1,),
         "groups": 2},
        [
            lambda x, w, b, f=_conv: f(x, w, b, padding=1, groups=2),
            lambda x, w, b, f=_conv: f(x, w, b, padding="same", groups=2),
        ],
    )  # fmt: skip
    LAYERS[f"conv_transpose{_n}d"] = (
        {"input": _x, "weight": randn(_c, 3, *_k), "bias": randn(6), "stride": (2,),
         "groups": 2, "output_padding": (1,)},
        [lambda x, w, b, f=_up: f(x, w, b, stride=2, output_padding=1, groups=2)],
    )  # fmt: skip


def _recurrent_call(name: str) -> Callable:
    function = getattr(torch, name)

    def call(x, *rest):
        hx = list(rest[:2]) if name == "lstm" else rest[0]
        return function(x, hx, list(rest[-4:]), True, 1, 0.0, False, False, True)

    return call


_GATES = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
for _name, _g in _GATES.items():
    _params = (randn(4 * _g, 6), randn(4 * _g, 4), randn(4 * _g), randn(4 * _g))
    _state = torch.zeros(1, 3, 4)
    _hx = (_state, _state) if _name == "lstm" else _state
    LAYERS[_name] = (
        {"input": M, "hx": _hx, "params": _params, "has_biases": True, "num_layers": 1,
         "batch_first": True},
        [_recurrent_call(_name)],
    )  # fmt: skip

WINDOWS: dict[str, Sample] = {
    "interpolate": (
        {"input": IMAGE, "scale": (2, 2), "mode": "bilinear"},
        [lambda x: F.interpolate(x, scale_factor=2, mode="bilinear")],
    ),
}
for _n, _x in ((1, SIGNAL), (2, IMAGE), (3, VOLUME)):
    _both = {"input": _x, "kernel_size": (3,), "padding": (1,), "ceil_mode": True}
    _max, _avg = getattr(F, f"max_pool{_n}d"), getattr(F, f"avg_pool{_n}d")
    WINDOWS[f"max_pool{_n}d"] = (
        _both, [lambda x, f=_max: f(x, 3, padding=1, ceil_mode=True)],
    )  # fmt: skip
    WINDOWS[f"avg_pool{_n}d"] = (
        {**_both, "count_include_pad": False},
        [lambda x, f=_avg: f(x, 3, padding=1, ceil_mode=True, count_include_pad=False)],
    )
    for _kind in ("avg", "max"):
        _f = getattr(F, f"adaptive_{_kind}_pool{_n}d")
        WINDOWS[f"adaptive_{_kind}_pool{_n}d"] = (
            {"input": _x, "output_size": (2,)}, [lambda x, f=_f: f(x, 2)],
        )  # fmt: skip
