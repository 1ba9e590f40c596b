"""Integers that descend together: nearer predictions in fewer bits, or nothing changes."""

import copy

import numpy as np
import pytest
import torch
from bitsback.common.examples import passed
from bitsback.compression import end_to_end
from bitsback.compression.end_to_end import EndToEnd
from bitsback.compression.rounding import with_weights
from bitsback.compression.shrink_work import Work
from bitsback.graph import trace
from bitsback.workbench.data import load_data
from torch import nn

RATE = 1e-7
CASES = {
    "categorical": RATE, "bernoulli": 1e-6, "normal": 1e-6, "several outputs": 1e-6, "doubles": RATE
}  # fmt: skip


class Two(nn.Module):
    """Two outputs of very different size."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x):
        y = self.net(x)
        return {"small": y[:, :2], "large": 1e4 * y[:, 2:]}


def plain() -> nn.Sequential:
    return nn.Sequential(nn.Linear(64, 300), nn.ReLU(), nn.Linear(300, 10))


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, torch.Tensor]:
    """A trained network, and inputs."""
    train = load_data("digits").train
    x = train.x.flatten(1)
    torch.manual_seed(0)
    net = plain()
    optimizer = torch.optim.Adam(net.parameters(), 0.01)
    for _ in range(100):
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), train.y).backward()
        optimizer.step()
    return net.eval().requires_grad_(False), x[:300]


def setting(digits, name: str = "categorical") -> tuple[EndToEnd, Work]:
    net, x = copy.deepcopy(digits[0]), digits[1]
    if name == "doubles":
        net, x = net.double(), x.double()
    if name == "several outputs":
        net = Two(net)
    likelihood = {"bernoulli": "bernoulli", "normal": "normal", "several outputs": "normal"}
    work = Work(trace(net, x[:2]), x, likelihood.get(name, "categorical"), -1, 0, None, None)
    return work.end_to_end, work


def distance(found: EndToEnd, work: Work, codes) -> float:
    """The loss, on the calibration inputs themselves."""
    net, small = found._net, with_weights(work.net, codes)
    with torch.no_grad():
        targets = found._mixtures.targets(work.x)
        own = found._mixtures.loss(passed(net, work.x), targets)
        state = {found._prefix + name: value for name, value in small.state_dict().items()}
        other = torch.func.functional_call(net, state, (work.x,))
        return float(found._mixtures.loss(other, targets) - own)


def size(work: Work, codes) -> int:
    return len(work.encoded(with_weights(work.net, codes), codes)[0])


@pytest.mark.parametrize("name", CASES)
def test_predictions_are_nearer_than_those_of_a_file_by_layers(digits, name, monkeypatch):
    """Than those of the largest file that layers one after the other have, and is no larger."""
    monkeypatch.setattr(end_to_end, "UPDATES", 300)
    found, work = setting(digits, name)
    before = work.calibrated.quantised(CASES[name])
    after = found.descended(before)
    assert size(work, after) < size(work, before)
    rivals = [work.calibrated.quantised(CASES[name] * 1.05**i) for i in range(1, 30)]
    rival = next(codes for codes in rivals if size(work, codes) <= size(work, after))
    assert distance(found, work, after) < 0.9 * distance(found, work, rival)
    for key in work.weights:
        assert not after[key].codes[before[key].codes == 0].any()
        assert after[key].grid == before[key].grid


def test_a_higher_price_gives_fewer_integers(digits, monkeypatch):
    monkeypatch.setattr(end_to_end, "UPDATES", 300)
    found, work = setting(digits)
    codes, kept = work.calibrated.quantised(RATE), []
    for dearer in (1.0, 30.0):
        monkeypatch.setattr(end_to_end, "DEARER", dearer)
        kept.append(sum(np.count_nonzero(c.codes) for c in found.descended(codes).values()))
    assert kept[1] < 0.9 * kept[0]


def test_a_descent_that_leads_away_is_undone(digits, monkeypatch):
    monkeypatch.setattr(end_to_end, "RATE", 3.0)
    monkeypatch.setattr(end_to_end, "UPDATES", 300)
    found, work = setting(digits)
    codes = work.calibrated.quantised(1e-7)
    assert found.descended(codes) is codes


def test_a_network_that_computes_much_has_no_updates(digits, monkeypatch):
    monkeypatch.setattr(end_to_end, "OPERATOR_WORK", 0)
    _, work = setting(digits)
    net, x, likelihood = work.net, work.x, "categorical"
    given = net, x, work.weights, work.vectors, likelihood
    update = end_to_end.PASSES * end_to_end.BATCH * (64 * 300 + 300 * 10)
    for updates, expected in ((end_to_end.FEWEST, end_to_end.FEWEST), (end_to_end.FEWEST - 1, 0)):
        monkeypatch.setattr(end_to_end, "MOST_WORK", updates * update)
        found = EndToEnd(*given)
        assert found.updates == expected
    codes = work.calibrated.quantised(RATE)
    assert found.descended(codes) is codes


def test_tensors_that_nothing_multiplies_keep_their_numbers(digits, monkeypatch):
    """A mask, say: another number in it would be another network."""

    class Masked(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = copy.deepcopy(digits[0])
            self.mask = nn.Parameter(torch.ones(64, 10).tril(), requires_grad=False)

        def forward(self, x):
            return self.net(x) + (x[:, :, None] * self.mask).sum(1)

    monkeypatch.setattr(end_to_end, "UPDATES", 300)
    x = digits[1]
    work = Work(trace(Masked().eval(), x[:2]), x, "categorical", -1, 0, None, None)
    before = work.calibrated.quantised(RATE)
    after = work.end_to_end.descended(before)
    assert after is not before
    assert np.array_equal(after["mask"].codes, before["mask"].codes)


def test_a_small_network_has_no_updates(digits, monkeypatch):
    monkeypatch.setattr(end_to_end, "FEWEST_WEIGHTS", 64 * 300 + 300 * 10 + 1)
    assert setting(digits)[0].updates == 0


def test_outputs_without_gradients_leave_everything(monkeypatch):
    monkeypatch.setattr(end_to_end, "FEWEST_WEIGHTS", 0)

    class Chosen(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.Linear(6, 4)

        def forward(self, x):
            return self.layer(x).argmax(1, keepdim=True).float()

    torch.manual_seed(0)
    x = torch.randn(50, 6)
    net = trace(Chosen().eval().requires_grad_(False), x[:2])
    work = Work(net, x, "normal", -1, 0, None, None)
    codes = work.calibrated.quantised(RATE)
    assert work.end_to_end.descended(codes) is codes


def test_batches_count_predictions(digits):
    assert setting(digits)[0]._batch == end_to_end.BATCH
    net = nn.Sequential(nn.Embedding(9, 8), nn.Linear(8, 9)).eval().requires_grad_(False)
    tokens = torch.randint(9, (20, 7))
    found = Work(trace(net, tokens[:2]), tokens, "categorical", -1, 0, None, None).end_to_end
    assert found._batch == end_to_end.BATCH // 7


@pytest.mark.parametrize(("layers", "updates"), [(2, end_to_end.UPDATES), (60, 0)])
def test_many_small_operators_are_too_much_work(layers, updates):
    """Each call takes time, however little it computes."""
    width = int((12_000 / layers) ** 0.5) + 1
    net = nn.Sequential(*[
        part for _ in range(layers) for part in (nn.Linear(width, width), nn.ReLU())
    ]).eval()  # fmt: skip
    x = torch.randn(8, width)
    names = [name for name, p in net.named_parameters() if p.dim() > 1]
    assert EndToEnd(trace(net, x), x, names, [], "normal").updates == updates
