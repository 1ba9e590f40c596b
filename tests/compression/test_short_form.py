"""Reference networks in a few bytes: the same network back, and nothing but that."""

import pytest
import torch
from bitsback.compression import codec, file
from bitsback.compression.architecture import Architecture, describe
from bitsback.compression.errors import CorruptFile
from bitsback.compression.short_form import TABLE
from bitsback.compression.units import remove_units
from bitsback.workbench.networks import NETWORKS, network
from torch import nn

from .samples import archive

NAMES = [name for name, _ in TABLE]


def reduced(name: str) -> nn.Module:
    """The network with every other unit dead, and few inputs, so that a Select comes in."""
    torch.manual_seed(0)
    net = network(name)
    weights = [p for key, p in net.named_parameters() if key.endswith("weight")]
    with torch.no_grad():
        for p in net.parameters():
            p.copy_((p * 1000).round() / 1024)
        for p in weights[:-1]:
            p[::2] = 0
        for key, p in net.named_parameters():
            if key.endswith("bias") and "fc2" not in key[-8:]:
                p[::2] = 0
        first = net.get_submodule("fc1").weight
        first[:, torch.arange(first.shape[1]) % 7 > 0] = 0
    return remove_units(net).net


def test_the_table_is_that_of_the_networks():
    """It must stay so when the networks change: then the table gets a new place."""
    for name, node in TABLE:
        root = describe(network(name)).root
        whole = Architecture.from_bytes(b"\0" + bytes.fromhex(node), 1)
        assert whole.root == root, name
    assert set(NAMES) <= set(NETWORKS)


@pytest.mark.parametrize("name", NAMES)
def test_a_header_takes_at_most_16_bytes(name):
    """Beyond magic and checksum: version, number and shapes."""
    for net in (network(name), reduced(name)):
        architecture = describe(net, name)
        data = architecture.to_bytes()
        assert architecture.version() == 2 and len(data) + 2 <= 16
        assert Architecture.from_bytes(data, 2) == architecture
        assert Architecture.from_bytes(architecture.to_bytes(1), 1) == architecture
        with pytest.raises(CorruptFile, match="shortest"):
            Architecture.from_bytes(data, 1)
        with pytest.raises(CorruptFile, match="shortest"):
            Architecture.from_bytes(architecture.to_bytes(1), 2)


def test_a_reduced_network_has_a_select():
    assert any("select" in key for key in reduced("lenet-300-100").state_dict())


def test_a_file_of_each_version_is_read():
    net = reduced("digits-mlp")
    whole = archive(net)
    labelled = codec.Archive(describe(net, "digits-mlp"), whole.tensors)
    unlabelled, short = (file.encode(a) for a in (whole, labelled))
    assert unlabelled[3] == 1 and short[3] == 2 and len(short) < len(unlabelled)
    assert file.inspect(short)["version"] == 2
    old, new = (file.network(file.decode(data)).state_dict() for data in (unlabelled, short))
    assert list(old) == list(new) and all(torch.equal(old[key], new[key]) for key in old)


@pytest.mark.parametrize(
    "net",
    [
        nn.Sequential(nn.Flatten(), nn.Linear(64, 100)),
        network("lenet-300-100"),
        network("digits-mlp").double(),
    ],
)
def test_other_networks_have_no_short_form(net):
    architecture = describe(net, "digits-mlp")
    assert architecture.version() == 1
    assert Architecture.from_bytes(architecture.to_bytes(), 1) == architecture


@pytest.mark.parametrize(
    ("hexadecimal", "message"),
    [
        ("10" "65" "32", "width of 101"),
        ("10" "00" "32", "width of 0"),
        ("11" "41" "64" "32", "width of 65"),
        ("10" "64", "too early"),
        ("10" "64" "32" "01", "too many"),
        ("24" "14" "32" "f403", "shortest"),  # a third Linear layer
    ],
)  # fmt: skip
def test_nonsense_is_refused(hexadecimal, message):
    with pytest.raises(CorruptFile, match=message):
        Architecture.from_bytes(bytes.fromhex(hexadecimal), 2)


def test_altered_bytes_are_refused_or_mean_something():
    generator = torch.Generator().manual_seed(0)
    for name in NAMES:
        good = describe(reduced(name), name).to_bytes()
        for _ in range(300):
            data = bytearray(good)
            place, byte = (int(torch.randint(n, (), generator=generator)) for n in (len(data), 256))
            data[place] = byte
            try:
                architecture = Architecture.from_bytes(bytes(data), 2)
            except CorruptFile:
                continue
            assert architecture.to_bytes(2) == bytes(data)
