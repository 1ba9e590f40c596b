"""The rounding guide: the loss is a code length, and the file holds its integers untouched."""

import math

import bitsback
import pyro
import pytest
import torch
from bitsback.compression.archive import storable
from bitsback.guides import ELBO, Rounding
from bitsback.models import Gaussian, Rate
from pyro.infer import SVI, TraceMeanField_ELBO
from torch import nn
from torch.nn.functional import cross_entropy, log_softmax, softmax

X, Y = torch.linspace(-1, 1, 20 * 6).reshape(20, 6), torch.arange(20) % 3


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))


def make(noise: bool = False, **options):
    model = Rate(net(), 60, **options)
    return model, Rounding(model, noise=noise)


def test_loss_is_labels_plus_beta_times_the_price():
    """By hand; the same with either estimator. 60 examples, of which 20 are in the batch."""
    model, guide = make(beta=0.3, coarseness=0.5)
    levels = guide.levels()
    prices = [model.prior(k, v).price(v).sum().item() for k, v in levels.items()]
    labels = 3 * cross_entropy(model.output(X, guide.median()), Y, reduction="sum").item()
    for loss in (ELBO(), TraceMeanField_ELBO()):
        found = loss.loss(model, guide, X, Y)
        assert found == pytest.approx(labels + 0.3 * sum(prices), rel=1e-5)
    own = sum(tables.own_nats.item() for tables in model.densities.values())
    nats = sum(v.item() for v in model.weight_nats(levels).values())
    assert nats == pytest.approx(sum(prices) + own, rel=1e-5)


def test_training_prunes_and_moves_the_step():
    model, guide = make(beta=5.0)
    before = sum(int(v.count_nonzero()) for v in guide.levels().values())
    step = model.step("0.weight").item()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.02}), TraceMeanField_ELBO())
    for k in range(60):
        svi.step(X, Y)
        guide.after_step(k + 1)
    assert sum(int(v.count_nonzero()) for v in guide.levels().values()) < before / 2
    assert model.step("0.weight").item() != pytest.approx(step, rel=0.01)


def test_held_integers_stay_while_steps_and_biases_are_trained():
    model, guide = make(coarseness=0.5)
    levels, tables = guide.levels(), model.densities["0__weight"].sides.clone()
    before = {name: value.clone() for name, value in model.named_parameters()}
    guide.hold()
    svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), TraceMeanField_ELBO())
    for k in range(50):  # tables would be refreshed after 25
        svi.step(X, Y)
        guide.after_step(k + 1)
    assert all(not value.equal(before[name]) for name, value in model.named_parameters())
    assert model.densities["0__weight"].sides.equal(tables)
    median = guide.median()
    guide.release()
    for name, level in levels.items():
        assert guide.levels()[name].equal(level)
        torch.testing.assert_close(guide.median()[name], median[name])
        loc = guide._get("loc", name)
        torch.testing.assert_close(loc / model.step(name), level)
    kept = guide._get("loc", "0.weight").detach().clone()
    svi.step(X, Y)
    assert not guide._get("loc", "0.weight").equal(kept)


def test_tables_change_in_place_and_only_every_so_often():
    model, guide = make()
    sides = model.densities["0__weight"].sides
    kept = sides.clone()
    with torch.no_grad():
        guide.loc.get_submodule("0").weight.zero_()
    guide.after_step(guide.every - 1)
    assert sides.equal(kept)
    guide.after_step(guide.every)
    assert sides is model.densities["0__weight"].sides and (sides[1] < kept[1]).all()


def test_noise_is_in_the_price_alone():
    """Weights are rounded; the mean of 400 prices is the integral over the noise, to 5 errors."""
    model, guide = make(noise=True)
    name = "0.weight"
    assert guide()[name].equal(guide.median()[name])
    with torch.no_grad():
        found = torch.stack([ELBO().terms(model, guide, X, Y).kl[name] for _ in range(400)])
        level = model.initial_weights()[name] / model.step(name)
        nodes = torch.arange(-0.4995, 0.5, 0.001).reshape(-1, 1, 1)
        expected = model.prior(name, level).price(level + nodes).mean(0).sum()
    assert 0 < (found.std() / 20) < 0.05 * expected
    assert (found.mean() - expected).abs() < 5 * found.std() / 20


def test_the_file_holds_the_integers():
    model, guide = make(coarseness=0.3)
    result = bitsback.compress(
        model.trained(), guide.posterior(), validation=(X, Y), quantiser="grid", prune="none",
        margin_nll=math.inf, margin_error=math.inf, training=X,
    )  # fmt: skip
    for name, levels in guide.levels().items():
        tensor = result.archive.tensors[name]
        assert torch.from_numpy(tensor.codes).equal(levels.int())
        assert tensor.grid.step == float(storable(model.step(name).item()))
    network = bitsback.compression.file.network(bitsback.compression.file.decode(result.data))
    for a, b in zip(network.parameters(), result.network.parameters(), strict=True):
        assert a.equal(b)


def test_a_teacher_counts_beside_the_labels():
    model, guide = make(teacher=True, alpha=0.25, temperature=2.0)
    output, taught = model.output(X, guide.median()), net()(X)
    labels = -cross_entropy(output, Y, reduction="sum")
    soft = (softmax(taught / 2, -1) * log_softmax(output / 2, -1)).sum()
    expected = 3 * (0.75 * labels + 0.25 * 4 * soft)
    found = ELBO().terms(model, guide, X, Y).expected_log_likelihood
    torch.testing.assert_close(found, expected)
    # What it said before may stand behind the labels.
    lesson = torch.cat([Y[:, None].float(), model.teacher.soft(X)], 1)
    again = ELBO().terms(model, guide, X, lesson).expected_log_likelihood
    torch.testing.assert_close(again, expected)
    with pytest.raises(ValueError, match=r"have shape .*: give labels alone, or each"):
        ELBO().terms(model, guide, X, lesson[:, :2])
    assert not any("teacher" in name for name in model.state_dict())


def test_gradient_of_the_price_through_model_and_guide():
    """For loc and for the step, against central differences: with noise it has no jumps."""
    model, guide = make(noise=True, beta=0.3, coarseness=0.5)
    model, guide = model.double(), guide.double()

    def price() -> torch.Tensor:
        torch.manual_seed(1)
        return ELBO().terms(model, guide, X.double(), Y).total_kl

    price().backward()
    for parameter in (*model.log_step.values(), *guide.parameters()):
        found = parameter.grad.view(-1)[0].item()
        with torch.no_grad():
            value, ends = parameter.view(-1)[0].item(), []
            for by in (1e-7, -1e-7):
                parameter.view(-1)[0] = value + by
                ends.append(price().item())
            parameter.view(-1)[0] = value
        assert found == pytest.approx((ends[0] - ends[1]) / 2e-7, rel=1e-5, abs=1e-6)
        assert found


def test_starts_from_another_posterior():
    other = Gaussian(net(), 60)
    start = bitsback.guides.MeanFieldNormal(other).posterior()
    with torch.no_grad():
        for weight in start.weights.values():
            weight.loc.mul_(2)
    _, guide = make()
    guide.start_from(start)
    assert guide.loc.get_submodule("0").weight.equal(start.weights["0.weight"].loc)


def test_a_layer_of_zeros_has_a_step_of_use():
    """As layers may be initialised that a network starts without: weights reach it soon."""
    start = net()
    nn.init.zeros_(start[2].weight)
    model = Rate(start, 60, coarseness=1.0)
    assert model.step("2.weight").item() == pytest.approx(5**-0.5)
    assert not Rounding(model).levels()["2.weight"].any()


@pytest.mark.parametrize("option", [{"beta": 0.0}, {"coarseness": -1.0}])
def test_refuses_numbers_out_of_range(option):
    with pytest.raises(ValueError, match=f"{next(iter(option))} must be positive"):
        Rate(net(), 60, **option)
    with pytest.raises(ValueError, match=r"takes models\.Rate"):
        Rounding(Gaussian(net(), 60))
    with pytest.raises(ValueError, match="a teacher teaches probabilities of classes"):
        Rate(net(), 60, teacher=True, likelihood="bernoulli")
    for wrong in ({"alpha": 1.0}, {"temperature": 0.0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            Rate(net(), 60, teacher=True, **wrong)
