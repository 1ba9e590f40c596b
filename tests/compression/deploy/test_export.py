"""ONNX models: every row of the operator table, every kind of network, names, shapes, the check."""

import re
import sys
from collections import OrderedDict
from itertools import groupby

import numpy as np
import onnx
import pytest
import torch
from bitsback.common.examples import take, tensors
from bitsback.compression.deploy.check import ExportMismatch
from bitsback.compression.deploy.forms import FORMS
from bitsback.compression.onnx_file import integer_weights, save_onnx, to_onnx
from bitsback.graph import trace
from bitsback.graph.operators import Family
from bitsback.graph.table import OPERATORS
from torch import Tensor, nn

from ...graph.networks import NETWORKS, call, make
from ..runtime import session
from .rows import REFUSED, network_of, rows

ROWS = sorted(rows(), key=lambda row: OPERATORS[row[0]].number)


def test_every_row_of_the_table_is_exported_or_refused_here():
    assert {name for name, _ in ROWS} | (REFUSED & set(OPERATORS)) == set(OPERATORS)
    known = {name for name, row in OPERATORS.items() if name in FORMS or row.onnx is not None}
    constant = {name for name, row in OPERATORS.items() if row.family is Family.FACTORY}
    assert known | constant | {"quantised_relu"} | REFUSED >= set(OPERATORS)
    assert not known & REFUSED


@pytest.mark.parametrize("name", sorted(REFUSED & set(OPERATORS)))
def test_rows_without_an_onnx_form_are_refused_by_name(name, tmp_path):
    with pytest.raises(ValueError, match=f"operator {name} has no ONNX form"):
        save_onnx(network_of(name, input=torch.rand(4, 3)), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.filterwarnings("ignore:Using padding='same'")  # which torch says of even kernels
@pytest.mark.parametrize("name", [name for name, _ in groupby(ROWS, lambda row: row[0])])
def test_rows(name, tmp_path):
    """Each is run at batches of 1 and 3 before it is written."""
    for operator, given in ROWS:
        if operator == name:
            save_onnx(network_of(operator, **given), tmp_path / "a.onnx")


def outputs(model: onnx.ModelProto, inputs) -> list[np.ndarray]:
    inputs = tensors(inputs)
    names = [value.name for value in model.graph.input]
    given = {name: x.numpy() for name, x in zip(names, inputs, strict=True)}
    return session(model).run(None, given)


@pytest.mark.parametrize("name", NETWORKS)
def test_networks(name, tmp_path):
    """Against the module itself, at other batches than the example's; shapes are as declared."""
    net, x = make(name)
    model = save_onnx(net, tmp_path / "a.onnx", example=x)
    onnx.checker.check_model(model, full_check=True)
    for batch in (1, 3):
        some = take(x, slice(batch))
        with torch.no_grad():
            expected = tensors(call(net, some))
        found = outputs(model, some)
        for wanted, array, described in zip(expected, found, model.graph.output, strict=True):
            np.testing.assert_allclose(array, wanted, rtol=1e-4, atol=1e-5)
            assert sizes(described) == ["batch", *wanted.shape[1:]]


def sizes(value: onnx.ValueInfoProto) -> list[str | int]:
    return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]


class Merging(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 2)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = self.fc(x)
        return y.flatten(0, 1), y.transpose(0, 1), y.sum()


def test_a_batch_that_is_merged_into_another_axis_has_no_size(tmp_path):
    model = save_onnx(Merging(), tmp_path / "a.onnx", shape=(3, 4))
    assert [sizes(v) for v in model.graph.output] == [[0, 2], [3, "batch", 2], []]
    first = model.graph.output[0].type.tensor_type.shape.dim[0]
    assert not first.HasField("dim_value") and not first.HasField("dim_param")


def test_inputs_and_outputs_have_names(tmp_path):
    net, x = make("two-inputs")
    model = to_onnx(net, example=x)
    assert [v.name for v in model.graph.input] == ["left", "right"]
    assert [v.name for v in model.graph.output] == ["a", "b"]
    model = to_onnx(trace(net, x))
    assert [v.name for v in model.graph.input] == ["x0", "x1"]
    model = save_onnx(net, tmp_path / "b.onnx", example={"left": x[0], "right": x[1]})
    assert [v.name for v in model.graph.input] == ["left", "right"]
    assert [v.name for v in to_onnx(Merging(), shape=(3, 4)).graph.output] == [
        "output_0", "output_1", "output_2",
    ]  # fmt: skip


class Named(nn.Module):
    """Layers of whatever names, one after the other."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        for name in names:
            self.add_module(name, nn.Linear(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = layer(x).relu()
        return x


NAMES = ["input", "output", "0", "a/b", "a_b", "a:b", "x", "logits", "größe", "层", " ", "batch"]


@pytest.mark.parametrize("traced", [False, True])
def test_names_of_layers(traced, tmp_path):
    """All are valid and unique; initialisers keep their state_dict names beside them."""
    names = NAMES
    torch.manual_seed(0)
    if traced:
        net, example = Named(names), torch.randn(2, 3)
    else:
        net, example = nn.Sequential(OrderedDict((n, nn.Linear(3, 3)) for n in names)), None
    model = save_onnx(net, tmp_path / "a.onnx", example=example)
    graph = model.graph
    values = [v.name for part in (graph.input, graph.initializer) for v in part]
    values += [name for node in graph.node for name in node.output]
    nodes = [node.name for node in graph.node]
    for made in (values, nodes):
        assert len(set(made)) == len(made)
        assert all(re.fullmatch(r"[A-Za-z0-9_.]+", name) for name in made), made
    assert set(integer_weights(model)[1]) == {f"{n}.weight" for n in names}


def test_a_layer_that_two_places_share_is_stored_once(tmp_path):
    net, x = make("gpt")
    model = save_onnx(net, tmp_path / "a.onnx", example=x)
    tied = [v for v in model.graph.initializer if v.doc_string == "wte.weight"]
    assert len(tied) == 1


def test_integer_weights_of_a_residual_network(tmp_path):
    net, x = make("resnet")
    with torch.no_grad():
        for value in net.parameters():
            if value.dim() > 1:
                value.copy_((value / 0.0625).round() * 0.0625)
    model = save_onnx(net, tmp_path / "a.onnx", example=x)
    weights = [name for name, value in net.named_parameters() if value.dim() > 1]
    assert sorted(integer_weights(model)[0]) == sorted(weights)
    assert integer_weights(model)[1] == []


def test_a_mismatch_is_an_error_and_leaves_no_file(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMS, "relu6", lambda w, input: w.op("Relu", w(input)))
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU6())
    nn.init.constant_(net[0].weight, 9.0)
    with pytest.raises(ExportMismatch, match=r"output 'logits' for a batch of 1: .* differ by"):
        save_onnx(net, tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


def test_shapes_are_compared_too(tmp_path, monkeypatch):
    monkeypatch.setitem(FORMS, "flatten", lambda w, input, **_: w.op("Identity", w(input)))
    with pytest.raises(ExportMismatch, match="gives shape"):
        save_onnx(network_of("flatten", input=torch.randn(4, 3, 2)), tmp_path / "a.onnx")


def test_without_onnxruntime_the_model_is_written_as_it_is(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    save_onnx(nn.Linear(2, 2), tmp_path / "a.onnx")
    assert onnx.load(tmp_path / "a.onnx").graph.name == "bitsback"


class Projected(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn = nn.LSTM(4, 6, proj_size=3, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.rnn(x)[0]


@pytest.mark.filterwarnings("ignore:LSTM with projections")
@pytest.mark.parametrize(
    ("net", "shape", "match"),
    [
        (Projected(), (5, 4), r"module 'rnn': proj_size is not in the table"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.AdaptiveAvgPool2d(2)), (1, 5, 5),
         r"layer '1': operator adaptive_avg_pool2d pools \(5, 5\) to \(2, 2\)"),
        (nn.Sequential(nn.Conv2d(1, 1, 1), nn.AvgPool2d(2, ceil_mode=True)), None,
         r"layer '1': operator avg_pool2d needs the size of its inputs"),
        (nn.Sequential(nn.Linear(2, 2), Named(["a"])), None,
         r"layer '1' is a Named, .* give an example"),
    ],
)  # fmt: skip
def test_what_cannot_be_exported_is_named_and_nothing_is_written(net, shape, match, tmp_path):
    with pytest.raises(ValueError, match=match):
        save_onnx(net, tmp_path / "a.onnx", shape=shape)
    assert not list(tmp_path.iterdir())


def test_an_index_by_a_mask_is_refused(tmp_path):
    net = network_of("index", input=torch.randn(2, 3), indices=(torch.tensor([0, 1]) > 0,))
    with pytest.raises(ValueError, match="operator index is indexed by a mask"):
        save_onnx(net, tmp_path / "b.onnx")


def test_bfloat16_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"torch.bfloat16, which cannot be exported"):
        save_onnx(nn.Linear(2, 2).bfloat16(), tmp_path / "a.onnx")


def test_opsets():
    """The older one wherever no codes of 16 bits are needed."""
    found = {}
    for bits in (8, 9):
        net = network_of("quantised_relu", input=torch.randn(2, 3), step=0.25, bits=bits)
        model = to_onnx(net)
        found[bits] = model.opset_import[0].version, model.ir_version
    assert found == {8: (18, 8), 9: (21, 10)}


def test_half_precision(tmp_path):
    net = nn.Sequential(nn.Linear(4, 3), nn.GELU(), nn.Linear(3, 2)).half()
    model = save_onnx(net, tmp_path / "a.onnx")
    assert model.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
