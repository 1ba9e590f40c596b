"""Lazy scales: deferred arithmetic, one draw for each example, unbiased gradients."""

import math

import pytest
import torch
from bitsback.guides.lazy_scales import LazyScale, LocalScaleLogNormal, LocalScaleNormal
from bitsback.guides.local_reparameterization import LocalNormal, ScaledWeight
from bitsback.guides.noise import noise_from
from torch import nn
from torch.nn import functional as F

# z-scores of seeded draws: another seed fails with probability 6e-7 for each number compared.
SIGMAS = 5

LAYERS = {
    "linear": (nn.Linear(4, 3), (5, 4)),
    "linear, one vector": (nn.Linear(4, 3), (4,)),
    "linear along a sequence": (nn.Linear(4, 3, bias=False), (2, 6, 4)),
    "conv1d": (nn.Conv1d(2, 4, 3, stride=2, padding=1), (3, 2, 9)),
    "conv2d": (nn.Conv2d(2, 3, 3), (2, 2, 6, 5)),
    "conv2d groups": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 5, 5)),
    "conv2d circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 2, 5, 5)),
    "conv2d one image": (nn.Conv2d(2, 3, 3, bias=False), (2, 5, 5)),
}


def normal(*shape):
    """loc and log_scale, with gradients."""
    loc = torch.randn(shape, dtype=torch.float64).requires_grad_()
    return loc, (0.3 * torch.randn(shape, dtype=torch.float64) - 0.5).requires_grad_()


def constant(value: float):
    return noise_from(lambda shape, like: torch.full(shape, value, dtype=like.dtype))


def apply(layer, weight, x):
    """The layer with another weight, as models put one in."""
    layer = layer.double()
    kept = layer._parameters["weight"]
    layer._parameters["weight"] = weight
    try:
        return layer(x)
    finally:
        layer._parameters["weight"] = kept


@pytest.fixture(params=LAYERS)
def case(request):
    """A layer, its input, parameters of base and scales, and the shape that lays scales along."""
    layer, shape = LAYERS[request.param]
    x = torch.randn(shape, dtype=torch.float64)
    weight = layer.weight
    axis = 1 if weight.dim() == 2 else 0
    along = [1] * weight.dim()
    along[axis] = weight.shape[axis]
    return layer, x, normal(*weight.shape), normal(weight.shape[axis]), along


def scaled(base, scales, along):
    return LocalNormal(*base).rsample() * LocalScaleNormal(*scales).rsample().reshape(*along)


def test_a_layer_at_given_scales(case):
    """With fixed scales it is the locally reparameterised layer of the scaled normal."""
    layer, x, base, scales, along = case
    z = (scales[0] + 0.7 * scales[1].exp()).reshape(along)
    shapes, noise = [], iter((0.7, 1.3))

    def source(shape, like):
        shapes.append(tuple(shape))
        return torch.full(shape, next(noise), dtype=like.dtype)

    with noise_from(source):
        y = apply(layer, scaled(base, scales, along), x)
    fixed = LocalNormal(base[0] * z, base[1] + z.abs().log())
    with constant(1.3):
        expected = apply(layer, fixed.rsample(), x)
    if layer.weight.dim() > 2:  # there the noise is multiplied by z, whose sign it then has
        bias = apply(layer, torch.zeros_like(base[0]), x)
        mean = apply(layer, base[0] * z, x)
        expected = mean + (expected - mean) * z.sign().reshape(-1, *[1] * (layer.weight.dim() - 2))
        assert bias.shape == y.shape
    torch.testing.assert_close(y, expected)
    batched = x.dim() >= (2 if layer.weight.dim() == 2 else layer.weight.dim())
    examples = x.shape[:1] if batched else ()
    assert shapes == [(*examples, *along), tuple(y.shape)] or shapes == [
        (*examples, max(along)),
        tuple(y.shape),
    ]


def test_scales_are_the_same_at_every_position_and_differ_between_examples(case):
    layer, x, base, scales, along = case
    if x.dim() < 3 or "one image" in str(layer):
        return
    nothing = torch.full_like(base[0], -60.0)
    y = apply(layer, scaled((base[0], nothing), scales, along), x)
    bias = apply(layer, torch.zeros_like(base[0]), x)
    plain = apply(layer, base[0], x) - bias
    if layer.weight.dim() > 2 and x.dim() == layer.weight.dim():
        ratio = ((y - bias) / plain).flatten(2)
        torch.testing.assert_close(ratio, ratio[..., :1].expand_as(ratio), rtol=1e-5, atol=1e-5)
        assert ratio[0, 0, 0] != ratio[1, 0, 0]
    elif layer.weight.dim() == 2:
        same = torch.stack([x[0, 0], x[0, 0]]).expand(2, 2, -1)
        y = apply(layer, scaled((base[0], nothing), scales, along), same)
        torch.testing.assert_close(y[:, 0], y[:, 1], rtol=1e-6, atol=1e-6)
        assert not torch.allclose(y[0], y[1])


def exact_linear(x, base, scales, common):
    """E[y^2] for one output y = sum_i x_i s z_i w_i, whose terms share s."""
    second = torch.exp(2 * common[0] + 2 * torch.exp(2 * common[1]))  # E[s^2]
    mean = x @ (base[0][0] * scales[0])
    spread = (2 * scales[1]).exp() * (base[0][0].square() + (2 * base[1][0]).exp())
    spread = spread + scales[0].square() * (2 * base[1][0]).exp()
    return second * (mean.square() + x.square() @ spread)


def exact_conv(x, base, scales, common):
    """Sum over positions of E[y^2], y = s z sum_j x_j w_j, for one output map."""
    second = torch.exp(2 * common[0] + 2 * torch.exp(2 * common[1]))
    second = second * (scales[0].square() + (2 * scales[1]).exp())
    inner = F.conv1d(x, base[0]).square() + F.conv1d(x.square(), (2 * base[1]).exp())
    return (second * inner).sum()


@pytest.mark.parametrize("local", [True, False])
@pytest.mark.parametrize("kind", ["linear", "conv"])
def test_gradients_are_unbiased(kind, local):
    """Mean of many gradients of y^2 against the exact one; z normal, s log-normal, one for all."""
    blocks, examples = (40, 400) if local else (1500, 1)
    weight = (1, 3) if kind == "linear" else (1, 2, 3)
    base, common = normal(*weight), normal(1)
    common = (common[0], (common[1] - 1).detach().requires_grad_())  # heavy tails tell little
    scales = normal(3 if kind == "linear" else 1)
    parameters = (*base, *scales, *common)
    x = torch.randn(1, 3, dtype=torch.float64)
    if kind == "conv":
        x = torch.randn(1, 2, 5, dtype=torch.float64)
    exact = (exact_linear if kind == "linear" else exact_conv)(x, base, scales, common)
    exact = torch.cat([g.flatten() for g in torch.autograd.grad(exact.sum(), parameters)])
    means = []
    for _ in range(blocks):
        s = LocalScaleLogNormal(*common, lazy=local).rsample()
        z = LocalScaleNormal(*scales, lazy=local).rsample() * s
        w = LocalNormal(*base, lazy=local).rsample() * z.reshape(
            *[1] * (len(weight) - 1), len(scales[0])
        )
        batch = x.expand(examples, *x.shape[1:])
        y = F.linear(batch, w) if kind == "linear" else F.conv1d(batch, w)
        gradients = torch.autograd.grad(y.square().sum() / examples, parameters)
        means.append(torch.cat([g.flatten() for g in gradients]))
    means = torch.stack(means)
    stderr = means.std(0) / math.sqrt(blocks)
    assert ((means.mean(0) - exact).abs() / stderr).max() < SIGMAS
    assert stderr.norm() < 0.2 * exact.norm()  # it can tell


EXPRESSIONS = {
    "product": lambda z: z * 2.0 * z,
    "from the left": lambda z: torch.arange(1.0, 4.0, dtype=torch.float64) * z,
    "slab": lambda z: (z * z * 4.0 / (z * z + 4.0)).sqrt(),
    "slab by hypot": lambda z: z / torch.hypot(torch.ones((), dtype=torch.float64), z / 2.0),
    "power": lambda z: (1.0 + z) ** 1.5,
    "reciprocal": lambda z: torch.reciprocal(z.add(1.0)) / 2.0,
    "of a number": lambda z: 1.0 / torch.sqrt(z),
    "reshaped": lambda z: z.reshape(3, 1) + z,
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_expressions_stay_lazy_and_hold_one_draw(name):
    loc, log_scale = normal(3)
    expression = EXPRESSIONS[name](LocalScaleLogNormal(loc, log_scale).rsample())
    assert isinstance(expression, LazyScale)
    noise = torch.randn(5, 3, dtype=torch.float64)
    once = [noise]  # a second draw would find nothing
    with noise_from(lambda shape, like: once.pop()):
        values = expression.per_example((5,))
    plain = [EXPRESSIONS[name](torch.exp(loc + log_scale.exp() * n)) for n in noise]
    torch.testing.assert_close(values, torch.stack(plain))
    assert values.shape[1:] == expression.shape == plain[0].shape


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_an_expression_has_one_ordinary_draw(name):
    z = LocalScaleLogNormal(*normal(3)).rsample()
    expression = EXPRESSIONS[name](z)
    expected = EXPRESSIONS[name](z.draw())
    for value in (expression.draw(), torch.clone(expression), expression.abs()):
        assert type(value) is torch.Tensor
        torch.testing.assert_close(value, expected)


@pytest.mark.parametrize(
    "operation", [lambda z: z - 1.0, lambda z: z[0], lambda z: torch.cat([z, z]), torch.log]
)
def test_any_other_operation_is_an_ordinary_draw(operation):
    z = LocalScaleLogNormal(*normal(3)).rsample()
    result = operation(z)
    assert type(result) is torch.Tensor
    torch.testing.assert_close(result, operation(z.draw()))


def test_a_scaled_weight_is_the_product_of_the_draws():
    base, z = LocalNormal(*normal(2, 3)).rsample(), LocalScaleNormal(*normal(3)).rsample()
    s = LocalScaleLogNormal(*normal(1)).rsample()
    for product in (base * z * s, s * (z * base), base * (z * s)):
        assert isinstance(product, ScaledWeight) and product.shape == (2, 3)
        torch.testing.assert_close(torch.clone(product), base.draw() * z.draw() * s.draw())


def test_scales_along_the_other_axis_are_drawn():
    """Rows of a dense layer: one draw for the step, not silently something else."""
    weight = LocalNormal(*normal(2, 3)).rsample() * LocalScaleNormal(*normal(2)).rsample().reshape(
        2, 1
    )
    x = torch.randn(5, 3, dtype=torch.float64)
    torch.testing.assert_close(F.linear(x, weight), x @ weight.draw().T)


def test_scales_that_do_not_fit():
    with pytest.raises(ValueError, match=r"scales of shape \(4,\).*weight of shape \(2, 3\)"):
        LocalNormal(*normal(2, 3)).rsample() * LocalScaleNormal(*normal(4)).rsample()


def test_a_draw_of_the_scales_makes_the_weight_a_draw():
    z = LocalScaleNormal(*normal(3)).rsample()
    weight, x = LocalNormal(*normal(2, 3)).rsample() * z, torch.ones(4, 3, dtype=torch.float64)
    z.draw()
    torch.testing.assert_close(F.linear(x, weight), x @ weight.draw().T)


def test_two_layers_may_not_share_a_weight():
    x = torch.randn(2, 3, dtype=torch.float64)
    z = LocalScaleNormal(*normal(3)).rsample()
    base = LocalNormal(*normal(3, 3)).rsample()
    first = base * z
    F.linear(x, first)
    with pytest.raises(RuntimeError, match="two different draws"):
        F.linear(x, first)
    with pytest.raises(RuntimeError, match=r"weight.*two different draws"):
        F.linear(x, base * LocalScaleNormal(*normal(3)).rsample())


@pytest.mark.parametrize("each", [True, False])
def test_layers_that_share_a_scale_see_one_draw(each):
    """A convolution's output maps and a dense layer's inputs, against the same noise by hand."""
    scales, x = normal(3), torch.randn(5, 2, 4, dtype=torch.float64)
    nothing = [torch.full(shape, -60.0, dtype=torch.float64) for shape in ((3, 2, 1), (4, 3))]
    locs = [normal(*low.shape)[0] for low in nothing]
    noise = {(5, 3): torch.randn(5, 3).double(), (3,): torch.randn(3).double()}
    drawn = []

    def source(shape, like):
        drawn.append(tuple(shape))
        return noise.get(tuple(shape), torch.zeros(shape, dtype=like.dtype))

    with noise_from(source):
        z = LocalScaleLogNormal(*scales, per_example=each).rsample()
        kernel, matrix = (
            LocalNormal(loc, low).rsample() for loc, low in zip(locs, nothing, strict=True)
        )
        maps = F.conv1d(x, kernel * z.reshape(3, 1, 1)).mean(2)
        found = F.linear(maps, matrix * z)
    own = noise[(5, 3) if each else (3,)]
    values = torch.exp(scales[0] + scales[1].exp() * own).expand(5, 3)
    expected = (values * F.conv1d(x, locs[0]).mean(2) * values) @ locs[1].T
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-6)
    assert drawn.count((5, 3) if each else (3,)) == 1
    assert not each or (3,) not in drawn


def test_a_scale_of_two_batch_shapes_is_refused():
    z, x = LocalScaleNormal(*normal(3)).rsample(), torch.ones(2, 3, dtype=torch.float64)
    F.linear(x, LocalNormal(*normal(3, 3)).rsample() * z)
    with pytest.raises(RuntimeError, match=r"one scale.*\(2, 3\) and \(6, 3\).*different draws"):
        F.linear(x.repeat(3, 1), LocalNormal(*normal(2, 3)).rsample() * z)


def test_a_draw_for_the_batch_serves_layers_that_need_an_ordinary_tensor():
    """A layer before it and a layer after it see the same values, and stay local in base."""
    scales, x = normal(3), torch.ones(4, 3, dtype=torch.float64)
    z = LocalScaleNormal(*scales, per_example=False).rsample()
    exact = torch.full((2, 3), -60.0, dtype=torch.float64)
    loc = normal(2, 3)[0]
    before = F.linear(x, LocalNormal(loc, exact).rsample() * z)
    ordinary = torch.clone(LocalNormal(loc, exact).rsample() * z)
    after = F.linear(x, LocalNormal(loc, exact).rsample() * z)
    torch.testing.assert_close(before, x @ ordinary.T, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-6)
    noisy = LocalNormal(loc, exact + 60).rsample() * z
    assert len(F.linear(x, noisy)[:, 0].unique()) == 4


def test_ordinary_draws_come_in_the_order_of_the_expression():
    """Not in that of the scales' addresses: a seed gives the same numbers in every process."""
    scales = [LocalScaleNormal(*normal(1)).rsample() for _ in range(8)]
    drawn = []
    for place, scale in enumerate(scales):
        scale._sample = lambda batch, place=place: drawn.append(place) or torch.ones(1)
    torch.clone(math.prod(scales, start=1.0))
    assert drawn == list(range(8))


@pytest.mark.parametrize("family", [LocalScaleNormal, LocalScaleLogNormal])
def test_the_draw_is_the_reparameterised_one(family):
    loc, log_scale = normal(3)
    with constant(1.5):
        lazy, eager = family(loc, log_scale).rsample(), family(loc, log_scale, lazy=False).rsample()
        torch.testing.assert_close(lazy.draw(), eager)
    expected = loc + 1.5 * log_scale.exp()
    torch.testing.assert_close(
        eager, expected if family is LocalScaleNormal else torch.exp(expected)
    )
    assert type(family(loc, log_scale).rsample((7,))) is torch.Tensor
    q = family(loc, log_scale)
    torch.testing.assert_close(q.log_prob(lazy), q.log_prob(lazy.draw()))
