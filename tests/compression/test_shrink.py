"""`shrink`: small files that predict as the original does, and what it refuses."""

import copy
import json

import bitsback
import pytest
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F


@pytest.fixture(scope="module")
def data() -> tuple[Tensor, Tensor]:
    torch.manual_seed(0)
    centres = torch.randn(4, 12)
    y = torch.randint(4, (400,))
    return centres[y] + 0.8 * torch.randn(400, 12), y


@pytest.fixture(scope="module")
def net(data) -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(12, 40), nn.ReLU(), nn.Linear(40, 4))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(data[0]), data[1]).backward()
        optimizer.step()
    return net


def test_the_file_is_small_and_predicts_as_the_report_says(net, data, tmp_path):
    before = copy.deepcopy(net.state_dict())
    small = bitsback.shrink(net, data[0][:200], validation=(data[0][200:], data[1][200:]))
    small.save(tmp_path / "net.bb")
    loaded = bitsback.load(tmp_path / "net.bb")
    error, old = (
        100 * float((n(data[0][200:]).argmax(1) != data[1][200:]).float().mean())
        for n in (loaded, net)
    )
    judged = small.report["judged"]
    assert judged["rise"]["error"] == pytest.approx(error - old, abs=1e-3)
    assert judged["error_before"] == pytest.approx(old, abs=1e-3)
    assert judged["within_max_drop"] and error - old <= 0.5 + 1e-6
    assert small.report["ratio"] > 8
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


def test_it_is_a_function_of_its_arguments(net, data):
    one, two = (bitsback.shrink(net, data[0][:100], target_bytes=600).data for _ in range(2))
    assert one == two
    assert len(one) <= 600


def test_without_labels_it_is_judged_by_disagreement_on_inputs_held_out(net, data):
    report = bitsback.shrink(net, data[0][:100], max_drop=5.0).report
    assert report["calibration"]["examples"] == 80
    assert report["judged"]["examples"] == 20
    assert "disagreement" in report["judged"]["judged_by"]
    assert report["judged"]["error_before"] == 0.0


def test_without_inputs_weights_are_rounded_by_themselves(net, data):
    small = bitsback.shrink(net, None)
    assert small.report["judged"] is None
    assert small.report["calibration"]["without_inputs"] == ["0.weight", "2.weight"]
    with torch.no_grad():
        right = net(data[0])
        assert float((small.network(data[0]) - right).std() / right.std()) < 0.1


def test_inputs_make_better_use_of_the_same_bytes(net, data):
    x, target = data[0][:200], 700
    losses = []
    for given in (x, None):
        small = bitsback.shrink(net, given, validation=data[0][200:], target_bytes=target)
        assert 0.97 * target < len(small.data) <= target
        with torch.no_grad():
            p, q = (n(data[0][200:]).log_softmax(1) for n in (net, small.network))
        losses.append(float((p.exp() * (p - q)).sum(1).mean()))
    assert losses[0] < 0.7 * losses[1]


class Several(nn.Module):
    """Convolutions in groups, transposed, beside a shortcut; an LSTM, attention, an embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(9, 8)
        self.lstm = nn.LSTM(8, 8, batch_first=True)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.first, self.norm = nn.Conv1d(8, 8, 3, padding=1), nn.BatchNorm1d(8)
        self.grouped = nn.Conv1d(8, 8, 3, padding=1, groups=4)
        self.up = nn.ConvTranspose1d(8, 6, 2, stride=2)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lstm(self.table(x))[0]
        x = x + self.attention(x, x, x, need_weights=False)[0]
        x = self.norm(self.first(x.mT)).relu()
        x = self.up((x + self.grouped(x)).relu()).relu()
        return self.head(x.mean(2))


def test_any_network_that_can_be_traced():
    torch.manual_seed(0)
    net, x = Several().eval(), torch.randint(9, (60, 6))
    small = bitsback.shrink(net, x, likelihood="normal", max_drop=5.0)
    assert small.report["untraced"] is None
    assert small.report["calibration"]["without_inputs"] == []
    assert small.report["judged"]["within_max_drop"]
    assert "variance" in small.report["judged"]["judged_by"]


def test_batch_norms_are_folded_once_and_the_judge_is_the_network_given():
    torch.manual_seed(0)
    net = nn.Sequential(
        nn.Conv1d(2, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3)
    )
    for value in (net[1].weight, net[1].running_var):
        nn.init.uniform_(value, 0.1, 4.0)
    net, x = net.eval().requires_grad_(False), torch.randn(80, 2, 8)
    small = bitsback.shrink(net, x, likelihood="normal", max_drop=1.0)
    error = (small.network(x) - net(x)).square().mean() / net(x).var(0).mean()
    assert error.item() < 0.03
    assert small.report["judged"]["within_max_drop"]


class Stubborn(nn.Module):
    """Its control flow depends on the data."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm, self.layer = nn.LSTM(12, 12, batch_first=True), nn.Linear(12, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.lstm(x[:, None])[0][:, 0]
        return self.layer(x) if float(x.sum()) > 1e9 else -self.layer(x)


def test_a_network_without_a_graph_has_a_file_for_its_own_class(data, tmp_path):
    torch.manual_seed(0)
    net = Stubborn().eval()
    small = bitsback.shrink(net, data[0][:100], max_drop=10.0)
    assert small.report["untraced"]
    assert small.report["calibration"]["without_inputs"] == []
    small.save(tmp_path / "net.bb")
    loaded = bitsback.load(tmp_path / "net.bb", into=Stubborn())
    assert torch.equal(loaded(data[0]), small.network(data[0]))
    assert small.report["weights"] == 12 * 48 * 2 + 12 * 4


class Pair(nn.Module):
    """Two inputs, one of them an option."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(12, 9), nn.Linear(3, 9), nn.Linear(9, 4)

    def forward(self, x: Tensor, extra: Tensor) -> Tensor:
        return self.head((self.left(x) + self.right(extra)).relu())


@pytest.mark.parametrize("kind", [tuple, dict])
@pytest.mark.parametrize("judged", ["held out", "inputs", "labels"])
def test_several_inputs_as_a_tuple_or_a_dict(data, kind, judged):
    torch.manual_seed(0)
    x = {"x": data[0], "extra": torch.randn(400, 3)}

    def part(chosen):
        found = {name: tensor[chosen] for name, tensor in x.items()}
        return found if kind is dict else tuple(found.values())

    some, rest = part(slice(0, 100)), part(slice(100, 200))
    y = {"held out": None, "inputs": (rest, None), "labels": (rest, data[1][100:200])}[judged]
    small = bitsback.shrink(Pair().eval(), some, validation=y, max_drop=5.0)
    assert small.report["untraced"] is None
    assert small.report["calibration"]["likelihood"] == "categorical"
    assert small.report["judged"]["within_max_drop"]
    whole = part(slice(None))
    assert (small.network(**whole) if kind is dict else small.network(*whole)).shape == (400, 4)


class Tokens(nn.Module):
    """Logits (n, steps, classes) of tokens (n, steps)."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.head = nn.Embedding(7, 8), nn.Linear(8, 7)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.table(x).cumsum(1).tanh())


@pytest.mark.parametrize("labels", [True, False])
def test_each_step_of_a_sequence_is_one_prediction(labels):
    torch.manual_seed(0)
    net, x = Tokens().eval(), torch.randint(7, (90, 5))
    y = x.roll(1, 1)[50:] if labels else None
    small = bitsback.shrink(net, x[:50], validation=(x[50:], y), max_drop=4.0)
    assert small.report["calibration"]["likelihood"] == "categorical"
    with torch.no_grad():
        old, new = (n(x[50:]).argmax(-1) for n in (net, small.network))
    rise = (
        (new != old).float().mean()
        if y is None
        else (new != y).float().mean() - (old != y).float().mean()
    )
    assert small.report["judged"]["rise"]["error"] == pytest.approx(100 * float(rise), abs=1e-3)


def test_digits_are_still_read():
    """900 images train the network, 400 judge it, and the rest tests both."""
    images, labels = load_digits(return_X_y=True)
    x, y = torch.from_numpy(images / 16).float(), torch.from_numpy(labels)
    net = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    optimizer = torch.optim.Adam(net.parameters(), 1e-2)
    for _ in range(60):
        optimizer.zero_grad()
        F.cross_entropy(net(x[:900]), y[:900]).backward()
        optimizer.step()
    small = bitsback.shrink(net, x[:300], validation=(x[900:1300], y[900:1300]), max_drop=1.0)
    assert small.report["ratio"] > 12
    wrong = [
        float((n(x[1300:]).argmax(1) != y[1300:]).float().mean()) for n in (net, small.network)
    ]
    assert wrong[0] < 0.15
    assert wrong[1] - wrong[0] < 0.04


class Block(nn.Module):
    """Convolutions with BatchNorm around a shortcut."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(1, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv, self.norm2 = nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.head = nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.stem(x)).relu()
        return self.head((x + self.norm2(self.conv(x))).relu().mean((2, 3)))


def transformer() -> nn.Module:
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return nn.Sequential(layer, nn.Flatten(), nn.Linear(40, 3))


@pytest.mark.parametrize(
    ("build", "shape"),
    [
        (Block, (1, 6, 6)),
        (transformer, (5, 8)),
        (lambda: nn.LSTM(4, 6, batch_first=True), (5, 4)),  # outputs and states
        (lambda: nn.utils.parametrizations.weight_norm(nn.Linear(12, 4)), (12,)),
        (lambda: nn.Linear(12, 4).double(), (12,)),
    ],
)
def test_kinds_of_networks(build, shape, tmp_path):
    torch.manual_seed(0)
    net, x = build().eval(), torch.randn(60, *shape)
    small = bitsback.shrink(net, x, likelihood="normal", max_drop=5.0)
    report = small.report
    assert report["untraced"] is None
    assert report["calibration"]["without_inputs"] == []
    assert report["judged"]["within_max_drop"]
    assert 0 < report["nonzero_fraction"] <= 1
    small.save(tmp_path / "net.bb")
    loaded = bitsback.load(tmp_path / "net.bb").state_dict()
    assert all(torch.equal(loaded[k], v) for k, v in small.network.state_dict().items())


def test_inputs_of_float64_are_taken_as_the_weights_are(net, data):
    x = data[0][:60]
    one, two = (bitsback.shrink(net, given, target_bytes=600).data for given in (x, x.double()))
    assert one == two


def test_the_report_has_what_the_page_says(net, data):
    small = bitsback.shrink(net, data[0][:60], target_bytes=600)
    report = small.report
    assert set(report) == {
        *("bytes", "float32_bytes", "ratio", "weights", "nonzero_fraction", "bits_per_weight"),
        *("price", "calibration", "untraced", "judged", "layers", "items"),
    }
    assert report["bytes"] == len(small.data)
    assert report["weights"] == 12 * 40 + 40 * 4
    assert report["float32_bytes"] == 4 * (report["weights"] + 44)
    assert report["ratio"] == report["float32_bytes"] / len(small.data)
    assert report["bits_per_weight"] == 8 * len(small.data) / report["weights"]
    assert set(report["calibration"]) == {
        *("examples", "held_out", "likelihood", "seed", "without_inputs", "before_all_layers"),
    }
    json.dumps(report)


@pytest.mark.parametrize("target_bytes", [None, 100])
@pytest.mark.parametrize("inputs", [True, False])
def test_a_network_of_nan_is_refused_by_the_tensors_name(target_bytes, inputs):
    net = nn.Sequential(nn.Linear(12, 4)).requires_grad_(False)
    net[0].weight[0, 0] = torch.nan
    x = torch.randn(40, 12) if inputs else None
    with pytest.raises(ValueError, match="NaN or infinity"):
        bitsback.shrink(net, x, target_bytes=target_bytes)


def test_several_outputs_are_judged_together(data):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b = nn.Linear(12, 3), nn.Linear(12, 2)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            return self.a(x), self.b(x).relu()

    small = bitsback.shrink(Two().eval(), data[0][:100], max_drop=2.0)
    assert small.report["calibration"]["likelihood"] == "normal"
    assert 0 < small.report["judged"]["rise"]["error"] <= 2.0


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"calibration": torch.full((40, 12), torch.nan)}, "NaN or infinity"),
        ({"calibration": torch.ones(40, 12)}, "are the same"),
        ({"calibration": torch.randn(40, 11)}, "does not take calibration inputs torch"),
        ({"calibration": torch.randn(5, 12)}, "5 calibration inputs are too few"),
        ({"calibration": torch.randn(0, 12)}, "no calibration inputs"),
        ({"calibration": [1.0]}, "not a list: stack"),
        ({"validation": (torch.randn(9, 12), torch.arange(9))}, "labels run from 0 to 8"),
        ({"validation": (torch.randn(9, 12), torch.zeros(8).long())}, "9 inputs and 8 labels"),
        ({"max_drop": -1.0}, "max_drop must be"),
        ({"target_bytes": 0}, "target_bytes must be"),
        ({"target_bytes": 20}, "no file has at most 20 bytes: the smallest found has"),
        ({"likelihood": "poisson"}, "unknown likelihood"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_refused_in_one_line(net, data, change, message):
    arguments = {"calibration": data[0][:40]} | change
    with pytest.raises(ValueError, match=message) as caught:
        bitsback.shrink(net, **arguments)
    assert "\n" not in str(caught.value)


def test_a_drop_that_cannot_be_met_names_the_nearest(data):
    """Two outputs that differ by less than any file can tell, judged by which is larger."""
    net = nn.Linear(12, 2).requires_grad_(False)
    net.weight.copy_(torch.randn(12))
    net.weight[1] *= 1 + 1e-6
    net.bias.zero_()
    with pytest.raises(ValueError, match="no file is within max_drop=0: the finest found has a"):
        bitsback.shrink(net, data[0][:50], validation=data[0][50:], max_drop=0.0)


class _Standardized(nn.Module):
    def __init__(self, mean: Tensor, stddev: Tensor, net: nn.Module) -> None:
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("stddev", stddev)
        self.net = net

    def forward(self, x: Tensor) -> Tensor:
        return self.net((x - self.mean) / self.stddev)


@pytest.mark.parametrize("way", ["buffers", "BatchNorm"])
def test_features_of_very_different_sizes(net, data, way):
    """On one step, the smallest standard deviations would be 0, and outputs infinite."""
    sizes = torch.logspace(-4, 4, 12)
    x, y = data[0] * sizes, data[1]
    if way == "buffers":
        whole: nn.Module = _Standardized(torch.zeros(12), sizes, net)
    else:
        norm = nn.BatchNorm1d(12, eps=0.0)
        norm.running_var.copy_(sizes.square())
        whole = nn.Sequential(norm, *net).eval()
    small = bitsback.shrink(whole, x[:200], validation=(x[200:], y[200:]))
    assert small.report["judged"]["within_max_drop"]
    assert len(small.data) < 900


class _Logarithms(_Standardized):
    """Features and a constant that both come from one parameter."""

    def forward(self, x):
        return self.net((x * self.stddev).tanh() - self.stddev.log())


def test_a_layer_that_is_given_infinity_says_why(net, data):
    """A parameter whose logarithm is taken goes on one step with all others, and may become 0."""
    sizes = torch.logspace(-4, 4, 12)
    whole = _Logarithms(torch.zeros(12), sizes, net)
    del whole.stddev
    whole.stddev = nn.Parameter(sizes, requires_grad=False)
    with pytest.raises(ValueError, match=r"'net\.0\.weight'.*NaN or infinity.*register_buffer"):
        bitsback.shrink(whole, data[0][:200] * sizes)


def test_a_parameter_that_the_network_divides_by_is_kept(net, data):
    sizes = torch.logspace(-4, 4, 12)
    whole = _Standardized(torch.zeros(12), sizes, net)
    del whole.stddev
    whole.stddev = nn.Parameter(sizes, requires_grad=False)
    x = data[0] * sizes
    small = bitsback.shrink(whole, x[:200], validation=(x[200:], data[1][200:]))
    assert torch.equal(small.network.state_dict()["stddev"], sizes)
