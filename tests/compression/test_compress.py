"""From a network and a posterior to bytes and back: what is promised of `compress`."""

import copy
import dataclasses
import math

import pytest
import torch
from bitsback.compression import compress as compress_module
from bitsback.compression.compress import compress
from bitsback.compression.describe import describe
from bitsback.compression.file import decode, inspect, load
from bitsback.compression.settings import Setting
from bitsback.compression.verdict import WorseNetwork
from bitsback.posterior import Grid, Group, Posterior, WeightPosterior
from torch import nn


def digits_like(inputs: int = 20, classes: int = 3, count: int = 400):
    """Inputs of which only the first five tell the class."""
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(count, inputs, generator=generator)
    truth = torch.randn(5, classes, generator=generator)
    return x, (x[:, :5] @ truth).argmax(1)


def trained(net: nn.Module, x, y, steps: int = 150) -> nn.Module:
    optimiser = torch.optim.Adam(net.parameters(), 0.02)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(net(x), y)
        loss = loss + 1e-3 * sum(p.abs().sum() for p in net.parameters())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def posterior_of(net: nn.Module, stddev: float = 0.03, dtype=torch.float32) -> Posterior:
    """As a mean-field guide would give it, with one stddev for all."""
    weights = {}
    for spec in describe(net).tensors():
        if spec.role == "weight":
            loc = net.state_dict()[spec.name].detach().clone()
            log_alpha = 2 * math.log(stddev) - (loc.square() + 1e-12).log()
            stddevs = torch.full_like(loc, stddev)
            weights[spec.name] = WeightPosterior(loc, stddevs, torch.ones(()), log_alpha)
    return Posterior(weights)


def mlp() -> nn.Module:
    return nn.Sequential(
        nn.Flatten(), nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 12), nn.ReLU(), nn.Linear(12, 3)
    )


@pytest.fixture(scope="module")
def case():
    torch.manual_seed(0)
    x, y = digits_like()
    net = trained(mlp(), x, y)
    return net, posterior_of(net), (x, y)


def test_the_spine(case, tmp_path):
    net, posterior, (x, y) = case
    before = copy.deepcopy(net.state_dict())
    lines = []
    result = compress(
        net, posterior, validation=(x, y), label="mine", margin_error=0.5, progress=lines.append
    )
    report = result.report
    assert report["bytes"] == len(result.data) == inspect(result.data)["bytes"]
    assert report["float32_bytes"] == 4 * sum(p.numel() for p in net.parameters())
    assert report["ratio"] == report["float32_bytes"] / report["bytes"] > 10
    assert report["within_margin"]
    assert report["rise"]["nll"] <= report["margin_nll"] == 0.003
    assert report["rise"]["error"] <= 0.5
    validation = report["validation"]
    assert validation["nll"] - validation["nll_before"] == pytest.approx(report["rise"]["nll"])
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert lines and decode(result.data).architecture.label == "mine"
    result.save(tmp_path / "net.bb")
    loaded = load(tmp_path / "net.bb")
    assert torch.equal(loaded(x), result.network(x))
    assert sum(p.numel() for p in loaded.parameters()) < 0.75 * sum(
        p.numel() for p in net.parameters()
    )  # units are really gone


def test_the_means_are_compressed_and_the_network_is_not_touched(case):
    net, posterior, (x, y) = case
    untrained = mlp()
    untrained.load_state_dict(net.state_dict())
    for name in posterior.weights:
        untrained.state_dict()[name].zero_()
    report = compress(untrained, posterior, validation=(x, y)).report
    assert report["validation"]["error_before"] < 10 and report["within_margin"]
    assert not untrained[1].weight.any() and untrained[1].weight.requires_grad


def zeroed(posterior: Posterior) -> Posterior:
    """A posterior that has lost everything, and is sure of it."""
    return with_fields(posterior, lambda weight: {"loc": 1e-3 * weight.loc})


def test_a_destroyed_network_is_never_within_the_margins(case):
    """Of its own posterior means it is; the network given knows better."""
    net, posterior, validation = case
    with pytest.warns(WorseNetwork) as caught:
        report = compress(net, zeroed(posterior), validation=validation).report
    assert not report["within_margin"] and not report["beats_constant"]
    assert report["rise"]["nll"] <= report["allowed_nll"] and report["rise"]["error"] <= 0.25
    assert report["rise_over_given"]["error"] > 30 and report["posterior_rise"]["nll"] > 0.3
    said = [str(warning.message) for warning in caught if warning.category is WorseNetwork]
    assert said == report["warnings"] and len(said) == 2
    assert "posterior means are worse" in said[0] and "constant" in said[1]
    assert caught[0].filename == __file__


def test_the_network_given_may_be_another(case):
    net, posterior, (x, y) = case
    report = compress(net, posterior, validation=(x, y)).report
    assert report["validation"]["nll_given"] == pytest.approx(report["validation"]["nll_before"])
    assert report["posterior_rise"]["nll"] == pytest.approx(0.0, abs=1e-9)
    other = copy.deepcopy(net)
    other[5].weight.data.mul_(0.5)
    again = compress(net, posterior, validation=(x, y), given=other.train()).report
    nll = nn.functional.cross_entropy(other.double()(x.double()), y).item()
    assert again["validation"]["nll_given"] == pytest.approx(nll, rel=1e-5) and other.training
    gap = again["rise_over_given"]["nll"]
    assert gap == pytest.approx(again["validation"]["nll"] - nll, rel=1e-3)


def test_the_report_says_what_the_margins_came_to(case):
    net, posterior, (x, y) = case
    report = compress(net, posterior, validation=(x[:60], y[:60])).report
    assert (report["margin_error"], report["allowed_error"]) == (0.2, pytest.approx(100 / 60))
    stderr = report["rise"]["nll_stderr"]
    assert report["allowed_nll"] == max(0.003, min(stderr, 0.015))
    assert report["within_margin"] and report["batch_norm"] is None


@pytest.mark.parametrize("count", [1, 2, 1025])
def test_any_number_of_validation_examples(count):
    """Networks that end in squeeze() see no single example unless there is only one."""

    class Squeezed(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(20, 3)

        def forward(self, x):
            return self.layer(x).squeeze()

    x, y = digits_like(count=count)
    net = trained(Squeezed(), *digits_like())
    if count == 1:
        with pytest.raises(ValueError, match="for 1 example it gives"):
            compress(net, posterior_of(net), validation=(x, y))
        return
    result = compress(net, posterior_of(net), validation=(x, y))
    assert result.report["validation"]["examples"] == count


def test_a_label_for_each_position():
    torch.manual_seed(0)
    x = torch.randn(100, 5, 4)
    y = x[..., :3].argmax(-1)
    net = trained(nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)), x.flatten(0, 1),
                  y.flatten(), 300)  # fmt: skip
    result = compress(net, posterior_of(net), validation=(x, y), training=x)
    wrong = 100 * (result.network(x).argmax(-1) != y).double().mean().item()
    assert result.report["validation"]["error"] == pytest.approx(wrong)
    assert result.report["within_margin"]


def test_units_that_die_of_quantisation_are_removed(case):
    net, posterior, validation = case
    options = {"threshold": math.inf, "margin_nll": 0.5, "margin_error": 100.0}
    result = compress(net, posterior, validation=validation, **options)
    for layer in result.report["layers"]:
        assert layer["kept"] < layer["total"]
    weight = result.archive.tensors["3.weight"].codes
    assert weight.shape < (12, 30) and weight.any(1).all()


def test_layers_of_the_report(case):
    net, posterior, validation = case
    report = compress(net, posterior, validation=validation).report
    first = report["layers"][0]
    assert first["name"] == "1.weight" and first["total"] == 600 and first["kept"] < 300
    assert first["inputs"] == [20, first["inputs"][1]] and first["inputs"][1] >= 5
    assert first["bits_per_weight"] == pytest.approx(8 * first["bytes"] / first["kept"])
    assert sum(first["parts"].values()) == pytest.approx(first["bytes"])
    assert sum(report["items"].values()) == report["bytes"]
    assert len(report["units"]) == 4 and report["units"][-1] == "3"
    total = sum(layer["kept"] for layer in report["layers"])
    assert report["nonzero_fraction"] == total / sum(
        p.numel() for p in net.parameters() if p.ndim > 1
    )


def test_it_is_deterministic(case):
    net, posterior, validation = case
    one, two = (compress(net, posterior, validation=validation) for _ in range(2))
    assert one.data == two.data and one.report == two.report


def with_fields(posterior: Posterior, make) -> Posterior:
    """The posterior with the fields that `make(weight)` gives each of its weights."""
    weights = {k: dataclasses.replace(w, **make(w)) for k, w in posterior.weights.items()}
    return Posterior(weights)


def test_pruning_by_groups_keeps_whole_units(case):
    net, posterior, validation = case

    def inputs(weight):
        return {"groups": (Group(1, -weight.loc.abs().amax(0)),)}

    grouped = with_fields(posterior, inputs)
    options = {"quantiser": "none", "margin_error": 1.0, "margin_nll": 0.01}
    report = compress(net, grouped, validation=validation, prune="groups", **options).report
    first = report["layers"][0]
    assert report["prune"] == "groups" and 5 <= first["inputs"][1] < 15
    # All weights of a unit stay, but for a few that 16 bits cannot tell from 0.
    assert first["kept"] > 0.95 * first["inputs"][1] * first["outputs"][1]
    with pytest.raises(ValueError, match="share a scale"):
        compress(net, posterior, validation=validation, prune="groups")


def test_precision_only_prunes_nothing(case):
    net, posterior, validation = case
    options = {"validation": validation, "prune": "none"}
    reports = {
        kind: compress(net, posterior, quantiser=kind, **options).report
        for kind in ("none", "stddev", "stddev-units")
    }
    assert all(report["threshold"] is None for report in reports.values())
    assert reports["none"]["nonzero_fraction"] > 0.95  # but for what 16 bits cannot tell from 0
    assert reports["stddev"]["bytes"] < reports["none"]["bytes"] / 2


def test_pruning_only_leaves_weights_as_they_are(case):
    net, posterior, validation = case
    result = compress(net, posterior, validation=validation, threshold=0.0, quantiser="none")
    found, means = result.network.state_dict()["1.weight"], net[1].weight.detach()
    kept = posterior.weights["1.weight"].log_alpha < 0.0
    alive = kept.any(1)[:, None] & kept.any(0)
    selected = means[alive.any(1)][:, alive.any(0)] * kept[alive.any(1)][:, alive.any(0)]
    place = (selected[:, None] - found).abs().amax(2).argmin(1)  # units stand in another order
    assert found.shape == selected.shape and len(place.unique()) == len(found)
    assert float((found[place] - selected).abs().max()) <= float(means.abs().max()) / 2**14


def test_the_posterior_s_own_grid(case):
    net, posterior, validation = case
    book = torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0])

    def nearest(weight):
        codes = (weight.loc[..., None] - book).abs().argmin(-1)
        return {"grid": Grid(codebook=book, codes=codes)}

    own = with_fields(posterior, nearest)
    options = {"validation": validation, "threshold": math.inf, "margin_error": 100.0}
    options["quantiser"] = "grid"
    result = compress(net, own, margin_nll=9.0, **options)
    assert result.report["quantiser"]["kind"] == "grid"
    assert set(result.network.state_dict()["1.weight"].unique().tolist()) <= set(book.tolist())
    nearer = with_fields(posterior, lambda weight: {"grid": Grid(codebook=book)})
    assert compress(net, nearer, margin_nll=9.0, **options).data == result.data
    retrained = compress(net, own, training=validation[0], **options)
    assert len(retrained.network.state_dict()["1.weight"].unique()) <= 5
    assert retrained.report["rise"]["nll"] < result.report["rise"]["nll"]
    fitted = compress(net, own, margin_nll=9.0, **options | {"quantiser": "auto"})
    assert len(fitted.data) <= len(result.data)
    with pytest.raises(ValueError, match="learned values"):
        compress(net, posterior, validation=validation, quantiser="grid")


@pytest.mark.parametrize("coder", ["small", "fast", "huffman"])
@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 3.0, "clusters": 8},
        {"threshold": math.inf, "clusters": 16},
        {"quantiser": "stddev"},
        {"quantiser": "stddev", "threshold": 0.0},
        {"quantiser": "none"},
    ],
    ids=str,
)
def test_options(case, options, coder):
    net, posterior, validation = case
    result = compress(net, posterior, validation=validation, coder=coder, **options)
    assert inspect(result.data)["coder"] == coder
    if options.get("threshold") == 3.0:
        assert result.report["threshold"] == 3.0 and result.report["clusters"] <= 8
        assert all(layer["values"] <= 8 for layer in result.report["layers"])


def test_a_fixed_choice_beyond_the_margin_is_said(case):
    net, posterior, validation = case
    options = {"threshold": -8.0, "clusters": 2}
    with pytest.warns(WorseNetwork, match="no better than a constant"):
        report = compress(net, posterior, validation=validation, **options).report
    assert not report["within_margin"] and report["rise"]["nll"] > 0.01
    assert not report["beats_constant"] and len(report["warnings"]) == 1


def test_without_a_usable_candidate_the_best_is_kept(case):
    """That of the least NLL: what each number of clusters gives by itself says which."""
    net, posterior, validation = case
    options = {"validation": validation, "threshold": 3.0, "margin_nll": 0.0, "margin_error": 0.0}
    alone = {
        k: compress(net, posterior, clusters=k, **options).report["rise"]["nll"] for k in (2, 3, 4)
    }
    assert min(alone, key=alone.get) == 4 and min(alone.values()) > 0

    def few(*args):
        return [[Setting(clusters=k) for k in (3, 4, 2)]]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compress_module, "settings_for", few)
        report = compress(net, posterior, **options).report
    assert not report["within_margin"]
    assert report["rise"]["nll"] == pytest.approx(alone[4])


def test_wider_margins_give_smaller_files(case):
    net, posterior, validation = case
    sizes = [
        len(compress(net, posterior, validation=validation, margin_nll=m, margin_error=100.0).data)
        for m in (0.001, 0.02, 0.3)
    ]
    assert sizes[0] > sizes[1] > sizes[2]
