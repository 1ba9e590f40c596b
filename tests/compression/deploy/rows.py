"""Small graphs of one operator each: for every row of the operator table."""

from collections.abc import Iterator
from typing import Any

import torch
from bitsback.graph import Graph, GraphNetwork, Node, Ref
from bitsback.graph.ir import INPUT, PARAMETER, TensorType
from bitsback.graph.table import OPERATORS
from torch import Tensor, nn

REFUSED = {"lgamma"}  # ONNX has no such function

torch.manual_seed(0)


def network_of(operator: str, **given: Any) -> GraphNetwork:
    """A network of one operator; its trainable tensors are parameters, others are inputs (axis 0
    is the batch), and `BATCH` is the number of examples."""
    nodes: list[Node] = []
    kinds: list[TensorType] = []
    tensors: dict[str, Tensor] = {}

    def ref(value: Any) -> Any:
        if isinstance(value, nn.Parameter) or getattr(value, "fixed", False):
            nodes.append(Node(PARAMETER, name=f"p{len(tensors)}"))
            tensors[nodes[-1].name] = value
        elif isinstance(value, Tensor):
            nodes.append(Node(INPUT, name=str(len(kinds))))
            dtype = str(value.dtype).removeprefix("torch.")
            kinds.append(TensorType((None, *value.shape[1:]), dtype))
        elif value is BATCH:
            nodes.append(Node("size", {"input": ref(X), "dim": 0}))
        elif isinstance(value, Hidden):
            sizes = (value.state.shape[0], ref(BATCH), value.state.shape[2])
            nodes.append(Node("expand", {"input": ref(value.state), "size": sizes}))
        elif isinstance(value, tuple):
            return tuple(ref(part) for part in value)
        else:
            return value
        return Ref(nodes[-1])

    row = OPERATORS[operator]
    node = Node(operator, row.bind({name: ref(value) for name, value in given.items()}))
    nodes.append(node)
    counts = row.results or (len(given["sizes"]) if operator == "split" else 2)
    outputs = tuple(Ref(node, i) for i in range(counts)) if row.results != 1 else Ref(node)
    if OPERATORS[operator].family.value == "integer":
        nodes.append(Node("full", {"size": (Ref(node),), "value": 1.0, "dtype": "float32"}))
        outputs = Ref(nodes[-1])
    if not kinds:
        outputs = (outputs, ref(X))
    graph = Graph(nodes, tuple(kinds), (tuple(range(len(kinds))), {}), outputs)
    return GraphNetwork(graph, tensors)


def fixed(value: Tensor) -> Tensor:
    """A buffer."""
    value.fixed = True
    return value


def p(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.randn(*shape))


X, Y, Z = torch.randn(4, 6), torch.randn(4, 5, 6), torch.randn(4, 4, 7, 6)
N, B, L = torch.ones(4, 6, dtype=torch.long), torch.ones(4, 6, dtype=torch.bool), p(6)
SPACE = {1: torch.randn(4, 4, 9), 2: torch.randn(4, 4, 9, 7), 3: torch.randn(4, 4, 6, 5, 7)}
BATCH = object()  # stands for the number of examples


def _recurrent(gates: int, layers: int, directions: int, biases: bool) -> tuple:
    made = []
    for layer in range(layers):
        width = 6 if layer == 0 else 3 * directions
        for _ in range(directions):
            made += [p(3 * gates, width), p(3 * gates, 3)]
            made += [p(3 * gates), p(3 * gates)] if biases else []
    return tuple(made)


def rows() -> Iterator[tuple[str, dict[str, Any]]]:
    """(row, arguments) pairs; each row at least once, but for those of `elementwise`."""
    for n, x in SPACE.items():
        conv, kernel = f"conv{n}d", (3, 2, 2)[:n]
        yield conv, {"input": x, "weight": p(5, 4, *kernel), "bias": p(5)}
        yield conv, {
            "input": x, "weight": p(6, 2, *kernel), "stride": (2,) * n, "padding": (1,) * n,
            "dilation": (2,) * n, "groups": 2,
        }  # fmt: skip
        yield conv, {"input": x, "weight": p(5, 4, *kernel), "padding": "same"}
        yield f"conv_transpose{n}d", {
            "input": x, "weight": p(4, 3, *kernel), "bias": p(6), "stride": (2,) * n,
            "padding": (1,) * n, "output_padding": (1,) * n, "groups": 2,
        }  # fmt: skip
        for ceil in (False, True):
            pool = {"input": x, "kernel_size": (3,) * n, "stride": (2,) * n, "ceil_mode": ceil}
            yield f"max_pool{n}d", pool | {"padding": (1,) * n}
            yield f"max_pool{n}d", pool | {"kernel_size": (2,) * n, "dilation": (2,) * n}
            for counted in (False, True):
                more = {"padding": (1,) * n, "count_include_pad": counted}
                yield f"avg_pool{n}d", pool | more
        yield f"avg_pool{n}d", {"input": x, "kernel_size": (2,) * n, "ceil_mode": True}
        for kind in ("avg", "max"):
            yield f"adaptive_{kind}_pool{n}d", {"input": x, "output_size": (1,) * n}
            half = {"input": x[..., :4] if n == 1 else x[:, :, :6, :4], "output_size": (2,) * n}
            half["input"] = half["input"][..., :4]
            yield (
                f"adaptive_{kind}_pool{n}d",
                half | ({"input": x[:, :, :4, :4, :4]} if n == 3 else {}),
            )
    yield "avg_pool2d", {"input": Z, "kernel_size": (2, 2), "divisor_override": 3}
    yield "linear", {"input": X, "weight": p(3, 6), "bias": p(3)}
    yield "linear", {"input": Y, "weight": p(3, 6)}
    yield "embedding", {"weight": p(5, 3), "indices": N}
    yield "matmul", {"input": Y, "other": p(6, 2)}
    yield "matmul", {"input": Y, "other": L}
    yield "addmm", {"input": p(3), "mat1": X, "mat2": p(6, 3)}
    yield "baddbmm", {"input": p(1, 5, 2), "batch1": Y, "batch2": torch.randn(4, 6, 2)}
    yield "baddbmm", {
        "input": p(5, 2), "batch1": Y, "batch2": torch.randn(4, 6, 2), "beta": 0.5, "alpha": 2,
    }  # fmt: skip
    yield "bilinear", {"input1": Y, "input2": torch.randn(4, 5, 3), "weight": p(2, 6, 3)}
    yield "bilinear", {"input1": X, "input2": X, "weight": p(2, 6, 6), "bias": p(2)}
    yield "einsum", {"equation": "bij,kj->bki", "tensors": (Y, p(3, 6))}
    for layers, directions, biases in ((1, 1, True), (2, 2, True), (2, 1, False)):
        for kind, gates in (("lstm", 4), ("gru", 3), ("rnn_tanh", 1), ("rnn_relu", 1)):
            state = p(layers * directions, 1, 3)
            params = _recurrent(gates, layers, directions, biases)
            yield kind, {
                "input": torch.randn(4, 5, 6), "params": params,
                "has_biases": biases, "num_layers": layers, "bidirectional": directions == 2,
                "batch_first": True,
                "hx": (Hidden(state), Hidden(state)) if kind == "lstm" else Hidden(state),
            }  # fmt: skip
    yield from _norms()
    yield from _reductions()
    yield from _moves()
    yield from _others()
    yield from (row for row in later() if row[0] in OPERATORS)


class Hidden:
    """The first state of a recurrent layer, the same for all examples."""

    def __init__(self, state: nn.Parameter) -> None:
        self.state = state


def _norms() -> Iterator[tuple[str, dict[str, Any]]]:
    means = {"running_mean": fixed(torch.randn(4)), "running_var": fixed(torch.rand(4) + 0.5)}
    yield "batch_norm", {"input": Z, "weight": p(4), "bias": p(4), **means}
    yield "batch_norm", {"input": Z, "eps": 0.1, **means}
    yield "layer_norm", {"input": Y, "normalized_shape": (5, 6), "weight": p(5, 6), "eps": 0.1}
    yield "layer_norm", {"input": Y, "normalized_shape": (6,), "weight": p(6), "bias": p(6)}
    yield "layer_norm", {"input": Y, "normalized_shape": (6,)}
    for norm in (p(4), None):
        given = {"weight": norm, "bias": None if norm is None else p(4)}
        yield "group_norm", {"input": Z, "num_groups": 2, **given}
        yield "instance_norm", {"input": Z, **given}
    yield "rms_norm", {"input": Y, "normalized_shape": (6,), "weight": p(6), "eps": 0.1}
    yield "rms_norm", {"input": Y, "normalized_shape": (5, 6)}
    yield "affine", {"input": Z, "weight": p(4), "bias": p(4)}
    yield "weight_norm", {"v": torch.randn(4, 6), "g": torch.randn(4, 1)}
    yield "weight_norm", {"v": Y, "g": p(1, 1, 6), "dim": 2}


def _reductions() -> Iterator[tuple[str, dict[str, Any]]]:
    for name in ("mean", "sum", "amax", "amin", "var", "vector_norm"):
        for dim, keep in (((1,), False), ((-1, 1), True)):
            yield name, {"input": Y, "dim": dim, "keepdim": keep}
    for name in ("mean", "sum", "amax", "amin", "vector_norm"):
        yield name, {"input": Y, "dim": None}
    for order in (0.0, 1.0, 3.0, float("inf"), float("-inf")):
        yield "vector_norm", {"input": Y, "ord": order, "dim": (1,)}
    yield "sum", {"input": B, "dim": (1,)}
    for dim in (None, 1):
        yield "argmax", {"input": Y, "dim": dim, "keepdim": dim is None}
    for name in ("softmax", "log_softmax", "cumsum"):
        yield name, {"input": Y, "dim": 1}
    yield "cumsum", {"input": B, "dim": 1}
    for name in ("max_along", "min_along"):
        yield name, {"input": Y, "dim": 1, "keepdim": name == "max_along"}
    yield "topk", {"input": Y, "k": 2, "dim": 2, "largest": False}


def _moves() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "reshape", {"input": Y, "shape": (-1, 3, 10)}
    yield "reshape", {"input": Y, "shape": (-1, 6)}
    yield "reshape", {"input": Y, "shape": (6, BATCH, 5)}
    for start, end in ((1, -1), (0, 1), (2, 3), (0, -1)):
        yield "flatten", {"input": Z, "start_dim": start, "end_dim": end}
    yield "transpose", {"input": Z, "dim0": 1, "dim1": -1}
    yield "permute", {"input": Z, "dims": (0, 2, -1, 1)}
    yield "unsqueeze", {"input": X, "dim": -1}
    yield "squeeze", {"input": torch.randn(4, 1, 3), "dim": (1,)}
    yield "squeeze", {"input": X, "dim": ()}
    yield "expand", {"input": torch.randn(4, 1, 3), "size": (2, -1, 5, 3)}
    yield "expand", {"input": p(1, 3), "size": (BATCH, -1)}
    yield "cat", {"tensors": (X, X, B), "dim": -1}
    yield "stack", {"tensors": (X, X), "dim": 1}
    yield "split", {"input": X, "sizes": (1, 2, 3), "dim": 1}
    yield "unbind", {"input": torch.randn(4, 2, 3), "dim": 1}
    for end, step in ((None, 2), (-1, 1), (3, 1)):
        yield "slice", {"input": X, "dim": 1, "start": 1, "end": end, "step": step}
    yield "select", {"input": Y, "dim": 1, "index": -2}
    yield "pad", {"input": Z, "pad": (1, 2, 0, 3), "value": 0.5}
    yield "pad", {"input": Z, "pad": (-1, 2)}
    for mode in ("reflect", "replicate", "circular"):
        yield "pad", {"input": Z, "pad": (1, 2, 0, 3), "mode": mode}
    yield "flip", {"input": Z, "dims": (1, -1)}
    yield "roll", {"input": Z, "shifts": (2, -1), "dims": (1, 3)}
    yield "roll", {"input": torch.randn(4, 6), "shifts": (2,), "dims": ()}
    yield "repeat", {"input": X, "repeats": (2, 1, 3)}
    yield "pick", {"input": Y, "kept": fixed(torch.tensor([True, False] * 3))}
    yield "pixel_shuffle", {"input": Z, "upscale_factor": 2}
    yield "pixel_unshuffle", {"input": Z[:, :, :6], "downscale_factor": 2}
    yield "index_select", {"input": Y, "dim": 1, "index": fixed(torch.tensor([0, 3, 3]))}
    yield "gather", {"input": X, "dim": 1, "index": N}
    for name in ("tril", "triu"):
        yield name, {"input": Y, "diagonal": 1}
        yield name, {"input": torch.ones(4, 3, 3, dtype=torch.bool)}
    for dim in (None, 1, 0):
        yield "repeat_interleave", {"input": Y, "repeats": 2, "dim": dim}
    yield "index", {"input": X, "indices": (fixed(torch.tensor([[0, -1, 0]])),)}
    yield "index", {
        "input": Y, "indices": (fixed(torch.tensor([[0], [-1]])), fixed(torch.tensor([0, 2, 3]))),
    }  # fmt: skip
    yield "unfold", {
        "input": Z, "kernel_size": (2, 3), "dilation": (1, 2), "padding": (1, 0), "stride": (2, 1),
    }  # fmt: skip
    yield "glu", {"input": X}


def _others() -> Iterator[tuple[str, dict[str, Any]]]:
    for mode in ("nearest", "bilinear", "bicubic"):
        for aligned in (False,) if mode == "nearest" else (False, True):
            given = {"input": Z, "mode": mode, "align_corners": aligned}
            yield "interpolate", given | {"scale": (2, 3)}
            yield "interpolate", given | {"size": (5, 11)}
    yield "interpolate", {"input": Y, "mode": "linear", "scale": (2,)}
    heads = torch.randn(4, 2, 5, 3)
    three = {"query": heads, "key": heads + 0, "value": heads + 0}
    yield "attention", three
    yield "attention", three | {"is_causal": True, "scale": 0.3}
    yield "attention", three | {"attn_mask": fixed(torch.ones(5, 5).tril(1).bool())}
    yield "attention", three | {"attn_mask": p(5, 5)}
    yield "attention", three | {"query": torch.randn(4, 6, 5, 3), "enable_gqa": True}
    yield "attention_dropout", three | {"p": 0.3}
    yield "full", {"size": (BATCH, 3), "value": 0.5, "dtype": "float64"}
    yield "arange", {"start": 0, "end": BATCH, "step": 1, "dtype": "float32"}
    yield "arange", {"start": 1, "end": BATCH, "step": 2, "dtype": None}
    yield "size", {"input": X, "dim": 0}
    for name in ("add", "sub", "mul", "floordiv", "mod"):
        yield f"int_{name}", {"left": BATCH, "right": 2 - (name == "sub")}
    yield from elementwise()


def elementwise() -> Iterator[tuple[str, dict[str, Any]]]:
    """The rows of elementwise operators."""
    for row in OPERATORS.values():
        one = row.family.value == "elementwise" and len(row.arguments) == 1
        if one and row.name not in REFUSED:
            yield row.name, {"input": B if row.name in ("logical_not", "bitwise_not") else X}
    yield "bitwise_not", {"input": N}
    yield "logical_not", {"input": X}
    for name in ("leaky_relu", "elu", "celu", "gelu", "softplus", "softshrink", "hardshrink"):
        yield name, {"input": X}
    yield "gelu", {"input": X, "approximate": "tanh"}
    yield "softplus", {"input": X, "beta": 2.0, "threshold": 0.5}
    yield "elu", {"input": X, "alpha": 0.3}
    yield "celu", {"input": X, "alpha": 0.3}
    yield "hardtanh", {"input": X, "min_val": -0.3}
    yield "clamp", {"input": X, "max": 0.4}
    yield "clamp", {"input": N, "min": 1, "max": 3}
    yield "threshold", {"input": X, "threshold": 0.2, "value": -1.5}
    yield "prelu", {"input": Z, "weight": p(4)}
    yield "prelu", {"input": X, "weight": p(1)}
    for name in ("dropout", "feature_dropout", "alpha_dropout"):
        yield name, {"input": X}
    yield "quantised_relu", {"input": X, "step": 0.25, "bits": 3}
    yield "quantised_relu", {"input": X, "step": 2.0**-9, "bits": 11}
    for dtype in ("float64", "int64", "bool"):
        yield "to", {"input": X, "dtype": dtype}
    comparisons = ("eq", "ne", "lt", "le", "gt", "ge")
    for name in ("add", "sub", "mul", "div", "pow", "maximum", "minimum", "rsub", *comparisons):
        yield name, {"input": X, "other": torch.randn(4, 6)}
        if name not in ("maximum", "minimum"):
            yield name, {"input": X, "other": 2}
            yield name, {"input": N, "other": 1.5 if name != "pow" else 2}
    yield "eq", {"input": B, "other": 0}
    yield "lt", {"input": B, "other": fixed(torch.tensor(True))}
    yield "mul", {"input": X, "other": B}
    yield "div", {"input": X, "other": BATCH}
    yield "div", {"input": N, "other": 3}
    for name in ("logical_and", "logical_or", "bitwise_and", "bitwise_or"):
        yield name, {"input": B, "other": torch.ones(4, 6, dtype=torch.bool)}
        yield name, {"input": N, "other": fixed(torch.tensor([0, 1, 2, 3, 4, 5]))}
    for name in ("remainder", "floor_divide"):
        yield name, {"input": X, "other": -0.7}
        yield name, {"input": N, "other": -3}
    yield "where", {"condition": B, "input": X, "other": 0.5}
    yield "where", {"condition": B, "input": X, "other": N}
    yield "masked_fill", {"input": X, "mask": B, "value": float("-inf")}
    yield "rpow", {"exponent": X, "base": 2}


def later() -> Iterator[tuple[str, dict[str, Any]]]:
    """Rows that the table got later."""
    unary = ("erfc", "exp2", "log2", "log10", "trunc", "frac", "asin", "acos", "sinh", "cosh")
    for name in (*unary, "asinh", "acosh", "atanh", "isnan", "isinf"):
        yield name, {"input": X}
    for eps in (None, 0.1):
        yield "logit", {"input": X, "eps": eps}
    if len(OPERATORS["nan_to_num"].arguments) > 1:
        yield "nan_to_num", {"input": X, "nan": 1.0, "posinf": 2.0}
    other = torch.randn(4, 6)
    for name in ("atan2", "hypot", "fmod"):
        yield name, {"input": X, "other": other}
    yield "fmod", {"input": N, "other": -3}
    for name in ("logical_xor", "bitwise_xor"):
        yield name, {"input": B, "other": torch.ones(4, 6, dtype=torch.bool)}
    yield "bitwise_xor", {"input": N, "other": 5}
    for weight in (0.3, other + 0):
        yield "lerp", {"input": X, "end": other, "weight": weight}
    for name in ("addcmul", "addcdiv"):
        yield name, {"input": X, "tensor1": other, "tensor2": L, "value": 0.5}
    for dim in (None, (1,), (0, -1)):
        for name in ("prod", "logsumexp", "any", "all"):
            yield name, {"input": B if name in ("any", "all") else Y, "dim": dim}
    for dim in (None, 1):
        yield "argmin", {"input": Y, "dim": dim}
    yield "cumprod", {"input": Y, "dim": 1}
    yield "diagonal", {"input": Z, "offset": 1, "dim1": 1, "dim2": -1}
    yield "windows", {"input": Z, "dimension": 2, "size": 3, "step": 2}
    yield "fold", {
        "input": torch.randn(4, 12, 9), "output_size": (4, 5), "kernel_size": (2, 3),
        "dilation": (1, 1), "padding": (0, 0), "stride": (1, 1),
    }  # fmt: skip
    for descending in (False, True):
        yield "sort", {"input": Y, "dim": 1, "descending": descending}
    for mode, padding, aligned in ((0, 0, False), (1, 1, False), (2, 2, True), (0, 1, True)):
        yield "grid_sample", {
            "input": Z, "grid": torch.randn(4, 3, 5, 2), "interpolation_mode": mode,
            "padding_mode": padding, "align_corners": aligned,
        }  # fmt: skip
    for source in (torch.randn(4, 6), 0.5):
        yield "scatter", {"input": X, "dim": 1, "index": N, "src": source}
    yield "scatter_add", {"input": X, "dim": 1, "index": N, "src": torch.randn(4, 6)}
    rows_, columns = fixed(torch.tensor([[0], [-1]])), fixed(torch.tensor([0, 2, 3]))
    for accumulate in (False, True):
        yield "index_put", {
            "input": Y, "indices": (rows_, columns), "values": fixed(torch.randn(3, 6)),
            "accumulate": accumulate,
        }  # fmt: skip
    yield "index_put", {"input": Y, "indices": (torch.ones(4, 5, dtype=torch.bool),),
                        "values": fixed(torch.tensor(0.5))}  # fmt: skip
    yield "one_hot", {"input": N, "num_classes": 3}
    yield "slice_scatter", {
        "input": Y, "src": torch.randn(4, 2, 6), "dim": 1, "start": 1, "end": -1, "step": 2,
    }  # fmt: skip
    yield "select_scatter", {"input": Y, "src": torch.randn(4, 6), "dim": 1, "index": -2}
    for order in (1.0, 2.0, 3.0, float("inf")):
        yield "cdist", {"x1": Y, "x2": torch.randn(4, 3, 6), "p": order}
    yield "linspace", {"start": 0.0, "end": 2.0, "steps": 5, "dtype": None}
    yield "eye", {"rows": 3, "columns": 4, "dtype": None}
    yield "linalg_cross", {"input": Z[:, :3], "other": torch.randn(4, 3, 7, 6), "dim": 1}
    yield "feature_alpha_dropout", {"input": Z}
    yield "rrelu", {"input": X, "lower": 0.1, "upper": 0.4}
