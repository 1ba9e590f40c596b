"""Reference networks in a few bytes: the same network back, and nothing but that."""

import pytest
import torch
from bitsback.compression import codec, file
from bitsback.compression.architecture import Architecture
from bitsback.compression.describe import describe
from bitsback.compression.errors import CorruptFile
from bitsback.compression.reduce import reduce
from bitsback.compression.short_form import TABLE
from bitsback.graph import trace
from bitsback.workbench.networks import NETWORKS, network
from torch import nn

from .samples import archive

SHAPES = dict.fromkeys(("lenet-300-100", "lenet-5-caffe", "lenet-5-caffe-relu"), (1, 28, 28))
SHAPES |= {"digits-mlp": (1, 8, 8)}
NAMES = sorted({name for name, *_ in TABLE})


def whole(place: int) -> nn.Module:
    """The network at a place of the table."""
    net = network(TABLE[place][0])
    if place == 4:
        net.conv1.bias = None
    return net


def reduced(name: str, narrow: bool = False) -> nn.Module:
    """The network with every other unit dead, and few inputs, so that a Select comes in.

    :param narrow: leave the second convolution fewer units than the first, so that biases fold.
    """
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
        if narrow:
            net.conv2.weight[8:], net.conv2.bias[8:] = 0, 0
        first = net.get_submodule("fc1").weight
        first[:, torch.arange(first.shape[1]) % 7 > 0] = 0
    return reduce(trace(net, torch.zeros(2, *SHAPES[name]))).net


def test_the_table_is_that_of_the_networks():
    """It must stay so when the networks change: then the table gets a new place."""
    for place, (name, node, _) in enumerate(TABLE):
        root = describe(whole(place)).root
        assert Architecture.from_bytes(b"\0" + bytes.fromhex(node), 1).root == root, name
    assert set(NAMES) <= set(NETWORKS)


@pytest.mark.parametrize("place", range(len(TABLE)))
def test_a_header_takes_at_most_16_bytes(place):
    """Beyond magic and checksum: version, number and shapes."""
    name, _, version = TABLE[place]
    small = reduced(name, narrow=place == 4)
    assert describe(small, name).version() == version
    for net in (whole(place), small):
        architecture = describe(net, name)
        data, version = architecture.to_bytes(), architecture.version()
        assert version > 1 and len(data) + 2 <= 16
        assert Architecture.from_bytes(data, version) == architecture
        assert Architecture.from_bytes(architecture.to_bytes(1), 1) == architecture
        for wrong, which in ((1, data), (5 - version, data), (version, architecture.to_bytes(1))):
            with pytest.raises(CorruptFile, match=r"shortest|another version"):
                Architecture.from_bytes(which, wrong)


def test_folded_biases_have_a_short_form():
    net = reduced("lenet-5-caffe", narrow=True)
    assert "conv1.bias" not in net.state_dict() and "conv2.bias" in net.state_dict()
    data = file.encode(codec.Archive(describe(net, "lenet-5-caffe"), archive(net).tensors))
    assert data[3] == file.inspect(data)["version"] == 17
    again = file.network(file.decode(data))
    x = torch.rand(2, 1, 28, 28)
    assert torch.equal(again(x), file.network(file.decode(file.encode(archive(net))))(x))
    assert set(again.state_dict()) == set(net.state_dict())


def test_a_reduced_network_has_a_select():
    assert any("select" in key for key in reduced("lenet-300-100").state_dict())


def test_a_file_of_each_version_is_read():
    net = reduced("digits-mlp")
    plain = archive(net)
    labelled = codec.Archive(describe(net, "digits-mlp"), plain.tensors)
    unlabelled, short = (file.encode(a) for a in (plain, labelled))
    assert unlabelled[3] == 18 and short[3] == 16 and len(short) < len(unlabelled)
    assert file.inspect(short)["version"] == 16
    old, new = (file.network(file.decode(data)).state_dict() for data in (unlabelled, short))
    assert set(old) == set(new) and all(torch.equal(old[key], new[key]) for key in old)


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
    for name, narrow in (*((name, False) for name in NAMES), ("lenet-5-caffe", True)):
        known = describe(reduced(name, narrow), name)
        good, version = known.to_bytes(), known.version()
        for _ in range(300):
            data = bytearray(good)
            place, byte = (int(torch.randint(n, (), generator=generator)) for n in (len(data), 256))
            data[place] = byte
            try:
                architecture = Architecture.from_bytes(bytes(data), version)
            except CorruptFile:
                continue
            assert architecture.to_bytes(version) == bytes(data)
