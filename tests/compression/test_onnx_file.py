"""ONNX models: what onnxruntime computes, what they hold, and layers that have no form there."""

import sys
from fractions import Fraction

import numpy as np
import onnx
import pytest
import torch
from bitsback.compression.integer import to_integer
from bitsback.compression.integer_layers import IntegerInput
from bitsback.compression.onnx_file import integer_weights, save_onnx, to_onnx
from bitsback.compression.quantised_relu import QuantisedReLU
from bitsback.compression.select import Select
from torch import nn

from .integers import on_grid, pixels, small_conv
from .runtime import session


def outputs(model, x, optimised=True) -> np.ndarray:
    return session(model, optimised).run(None, {"x": x.numpy()})[0]


def kinds(model) -> list[str]:
    return [node.op_type for node in model.graph.node]


@pytest.mark.parametrize("optimised", [False, True])
@pytest.mark.parametrize("inputs", [None, IntegerInput()])
@pytest.mark.parametrize("bits", [2, 4, 8, 9, 12])
def test_outputs_of_onnxruntime(bits, inputs, optimised):
    """Those of the network, to 2e-3 of the largest logit, which rounding of biases may take.

    But where a code is on the edge between two, in few of the images.
    """
    x = pixels(200)
    net = on_grid(small_conv(), bits, x)
    found = outputs(to_onnx(net, inputs), x, optimised)
    expected = net(x).detach().numpy()
    apart = np.abs(found - expected).max(1) / np.abs(expected).max()
    assert np.mean(apart < 2e-3) > 0.95 and apart.max() < 0.1
    assert np.mean(found.argmax(1) == expected.argmax(1)) >= 0.99


def test_outputs_are_those_of_the_integer_network():
    """Of the same integers: scales in float32 there, exact here, so that few codes may differ."""
    x = pixels(200)
    net = on_grid(small_conv(), 4, x)
    found, expected = outputs(to_onnx(net, IntegerInput()), x), to_integer(net)(x).numpy()
    assert np.mean(np.abs(found - expected).max(1) < 2e-3 * np.abs(expected).max()) > 0.95


def test_what_a_model_holds():
    """int8 codes with room to spare, uint8 activations, a clip of the codes below 8 bits."""
    net = on_grid(small_conv(), 4, pixels())
    model = to_onnx(net, IntegerInput(Fraction(1, 16), high=16))
    assert integer_weights(model)[0] == [f"{n}.weight" for n in ("conv1", "conv2", "fc1", "fc2")]
    values = {v.name: v for v in model.graph.initializer}
    arrays = {name: onnx.numpy_helper.to_array(value) for name, value in values.items()}
    codes, step = arrays["conv1.weight.codes"], arrays["conv1.weight.step"]
    assert codes.dtype == np.int8 and np.abs(codes).max() == 7 << 3
    assert np.array_equal(codes * step, net.conv1.weight.detach().numpy())
    assert arrays["relu1.high"] == 15 and arrays["relu1.high"].dtype == np.uint8
    assert arrays["relu1.step"] == np.float32(net.relu1.step) and arrays["inputs.high"] == 16
    assert arrays["fc1.bias.codes"].dtype == np.int32
    unit = arrays["fc1.bias.step"]
    assert unit == arrays["fc1.weight.step"] * arrays["relu2.step"]
    assert np.abs(arrays["fc1.bias.codes"] * unit - net.fc1.bias.detach().numpy()).max() <= unit
    assert kinds(model).count("QuantizeLinear") == 4 and kinds(model).count("Clip") == 4
    shapes = [d.dim_param or d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim]
    assert shapes == ["batch", 1, "height", "width"]


@pytest.mark.parametrize(("bits", "kind", "zero"), [(7, np.int8, 0), (8, np.uint8, 128)])
def test_wide_codes_are_unsigned(bits, kind, zero):
    """As sums of uint8 times int8 overflow on processors without VNNI beyond 64."""
    net = on_grid(small_conv(), bits, pixels())
    values = {v.name: onnx.numpy_helper.to_array(v) for v in to_onnx(net).graph.initializer}
    codes, point = values["conv2.weight.codes"], values["conv2.weight.zero"]
    assert codes.dtype == point.dtype == kind and point == zero
    weight = (codes.astype(np.int32) - zero) * values["conv2.weight.step"]
    assert np.array_equal(weight, net.conv2.weight.detach().numpy())


def test_a_float_network_and_one_without_quantised_activations():
    x = pixels()
    net = small_conv().eval()
    assert integer_weights(to_onnx(net)) == (
        [],
        [n for n, p in net.named_parameters() if "weight" in n],
    )
    assert np.allclose(outputs(to_onnx(net), x), net(x).detach(), atol=1e-5)
    for layer in net:
        if hasattr(layer, "weight"):
            layer.weight.data = (layer.weight / 0.01).round() * 0.0078125
    model = to_onnx(net)
    assert len(integer_weights(model)[0]) == 4 and "fc1.bias.codes" not in str(model.graph)
    assert np.allclose(outputs(model, x, False), net(x).detach(), atol=1e-5)


def test_select_nested_sequences_dropout_and_one_dimension():
    net = nn.Sequential(
        nn.Sequential(nn.Conv1d(2, 3, 3, stride=2, padding=1, dilation=2), nn.Identity()),
        nn.MaxPool1d(2, ceil_mode=True), nn.Flatten(), Select(torch.arange(9) % 2 == 0),
        nn.Dropout(), nn.Linear(5, 4),
    ).eval()  # fmt: skip
    x = torch.randn(3, 2, 12)
    assert np.allclose(outputs(to_onnx(net), x), net(x).detach(), atol=1e-5)


def test_shapes_of_inputs():
    net = nn.Sequential(nn.Flatten(), Select(torch.tensor([True, False, True])), nn.Linear(2, 2))
    x = torch.randn(4, 3)
    assert np.allclose(outputs(to_onnx(net), x), net(x).detach(), atol=1e-6)
    x = torch.randn(4, 1, 3)
    assert np.allclose(outputs(to_onnx(net, shape=(1, 3)), x), net(x).detach(), atol=1e-6)


@pytest.mark.parametrize("net", ["norm", "flatten", "same", "padded"])
def test_layers_that_used_to_be_refused(net, tmp_path):
    made = {
        "norm": nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2), nn.LeakyReLU(), nn.Softmax(1)),
        "flatten": nn.Sequential(nn.Linear(2, 2), nn.Flatten(0)),
        "same": nn.Sequential(nn.Conv2d(1, 1, 3, padding="same"), nn.AvgPool2d(2, padding=1)),
        "padded": nn.Sequential(nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), nn.GELU()),
    }[net]
    model = save_onnx(made, tmp_path / "a.onnx")
    x = torch.randn(3, 2) if net in ("norm", "flatten") else torch.randn(3, 1, 9, 7)
    with torch.no_grad():
        np.testing.assert_allclose(outputs(model, x), made.eval()(x), rtol=1e-4, atol=1e-6)


def test_inputs_below_zero_and_no_layers_are_refused():
    with pytest.raises(ValueError, match=r"codes 0\.\.255, not from -128 on"):
        to_onnx(nn.Linear(2, 2), IntegerInput(1.0, -128, 127))
    with pytest.raises(ValueError, match="no layer says what the inputs are"):
        to_onnx(nn.Sequential(QuantisedReLU(1.0, 8)))


def test_without_onnx_it_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ValueError, match=r"pip install 'bitsback\[onnx\]'"):
        save_onnx(nn.Linear(2, 2), tmp_path / "a.onnx")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("bias", [2.0076, 3.0])
def test_sums_near_the_end_of_int32(bias):
    """Of tiny weights under a large bias: the codes have no room to spare, or all is floats."""
    layer = nn.Linear(64, 2)
    with torch.no_grad():
        layer.weight.fill_(2.0**-16)
        layer.bias.fill_(bias)
    x = torch.ones(1, 64)
    net = nn.Sequential(QuantisedReLU(1 / 128, 8), layer)
    np.testing.assert_allclose(outputs(to_onnx(net, None), x), net(x).detach(), rtol=1e-3)
