"""Traced networks in files: the same network back, in few bytes, and nothing but that."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from bitsback.compression import file
from bitsback.compression.archive import Archive, Quantised
from bitsback.compression.describe import describe
from bitsback.compression.errors import CorruptFile
from bitsback.compression.graph_architecture import GraphArchitecture, write
from bitsback.graph import GraphNetwork, Ref, trace
from bitsback.graph.ir import Fixed
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from ..graph.networks import NETWORKS
from .samples import archive
from .traced import graph_of, parameter, quantised, smaller, traced

#: Bytes of the graph section without its label, and two for what another primer changes.
BYTES = {
    "lenet": 14, "mlp": 12, "vgg": 19, "resnet": 32, "padded-resnet": 25, "mobilenet": 64,
    "densenet": 52, "unet": 31, "transformer": 72, "gpt": 93, "vit": 35, "lstm": 27, "gru": 37,
    "two-inputs": 43, "shufflenet": 40, "signal": 44, "conv3d": 29, "gated": 35,
}  # fmt: skip

IN_A_FRESH_PROCESS = """
import sys, torch
from torch.utils import _pytree as pytree
from bitsback.compression import file
expected = torch.load("expected.pt")
for name, (x, weights, outputs) in expected.items():
    net = file.load(f"{name}.bb")
    state = net.state_dict()
    assert state.keys() == weights.keys(), name
    assert all(torch.equal(state[key], weights[key]) for key in weights), name
    args, kwargs = ((), x) if isinstance(x, dict) else (x if isinstance(x, tuple) else (x,), {})
    found = net(*args, **kwargs)
    assert pytree.tree_structure(found) == pytree.tree_structure(outputs), name
    for a, b in zip(pytree.tree_leaves(found), pytree.tree_leaves(outputs), strict=True):
        assert torch.allclose(a, b, rtol=0, atol=1e-6), name
assert not {"sympy", "tests"} & sys.modules.keys()
"""


def same(a: Quantised | np.ndarray, b: Quantised | np.ndarray) -> bool:
    return np.array_equal(a, b) if isinstance(a, np.ndarray) else a == b


def numbers(net: nn.Module) -> dict[str, torch.Tensor]:
    return dict(net.named_parameters()) | dict(net.named_buffers())


def call(net: nn.Module, x: object) -> object:
    if isinstance(x, dict):
        return net(**x)
    return net(*x) if isinstance(x, tuple) else net(x)


def rebuilt(architecture: GraphArchitecture) -> GraphArchitecture:
    return GraphArchitecture.from_bytes(architecture.to_bytes())


@pytest.mark.parametrize("name", NETWORKS)
def test_round_trip(name):
    """Names, numbers bit by bit, dtypes, what trains, the function."""
    source = quantised(name)
    data = file.encode(source)
    assert data[3] == 18
    again = file.decode(data)
    assert again.tensors.keys() == source.tensors.keys()
    assert all(same(again.tensors[key], value) for key, value in source.tensors.items())
    assert again.architecture.label == name
    assert again.architecture.tensors() == source.architecture.tensors()
    assert file.encode(again) == data
    net, (original, x) = file.network(again), traced(name)
    assert net.state_dict().keys() == original.state_dict().keys()
    assert dict(net.named_parameters()).keys() == dict(original.named_parameters()).keys()
    original = GraphNetwork(original.graph, numbers(net))
    with torch.no_grad():
        found, expected = (pytree.tree_leaves(call(n, x)) for n in (net, original))
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_in_a_fresh_process(tmp_path):
    """Whole and after removal, without the classes, and without what takes long to import."""
    archives = {name: quantised(name) for name in NETWORKS}
    archives |= {f"small-{name}": smaller(name) for name in NETWORKS}
    expected = {}
    for name, source in archives.items():
        (tmp_path / f"{name}.bb").write_bytes(file.encode(source))
        net, x = file.network(source), traced(name.removeprefix("small-"))[1]
        with torch.no_grad():
            expected[name] = (x, net.state_dict(), call(net, x))
    torch.save(expected, tmp_path / "expected.pt")
    run = subprocess.run(
        [sys.executable, "-P", "-c", IN_A_FRESH_PROCESS],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("name", BYTES)
def test_bytes(name):
    size = len(describe(traced(name)[0]).to_bytes())
    assert size <= BYTES[name]


class Block(nn.Module):
    def __init__(self, before: int, after: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(before, after, 3, stride, 1)
        self.conv2 = nn.Conv2d(after, after, 3, 1, 1)
        self.pad = (after - before) // 2

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.conv2(F.relu(self.conv1(x)))
        if self.pad:
            x = F.pad(x[:, :, ::2, ::2], (0, 0, 0, 0, self.pad, self.pad))
        return F.relu(y + x)


class PaddedResNet(nn.Module):
    """The CIFAR ResNet of 2 + 6 n layers whose shortcuts add zero channels."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, padding=1)
        widths = [16] * blocks + [32] * blocks + [64] * blocks
        before = [16, *widths[:-1]]
        layers = [Block(b, w, 1 + (b < w)) for b, w in zip(before, widths, strict=True)]
        for stage in range(3):
            part = nn.Sequential(*layers[stage * blocks : (stage + 1) * blocks])
            self.add_module(f"layer{stage + 1}", part)
        self.linear = nn.Linear(64, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.layer3(self.layer2(self.layer1(F.relu(self.conv1(x)))))
        return self.linear(F.avg_pool2d(x, x.size(3)).view(x.size(0), -1))


@pytest.mark.parametrize(("blocks", "most"), [(1, 43), (3, 52)])
def test_bytes_of_resnets(blocks, most):
    net = trace(PaddedResNet(blocks), torch.randn(2, 3, 32, 32))
    architecture = describe(net, f"resnet-{2 + 6 * blocks}")
    assert len(architecture.to_bytes()) <= most


def test_bytes_of_a_network_that_version_1_describes():
    """Its graph and names take fewer bytes than its layers did."""
    net = nn.Sequential(
        nn.Flatten(),
        nn.Linear(784, 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, 10),
    )
    graph = trace(net, torch.randn(2, 784))
    for label in (None, "lenet-300-100"):
        new, old = (describe(n, label) for n in (graph, net))
        assert (new.version(), old.version()) == (4, 1)
        assert len(new.to_bytes()) <= len(old.to_bytes())


def test_ties_are_kept():
    assert traced("gpt")[0].graph.aliases == {"head.weight": "wte.weight"}
    again = file.network(file.decode(file.encode(quantised("gpt"))))
    state = again.state_dict(keep_vars=True)
    assert state["head.weight"] is state["wte.weight"]
    assert describe(again).ties == (("head.weight", "wte.weight"),)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_dtypes_are_kept(dtype):
    net = trace(
        nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 2)).to(dtype), torch.zeros(2, 5, dtype=dtype)
    )
    again = file.network(file.decode(file.encode(archive(net))))
    assert all(t.dtype == dtype for t in again.state_dict().values())
    assert again.graph.inputs == net.graph.inputs


def test_buffers_are_kept_bit_by_bit():
    class Shifted(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.fc = nn.Linear(3, 3)
            self.register_buffer("order", torch.tensor([2, 0, 1]))
            self.register_buffer("bound", torch.tensor([float("inf"), 1.0, -0.5]))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.minimum(self.fc(x).index_select(1, self.order), self.bound)

    net = trace(Shifted(), torch.zeros(2, 3))
    again = file.network(file.decode(file.encode(archive(net))))
    assert torch.equal(again.order, net.order) and torch.equal(again.bound, net.bound)
    assert {name for name, _ in again.named_buffers()} == {"order", "bound"}
    roles = {spec.name: spec.role for spec in describe(net).tensors()}
    assert roles == {"fc.weight": "weight", "fc.bias": "bias", "order": "raw", "bound": "raw"}


def picked(kept: torch.Tensor) -> GraphNetwork:
    count = int(kept.sum())
    graph = graph_of(
        ("pick", {"kept": parameter("choice.kept")}),
        ("linear", {"weight": parameter("fc.weight"), "bias": None}),
        shape=(None, len(kept)),
    )
    weight = nn.Parameter(torch.zeros(2, count))
    return GraphNetwork(graph, {"choice.kept": kept, "fc.weight": weight})


def test_masks_are_kept_and_checked():
    net = picked(torch.tensor([True, False, True, True, False]))
    source = archive(net)
    again = file.decode(file.encode(source))
    assert file.network(again)(torch.ones(1, 5)).shape == (1, 2)
    assert np.array_equal(again.tensors["choice.kept"], [True, False, True, True, False])
    tensors = dict(source.tensors) | {"choice.kept": np.array([True, False, True, False, False])}
    with pytest.raises(CorruptFile, match=r"'choice.kept' in the file does not keep 3"):
        file.decode(file.encode(Archive(source.architecture, tensors)))


def test_unread_parameters_are_left_out():
    graph = graph_of(("relu", {}))
    graph.nodes.insert(0, parameter("unread").node)
    net = GraphNetwork(graph, {"unread": torch.zeros(3)})
    assert describe(net).tensors() == []


def test_the_huffman_coder_takes_graphs():
    source = quantised("unet")
    again = file.decode(file.encode(source, "huffman"))
    assert again.tensors == dict(source.tensors)


def test_inspect_accounts_for_every_byte():
    data = file.encode(quantised("vit"))
    found = file.inspect(data)
    assert found["version"] == 18 and sum(found["items"].values()) == pytest.approx(len(data))
    assert found["label"] == "vit"


def test_parts_of_a_section():
    spent = {}
    data, _ = write(
        describe(traced("resnet")[0]).described, spent=lambda k, bits: spent.update({k: bits})
    )
    assert spent.keys() == {"graph", "names", "lenders", "label"}
    assert sum(spent.values()) / 8 == pytest.approx(len(data), abs=2)


def test_nested_outputs_and_fixed_sizes():
    graph = graph_of(("relu", {}), shape=(3, 4))
    fixed = (Fixed(None), Fixed(0.5), Fixed("text"), Fixed(True), Fixed(-3))
    graph.outputs = {"y": graph.outputs, "extra": [Ref(graph.nodes[0]), fixed], "": ()}
    again = rebuilt(describe(GraphNetwork(graph, {}))).build()
    found = again(torch.ones(3, 4))
    assert found["extra"][1] == (None, 0.5, "text", True, -3) and found[""] == ()
    assert again.graph.inputs == graph.inputs


def test_named_inputs():
    class Named(nn.Module):
        def forward(self, x: torch.Tensor, others: dict, scale: float | None = None):
            return x + others["b"][0] - others["a"]

    a, b, x = torch.rand(3, 2, 4)
    net = trace(Named(), {"x": x, "others": {"b": [b], "a": a}})
    again = rebuilt(describe(net)).build()
    assert torch.equal(again(x=x, others={"b": [b], "a": a}), net(x=x, others={"b": [b], "a": a}))
    assert again.graph.signature == net.graph.signature
