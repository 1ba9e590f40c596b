"""Bayesian Bits on a residual network as a graph: trained, compressed, in integers, as ONNX."""

import bitsback
import pyro
import pytest
import torch
from bitsback.compression.integer import accumulators, to_integer
from bitsback.compression.integer_layers import IntegerInput
from bitsback.compression.onnx_file import integer_weights, save_onnx
from bitsback.graph import GraphNetwork, trace, weight_names
from bitsback.methods.bops import bops_figures
from pyro.infer import SVI, TraceMeanField_ELBO

from ..graph.image_networks import ResNet


def data(count: int = 120):
    """Images of bytes over 255 whose brightest colour is the class."""
    generator = torch.Generator().manual_seed(2)
    x = torch.rand(count, 3, 6, 6, generator=generator)
    y = torch.arange(count) % 3
    x[torch.arange(count), y] *= 1.6
    return (x.clamp(max=1) * 255).round() / 255, y


def fitted(net, x, y):
    """The float network, trained until it knows the classes."""
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-2)
    for _ in range(80):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()
    return net.eval()


@pytest.fixture(scope="module")
def done():
    """A guide, trained briefly, and the network that its posterior compresses to."""
    pyro.clear_param_store()
    torch.manual_seed(0)
    x, y = data()
    network = trace(fitted(ResNet((4, 6), 1, 3), x, y), x)
    model = bitsback.models.BayesianBits(
        network, len(x), cost=1e-3, widths=(4, 8), latent=weight_names(network)
    )
    guide = bitsback.guides.GateChain(model)
    model.measure(x)
    svi = SVI(model, guide, pyro.optim.ClippedAdam({"lr": 1e-3}), TraceMeanField_ELBO())
    for _ in range(8):
        svi.step(x, y)
        guide.settle()
    trained = model.trained()
    result = bitsback.compress(
        trained, guide.posterior(), validation=(x, y), quantiser="grid", prune="none",
        threshold=0.0,
    )  # fmt: skip
    return guide, result.network, x, y


def test_its_relus_are_quantised_while_it_trains(done):
    guide, _, _, _ = done
    relus = ["relu", "layers.0", "layers.0~2", "layers.1", "layers.1~2"]
    assert list(guide.model.relus) == relus
    assert guide.model.relus["layers.0~2"] == [
        "layers.1.conv1.weight", "layers.1.shortcut.0.weight",
    ]  # fmt: skip
    assert list(guide.posterior().activations) == relus
    assert all(f"{name}.gate" in {f"{site}.gate" for site in guide.inclusions()} for name in relus)


def test_prices_count_all_layers_behind_a_relu(done):
    model = done[0].model
    first, second = (model.price(name) for name in model.relus["layers.0~2"])
    torch.testing.assert_close(model.price("layers.0~2"), first + second)


def test_what_compression_gives_is_what_was_trained(done):
    guide, network, x, y = done
    assert isinstance(network, GraphNetwork)
    kinds = [node.operator for node in network.graph if node.operator.endswith("relu")]
    assert kinds == ["quantised_relu"] * 5
    weights = guide.median()
    with torch.no_grad():
        expected = guide.model.output(x, weights)
    assert (network(x).argmax(1) == y).float().mean() > 0.9
    torch.testing.assert_close(network(x), expected, rtol=0.1, atol=0.1 * expected.abs().max())


def test_its_integers_agree(done):
    _, network, x, _ = done
    whole = to_integer(network)
    assert len(accumulators(whole)) == 7
    found, expected = whole(x).float(), network(x)
    assert torch.equal(found.argmax(1), expected.argmax(1))
    assert (found - expected).abs().max() < 0.02 * expected.abs().max()


def test_its_onnx_model_agrees(done, tmp_path):
    _, network, _, _ = done
    model = save_onnx(network, tmp_path / "a.onnx", IntegerInput())
    assert len(integer_weights(model)[0]) == 7 and integer_weights(model)[1] == []


def test_its_bit_operations(done):
    figures = bops_figures(done[0], None)
    assert 0 < figures["relative"] <= figures["by_bits"] < (8 / 32) ** 2 + 1e-6
    assert figures["layers"]["fc.weight"]["input_bits"] in (4, 8)
