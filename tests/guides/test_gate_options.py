"""Options of Bayesian Bits beyond the published method: gates outside a chain, frozen weights."""

from itertools import product

import bitsback
import pyro
import pytest
import torch
from bitsback.guides import ELBO, GateChain
from bitsback.models import BayesianBits
from pyro.infer import SVI, TraceMeanField_ELBO
from torch import nn

from .test_gate_chain import X, Y, make, net, scatter

pytestmark = pytest.mark.filterwarnings("ignore::bitsback.compression.verdict.WorseNetwork")


def test_independent_gates_have_the_bops_of_the_widest_open_ones():
    """Over all 2^4 states of a weight's gates and its ReLU's."""
    _, guide = make(gates="independent", prune=False)
    scatter(guide)
    q = guide.inclusions()
    total = 0.0
    for state in product((0, 1), repeat=4):
        z = torch.tensor(state)
        p = torch.where(z > 0, torch.cat([q["1"], q["2.weight"]]), 0)
        p = p + torch.where(z > 0, 0, 1 - torch.cat([q["1"], q["2.weight"]]))
        input_bits, weight_bits = (
            8 if part[1] else 4 if part[0] else 2 for part in (state[:2], state[2:])
        )
        total += p.prod().item() * 6 * input_bits * weight_bits / (30 * 1024)
    found = guide.bops(expected=True)["2.weight"].item()
    assert found == pytest.approx(total, rel=1e-5)


def test_an_independent_gate_counts_behind_a_closed_one():
    model, guide = make(gates="independent")
    with torch.no_grad():
        guide.get_parameter("gate.2.weight.gate")[-2] = -9.0  # 4 bits; that of 8 stays open
        guide.get_parameter("gate.3.gate")[-1] = -9.0  # 8 bits
    assert guide.states()["2.weight"][1] == 8 and guide.states()["3"][1] == 4
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), ELBO())
    assert all(torch.isfinite(torch.tensor([svi.step(X, Y) for _ in range(5)])))
    with pytest.raises(ValueError, match="chain, independent"):
        BayesianBits(net(), 60, gates="both")


@pytest.mark.parametrize("gates", ["chain", "independent"])
def test_frozen_weights_stay_and_bops_fall(gates):
    torch.manual_seed(0)
    alive = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    model = BayesianBits(alive, 60, freeze_weights=True, cost=5.0, gates=gates)
    model.measure(X)
    guide = GateChain(model)
    state = {**model.net.state_dict(), **dict(guide.loc.named_buffers())}
    assert len(state) == 4  # two layers' weights and biases
    before = {name: value.clone() for name, value in state.items()}
    full, reach = sum(guide.bops().values()).item(), model.reach("1").item()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.1}), ELBO())
    for k in range(60):
        svi.step(X, Y)
        guide.after_step(k + 1)
    assert all(value.equal(before[name]) for name, value in state.items())
    assert model.reach("1").item() != reach
    assert sum(guide.bops().values()).item() < full / 2


def test_a_frozen_pair_has_the_tensors_of_another():
    """So that what one has kept the other loads."""
    frozen, free = make(freeze_weights=True), make()
    for ours, theirs in zip(frozen, free, strict=True):
        assert ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize("gates", ["chain", "independent"])
def test_coupled_widths_by_enumeration(gates):
    """KL to the normalised field, over all states of the gates of three tensors, but for log Z."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    options = {"prune": False, "objective": "exact", "cost": 0.01, "gates": gates}
    model = BayesianBits(layers, 20, coupling=0.7, **options)
    model.measure(X)
    guide = GateChain(model)
    scatter(guide)
    assert model.pairs() == [("0.weight", "1"), ("1", "2.weight")]
    terms = ELBO().terms(model, guide, X, Y)
    found = {k: v for k, v in terms.kl.items() if k.endswith((".gate", ".coupling"))}
    assert len(found) == 5

    every = list(product((0.0, 1.0), repeat=2))
    if gates == "chain":
        every = [z for z in every if z != (0.0, 1.0)]
    sites, log_q, log_p, bits = ("0.weight", "1", "2.weight"), [], [], []
    for site in sites:
        z = torch.tensor(every)
        log_q.append(guide.chain(site).log_prob(z).detach())
        log_p.append(model.prior(site).log_prob(z))
        bits.append([8 if b else 4 if a else 2 for a, b in every])
    q, p = [], []
    for i, j, k in product(range(len(every)), repeat=3):
        q.append(log_q[0][i] + log_q[1][j] + log_q[2][k])
        # 20 data x 0.01 nats x 0.7, times the share of the largest layer's 48 MACs.
        price = 0.14 * 24 / 48 * (abs(bits[0][i] - bits[1][j]) + abs(bits[1][j] - bits[2][k]))
        p.append(log_p[0][i] + log_p[1][j] + log_p[2][k] - price)
    q, p = torch.stack(q).double(), torch.stack(p).double()
    kl = (q.exp() * (q - (p - p.logsumexp(0)))).sum()
    total = sum(found.values()).double()
    torch.testing.assert_close(total + p.logsumexp(0), kl, rtol=1e-5, atol=1e-5)


def test_coupling_draws_widths_together():
    """A ReLU alone at 2 bits: its gates are drawn open, those of the weight before it closed."""
    model, guide = make(coupling=1.0)
    with torch.no_grad():
        guide.get_parameter("gate.1.gate").fill_(-9.0)
    kl = ELBO().terms(model, guide, X, Y).kl
    before = kl["1.coupling"] + kl["2.weight.coupling"]
    before.backward()
    assert (guide.get_parameter("gate.1.gate").grad[0] < 0).all()  # opens
    assert guide.get_parameter("gate.0.weight.gate").grad[-1] > 0  # closes
    with pytest.raises(ValueError, match="coupling"):
        BayesianBits(net(), 60, coupling=-1.0)
    with pytest.raises(ValueError, match="coupling"):
        BayesianBits(net(), 60, bits=False, coupling=1.0)


@pytest.mark.parametrize("loss", [ELBO, TraceMeanField_ELBO])
def test_coupled_pairs_train_with_both_losses(loss):
    model, guide = make(coupling=0.5)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), loss())
    assert all(torch.isfinite(torch.tensor([svi.step(X, Y) for _ in range(3)])))


@pytest.mark.parametrize("objective", ["published", "exact"])
def test_priced_bops_by_enumeration(objective):
    """Over all states of three tensors' gates; exact, KL to the Gibbs prior but for log Z."""
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
    options = {"prune": False, "objective": objective, "cost": 0.01, "priced": "bops"}
    model = BayesianBits(layers, 20, **options)
    model.measure(X)
    model.beta.fill_(3.0)
    guide = GateChain(model)
    scatter(guide)
    terms = ELBO().terms(model, guide, X, Y)
    found = sum(v for k, v in terms.kl.items() if k == "bops" or k.endswith(".gate")).double()

    every, sites = [(0.0, 0.0), (1.0, 0.0), (1.0, 1.0)], ("0.weight", "1", "2.weight")
    z = torch.tensor(every)
    log_q = [guide.chain(site).log_prob(z).detach() for site in sites]
    log_p = [model.prior(site).log_prob(z) for site in sites]
    q, p = [], []
    for i, j, k in product(range(3), repeat=3):
        w, x, v = (2 ** (1 + state) for state in (i, j, k))
        # 20 data x 0.01 nats a bit of the 48 MACs of the first layer where inputs have 8 bits.
        price = 3 * 0.2 / 48 * (48 * w + 24 * v * x / 8)
        q.append(log_q[0][i] + log_q[1][j] + log_q[2][k])
        p.append(log_p[0][i] + log_p[1][j] + log_p[2][k] - price if objective == "exact" else price)
    q, p = torch.stack(q).double(), torch.stack([torch.as_tensor(v) for v in p]).double()
    if objective == "exact":
        kl = (q.exp() * (q - (p - p.logsumexp(0)))).sum()
        torch.testing.assert_close(found + p.logsumexp(0), kl, rtol=1e-5, atol=1e-5)
    else:
        torch.testing.assert_close(found, (q.exp() * p).sum(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("loss", [ELBO, TraceMeanField_ELBO])
def test_pairs_with_priced_bops_train_with_both_losses(loss):
    model, guide = make(priced="bops")
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), loss())
    assert all(torch.isfinite(torch.tensor([svi.step(X, Y) for _ in range(3)])))
    with pytest.raises(ValueError, match="priced must be one of bits, bops"):
        BayesianBits(net(), 60, priced="bytes")


def majority() -> tuple[torch.Tensor, torch.Tensor]:
    """All 128 sign vectors of length 7, and whether most of their signs are as wanted."""
    x = torch.tensor(list(product((-1.0, 1.0), repeat=7)))
    wanted = torch.tensor([1.0, -1.0, 1.0, 1.0, 1.0, -1.0, -1.0])
    return x, (x @ wanted > 0).long()


def binary(widths: tuple[int, ...], **options) -> tuple[BayesianBits, GateChain]:
    torch.manual_seed(1)
    layers = nn.Sequential(nn.Linear(7, 32), nn.ReLU(), nn.Linear(32, 2))
    model = BayesianBits(layers, 128, widths=widths, prune=False, **options)
    model.measure(majority()[0])
    return model, GateChain(model)


@pytest.mark.parametrize("widths", [(1,), (1, 2, 4, 8)])
def test_a_purely_binary_network_solves_what_it_can(widths):
    """Weights of one magnitude, hidden outputs 0 and 1: fixed, or by gates from 8 bits down."""
    x, y = majority()
    model, guide = binary(widths, bits=len(widths) > 1, cost=0.2)
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), ELBO())
    for k in range(250):
        svi.step(x, y)
        guide.after_step(k + 1)
    assert {bits for _, bits in guide.states().values()} == {1}
    with torch.no_grad():
        wrong = model.output(x, guide.median()).argmax(1) != y
    assert wrong.sum() == 0
    for value in guide.median().values():
        assert value.abs().unique().shape == (1,)


def test_signs_come_back_from_the_file():
    model, guide = binary((1,), bits=False)
    x, y = majority()
    result = bitsback.compress(
        model.trained(), guide.posterior(), validation=(x, y), quantiser="grid", prune="none",
        margin_nll=1e9, margin_error=1e9,
    )  # fmt: skip
    small = bitsback.compression.file.network(bitsback.compression.file.decode(result.data))
    for name in model.weight_names:
        assert small.state_dict()[name].equal(guide.median()[name])
        scale = guide.get_parameter(f"loc.{name}.base").abs().mean()
        assert (small.state_dict()[name].abs() == scale.to(torch.bfloat16).float()).all()
        assert set(result.archive.tensors[name].codes.reshape(-1).tolist()) == {-1, 1}
    assert [n.arguments["bits"] for n in small.graph.nodes if n.operator == "quantised_relu"] == [1]
