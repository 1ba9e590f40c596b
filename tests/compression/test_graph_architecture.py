"""Traced networks in files: the same network back, in few bytes, and nothing but that."""

import random
import subprocess
import sys
import time
import zlib
from contextlib import suppress

import numpy as np
import pytest
import torch
from bitsback.compression import codec, file, graph_architecture
from bitsback.compression.architecture import describe
from bitsback.compression.archive import Archive, Quantised
from bitsback.compression.errors import CorruptFile
from bitsback.compression.graph_architecture import GraphArchitecture, write
from bitsback.graph import GraphNetwork, Ref, trace
from bitsback.graph.ir import Fixed
from bitsback.graph.table import BY_NUMBER
from torch import nn
from torch.nn import functional as F
from torch.utils import _pytree as pytree

from ..graph.networks import NETWORKS
from .samples import archive
from .traced import graph_of, linear, parameter, quantised, smaller, traced

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
    assert data[3] == 4
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


@pytest.mark.parametrize(
    "name",
    [
        "forward", "fc.forward", "__class__", "__class__.weight", "_parameters", "training", "a..b",
        ".weight", "weight.", "fc.__init__.weight", "x" * 513, "state_dict", "a\0b",
    ],
)  # fmt: skip
def test_names_of_attributes_are_refused(name, monkeypatch):
    """By the writer; and by the reader, of a file that another writer made."""
    net = linear("weight")
    source = describe(net).described
    source.graph.parameters[0].name = name
    with pytest.raises(ValueError, match=r"name|text"):
        write(source)
    with monkeypatch.context() as m:
        m.setattr(graph_architecture, "check_names", lambda names: None)
        m.setattr("bitsback.compression.graph_names.MAX_NAME", 1000)
        if "\0" in name:  # which no text of a section can hold
            return
        data, _ = write(source)
    with pytest.raises(CorruptFile, match=r"name|\d bytes"):
        GraphArchitecture.from_bytes(data)


def test_one_name_for_two_is_refused(monkeypatch):
    graph = graph_of(*[("linear", {"weight": parameter(n), "bias": None}) for n in ("a", "a.b")])
    net = GraphNetwork(graph, dict.fromkeys(("a", "a.b"), nn.Parameter(torch.zeros(4, 4))))
    with pytest.raises(ValueError, match="one name"):
        describe(net)


FORGED = [
    (("reshape", {"shape": (-1, 3)}), "do not fill"),
    (("flatten", {"start_dim": 7, "end_dim": -1}), "no axis 7"),
    (("pad", {"pad": (1 << 17, 0), "mode": "constant", "value": 0.0}), "pad is 131072"),
    (("pad", {"pad": (1, 0) * 3, "mode": "constant", "value": 0.0}), "other axes"),
    (("repeat", {"repeats": (1 << 24, 1 << 20)}), "gives a value of shape"),
    (("full", {"size": (1 << 20, 1 << 20), "value": 0, "dtype": None}), "gives a value of shape"),
    (("full", {"size": (1,) * 9, "value": 0, "dtype": None}), "gives a value of shape"),
    (("split", {"sizes": (1,) * 1025, "dim": 1}), "1025 entries"),
    (("split", {"sizes": (1, 1), "dim": 1}), "are not 4 together"),
    (("adaptive_avg_pool1d", {"output_size": (1 << 20,)}), "output_size is 1048576"),
    (("max_pool1d", {"kernel_size": (0,), "stride": (0,), "padding": (0,), "dilation": (1,),
                     "ceil_mode": False}), "kernel_size is 0"),
    (("select", {"dim": 1, "index": 4}), "no entry 4"),
    (("gelu", {"approximate": "exec"}), "cannot hold the attribute 'exec'"),
    (("to", {"dtype": "complex128"}), "complex128"),
    (("softmax", {"dim": "1"}), "dim must be int"),
]  # fmt: skip


@pytest.mark.parametrize(("operator", "message"), FORGED)
def test_attributes_beyond_the_limits_are_refused(operator, message):
    name, _ = operator
    graph = graph_of(operator)
    if name == "full":
        del graph.nodes[-1].arguments["input"]
    with pytest.raises(ValueError, match=message):
        describe(GraphNetwork(graph, {}))


def test_refused_graphs_in_files(monkeypatch):
    """What a writer of ours refuses, a reader refuses too."""
    graph = graph_of(("repeat", {"repeats": (1 << 20, 1 << 12)}))
    with monkeypatch.context() as m:
        m.setattr("bitsback.compression.graph_shapes.MAX_ELEMENTS", 1 << 62)
        data = describe(GraphNetwork(graph, {})).to_bytes()
    with pytest.raises(CorruptFile, match="gives a value of shape"):
        GraphArchitecture.from_bytes(data)
    graph = graph_of(*[("matmul", {"other": parameter("w")})], shape=(None, 1 << 29))
    with monkeypatch.context() as m:
        m.setattr("bitsback.compression.graph_parameters.MAX_PARAMETERS", 1 << 62)
        net = GraphNetwork(graph, {"w": torch.zeros(1, 1).expand(1 << 29, 4)})
        m.setattr(graph_architecture, "roles", lambda net: {"w": "weight"})
        data = describe(net).to_bytes()
    with pytest.raises(CorruptFile, match="too many bytes"):
        GraphArchitecture.from_bytes(data)


def test_work_is_bounded(monkeypatch):
    graph = graph_of(("relu", {}), ("relu", {}))
    data = describe(GraphNetwork(graph, {})).to_bytes()
    monkeypatch.setattr("bitsback.compression.graph_section.MAX_WORK", 15)
    with pytest.raises(CorruptFile, match="too many multiplications"):
        GraphArchitecture.from_bytes(data)


@pytest.mark.parametrize("count", [1000, 20_000])
def test_long_chains(count):
    """A thousand operators are a network; what takes seconds to read is refused in less."""
    net = GraphNetwork(graph_of(*[("relu", {})] * count), {})
    if count < 10_000:
        assert len(rebuilt(describe(net)).described.graph.operators) == count
        return
    with pytest.raises(ValueError, match="more than 16384 nodes"):
        describe(net)


def mutated(data: bytes, rng: random.Random) -> bytes:
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 5))):
        at, kind = rng.randrange(len(data)), rng.randrange(4)
        if kind == 0:
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at] = rng.randrange(256)
        elif kind == 2:
            data[at:at] = rng.randbytes(rng.randrange(1, 30))
        elif len(data) > 8:
            del data[at : at + 4]
    return bytes(data)


def test_mutated_sections():
    """Nothing but `CorruptFile`, in a second each."""
    rng = random.Random(3)
    sections = [describe(traced(name)[0]).to_bytes() for name in ("resnet", "gpt", "two-inputs")]
    for _ in range(300):
        started = time.process_time()
        with suppress(CorruptFile):
            GraphArchitecture.from_bytes(mutated(rng.choice(sections), rng))
        assert time.process_time() - started < 1


def test_mutated_files():
    """The whole file, its checksum repaired."""
    rng = random.Random(4)
    data = file.encode(quantised("unet"))
    for _ in range(150):
        body = data[:4] + mutated(data[4:60], rng) + data[60:-4]
        with suppress(CorruptFile):
            file.decode(body + zlib.crc32(body).to_bytes(4, "little"))


def test_an_unknown_operator_is_named(monkeypatch):
    data = describe(GraphNetwork(graph_of(("erf", {})), {})).to_bytes()
    monkeypatch.delitem(BY_NUMBER, 48)
    with pytest.raises(CorruptFile, match="operator 48, which this bitsback does not know"):
        GraphArchitecture.from_bytes(data)


def test_other_versions_are_refused():
    architecture = quantised("mlp").architecture
    with pytest.raises(ValueError, match="version 4 only"):
        architecture.to_bytes(1)
    body = codec.MAGIC + b"\x05" + file.encode(quantised("mlp"))[4:-4]
    with pytest.raises(CorruptFile, match="version 5"):
        file.decode(body + zlib.crc32(body).to_bytes(4, "little"))


def test_the_huffman_coder_takes_graphs():
    source = quantised("unet")
    again = file.decode(file.encode(source, "huffman"))
    assert again.tensors == dict(source.tensors)


def test_inspect_accounts_for_every_byte():
    data = file.encode(quantised("vit"))
    found = file.inspect(data)
    assert found["version"] == 4 and sum(found["items"].values()) == pytest.approx(len(data))
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
