"""Coordinate descent: it saves what it says, and ends where no single change pays."""

import bitsback
import pytest
import torch
from bitsback.graph import trace
from bitsback.guides import Rounding
from bitsback.models import Rate, descent
from bitsback.models.descent import LEAST, descend
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from ..graph import networks

COUNT = 480  # so that a quarter of them is looked at before all

NETWORKS = {
    "conv": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.MaxPool2d(2), nn.Conv2d(4, 5, 3, bias=False),
        nn.ReLU(), nn.Flatten(), nn.Linear(20, 6), nn.ReLU(inplace=True), nn.Linear(6, 3),
    ),
    "all-convolutional": lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Conv2d(4, 3, 3), nn.AvgPool2d(4), nn.Flatten(),
    ),
    "dense": lambda: nn.Sequential(nn.Flatten(), nn.Linear(64, 5), nn.ReLU(), nn.Linear(5, 3)),
    "signal": lambda: nn.Sequential(
        nn.Flatten(2), nn.Conv1d(1, 3, 5, stride=2, padding=2, padding_mode="replicate"), nn.ReLU(),
        nn.AvgPool1d(4), nn.Flatten(), nn.Linear(24, 3),
    ),
}  # fmt: skip


def make(kind: str, **options):
    torch.manual_seed(0)
    net, x = NETWORKS[kind](), torch.randn(COUNT, 1, 8, 8)
    y = (x.sum((1, 2, 3)) > 0).long() + (x[:, 0, 0, 0] > 0).long()
    model = Rate(net, 2 * COUNT, coarseness=0.6, example=x, **options)
    return model, Rounding(model), x, y


def loss(model, levels: dict[str, Tensor], x, y, prices=None) -> float:
    """Nats, by hand: both parts, at the prior's tables as they are."""
    output = model.output(x, {k: model.step(k) * v for k, v in levels.items()})
    nats = model.pointwise(x, y)(output, slice(0, len(x))).sum() * model.num_data / len(x)
    price = sum(model.prior(k, v).price(v).sum() for k, v in levels.items())
    return (model.beta * price - nats).item()


@pytest.mark.parametrize("teacher", [None, True])
@pytest.mark.parametrize("kind", NETWORKS)
def test_saves_what_it_says(kind, teacher, monkeypatch):
    """The tables stay as they are, so that the loss before and after is that of one prior."""
    model, guide, x, y = make(kind, beta=0.3, teacher=teacher)
    monkeypatch.setattr(model, "refresh", lambda levels: None)
    levels = guide.levels()
    with torch.no_grad():
        before = loss(model, levels, x, y)
        saved = descend(model, levels, x, y)
        assert saved > 10
        assert before - loss(model, levels, x, y) == pytest.approx(saved, rel=1e-3)
    for name, level in guide.levels().items():
        change = (levels[name] - level).abs()
        assert change.equal(change.round())
        assert ((change <= 1) | (levels[name] == 0)).all()


def test_ends_where_no_single_change_pays(monkeypatch):
    """Softmax regression is convex in each weight, so that no move that pays is left out."""
    torch.manual_seed(1)
    x = torch.randn(COUNT, 5)
    model = Rate(nn.Sequential(nn.Linear(5, 3)), COUNT, coarseness=0.4, beta=0.5, example=x)
    monkeypatch.setattr(model, "refresh", lambda levels: None)
    monkeypatch.setattr(descent, "GIVE_UP", 100.0)
    monkeypatch.setattr(descent, "SURE", 0.0)
    levels, y = Rounding(model).levels(), torch.randint(3, (COUNT,))
    with torch.no_grad():
        assert descend(model, levels, x, y) > 0
        while descend(model, levels, x, y):
            pass
        best, weight = loss(model, levels, x, y), levels["0.weight"]
        for place in range(weight.numel()):
            kept = weight.view(-1)[place].item()
            for other in (kept - 1, kept + 1, 0.0):
                weight.view(-1)[place] = other
                assert loss(model, levels, x, y) > best - LEAST - 1e-3
            weight.view(-1)[place] = kept


def test_what_was_removed_stays_removed():
    model, guide, x, y = make("conv", beta=0.3)
    levels = guide.levels()
    levels["0.weight"][:2] = 0
    levels["2.weight"][:, :2] = 0
    with torch.no_grad():
        for path in ("0", "5"):
            model.net.get_submodule(path).bias[:2] = 0
        model.remove_dead(levels)
    assert [len(part) for part in model.kept("2.weight") if part is not None] == [2]
    before = loss(model, levels, x, y)
    assert descend(model, levels, x, y) > 0
    assert loss(model, levels, x, y) < before
    assert not levels["0.weight"][:2].any() and not levels["2.weight"][:, :2].any()


def test_leaves_what_it_cannot_take_apart(monkeypatch):
    """A network that was not traced, one whose layer is used twice, and layers that are large."""
    x, y = torch.randn(COUNT, 6), torch.randint(3, (COUNT,))
    layer = nn.Linear(6, 6)
    for net, example in ((nn.Linear(6, 3), None), (nn.Sequential(layer, nn.ReLU(), layer), x)):
        model = Rate(net, COUNT, example=example)
        levels = Rounding(model).levels()
        assert descend(model, levels, x, y) == 0
    model, guide, x, y = make("conv")
    levels = guide.levels()
    monkeypatch.setattr(descent, "LARGEST", 10)
    monkeypatch.setattr(descent, "_parts", None)  # of what is too large nothing is computed
    assert descend(model, levels, x, y) == 0
    assert all(level.equal(guide.levels()[name]) for name, level in levels.items())


def test_a_layer_at_several_positions():
    net, y = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3)), torch.arange(COUNT) % 3
    x = torch.randn(COUNT, 4, 6) + y[:, None, None]
    model = Rate(net, COUNT, beta=0.3, example=x)
    levels, y = Rounding(model).levels(), y[:, None].expand(COUNT, 4)
    with torch.no_grad():
        before = levels["0.weight"].clone()
        assert descend(model, levels, x, y) > 10
    assert not levels["0.weight"].equal(before)


def test_of_another_dtype():
    model, guide, x, y = make("dense", beta=0.3, teacher=True)
    model, guide = model.double(), guide.double()
    assert guide.descend(x.double(), y) > 0


def test_a_rare_input_is_not_given_up_for_examples_without_it():
    """Of 800 examples 16 have it, all of one class and all behind the first share."""
    x, y = torch.zeros(800, 2), torch.zeros(800, dtype=torch.long)
    x[:, 0], y[::2] = 1.0, 1
    x[-16:, 1], y[-16:] = 1.0, 1
    model = Rate(nn.Sequential(nn.Linear(2, 2)), 800, coarseness=1.0, beta=0.01, example=x)
    levels = {"0.weight": torch.zeros(2, 2)}
    model.refresh(levels)
    assert descend(model, levels, x, y) > 5
    assert levels["0.weight"][:, 1].any()


def test_what_costs_bits_must_be_sure_to_pay(monkeypatch):
    """Labels depend on the first input; chance makes others seem to pay. Seed 0."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(COUNT, 21, generator=generator)
    y = (x[:, 0] + torch.randn(COUNT, generator=generator) > 0).long()
    used = []
    for sure in (0.0, descent.SURE, 4.0):
        monkeypatch.setattr(descent, "SURE", sure)
        net = nn.Sequential(nn.Linear(21, 2, bias=False))
        nn.init.constant_(net[0].weight, 0.1)
        model, levels = Rate(net, COUNT, beta=0.01, example=x), {"0.weight": torch.zeros(2, 21)}
        model.refresh(levels)
        descend(model, levels, x, y)
        assert levels["0.weight"][:, 0].any()
        used.append(int(levels["0.weight"].any(0).sum()))
    assert used[0] > used[1] > used[2] == 1, used


@pytest.mark.parametrize(("sure", "looked_at"), [(0.0, COUNT), (1e3, COUNT // 4)])
def test_what_cannot_be_sure_to_pay_is_given_up(sure, looked_at, monkeypatch):
    """Costly moves from zeros, which all examples speak for: a share of them tells."""
    x = torch.randn(COUNT, 1, generator=torch.Generator().manual_seed(0)) + 3
    y, seen = (torch.arange(COUNT) % 8 > 0).long(), []
    net = nn.Sequential(nn.Linear(1, 2, bias=False))
    model = Rate(net, COUNT, beta=0.01, example=x)
    levels = {"0.weight": torch.zeros(2, 1)}
    model.refresh(levels)
    move = descent._Sweep._move
    monkeypatch.setattr(descent, "SURE", sure)
    monkeypatch.setattr(
        descent._Sweep, "_move", lambda *a: (seen.append(a[-1].stop - a[-1].start), move(*a))
    )
    descend(model, levels, x, y)
    assert 0 < sum(seen) < 3 * looked_at and sum(seen) % looked_at == 0
    assert bool(levels["0.weight"].any()) == (sure == 0)


def test_the_guide_takes_a_sweep_over():
    model, guide, x, y = make("dense", beta=0.3)
    other = make("dense", beta=0.3)[1]
    before = cross_entropy(model.output(x, guide.median()), y).item()
    said = []
    assert guide.descend(x, y, lambda *tried: said.append(tried)) > 0
    other.descend(x, y)
    assert {name for name, *_ in said} == {"1.weight", "3.weight"}
    assert all(tried <= total for _, tried, total in said) and said[-1][1] == said[-1][2]
    after = guide.median()
    assert cross_entropy(model.output(x, after), y).item() < before
    assert all(value.equal(other.median()[name]) for name, value in after.items())
    assert isinstance(guide.posterior(), bitsback.Posterior)


def test_labels_that_outputs_would_be_broadcast_against_are_refused():
    _, guide, x, y = make("dense")
    before = guide.levels()
    with pytest.raises(ValueError, match="labels have shape"):
        guide.descend(x, y[:, None])
    assert all(level.equal(before[name]) for name, level in guide.levels().items())


def test_what_the_teacher_said_may_come_with_the_labels():
    model, guide, x, y = make("dense", teacher=True)
    other = make("dense", teacher=True)[1]
    saved = guide.descend(x, y)
    assert other.descend(x, torch.cat([y[:, None], model.teacher.soft(x)], 1)) == saved > 0
    assert all(level.equal(other.levels()[name]) for name, level in guide.levels().items())


def test_integers_that_are_held_are_moved_and_held_there():
    _, guide, x, y = make("dense", beta=0.3)
    other = make("dense", beta=0.3)[1]
    guide.hold()
    assert guide.descend(x, y) == other.descend(x, y) > 0
    for _ in range(2):
        assert all(level.equal(other.levels()[name]) for name, level in guide.levels().items())
        guide.release()


def test_weights_whose_integers_stay_keep_their_fractions():
    _, guide, x, y = make("dense", beta=0.3)
    before, levels = guide._get("loc", "1.weight").clone(), guide.levels()["1.weight"]
    assert guide.descend(x, y) > 0
    stays = guide.levels()["1.weight"] == levels
    assert stays.any() and not stays.all()
    assert guide._get("loc", "1.weight")[stays].equal(before[stays])


@pytest.mark.parametrize(
    "name", ["resnet", "mobilenet", "densenet", "unet", "gated", "lstm", "padded-resnet", "signal"]
)
def test_any_traced_network(name):
    """Removed units included; the loss is recomputed from the whole network."""
    net, _ = networks.make(name)
    torch.manual_seed(1)
    x = torch.cat([networks.NETWORKS[name][1]() for _ in range(8)])
    network = trace(net, x)
    y = network(x).detach().roll(1, 0) + 0.3
    model = Rate(network, len(x), likelihood="normal", coarseness=1.5, beta=0.5)
    model.refresh = lambda levels: None
    levels = Rounding(model).levels()
    with torch.no_grad():
        before = loss(model, levels, x, y)
        saved = descend(model, levels, x, y)
        assert saved > 0.5
        assert before - loss(model, levels, x, y) == pytest.approx(saved, rel=1e-3, abs=0.01)
    moved = {k for k, v in levels.items() if not v.equal(Rounding(model).levels()[k])}
    assert len(moved) > len(levels) / 2 or name == "lstm"
