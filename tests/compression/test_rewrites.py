"""Factorised layers as two layers: the same function, anywhere in a network, down to the file."""

import pytest
import torch
from bitsback.compression.compress import compress
from bitsback.compression.describe import describe
from bitsback.compression.file import load
from bitsback.compression.rewrites import rewrite
from bitsback.graph import GraphNetwork, trace
from bitsback.posterior import Factorisation, Grid, Posterior, WeightPosterior
from torch import nn


def factorised(net: nn.Module, signs: bool = False, **ranks: int) -> Posterior:
    """Products of random factors for the layers named (dots as underscores), points for others."""
    weights, rewrites = {}, {}
    ranks = {name.replace("_", ".") + ".weight": rank for name, rank in ranks.items()}
    for spec in describe(net).tensors():
        if spec.role != "weight":
            continue
        loc = net.state_dict()[spec.name].clone()
        if rank := ranks.get(spec.name.lstrip("."), 0):
            matrix = loc.flatten(1)
            right = torch.randn(rank, matrix.shape[1])
            grid = None
            if signs:
                codes = (right > 0).long()
                right = right.sign() / rank**0.5
                grid = Grid(codebook=torch.tensor([-1.0, 1.0]) / rank**0.5, codes=codes)
            left = 0.3 * torch.randn(len(matrix), rank)
            rewrites[spec.name] = Factorisation(left, right, grid)
            loc = (left @ right).reshape(loc.shape)
        weights[spec.name] = WeightPosterior(loc, torch.zeros_like(loc), torch.ones(()))
    return Posterior(weights, rewrites=rewrites)


def with_means(net: nn.Module, posterior: Posterior) -> nn.Module:
    for name, weight in posterior.weights.items():
        net.state_dict()[name].copy_(weight.loc)
    return net


CONV = {"stride": 2, "padding": 2, "dilation": 2, "padding_mode": "circular"}


class Residual(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner, self.last = nn.Sequential(nn.Linear(20, 20), nn.ReLU()), nn.Linear(20, 3)

    def forward(self, x):
        return self.last(x + self.inner(x))


CASES = {
    "linear": (
        lambda: nn.Sequential(nn.Linear(20, 9), nn.ReLU(), nn.Linear(9, 3)),
        {"0": 3},
        (20,),
    ),
    "no bias": (lambda: nn.Sequential(nn.Linear(20, 9, bias=False)), {"0": 3}, (20,)),
    "nested": (
        lambda: nn.Sequential(nn.Sequential(nn.Linear(20, 9), nn.ReLU()), nn.Linear(9, 3)),
        {"0_0": 3, "1": 2},
        (20,),
    ),
    "conv2d": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 5, 3, **CONV), nn.ReLU(), nn.Flatten(), nn.Linear(80, 3)
        ),
        {"0": 2},
        (2, 8, 8),
    ),
    "conv1d": (
        lambda: nn.Sequential(nn.Conv1d(2, 5, 3, padding="same"), nn.Flatten(), nn.Linear(40, 3)),
        {"0": 2, "2": 2},
        (2, 8),
    ),
    "residual": (Residual, {"inner_0": 4, "last": 2}, (20,)),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_function(case):
    make, ranks, shape = CASES[case]
    net = make().double().eval()
    posterior = factorised(net.float(), **ranks)
    before = {name: value.clone() for name, value in net.state_dict().items()}
    new, described = rewrite(net, posterior)
    assert all(value.equal(before[name]) for name, value in net.state_dict().items())
    x = torch.randn(7, *shape)
    torch.testing.assert_close(new(x), with_means(net, posterior)(x))
    assert not described.rewrites and not new.training
    state = new.state_dict()
    assert all(weight.loc.equal(state[name]) for name, weight in described.weights.items()
               if ".0." in name or name[:2] == "0.")  # fmt: skip
    for name in ranks:
        path = name.replace("_", ".")
        assert f"{path}.0.weight" in described.weights and f"{path}.1.weight" in described.weights
        assert f"{path}.weight" not in described.weights


def test_a_network_that_is_one_layer():
    net = nn.Linear(20, 9)
    loc = torch.randn(9, 20)
    factors = Factorisation(torch.randn(9, 2), torch.randn(2, 20))
    point = WeightPosterior(loc, 0 * loc, torch.ones(()))
    bias = WeightPosterior(torch.ones(9), torch.zeros(9), torch.ones(()))
    posterior = Posterior({"weight": point, "bias": bias}, rewrites={"weight": factors})
    new, described = rewrite(net, posterior)
    assert set(described.weights) == {"0.weight", "1.weight", "1.bias"}
    expected = torch.ones(20) @ (factors.left @ factors.right).T + net.bias
    torch.testing.assert_close(new(torch.ones(20)), expected)


def test_nothing_to_rewrite():
    net = nn.Linear(3, 2)
    posterior = factorised(nn.Sequential(net))
    assert rewrite(net, posterior) == (net, posterior)


@pytest.mark.parametrize("case", CASES)
def test_compresses_and_loads(case, tmp_path):
    make, ranks, shape = CASES[case]
    net = make().eval()
    posterior = factorised(net, **ranks)
    x = torch.randn(200, *shape)
    y = with_means(make(), posterior)(x).argmax(1)
    result = compress(net, posterior, validation=(x, y), margin_error=5.0, margin_nll=0.1)
    assert result.report["within_margin"]
    result.save(tmp_path / "net.bb")
    into = rewrite(make(), posterior)[0] if case == "residual" else None
    loaded = load(tmp_path / "net.bb", into=into)
    assert loaded(x).equal(result.network(x))
    # Both figures are of the network that the user has, not of its factors.
    original = [p.numel() for p in net.parameters()]
    assert result.report["float32_bytes"] == 4 * sum(original)
    assert result.report["weights"] == sum(p.numel() for p in net.parameters() if p.dim() > 1)
    kept = sum(layer["kept"] for layer in result.report["layers"])
    assert result.report["nonzero_fraction"] == kept / result.report["weights"] < 1


@pytest.mark.parametrize("retrained", [False, True])
def test_random_signs_cost_a_bit_each(retrained):
    """Two values without zero after everything, retraining included; signs as they were drawn."""
    net = nn.Sequential(nn.Linear(100, 40), nn.ReLU(), nn.Linear(40, 3)).eval()
    posterior = factorised(net, signs=True, **{"0": 25})
    x = torch.randn(200, 100)
    y = with_means(nn.Sequential(*net), posterior)(x).argmax(1)
    options = {"margin_error": 5.0, "margin_nll": 0.1, "clusters": 16}
    options["training"] = x if retrained else None
    result = compress(net, posterior, validation=(x, y), **options)
    layer = next(la for la in result.report["layers"] if la["name"] == "0.0.weight")
    assert layer["kept"] == layer["total"] == 2500 and layer["values"] == 2
    assert layer["bytes"] < 1.08 * 2500 / 8
    signs = posterior.rewrites["0.weight"].right.sign()
    found = result.network.get_parameter("0.0.weight").sign()
    assert sorted(found.tolist()) == sorted(signs.tolist())  # features have no order


def test_units_of_factors_are_removed():
    """A feature that left does not read is no row of right in the file."""
    net = nn.Sequential(nn.Linear(30, 20), nn.ReLU(), nn.Linear(20, 3)).eval()
    posterior = factorised(net, **{"0": 5})
    posterior.rewrites["0.weight"].left[:, 2] = 0
    x = torch.randn(300, 30)
    y = rewrite(net, posterior)[0](x).argmax(1)
    result = compress(net, posterior, validation=(x, y), margin_error=5.0, margin_nll=0.1)
    assert len(result.network.get_parameter("0.0.weight")) == 4


def test_what_cannot_be_rewritten():
    def fails(message, net, name, left=(20, 2), right=(2, 20)):
        factors = Factorisation(torch.ones(left), torch.ones(right))
        with pytest.raises(ValueError, match=message):
            rewrite(net, Posterior({}, rewrites={name: factors}))

    shared = nn.Linear(20, 20)
    fails("'0.weight' is shared with '1.weight'", nn.Sequential(shared, shared), "0.weight")
    grouped = nn.Sequential(nn.Conv1d(20, 20, 2, groups=2))
    fails("convolution of 2 groups", grouped, "0.weight")
    fails("not the weight of a Linear", nn.Sequential(shared), "0.bias")
    fails("not the weight of a Linear", nn.Sequential(shared), "5.weight")
    fails("not the weight of a Linear", nn.Embedding(20, 20), "weight")
    fails(r"must be \(20, rank\) and \(rank, 20\)", shared, "weight", left=(19, 2))
    fails("must be", shared, "weight", right=(3, 20))


def test_a_graph_is_rewritten_as_a_sequence_is():
    """Same names, same function; the graph's ReLUs by the same paths, too."""
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    x, weight = torch.randn(5, 6), net[0].weight.detach()
    left, scale, right = torch.linalg.svd(weight, full_matrices=False)
    grid = Grid(step=torch.tensor(0.25), bits=torch.tensor(4))
    posterior = Posterior(
        {
            "0.weight": WeightPosterior(weight, torch.zeros_like(weight), torch.ones(())),
            "0.bias": WeightPosterior(net[0].bias.detach(), torch.zeros(8), torch.ones(())),
        },
        {"1": grid},
        {"0.weight": Factorisation(left * scale, right)},
    )
    network = trace(net, x)
    (made, of_graph), (expected, of_net) = (rewrite(n, posterior) for n in (network, net))
    assert isinstance(made, GraphNetwork)
    assert made.state_dict().keys() == expected.state_dict().keys()
    assert of_graph.weights.keys() == of_net.weights.keys() >= {"0.0.weight", "0.1.bias"}
    assert not of_graph.rewrites and not of_graph.activations
    torch.testing.assert_close(made(x), expected(x))
    with pytest.raises(ValueError, match="activations: 'nowhere' is no ReLU"):
        rewrite(network, Posterior({}, {"nowhere": grid}))
    with pytest.raises(ValueError, match="activations: the grid of '1' must be one step"):
        rewrite(network, Posterior({}, {"1": Grid()}))
