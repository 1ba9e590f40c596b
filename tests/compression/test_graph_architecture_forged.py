"""Forged sections of version 4: refused, whatever is in them."""

import random
import time
import zlib
from contextlib import suppress

import pytest
import torch
from bitsback.compression import codec, describe_graph, file, graph_architecture
from bitsback.compression.describe import describe
from bitsback.compression.errors import CorruptFile
from bitsback.compression.graph_architecture import GraphArchitecture, write
from bitsback.graph import GraphNetwork
from bitsback.graph.table import BY_NUMBER
from torch import nn

from .test_graph_architecture import rebuilt
from .traced import graph_of, linear, parameter, quantised, traced


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
        m.setattr(describe_graph, "roles", lambda net: {"w": "weight"})
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
    body = codec.MAGIC + b"\x13" + file.encode(quantised("mlp"))[4:-4]
    with pytest.raises(CorruptFile, match="version 19"):
        file.decode(body + zlib.crc32(body).to_bytes(4, "little"))
