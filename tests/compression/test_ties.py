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

    def __init__(self, head_first: bool):
        super().__init__()
        if head_first:
            self.head = nn.Linear(6, 9, bias=False)
        self.table = nn.Embedding(9, 6)
        if not head_first:
            self.head = nn.Linear(6, 9, bias=False)
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
    into = Words(head_first)
    assert bitsback.load(tmp_path / "net.bb", into=into) is into
    assert torch.equal(into(tokens), result.network(tokens))
    assert into.head.weight is into.table.weight


class Fixed(Words):
    """Its code knows its width."""

    def forward(self, tokens):
        return self.head(self.table(tokens).mean(1).reshape(-1, 6))


@pytest.mark.parametrize("head_first", [False, True])
def test_a_bias_that_removal_has_left(head_first, tmp_path):
    """The layer gets it, and tensors of other sizes; where the code wants others it is refused."""
    net, tokens = Words(head_first), torch.randint(0, 9, (40, 4))
    with torch.no_grad():
        net.table.weight[:, 2] = 0.75  # the same for each word: a constant
    result = compressed(net, ["head.weight" if head_first else "table.weight"], tokens)
    result.save(tmp_path / "net.bb")
    width = result.network.state_dict()["table.weight"].shape[1]
    assert width < 6 and "head.bias" in result.network.state_dict()
    into = bitsback.load(tmp_path / "net.bb", into=Words(head_first))
    assert isinstance(into.head.bias, nn.Parameter) and into.head.weight is into.table.weight
    assert torch.equal(into(tokens), result.network(tokens))
    before = Fixed(head_first)
    values = before.table.weight.clone()
    with pytest.warns(UserWarning, match="the file's own network is returned"):
        own = bitsback.load(tmp_path / "net.bb", into=before.train())
    assert torch.equal(own(tokens), result.network(tokens))
    assert before.head.bias is None and torch.equal(before.table.weight, values)
    assert before.training


def test_three_names():
    a, b = torch.zeros(2), torch.zeros(2)
    assert find_ties({"a": a, "b": b, "c": a, "d": a}) == (("c", "a"), ("d", "a"))
    specs = [TensorSpec(name, (2, 2), role, "float32") for name, role in zip("acd", "rrw")]  # noqa: B905
    roles = {"r": "raw", "w": "weight"}
    specs = [TensorSpec(s.name, s.shape, roles[s.role], s.dtype) for s in specs]
    common = with_common_roles(specs, [("c", "a"), ("d", "a")])
    assert [spec.role for spec in common] == ["weight"] * 3


class Normed(nn.Module):
    def __init__(self):
        super().__init__()
        self.first, self.norm = nn.Linear(6, 8, bias=False), nn.BatchNorm1d(8)
        self.out = nn.Linear(8, 3)

    def forward(self, x):
        return self.out(self.norm(self.first(x)).relu())


def test_a_batch_norm_that_was_folded(tmp_path):
    """Its layer gets the bias, and it becomes the identity."""
    net = Normed().eval()
    net.norm.running_mean.normal_()
    with torch.no_grad():
        net.first.weight[2] = 0
        net.norm.bias[2] = -1
    result = compressed(net, ["first.weight", "out.weight"])
    result.save(tmp_path / "net.bb")
    into = bitsback.load(tmp_path / "net.bb", into=Normed())
    assert isinstance(into.norm, nn.Identity) and len(into.first.weight) < 8
    assert torch.allclose(into(X), result.network(X), atol=1e-6)


def test_a_bias_that_the_next_layer_says(tmp_path):
    def make():
        return nn.Sequential(nn.Linear(6, 8), nn.Linear(8, 3))

    result = compressed(make().eval(), ["0.weight", "1.weight"])
    assert "0.bias" not in result.network.state_dict()
    result.save(tmp_path / "net.bb")
    into = bitsback.load(tmp_path / "net.bb", into=make())
    assert into[0].bias is None and torch.allclose(into(X), result.network(X), atol=1e-6)
