"""Networks in the profile `fast`: two streams in one file, and which coder a writer takes."""

import random

import numpy as np
import pytest
from bitsback.compression import codec, file
from bitsback.compression.architecture import Architecture
from bitsback.compression.archive import Archive, Codebook, Quantised, Uniform, storable
from bitsback.compression.errors import CorruptFile
from bitsback.compression.fast.model import TwoStreams
from bitsback.compression.nodes import TensorSpec
from hypothesis import given, settings
from hypothesis import strategies as st

from ..forged import repaired
from ..samples import archive, conv_net, dense_net, graph_net
from .samples import heavy, sparse


def network_of(seed: int) -> Archive:
    """A few tensors of each role, with all kinds of grids."""
    chance = np.random.default_rng(seed)
    values = storable(0.1 + 0.05 * np.arange(3))
    tensors = {
        "a.weight": Quantised(heavy((6, 3, 3, 3), seed), Uniform(0.5, (1, 0, 0, 2, 1, 0))),
        "a.bias": Quantised(heavy((6,), seed), Uniform(0.25)),
        "b.weight": Quantised(sparse((5, 6), 0.4, seed), Codebook(-values, values)),
        "b.kept": chance.random(6) < 0.5,
        "b.scale": chance.normal(size=6).astype(np.float32),
        "c.weight": Quantised(sparse((0, 4), 0.4), Uniform(1.0)),
    }
    roles = {"weight": "weight", "bias": "bias", "kept": "mask", "scale": "raw"}
    specs = [
        TensorSpec(
            name,
            (t.codes if isinstance(t, Quantised) else t).shape,
            roles[name[2:]],
            "bool" if name[2:] == "kept" else "float32",
        )
        for name, t in tensors.items()
    ]
    return Archive(Architecture(None, tuple(specs)), tensors)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 1 << 30))
def test_any_network_comes_back(seed):
    source = network_of(seed)
    data = file.encode(source, "fast")
    again = file.decode(data)
    for name, tensor in source.tensors.items():
        found = again.tensors[name]
        assert found == tensor if isinstance(tensor, Quantised) else np.array_equal(found, tensor)
    assert file.encode(again, "fast") == data and data[len(codec.MAGIC)] == 1 + codec.FAST


@pytest.mark.parametrize(("make", "version"), [(dense_net, 11), (conv_net, 11), (graph_net, 14)])
def test_versions_and_inspection(make, version):
    data = file.encode(archive(make(), label=None), "fast")
    found = file.inspect(data)
    assert (found["version"], found["coder"]) == (version, "fast")
    assert sum(found["items"].values()) == pytest.approx(len(data))
    assert all("positions" not in layer["parts"] for layer in found["layers"])


def test_sorted_rows_and_the_profile_do_not_go_together():
    source = network_of(0)
    grouped = Archive(source.architecture, source.tensors, {"b.weight": 1})
    with pytest.raises(ValueError, match="'fast' has no sorted rows; use 'small'"):
        file.encode(grouped, "fast")
    assert codec.coder_for(grouped) == "small"


def test_mutants_behind_a_repaired_checksum_are_refused_or_read():
    chance, data = random.Random(0), file.encode(network_of(1), "fast")
    refused = 0
    for _ in range(400):
        mutant = bytearray(data)
        for _ in range(chance.randint(1, 3)):
            mutant[chance.randrange(4, len(mutant) - 4)] = chance.randrange(256)
        try:
            file.decode(repaired(bytes(mutant)))
        except CorruptFile:
            refused += 1
    assert refused > 300


def test_a_stream_that_is_longer_than_the_file():
    with pytest.raises(CorruptFile, match="length of a stream in the file is not within"):
        TwoStreams(b"\x7f\0")
    with pytest.raises(CorruptFile, match="ends before its symbols do"):
        TwoStreams(b"\x02\0")
    with pytest.raises(CorruptFile, match="ends before its symbols do"):
        TwoStreams(b"")
