"""Networks survive description and bytes; bytes that are not a description are refused."""

import pytest
import torch
from bitsback.compression.architecture import Architecture
from bitsback.compression.describe import describe
from bitsback.compression.errors import CorruptFile
from bitsback.compression.layers import KINDS
from bitsback.compression.quantised_relu import QuantisedReLU
from bitsback.compression.select import Select
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn


def lenet_300_100() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(784, 300), nn.ReLU(), nn.Linear(300, 100), nn.ReLU(),
        nn.Linear(100, 10),
    )  # fmt: skip


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(3, 3)
        self.table = nn.Embedding(5, 3)

    def forward(self, x):
        return x + self.fc(x)


ONE_OF_EACH = [
    nn.Linear(3, 4, bias=False),
    nn.Conv1d(4, 6, 3, stride=2, padding=1, dilation=2, groups=2),
    nn.Conv2d(3, 4, (3, 5), padding=(1, 2), padding_mode="circular", bias=False),
    nn.Conv2d(3, 4, 3, padding="same"),
    nn.BatchNorm1d(7, eps=1e-3, momentum=None),
    nn.BatchNorm2d(7, affine=False, track_running_stats=False),
    nn.LayerNorm((3, 4), bias=False),
    nn.LayerNorm(5, elementwise_affine=False),
    Select(torch.tensor([True, False])),
    nn.Flatten(0, 2),
    nn.Identity(),
    nn.ReLU(inplace=True),
    nn.LeakyReLU(0.3),
    nn.ELU(2.0),
    nn.GELU("tanh"),
    nn.SiLU(),
    nn.Tanh(),
    nn.Sigmoid(),
    nn.Softplus(2.0, 10.0),
    nn.Hardtanh(0.0, 6.5),
    nn.ReLU6(),
    nn.Mish(),
    nn.Hardswish(),
    nn.Softmax(-1),
    nn.LogSoftmax(1),
    nn.Dropout(0.25),
    nn.Dropout1d(),
    nn.Dropout2d(),
    nn.AlphaDropout(),
    nn.MaxPool1d(3, 2, 1, dilation=2, ceil_mode=True),
    nn.MaxPool2d((2, 3)),
    nn.AvgPool1d(2, count_include_pad=False),
    nn.AvgPool2d(2, (2, 1), 1),
    nn.AdaptiveAvgPool1d(3),
    nn.AdaptiveAvgPool2d((1, 2)),
    nn.AdaptiveMaxPool1d(3),
    nn.AdaptiveMaxPool2d(4),
    QuantisedReLU(0.75, 4),
]


def rebuilt(net: nn.Module) -> nn.Module:
    architecture = describe(net)
    again = Architecture.from_bytes(architecture.to_bytes())
    assert again == architecture
    return again.build()


@pytest.mark.parametrize("layer", ONE_OF_EACH, ids=repr)
def test_every_layer_is_rebuilt(layer):
    again = rebuilt(nn.Sequential(layer))[0]
    assert type(again) is type(layer)
    assert repr(again).replace(", inplace=True", "") == repr(layer).replace("inplace=True", "")
    shapes = {name: (t.shape, t.dtype) for name, t in layer.state_dict().items()}
    assert {name: (t.shape, t.dtype) for name, t in again.state_dict().items()} == shapes
    assert not again.training and all(not t.any() for t in again.state_dict().values())


def test_every_kind_is_tested_and_has_its_own_number():
    made = {type(layer) for layer in ONE_OF_EACH}
    assert len({kind.number for kind in KINDS}) == len(KINDS) == len(made)
    assert all(1 <= kind.number < 128 for kind in KINDS)


def test_the_bytes_of_a_lenet():
    data = describe(lenet_300_100(), "lenet-300-100").to_bytes()
    assert data == bytes.fromhex(
        "02" "0d" + b"lenet-300-100".hex() + "00" "18"
        "08" "01" "9006" "ac02" "0a" "01" "ac02" "64" "0a" "01" "64" "0a"
    )  # fmt: skip
    assert len(data) < 40


@pytest.mark.parametrize(
    ("names", "bytes_for_names"),
    [
        (["0", "1", "2", "3"], 0),
        (["conv1", "bn1", "flatten", "fc1"], 0),
        (["a", "b", "c", "d"], 8),
        (["0", "1", "2", "head"], 11),
    ],
)
def test_names_stay(names, bytes_for_names):
    net = nn.Sequential()
    layers = (nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Flatten(), nn.Linear(8, 3))
    for name, layer in zip(names, layers, strict=True):
        net.add_module(name, layer)
    assert list(rebuilt(net).state_dict()) == list(net.state_dict())
    size = len(describe(nn.Sequential(*layers)).to_bytes())
    assert len(describe(net).to_bytes()) == size + bytes_for_names


def test_a_select_changes_no_other_name():
    net = nn.Sequential()
    for name, layer in {
        "0": nn.Flatten(), "select": Select(torch.ones(8, dtype=torch.bool)),
        "1": nn.Linear(8, 3), "select2": Select(torch.ones(3, dtype=torch.bool)), "2": nn.ReLU(),
    }.items():  # fmt: skip
        net.add_module(name, layer)
    architecture = describe(net)
    assert b"select" not in architecture.to_bytes()
    assert [spec.role for spec in architecture.tensors()] == ["mask", "weight", "bias", "mask"]
    assert list(rebuilt(net).state_dict()) == list(net.state_dict())


def test_nested_and_double():
    net = nn.Sequential(
        nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2)), nn.Sequential(nn.Sequential())
    ).double()
    again = rebuilt(net)
    assert list(again.state_dict()) == list(net.state_dict())
    assert again[0][0].weight.dtype == torch.float64 and again[0][1].num_batches_tracked.ndim == 0


def test_tied_tensors_are_held_once_and_tied_again():
    shared = nn.Linear(4, 4)
    net = nn.Sequential(shared, nn.ReLU(), shared, nn.Linear(4, 4, bias=False))
    net[3].weight = shared.weight
    architecture = describe(net)
    assert [spec.name for spec in architecture.tensors()] == ["0.weight", "0.bias"]
    again = rebuilt(net)
    assert again[2].weight is again[0].weight is again[3].weight and again[2].bias is again[0].bias


def test_other_modules_are_described_by_their_tensors():
    architecture = describe(Residual(), "mine")
    assert architecture.root is None and architecture.label == "mine"
    roles = {spec.name: spec.role for spec in architecture.tensors()}
    assert roles == {"fc.weight": "weight", "fc.bias": "bias", "table.weight": "raw"}
    assert Architecture.from_bytes(architecture.to_bytes()) == architecture
    with pytest.raises(ValueError, match="into="):
        architecture.build()
    named = describe(Residual(), weights=["table.weight"]).tensors()
    assert [spec.role for spec in named] == ["weight", "bias", "weight"]


def with_hook(net: nn.Module) -> nn.Module:
    net[1].register_forward_hook(lambda module, x, y: 2 * y)
    return net


@pytest.mark.parametrize(
    "net",
    [
        with_hook(lenet_300_100()),
        nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Linear(2, 2))),
        nn.Sequential(nn.MaxPool2d(2, return_indices=True)),
        nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2).double()),
        nn.Sequential(nn.AdaptiveAvgPool2d((None, 2))),
        nn.Sequential(type("Mine", (nn.Linear,), {})(2, 2)),
    ],
    ids=["hook", "parametrised", "return_indices", "two dtypes", "None", "subclass"],
)
def test_what_a_description_would_lose_is_not_described(net):
    assert describe(net).root is None


def test_a_tensor_that_no_file_holds():
    net = nn.Sequential(nn.Linear(2, 2).to(torch.bfloat16))
    with pytest.raises(ValueError, match=r"'0.weight' is bfloat16; .* call net.float\(\)"):
        describe(net)


GOOD = [
    describe(net, label).to_bytes()
    for net, label in (
        (lenet_300_100(), "x"),
        (nn.Sequential(*ONE_OF_EACH[:8]), None),
        (Residual(), None),
    )
]


@pytest.mark.parametrize("data", GOOD)
def test_every_prefix_is_refused(data):
    for end in range(len(data)):
        with pytest.raises(CorruptFile):
            Architecture.from_bytes(data[:end])
    with pytest.raises(CorruptFile, match="too many"):
        Architecture.from_bytes(data + b"\0")


@settings(max_examples=2000, deadline=None)
@given(st.sampled_from(GOOD), st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255))))
def test_altered_bytes_are_refused_or_mean_something(data, changes):
    data = bytearray(data)
    for place, byte in changes:
        data[place % len(data)] = byte
    try:
        architecture = Architecture.from_bytes(bytes(data))
    except CorruptFile:
        return
    assert architecture.to_bytes() == bytes(data)
    for spec in architecture.tensors():
        assert all(size >= 0 for size in spec.shape)


@pytest.mark.parametrize(
    ("hexadecimal", "message"),
    [
        ("00" "7f", "kind 127"),
        ("38", r"0\.\.55"),
        ("00" "01ffffffff07ffffffff07", "more than"),  # 2^62 weights
        ("00" + "0004" * 17 + "0000", "nested"),
        ("00" "000b" "0a" "0a", "way of naming"),
        ("00" "000a" "0a" "0a" "0161" "0161", "unique"),
        ("00" "82" "030402" "10" "05", "groups"),  # 5 groups of 3 channels
        ("00" "01" "8400" "05", "not within"),  # an overlong varint
        ("01" "01" "0001ff" "00" "00", "a name in the architecture is not UTF-8"),
        ("00" "8b" "01" "7b14ae47e17a843f", "shortest"),  # LeakyReLU's default, written out
        ("04" "01" "0203" "01" "0100", "same tensor"),  # a bias tied to a weight
    ],
)  # fmt: skip
def test_nonsense_is_refused(hexadecimal, message):
    with pytest.raises(CorruptFile, match=message):
        Architecture.from_bytes(bytes.fromhex(hexadecimal))


def test_building_uses_no_random_numbers():
    architecture = describe(lenet_300_100())
    before = torch.get_rng_state()
    architecture.build()
    assert torch.equal(before, torch.get_rng_state())
