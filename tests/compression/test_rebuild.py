"""Networks of descriptions: what torch refuses is refused when it is read; what is left fits."""

import subprocess
import sys

import pytest
import torch
from bitsback.compression.architecture import Architecture
from bitsback.compression.describe import describe
from bitsback.compression.errors import CorruptFile
from bitsback.compression.layers import KINDS
from bitsback.compression.nodes import Chain
from bitsback.compression.select import Select
from bitsback.compression.torch_layers import CLASSES
from torch import nn

from .forged import chain, conv, layer, linear, pool


def read_again(architecture: Architecture) -> Architecture:
    return Architecture.from_bytes(architecture.to_bytes(1), 1)


def relus(count: int) -> Architecture:
    names = tuple(map(str, range(count)))
    return Architecture(Chain(names, (layer(nn.ReLU),) * count))


@pytest.mark.parametrize(
    ("architecture", "message"),
    [
        (conv(padding="same", stride=2), "padding='same' is not supported"),
        (conv(groups=2), "groups do not divide"),
        (conv(padding=513), "a padding of 513 is over 512"),
        (conv(dilation=342), "reaches over 1024"),
        (conv(kernel_size=(3, 3), dilation=600, padding="same"), "reaches over 1024"),
        (chain(*conv(padding=100).root.children * 3), "layer 'conv3': the layers' paddings"),
        (pool(nn.MaxPool2d, 2, kernel_size=2, padding=2), "over half the kernel of 2"),
        (pool(nn.AvgPool1d, 1, kernel_size=3, padding=2), "over half the kernel of 3"),
        (pool(nn.AdaptiveAvgPool2d, 2, output_size=65), "outputs of 65x65"),
        (chain(layer(nn.BatchNorm1d, num_features=1 << 25, affine=False)), "33554432 features"),
        (chain(layer(nn.LayerNorm, normalized_shape=(5000, 5000))), "25000000 features"),
        (chain(layer(nn.LayerNorm, normalized_shape=(5,), eps=-1.0)), "eps is -1.0, below 0"),
        (chain(layer(nn.ELU, alpha=float("inf"))), "alpha is inf, which is not finite"),
        (chain(layer(nn.Softplus, beta=0.0)), "beta is 0"),
        (chain(layer(nn.Hardtanh, min_val=1.0, max_val=1.0)), r"min_val 1\.0 is not below 1\.0"),
        (chain(layer(nn.Dropout, p=1.5)), r"a dropout rate of 1\.5"),
        (chain(layer(nn.Flatten, start_dim=-1, end_dim=-2)), "nothing to flatten"),
        (chain(linear(2, 3), layer(nn.ReLU), linear(4, 2)), "layer 'fc2': it takes 4 inputs, the"),
        (chain(linear(2, 3), layer(nn.Dropout), layer(Select, of=5)), "layer 'select': it takes 5"),
        (relus(4097), "not within|more than 4096 layers"),
    ],
)
def test_what_makes_no_sense_is_refused_when_it_is_read(architecture, message):
    with pytest.raises(CorruptFile, match=message):
        read_again(architecture)


@pytest.mark.parametrize(
    "architecture",
    [
        conv(padding=100),  # of fully convolutional networks
        conv(padding="same", dilation=36),
        chain(*conv(padding=1).root.children * 1000),  # which make nothing larger
        chain(*conv(padding=50, dilation=50, padding_mode="circular").root.children * 50),
        conv(padding="valid"),
        pool(nn.MaxPool2d, 2, kernel_size=3, padding=1),
        pool(nn.AdaptiveAvgPool2d, 2, output_size=7),
        chain(layer(nn.Hardtanh, min_val=0.0, max_val=float("inf"))),
        chain(linear(2, 3), layer(nn.AdaptiveAvgPool1d, output_size=(2,)), linear(2, 2)),
        chain(linear(2, 3), layer(nn.LayerNorm, normalized_shape=(3,)), linear(3, 2)),
        chain(linear(2, 3), layer(Select, of=3), linear(1, 2)),
        chain(Chain(("a",), (linear(2, 3),)), linear(3, 1)),
        relus(4096),
    ],
)
def test_what_makes_sense_is_read(architecture):
    assert read_again(architecture) == architecture


def test_every_kind_of_layer_is_made_and_has_its_tensors():
    """Its options at their defaults, or 2 of each."""
    for kind in KINDS:
        made = layer(CLASSES[kind.number], **required(kind))
        architecture = read_again(chain(made))
        net = architecture.build()
        state = net.state_dict()
        assert {k: tuple(v.shape) for k, v in state.items()} == {
            spec.name: spec.shape for spec in architecture.tensors()
        }
        assert not any(v.is_meta or v.any() for v in state.values())


def required(kind) -> dict:
    left = {o.name: o for o in kind.options if not _has_default(o)}
    special = {"normalized_shape": (2, 2), "dim": 1, "step": 0.5, "kernel_size": None}
    return {n: _two(o) if special.get(n) is None else special[n] for n, o in left.items()}


def _has_default(option) -> bool:
    return type(option.default) is not object


def _two(option):
    dims = getattr(option.type, "dims", None)
    return 2 if dims is None else (2,) * dims


def test_types_and_parameters_of_a_built_network():
    net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4)).double()
    built = describe(net).build()
    for name, tensor in net.state_dict().items():
        assert built.state_dict()[name].dtype == tensor.dtype
    assert dict(built.named_parameters()).keys() == dict(net.named_parameters()).keys()
    assert all(p.requires_grad for p in built.parameters()) and not built.training


def test_a_network_beyond_the_limits_is_described_by_its_tensors():
    """So that no file is written that nothing reads."""
    deep = nn.Linear(4, 3)
    for _ in range(17):
        deep = nn.Sequential(deep)
    wide = nn.Sequential(*[nn.ReLU() for _ in range(4097)], nn.Linear(2, 2))
    far = nn.Sequential(nn.Conv2d(1, 1, 3, padding=600))
    odd = nn.Sequential(nn.Linear(2, 3), nn.Linear(4, 2))
    for net in (deep, wide, far, odd):
        architecture = describe(net)
        assert architecture.root is None
        assert Architecture.from_bytes(architecture.to_bytes()) == architecture
    assert describe(deep[0]).root is not None


def test_loading_needs_no_sympy(tmp_path):
    """Which takes half of the time that a small file takes to load."""
    from bitsback.compression import file

    from .samples import archive, dense_net

    path = tmp_path / "net.bb"
    file.save(file.encode(archive(dense_net())), path)
    program = (
        "import sys, torch\nbefore = 'sympy' in sys.modules\n"
        "from bitsback.compression.file import load\nload(sys.argv[1])\n"
        "assert before or 'sympy' not in sys.modules"
    )
    subprocess.run([sys.executable, "-P", "-c", program, str(path)], check=True)


def test_what_torch_refuses_is_a_corrupt_file(monkeypatch):
    """Whatever a newer torch may refuse, or may have as an attribute of its own."""
    with monkeypatch.context() as patch:
        patch.setitem(CLASSES, conv().root.children[0].kind.number, broken)
        with pytest.raises(CorruptFile, match="torch does not make layer 'conv1': not today"):
            conv().build()
    with pytest.raises(CorruptFile, match="torch has no layer called 'forward'"):
        chain(linear(), names=("forward",)).build()


def broken(**options):
    raise RuntimeError("not today")


def test_no_random_numbers_are_drawn():
    before = torch.get_rng_state()
    read_again(chain(linear(), *conv().root.children)).build()
    assert torch.equal(torch.get_rng_state(), before)
