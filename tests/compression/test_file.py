"""The file: exact round trips, every alteration noticed, nothing half-written."""

import contextlib
import hashlib
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from bitsback.compression import archive as archive_module
from bitsback.compression import codec, file, inspection
from bitsback.compression.archive import Archive, Quantised, Uniform
from bitsback.compression.describe import describe
from bitsback.compression.errors import CorruptFile, UnsupportedVersion
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from .forged import repaired
from .samples import (
    archive,
    codebook,
    conv_net,
    dense_net,
    folded_net,
    graph_net,
    short_net,
    with_sorted_rows,
)

GOLDEN = Path(__file__).parent / "golden"
CODERS = list(file.CODERS)


def same(left: Archive, right: Archive) -> bool:
    """Whether two archives hold the same network and bit-identical tensors."""
    if left.architecture != right.architecture or left.tensors.keys() != right.tensors.keys():
        return False
    for name, a in left.tensors.items():
        b = right.tensors[name]
        if isinstance(a, Quantised):
            if a != b:
                return False
        elif a.dtype != b.dtype or a.shape != b.shape or a.tobytes() != b.tobytes():
            return False
    return True


def refused(data: bytes) -> bool:
    """Whether decoding raises CorruptFile; any other exception is a fault."""
    try:
        file.decode(data)
    except CorruptFile:
        return True
    return False


@pytest.mark.parametrize("coder", CODERS)
@pytest.mark.parametrize("percent", [0, 20, 100])
@pytest.mark.parametrize("make", [dense_net, conv_net])
def test_round_trip(make, percent, coder):
    source = archive(make(), percent, "a-name")
    data = file.encode(source, coder)
    assert same(file.decode(data), source)
    assert file.encode(file.decode(data), coder) == data


@pytest.mark.parametrize(
    ("name", "version"),
    [
        ("dense.range", 1), ("conv.range", 1), ("dense.huffman", 1), ("short.range", 2),
        ("folded.range", 3), ("graph.range", 4), ("conv-sorted.range", 6),
        ("dense.fast", 11), ("conv.fast", 11), ("short.fast", 12), ("folded.fast", 13),
        ("graph.fast", 14), ("short-sorted.range", 7), ("folded-sorted.range", 8),
        ("graph-sorted.range", 9), ("dense.small", 15), ("conv.small", 15), ("short.small", 16),
        ("folded.small", 17), ("graph.small", 18), ("conv-sorted.small", 20),
        ("short-sorted.small", 21), ("folded-sorted.small", 22), ("graph-sorted.small", 23),
    ],
)  # fmt: skip
def test_golden(name, version):
    """Files of each format version are read for ever, to the same weights.

    All but those of the range coder before version 15 are written the same.
    """
    data = (GOLDEN / f"{name}.bb").read_bytes()
    known = json.loads((GOLDEN / "sha256.json").read_text())[name]
    decoded = file.decode(data)
    for tensor, digest in known.items():
        value = decoded.tensors[tensor]
        array = value.values() if isinstance(value, Quantised) else value
        assert hashlib.sha256(array.tobytes()).hexdigest() == digest, tensor
    assert known.keys() == decoded.tensors.keys()
    assert data[len(codec.MAGIC)] == version
    makes = {"dense": dense_net, "conv": conv_net, "short": short_net, "folded": folded_net}
    makes["graph"] = graph_net
    labels = {2: "digits-mlp", 3: "lenet-5-caffe", 4: "a-name"}
    stem, coder = name.split(".")
    label = labels.get(decoded.architecture.version())
    make = makes[stem.removesuffix("-sorted")]
    source = archive(make(), label=label)
    source = with_sorted_rows(source) if decoded.sorted else source
    assert decoded.sorted == source.sorted
    assert coder == "range" or file.encode(source, coder) == data


@pytest.mark.parametrize("coder", CODERS)
def test_every_truncation_is_rejected(coder):
    data = file.encode(archive(dense_net()), coder)
    assert all(refused(data[:length]) for length in range(len(data)))
    assert refused(data + b"\0")


@pytest.mark.parametrize("coder", CODERS)
def test_every_flipped_bit_is_noticed(coder):
    data = file.encode(archive(conv_net()), coder)
    for place in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[place // 8] ^= 1 << place % 8
        assert refused(bytes(flipped)), place


@pytest.mark.parametrize("coder", CODERS)
def test_truncations_behind_a_repaired_checksum(coder):
    """The parser itself notices a missing or an additional byte anywhere at the end."""
    data = file.encode(archive(dense_net()), coder)
    for length in range(4, len(data)):
        assert refused(repaired(data[:length])), length
    assert refused(repaired(data[:-4] + b"\0" + data[-4:]))


def mutate(data: bytes, chance: random.Random) -> bytes:
    """A few bytes changed, inserted, removed, or copied elsewhere."""
    out = bytearray(data)
    for _ in range(chance.randint(1, 4)):
        place, kind = chance.randrange(len(out)), chance.randrange(5)
        if kind == 0:
            out[place] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[place] = chance.choice([0, 1, 127, 128, 255, chance.randrange(256)])
        elif kind == 2:
            out[place:place] = bytes(chance.randrange(256) for _ in range(chance.randint(1, 4)))
        elif kind == 3 and len(out) > 20:
            del out[place : place + chance.randint(1, 4)]
        else:
            other = chance.randrange(len(out))
            out[place : place + 4] = out[other : other + 4]
    return bytes(out)


def fuzz(count: int, seed: int) -> None:
    """Mutated files, the checksum repaired in most, raise CorruptFile or decode; nothing else."""
    chance = random.Random(seed)
    made = [(make, coder) for make in (dense_net, conv_net) for coder in CODERS]
    files = [file.encode(archive(make()), coder) for make, coder in made]
    files.append(file.encode(archive(short_net(), label="digits-mlp")))
    for _ in range(count):
        data = mutate(chance.choice(files), chance)
        data = repaired(data) if chance.random() < 0.9 else data
        before = time.process_time()  # of this process alone: others may be busy
        with contextlib.suppress(CorruptFile):
            file.inspect(data)
        assert time.process_time() - before < 5, data.hex()


def test_mutated_files():
    fuzz(1500, 0)


@pytest.mark.slow
def test_many_mutated_files():
    fuzz(100_000, 1)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused(data):
    assert refused(data)
    assert refused(repaired(codec.MAGIC + bytes([codec.VERSION]) + data + bytes(4)))


def test_a_newer_version_is_named():
    data = bytearray(file.encode(archive(dense_net())))
    data[len(codec.MAGIC)] = codec.VERSION + 1
    with pytest.raises(UnsupportedVersion, match=f"version {codec.VERSION + 1}.*update"):
        file.decode(repaired(bytes(data)))
    with pytest.raises(CorruptFile, match="checksum"):
        file.decode(bytes(data))


@pytest.mark.parametrize("data", [b"", b"PK\3\4 and so on, quite another kind of file"])
def test_other_files_are_refused(data):
    with pytest.raises(CorruptFile, match="not a bitsback file"):
        file.decode(data)


@pytest.mark.parametrize("coder", CODERS)
def test_inspect_accounts_for_every_byte(coder):
    source = archive(conv_net(), label="small")
    data = file.encode(source, coder)
    report = file.inspect(data)
    assert sum(report["items"].values()) == len(data) == report["bytes"]
    assert set(report["items"]) == set(inspection.ITEMS)
    assert all(count >= 0 for count in report["items"].values())
    assert report["label"] == "small"
    assert report["coder"] == coder
    for layer in report["layers"]:
        codes = source.tensors[layer["name"]].codes
        assert layer["kept"] == np.count_nonzero(codes)
        assert layer["total"] == codes.size
        assert layer["kept_units"] == codes.reshape(len(codes), -1).any(axis=1).sum()
        assert layer["bits_per_weight"] * layer["kept"] == pytest.approx(8 * layer["bytes"])
        assert sum(layer["parts"].values()) == pytest.approx(layer["bytes"])
    for part in ("positions", "values"):
        spent = sum(layer["parts"].get(part, 0) for layer in report["layers"])
        assert spent == pytest.approx(report["items"][part], abs=1 / 64)
    json.dumps(report)


def test_network_has_the_archives_weights():
    net = dense_net()
    source = archive(net)
    built = file.network(file.decode(file.encode(source)))
    assert not built.training
    for name, tensor in built.state_dict().items():
        expected = source.tensors[name]
        expected = expected.values() if isinstance(expected, Quantised) else expected
        assert tensor.numpy().tobytes() == expected.tobytes(), name
    x = torch.randn(4, 25)
    assert built(x).shape == (4, 3)


class Own(nn.Module):
    """A network that no file can rebuild."""

    def __init__(self, width: int = 4) -> None:
        super().__init__()
        self.inner = nn.Linear(3, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x) + x.sum()


def test_network_of_the_users_own(tmp_path):
    source = archive(Own())
    path = tmp_path / "own.bb"
    file.save(file.encode(source), path)
    net = file.load(path, into=Own())
    assert net.inner.weight.detach().numpy().tobytes() == (
        source.tensors["inner.weight"].values().tobytes()
    )
    with pytest.raises(ValueError, match="into="):
        file.load(path)
    with pytest.raises(ValueError, match=r"inner.weight.*\(5, 3\).*\(4, 3\)"):
        file.load(path, into=Own(5))
    with pytest.raises(ValueError, match=r"lacks.*inner.bias"):
        file.load(path, into=nn.Linear(3, 4))


def test_unknown_coder_is_named():
    with pytest.raises(ValueError, match="small, huffman, fast"):
        file.encode(archive(dense_net()), "zip")


@pytest.mark.parametrize(
    ("data", "message"),
    [(b"", "empty"), (b"PK\3\4", "first bytes are 50 4b 03 04"), (b"\x9cbb\1", "the beginning")],
)
def test_corrupt_file_is_named(tmp_path, data, message):
    path = tmp_path / "net.bb"
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=rf"net\.bb.*{message}"):
        file.load(path)


def test_what_cannot_be_a_file_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(file, "MAX_FILE", 1000)
    monkeypatch.setattr(codec, "MAX_FILE", 1000)
    path = tmp_path / "net.bb"
    data = codec.MAGIC + bytes(998)
    path.write_bytes(data)
    with pytest.raises(CorruptFile, match=r"net\.bb.*1001 bytes are more than any"):
        file.load(path)
    with pytest.raises(CorruptFile, match="1001 bytes are more than any"):
        file.decode(data)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_bytes(codec.MAGIC + bytes(5000)))
    writer.start()
    with pytest.raises(CorruptFile, match="1001 bytes"):
        file.decode(file.read(pipe))
    writer.join()
    with pytest.raises(CorruptFile, match="not a bitsback file"):
        file.read("/dev/zero")


@pytest.mark.parametrize("data", [b"\x9cbb", bytearray(b"\x9cbb"), nn.Linear(2, 2)])
def test_bytes_in_place_of_a_path_are_told_where_to_go(data):
    """`open` takes bytes for a path, and would say that there is no such file."""
    with pytest.raises(TypeError, match=r"the path of a compressed file, got \w+; .*decode\(data"):
        file.load(data)


def test_a_network_without_memory_is_not_filled():
    source = archive(Own())
    with torch.device("meta"):
        into = Own()
    with pytest.raises(ValueError, match=r"'inner.bias' on the meta device.*make it on the CPU"):
        file.network(source, into)


@pytest.mark.parametrize("dtype", [torch.float16, torch.float64, torch.float32])
def test_other_types_and_large_tensors_are_filled(dtype, monkeypatch):
    monkeypatch.setattr(archive_module, "STRIP", 4)
    chance = np.random.default_rng(0)
    architecture = describe(nn.Sequential(nn.Linear(5, 7).to(dtype)))
    shifts = tuple(chance.integers(0, 3, 7).tolist())
    grid = Uniform(0.5, tuple(k - min(shifts) for k in shifts))
    tensors = {"0.weight": Quantised(chance.integers(-9, 9, (7, 5)), grid)}
    tensors["0.bias"] = Quantised(chance.integers(-9, 9, 7), codebook(9, 9))
    plain = Quantised(chance.integers(-9, 9, (7, 5)), Uniform(0.5))
    assert np.array_equal(plain.values(), plain.grid.values(plain.codes))
    net = file.network(Archive(architecture, tensors))
    for name, tensor in tensors.items():
        assert net.state_dict()[name].dtype == dtype
        assert np.array_equal(net.state_dict()[name].numpy(), tensor.grid.values(tensor.codes))
        assert np.array_equal(tensor.values(), tensor.grid.values(tensor.codes))


def test_save_survives_being_killed(tmp_path):
    """Killed at any moment, the file is the old one or the new one, whole."""
    path = tmp_path / "net.bb"
    program = (
        "import sys; from bitsback.compression.file import save\n"
        "k = 0\n"
        "while True: save(bytes([k % 256]) * 100_000, sys.argv[1]); k += 1"
    )
    for delay in range(4):
        process = subprocess.Popen([sys.executable, "-P", "-c", program, str(path)])
        while not path.exists():
            time.sleep(0.01)
        time.sleep(0.013 * delay)
        process.send_signal(signal.SIGKILL)
        process.wait()
        data = path.read_bytes()
        assert len(data) == 100_000
        assert len(set(data)) == 1
        path.unlink()
