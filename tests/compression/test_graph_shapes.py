"""The rules of shapes against what torch computes."""

import pytest
import torch
from bitsback.compression.graph_shape_layers import BY_FAMILY
from bitsback.compression.graph_shapes import _BY_NAME, result_of
from bitsback.graph import Ref
from bitsback.graph.evaluate import Evaluation
from bitsback.graph.operators import Family
from bitsback.graph.table import OPERATORS
from torch import Tensor

from ..graph.networks import NETWORKS
from .traced import traced


def zeros(*shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.zeros(shape, dtype=dtype)


def indices(*shape: int) -> Tensor:
    return zeros(*shape, dtype=torch.int64)


X, SEQUENCE = zeros(2, 4, 8, 6), zeros(2, 5, 3)
PARAMS = tuple(zeros(*s) for s in ((28, 3), (28, 7), (28,), (28,)) * 2)
LAYERS = {"has_biases": True, "num_layers": 1, "bidirectional": True, "batch_first": True}
CONV = {"bias": None, "padding": (1, 0), "dilation": (1, 2), "groups": 2, "stride": (2, 1)}
UP = {"bias": zeros(6), "padding": (1, 0), "stride": (2, 1), "output_padding": (1, 0), "groups": 2}
POOL = {"kernel_size": (3, 2), "stride": (2, 2), "padding": (1, 0), "ceil_mode": True}

EXAMPLES = [
    ("linear", {"input": X, "weight": zeros(5, 6), "bias": zeros(5)}),
    ("conv2d", {"input": X, "weight": zeros(6, 2, 3, 2), **CONV}),
    ("conv2d", {"input": X, "weight": zeros(6, 4, 3, 3), "bias": None, "padding": "same"}),
    ("conv1d", {"input": SEQUENCE, "weight": zeros(2, 5, 3), "bias": None}),
    ("conv3d", {"input": X[None], "weight": zeros(3, 2, 2, 2, 2), "bias": None}),
    ("conv_transpose2d", {"input": X, "weight": zeros(4, 3, 3, 2), **UP, "dilation": (2, 1)}),
    ("embedding", {"weight": zeros(9, 4), "indices": indices(2, 3)}),
    ("matmul", {"input": X, "other": zeros(6, 3)}),
    ("matmul", {"input": X, "other": zeros(6)}),
    ("matmul", {"input": zeros(4), "other": zeros(2, 4, 3)}),
    ("addmm", {"input": zeros(5), "mat1": zeros(2, 3), "mat2": zeros(3, 5)}),
    ("bilinear", {"input1": zeros(2, 4), "input2": zeros(2, 3), "weight": zeros(5, 4, 3),
                  "bias": None}),
    ("baddbmm", {"input": zeros(1, 1, 5), "batch1": zeros(2, 3, 4), "batch2": zeros(2, 4, 5)}),
    ("einsum", {"equation": "abcd,abce->ade", "tensors": (X, zeros(2, 4, 8, 3))}),
    ("einsum", {"equation": "ab, bc", "tensors": (zeros(2, 3), zeros(3, 4))}),
    ("lstm", {"input": SEQUENCE, "hx": (zeros(2, 2, 7),) * 2, "params": PARAMS, **LAYERS}),
    ("rnn_tanh", {"input": SEQUENCE, "hx": zeros(2, 2, 28), **LAYERS, "has_biases": False,
                  "params": (zeros(28, 3), zeros(28, 28)) * 2}),
    ("batch_norm", {"input": X, "running_mean": zeros(4), "running_var": zeros(4), "weight": None,
                    "bias": None}),
    ("layer_norm", {"input": X, "normalized_shape": (8, 6), "weight": zeros(8, 6), "bias": None}),
    ("group_norm", {"input": X, "num_groups": 2, "weight": zeros(4), "bias": None}),
    ("instance_norm", {"input": X, "weight": None, "bias": None}),
    ("rms_norm", {"input": X, "normalized_shape": (6,), "weight": zeros(6)}),
    ("affine", {"input": X, "weight": zeros(4), "bias": zeros(4)}),
    ("weight_norm", {"v": zeros(4, 3), "g": zeros(4, 1)}),
    ("prelu", {"input": X, "weight": zeros(4)}),
    ("clamp", {"input": X, "min": 0.0}),
    ("where", {"condition": zeros(8, 1, dtype=torch.bool), "input": X, "other": 0.5}),
    ("add", {"input": zeros(4, 1, 1), "other": X}),
    ("sub", {"input": X, "other": 2}),
    ("masked_fill", {"input": X, "mask": zeros(6, dtype=torch.bool), "value": 0.0}),
    ("max_pool2d", {"input": X, **POOL}),
    ("max_pool2d", {"input": X, "kernel_size": (3, 3), "dilation": (2, 1)}),
    ("avg_pool2d", {"input": X, **POOL}),
    ("avg_pool1d", {"input": SEQUENCE, "kernel_size": (2,)}),
    ("adaptive_avg_pool2d", {"input": X, "output_size": (3, 1)}),
    ("adaptive_max_pool1d", {"input": SEQUENCE, "output_size": (2,)}),
    ("interpolate", {"input": X, "scale": (2, 3)}),
    ("interpolate", {"input": X, "size": (5, 5), "mode": "bilinear"}),
    ("mean", {"input": X, "dim": (1, -1)}),
    ("sum", {"input": X, "dim": None, "keepdim": True}),
    ("var", {"input": X, "dim": (2,)}),
    ("vector_norm", {"input": X}),
    ("argmax", {"input": X, "dim": 1}),
    ("softmax", {"input": X, "dim": -1}),
    ("reshape", {"input": X, "shape": (4, -1, 3)}),
    ("flatten", {"input": X, "start_dim": 1, "end_dim": 2}),
    ("transpose", {"input": X, "dim0": 1, "dim1": -1}),
    ("permute", {"input": X, "dims": (0, 2, -1, 1)}),
    ("unsqueeze", {"input": X, "dim": -1}),
    ("squeeze", {"input": zeros(2, 1, 3, 1), "dim": (1, 2)}),
    ("expand", {"input": zeros(1, 3), "size": (4, 2, -1)}),
    ("cat", {"tensors": (X, zeros(2, 4, 8, 1)), "dim": -1}),
    ("stack", {"tensors": (X, X), "dim": -1}),
    ("split", {"input": X, "sizes": (1, 3), "dim": 1}),
    ("slice", {"input": X, "dim": 2, "start": -7, "end": 100, "step": 3}),
    ("select", {"input": X, "dim": 1, "index": -1}),
    ("unbind", {"input": X, "dim": 1}),
    ("pad", {"input": X, "pad": (1, -2, 3, 0)}),
    ("pad", {"input": X, "pad": (1, 2, 3, 0), "mode": "reflect"}),
    ("flip", {"input": X, "dims": (1,)}),
    ("roll", {"input": X, "shifts": (1,), "dims": (2,)}),
    ("repeat", {"input": X, "repeats": (3, 1, 2, 1, 1)}),
    ("pixel_shuffle", {"input": X, "upscale_factor": 2}),
    ("pixel_unshuffle", {"input": X, "downscale_factor": 2}),
    ("index_select", {"input": X, "dim": 2, "index": indices(3)}),
    ("gather", {"input": X, "dim": 1, "index": indices(2, 3, 8, 6)}),
    ("tril", {"input": X}),
    ("repeat_interleave", {"input": X, "repeats": 2, "dim": 1}),
    ("repeat_interleave", {"input": X, "repeats": 2}),
    ("index", {"input": X, "indices": (indices(3, 1), indices(2))}),
    ("topk", {"input": X, "k": 2, "dim": 1}),
    ("max_along", {"input": X, "dim": 1, "keepdim": True}),
    ("unfold", {"input": X, "kernel_size": (2, 3), "dilation": (1, 2), "padding": (1, 0),
                "stride": (2, 1)}),
    ("glu", {"input": X, "dim": 1}),
    ("attention", {"query": zeros(2, 3, 5, 4), "key": zeros(2, 3, 6, 4), "value": zeros(2, 3, 6, 7),
                   "attn_mask": None}),
    ("full", {"size": (2, 3), "value": 1, "dtype": "float32"}),
    ("arange", {"start": 7, "end": -1, "step": -2, "dtype": None}),
    ("size", {"input": X, "dim": -2}),
    ("addcmul", {"input": zeros(6), "tensor1": X, "tensor2": zeros(8, 1), "value": 2}),
    ("lerp", {"input": X, "end": zeros(6), "weight": 0.5}),
    ("prod", {"input": X, "dim": (1, 2)}),
    ("argmin", {"input": X, "dim": None}),
    ("logsumexp", {"input": X, "dim": (1,), "keepdim": True}),
    ("diagonal", {"input": X, "offset": 1, "dim1": 1, "dim2": -1}),
    ("diagonal", {"input": X, "offset": -3, "dim1": 2, "dim2": 0}),
    ("windows", {"input": X, "dimension": 2, "size": 3, "step": 2}),
    ("fold", {"input": zeros(2, 12, 6), "output_size": (4, 5), "kernel_size": (2, 2),
              "dilation": (2, 1), "padding": (0, 1), "stride": (1, 2)}),
    ("sort", {"input": X, "dim": 1}),
    ("grid_sample", {"input": X, "grid": zeros(2, 3, 5, 2), "interpolation_mode": 0,
                     "padding_mode": 0, "align_corners": False}),
    ("scatter", {"input": X, "dim": 1, "index": indices(2, 1, 8, 6), "src": 1.0}),
    ("index_put", {"input": X, "indices": (indices(3),), "values": zeros(4, 8, 6)}),
    ("one_hot", {"input": indices(2, 3), "num_classes": 5}),
    ("slice_scatter", {"input": X, "src": zeros(2, 4, 8, 2), "dim": 3, "start": 0, "end": 2}),
    ("select_scatter", {"input": X, "src": zeros(2, 8, 6), "dim": 1, "index": 0}),
    ("cdist", {"x1": zeros(2, 5, 3), "x2": zeros(1, 4, 3)}),
    ("linspace", {"start": 0.0, "end": 1.0, "steps": 7, "dtype": None}),
    ("eye", {"rows": 2, "columns": 3, "dtype": None}),
    ("linalg_cross", {"input": zeros(2, 3), "other": zeros(1, 3)}),
    ("arange", {"start": 0.0, "end": 1.0, "step": 0.3, "dtype": None}),
    ("int_floordiv", {"left": 7, "right": 2}),
]  # fmt: skip


def known(value: object) -> object:
    if isinstance(value, Tensor):
        return tuple(value.shape)
    return tuple(map(known, value)) if isinstance(value, tuple | list) else value


def bound(name: str, given: dict) -> dict:
    """The arguments with defaults; tensors are checked by nobody."""
    row = OPERATORS[name]
    found = {}
    for argument in row.arguments:
        value = given.get(argument.name, argument.default)
        if argument.count and isinstance(value, tuple) and len(value) == 1:
            value = value * argument.count
        found[argument.name] = value
    return found


@pytest.mark.parametrize(("name", "given"), [e for e in EXAMPLES if e[0] in OPERATORS])
def test_rules_give_what_torch_gives(name, given):
    row, arguments = OPERATORS[name], bound(name, given)
    more = [False] if row.trains else [None] if row.family is Family.FACTORY else []
    expected = row.call(*arguments.values(), *more)
    found, work = result_of(name, {key: known(value) for key, value in arguments.items()})
    if row.results == 1:
        assert found == known(expected)
    else:
        assert found == list(known(expected))
    assert work >= 0


@pytest.mark.parametrize("name", NETWORKS)
def test_whole_networks(name):
    net, _ = traced(name)
    evaluation = Evaluation(net)

    def seen(value):
        if isinstance(value, Ref):
            is_tensor = evaluation.is_tensor(value)
            return evaluation.shape(value) if is_tensor else evaluation.number(value)
        return tuple(map(seen, value)) if isinstance(value, tuple) else value

    for node in net.graph.operators:
        given = {key: seen(value) for key, value in node.arguments.items()}
        found, _ = result_of(node.operator, given)
        results = found if isinstance(found, list) else [found]
        assert results == [seen(Ref(node, i)) for i in range(evaluation.results(node))]


def test_every_operator_has_a_rule():
    for row in OPERATORS.values():
        assert row.name in _BY_NAME or row.family in BY_FAMILY, row.name


@pytest.mark.parametrize(
    ("name", "given"),
    [
        ("linear", {"input": X, "weight": zeros(5, 7), "bias": None}),
        ("linear", {"input": X, "weight": zeros(5, 6), "bias": zeros(4)}),
        ("conv2d", {"input": X, "weight": zeros(6, 3, 3, 2), **CONV}),
        ("conv2d", {"input": X, "weight": zeros(6, 4, 9, 9), "bias": None}),
        ("add", {"input": X, "other": zeros(5)}),
        ("cat", {"tensors": (X, SEQUENCE), "dim": 0}),
        ("split", {"input": X, "sizes": (1, 2), "dim": 1}),
        ("max_pool2d", {"input": X, "kernel_size": (2, 2), "padding": (2, 2)}),
        ("expand", {"input": X, "size": (4, 2)}),
        ("transpose", {"input": X, "dim0": 4, "dim1": 0}),
        ("int_floordiv", {"left": 7, "right": 0}),
        ("int_mul", {"left": 1 << 30, "right": 1 << 30}),
    ],
)
def test_what_cannot_be_is_refused(name, given):
    given = {key: known(value) for key, value in bound(name, given).items()}
    with pytest.raises(ValueError, match=rf"operator {name}"):
        result_of(name, given)
