"""Ties of a network and of its file are the same pairs, or the network is refused."""

import bitsback
import pytest
import torch
from bitsback.compression.nodes import TensorSpec
from bitsback.compression.ties import find_ties, with_common_roles
from bitsback.posterior import Posterior, WeightPosterior
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore::bitsback.compression.verdict.WorseNetwork")

X, Y = torch.randn(40, 6, generator=torch.Generator().manual_seed(0)), torch.arange(40) % 3


class Net(nn.Module):
    """Two layers of one weight, or of two, or of one memory."""

    def __init__(self, tie: str | None):
        super().__init__()
        self.first, self.second = (nn.Linear(6, 6, bias=False) for _ in range(2))
        self.out = nn.Linear(6, 3)
        if tie:
            weight = self.first.weight
            self.second.weight = weight if tie == "parameter" else nn.Parameter(weight.data)

    def forward(self, x):
        return self.out(torch.tanh(self.second(torch.tanh(self.first(x)))))


def points(net: nn.Module, names: list[str]) -> Posterior:
    values = {name: net.state_dict()[name].clone() for name in names}
    return Posterior(
        {k: WeightPosterior(v, torch.zeros_like(v), torch.ones(())) for k, v in values.items()}
    )


def compressed(net: nn.Module, names: list[str], x=X):
    wide = {"margin_nll": 9.0, "margin_error": 99.0, "clusters": 2}
    return bitsback.compress(net, points(net, names), validation=(x, Y), **wide)


@pytest.fixture(params=["parameter", "memory"])
def tied_file(request, tmp_path):
    result = compressed(Net(request.param), ["first.weight", "out.weight"])
    result.save(tmp_path / "net.bb")
    return tmp_path / "net.bb", result


def test_a_tied_file_and_an_untied_network(tied_file):
    path, _ = tied_file
    message = r"'second.weight' and 'first.weight' are one tensor in the file, but two"
    with pytest.raises(ValueError, match=message):
        bitsback.load(path, into=Net(None))


@pytest.mark.parametrize("tie", ["parameter", "memory"])
def test_a_tied_file_and_a_tied_network(tied_file, tie):
    path, result = tied_file
    assert torch.equal(bitsback.load(path, into=Net(tie))(X), result.network(X))


@pytest.mark.parametrize("tie", ["parameter", "memory"])
def test_an_untied_file_and_a_tied_network(tie, tmp_path):
    names = ["first.weight", "second.weight", "out.weight"]
    compressed(Net(None), names).save(tmp_path / "net.bb")
    message = r"are one tensor in the network passed as into=, but two in the file"
    with pytest.raises(ValueError, match=message):
        bitsback.load(tmp_path / "net.bb", into=Net(tie))


def test_a_network_without_values(tied_file):
    with torch.device("meta"):
        into = Net("parameter")
    with pytest.raises(ValueError, match="on the meta device, which holds no values"):
        bitsback.load(tied_file[0], into=into)


class Words(nn.Module):
    """A head that is its embedding; `head_first` says which has the earlier name."""

    def __init__(self, head_first: bool, width: int = 6):
        super().__init__()
        if head_first:
            self.head = nn.Linear(width, 9, bias=False)
        self.table = nn.Embedding(9, width)
        if not head_first:
            self.head = nn.Linear(width, 9, bias=False)
        self.head.weight = self.table.weight

    def forward(self, tokens):
        return self.head(self.table(tokens).mean(1))


@pytest.mark.parametrize("head_first", [False, True])
def test_an_embedding_that_is_its_head(head_first, tmp_path):
    net, tokens = Words(head_first), torch.randint(0, 9, (40, 4))
    result = compressed(net, ["head.weight" if head_first else "table.weight"], tokens)
    result.save(tmp_path / "net.bb")
    loaded = bitsback.load(tmp_path / "net.bb")
    state = loaded.state_dict()
    assert state["head.weight"].data_ptr() == state["table.weight"].data_ptr()
    assert torch.equal(loaded(tokens), result.network(tokens))
    assert result.report["latent_share"] == 1.0
    into = Words(head_first, state["table.weight"].shape[1])
    assert bitsback.load(tmp_path / "net.bb", into=into) is into
    assert torch.equal(into(tokens), result.network(tokens))
    assert into.head.weight is into.table.weight


def test_a_bias_that_removal_has_left(tmp_path):
    """A network made in the sizes of the file gets it; one of the sizes before stays as it is."""
    net, tokens = Words(True), torch.randint(0, 9, (40, 4))
    with torch.no_grad():
        net.table.weight[:, 2] = 0.75  # the same for each word: a constant
    result = compressed(net, ["head.weight"], tokens)
    result.save(tmp_path / "net.bb")
    width = result.network.state_dict()["table.weight"].shape[1]
    assert width < 6 and "head.bias" in result.network.state_dict()
    into = bitsback.load(tmp_path / "net.bb", into=Words(True, width))
    assert isinstance(into.head.bias, nn.Parameter)
    assert torch.equal(into(tokens), result.network(tokens))
    before = Words(True)
    with pytest.warns(UserWarning, match="removed units"):
        loaded = bitsback.load(tmp_path / "net.bb", into=before)
    assert before.head.bias is None and before.table.weight.shape == (9, 6)
    assert torch.equal(loaded(tokens), result.network(tokens))


def test_three_names():
    a, b = torch.zeros(2), torch.zeros(2)
    assert find_ties({"a": a, "b": b, "c": a, "d": a}) == (("c", "a"), ("d", "a"))
    specs = [TensorSpec(name, (2, 2), role, "float32") for name, role in zip("acd", "rrw")]  # noqa: B905
    roles = {"r": "raw", "w": "weight"}
    specs = [TensorSpec(s.name, s.shape, roles[s.role], s.dtype) for s in specs]
    common = with_common_roles(specs, [("c", "a"), ("d", "a")])
    assert [spec.role for spec in common] == ["weight"] * 3


class Normed(nn.Module):
    """An embedding that is the output layer too."""

    def __init__(self):
        super().__init__()
        self.embed, self.mix = nn.Embedding(9, 6), nn.Linear(6, 6)
        self.norm, self.head = nn.BatchNorm1d(6), nn.Linear(6, 9, bias=False)
        self.head.weight = self.embed.weight

    def forward(self, x):
        return self.head(torch.tanh(self.norm(self.mix(self.embed(x).mean(1)))))


@pytest.mark.parametrize("removes", [True, False])
def test_what_is_left_of_a_network_is_loaded_in_its_place(removes, tmp_path):
    """Without some units, or with a BatchNorm folded. The tie survives; others are refused."""
    net, x = Normed().eval(), torch.randint(9, (40, 3))
    if removes:
        with torch.no_grad():
            for tensor in (net.embed.weight.T, net.mix.weight, net.mix.weight.T, net.mix.bias):
                tensor[3:] = 0
    result = compressed(net, ["embed.weight", "mix.weight"], x)
    result.save(tmp_path / "net.bb")
    whole = Normed()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    with pytest.warns(UserWarning, match=r"removed units or folded BatchNorms.* leave out into="):
        loaded = bitsback.load(tmp_path / "net.bb", into=whole)
    assert loaded.head.weight is loaded.embed.weight
    assert loaded.mix.weight.shape == ((3, 3) if removes else (6, 6))
    assert torch.equal(loaded(x), result.network(x))
    assert all(value.equal(before[name]) for name, value in whole.state_dict().items())
    for other in (nn.Sequential(nn.Linear(6, 3)), nn.ModuleDict({"mix": nn.Linear(6, 6)})):
        with pytest.raises(ValueError, match="not the one in the file"):
            bitsback.load(tmp_path / "net.bb", into=other)
