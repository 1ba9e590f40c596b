"""Bayesian Bits: BOPs by enumeration, the loss, and a file that computes what was trained."""

from itertools import product

import bitsback
import pyro
import pytest
import torch
from bitsback.guides import ELBO, GateChain
from bitsback.models import BayesianBits, Gaussian
from pyro.infer import SVI
from torch import nn

pytestmark = pytest.mark.filterwarnings("ignore::bitsback.compression.verdict.WorseNetwork")

X, Y = torch.linspace(-1, 1, 20 * 6).reshape(20, 6).sin(), torch.arange(20) % 3


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 3), nn.ReLU(), nn.Linear(3, 2), nn.ReLU(), nn.Linear(2, 3))


def make(**options) -> tuple[BayesianBits, GateChain]:
    model = BayesianBits(net(), 60, **options)
    model.measure(X)
    return model, GateChain(model)


def scatter(guide: GateChain, sites=None, seed: int = 3) -> None:
    """Gates anywhere between open and closed."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for site in sites or guide.inclusions():
            gate = guide.get_parameter(f"gate.{site}.gate")
            gate.copy_(2 * torch.randn(gate.shape, generator=generator) - 1)


def test_macs_are_those_of_the_layers():
    model, _ = make()
    assert model.macs.tolist() == [18, 6, 6]
    images = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))
    conv = BayesianBits(images, 10)
    conv.measure(torch.zeros(2, 1, 4, 4))
    assert conv.macs.tolist() == [4 * 9 * 4, 48]


def test_expected_bops_by_enumeration():
    """Over all 2^13 states of the gates, BOPs counted state by state, unit by unit."""
    _, guide = make(widths=(2, 4))
    scatter(guide)
    q = {site: value.detach().double() for site, value in guide.inclusions().items()}
    flat, total = torch.cat(list(q.values())), 0.0
    for state in product((0, 1), repeat=len(flat)):
        z = torch.tensor(state)
        p = torch.where(z > 0, flat, 1 - flat).prod().item()
        parts = dict(zip(q, z.split([len(v) for v in q.values()]), strict=True))
        (u1, w1), (u2, w2), w3 = parts["0.weight"].split([3, 1]), *[
            parts["2.weight"].split([2, 1])], parts["4.weight"]  # fmt: skip
        widths = {"w1": w1, "w2": w2, "w3": w3, "a1": parts["1"], "a2": parts["3"]}
        bits = {k: 4 if int(v) else 2 for k, v in widths.items()}
        ops = 6 * int(u1.sum()) * bits["w1"] * 8
        ops += int(u1.sum()) * int(u2.sum()) * bits["w2"] * bits["a1"]
        ops += int(u2.sum()) * 3 * bits["w3"] * bits["a2"]
        total += p * ops / (30 * 1024)
    found = sum(guide.bops(expected=True).values()).item()
    assert found == pytest.approx(total, rel=1e-5)


def test_bops_of_the_gates_that_compression_goes_by():
    _, guide = make()
    full = sum(guide.bops().values()).item()
    assert full == pytest.approx((18 * 64 + 6 * 64 + 6 * 64) / (30 * 1024))
    with torch.no_grad():
        guide.get_parameter("gate.0.weight.gate")[0] = -9.0  # a unit
        guide.get_parameter("gate.1.gate")[0] = -9.0  # 2 bits; the gate of 8 no longer counts
    found = guide.bops()
    assert found["0.weight"].item() == pytest.approx(12 * 64 / (30 * 1024))
    assert found["2.weight"].item() == pytest.approx(6 * 8 * 2 * (2 / 3) / (30 * 1024))
    unmeasured = GateChain(BayesianBits(net(), 60)).bops()
    assert all(v.isnan() for v in unmeasured.values())  # no number, rather than 0


@pytest.mark.parametrize("objective", ["published", "exact"])
def test_the_loss_is_labels_and_the_price_of_gates(objective):
    """beta multiplies the price of gates and nothing else; cost in nats for each example."""
    model, guide = make(objective=objective)
    terms = ELBO().terms(model, guide, X, Y)
    gates = {k: v for k, v in terms.kl.items() if k.endswith(".gate")}
    assert len(gates) == 5 and len(terms.kl) == 8
    model.beta.fill_(3.0)
    again = ELBO().terms(model, guide, X, Y).kl
    assert all(again[k] == v for k, v in terms.kl.items() if k not in gates)
    if objective == "exact":
        assert all((v >= 0).all() and again[k] > v for k, v in gates.items())
    else:
        ratios = [again[k].item() / v.item() for k, v in gates.items()]
        assert ratios == pytest.approx(
            [3.0] * 5, rel=1e-5
        )  # all but surely open: 0.1 x (2 + 4 + 8) x the share of MACs
        expected = 60 * 0.1 * (2 * 0.99 + 4 * 0.99**2 + 8 * 0.99**3)
        assert gates["0.weight.gate"].item() == pytest.approx(expected, rel=1e-3)
        expected = 60 * 0.1 * (2 + 4 * 0.99 + 8 * 0.99**2) / 3
        assert gates["3.gate"].item() == pytest.approx(expected, rel=1e-3)


def test_a_closed_gate_opens_again():
    """At the bound of its parameter it still is open in some draws, and has a gradient."""
    _, guide = make()
    with torch.no_grad():
        for parameter in guide.gate.parameters():
            parameter.fill_(-30.0)
    assert all((v > 0.04).all() for v in guide.inclusions().values())
    with torch.no_grad():
        for parameter in guide.gate.parameters():
            parameter.fill_(-8.0)
    sum(v.sum() for v in guide.inclusions().values()).backward()
    assert all((p.grad > 1e-4).all() for p in guide.gate.parameters())


def test_the_arms():
    model, guide = make(prune=False)
    assert {k: len(v) for k, v in guide.inclusions().items()} == dict.fromkeys(
        ("0.weight", "2.weight", "4.weight", "1", "3"), 2
    )
    model, guide = make(bits=False)
    assert {k: len(v) for k, v in guide.inclusions().items()} == {"0.weight": 3, "2.weight": 2}
    loss = -ELBO().terms(model, guide, X, Y).expected_log_likelihood
    loss.backward()
    assert all(p.grad is not None for p in model.log_range.parameters())
    assert {bits for _, bits in guide.states().values()} == {8}


@pytest.mark.parametrize("closed", [False, True])
def test_the_file_computes_what_was_trained_bit_for_bit(closed):
    """Same integers, steps and activations; biases are the file's, which are coarser."""
    model, guide = make()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), ELBO())
    for k in range(20):
        svi.step(X, Y)
        guide.after_step(k + 1)
    if closed:
        scatter(guide, ("4.weight", "1", "3"))  # no units: sums would come in another order
    posterior = guide.posterior()
    result = bitsback.compress(
        model.trained(), posterior, validation=(X, Y), quantiser="grid", prune="none",
        margin_nll=1e9, margin_error=1e9,
    )  # fmt: skip
    small = bitsback.compression.file.network(bitsback.compression.file.decode(result.data))
    for name in model.weight_names:
        assert small.state_dict()[name].equal(guide.median()[name])
        grid = posterior.weights[name].grid
        codes = result.archive.tensors[name].codes
        assert (torch.from_numpy(codes) * grid.step).equal(guide.median()[name])
    layers = [node for node in small.graph.nodes if node.operator == "quantised_relu"]
    states = guide.states()
    assert [layer.arguments["bits"] for layer in layers] == [states["1"][1], states["3"][1]]
    with torch.no_grad():
        for name, bias in small.named_parameters():
            if name.endswith("bias"):
                model.net.get_parameter(name).copy_(bias)
        assert small(X).equal(model.output(X, guide.median()))


def test_pruned_units_are_gone_from_the_file():
    model, guide = make()
    with torch.no_grad():
        guide.get_parameter("gate.0.weight.gate")[1] = -9.0
    result = bitsback.compress(
        model.trained(), guide.posterior(), validation=(X, Y), quantiser="grid", prune="none",
        margin_nll=1e9, margin_error=1e9,
    )  # fmt: skip
    assert result.network.state_dict()["0.weight"].shape == (2, 6)
    guide.settle()
    assert torch.allclose(result.network(X), model.output(X, guide.median()), atol=0.3)


def test_refuses_what_makes_no_sense():
    for options, match in (
        ({"cost": 0.0}, "cost"), ({"slab": -1.0}, "slab"), ({"objective": "x"}, "objective"),
        ({"ranges": "lsq"}, "needs bits=False"), ({"ranges": "x"}, "ranges"),
        ({"widths": (2, 3)}, "divide"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=match):
            BayesianBits(net(), 60, **options)
    with pytest.raises(ValueError, match=r"takes models\.BayesianBits"):
        GateChain(Gaussian(net(), 60))
    with pytest.raises(ValueError, match="init_inclusion"):
        GateChain(BayesianBits(net(), 60), init_inclusion=0.5)
