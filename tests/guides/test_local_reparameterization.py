"""The lazy weight: right moments and gradients, one draw where one is meant, errors elsewhere."""

import copy
import math

import numpy as np
import pytest
import torch
from bitsback.guides.local_reparameterization import LazyWeight, LocalNormal
from bitsback.guides.noise import noise_from
from torch import nn
from torch.nn import functional as F

NODES, WEIGHTS = (torch.from_numpy(a) for a in np.polynomial.hermite_e.hermegauss(40))
WEIGHTS = WEIGHTS / WEIGHTS.sum()
# z-scores of seeded draws: another seed fails with probability 6e-7 for each number compared.
SIGMAS = 5

LAYERS = {
    "linear": (nn.Linear(4, 3), (5, 4)),
    "linear along a sequence": (nn.Linear(4, 3, bias=False), (2, 6, 4)),
    "conv1d": (nn.Conv1d(2, 4, 3, stride=2, padding=1), (3, 2, 9)),
    "conv1d circular": (nn.Conv1d(2, 2, 3, padding=2, padding_mode="circular"), (2, 2, 7)),
    "conv2d": (nn.Conv2d(2, 3, 3), (2, 2, 6, 5)),
    "conv2d stride": (nn.Conv2d(2, 3, (3, 2), stride=(2, 1), bias=False), (2, 2, 7, 6)),
    "conv2d same": (nn.Conv2d(2, 3, 3, padding="same", dilation=2), (2, 2, 6, 6)),
    "conv2d groups": (nn.Conv2d(4, 6, 3, padding=1, groups=2), (2, 4, 5, 5)),
    "conv2d circular": (nn.Conv2d(2, 3, 3, padding=1, padding_mode="circular"), (2, 2, 5, 5)),
    "conv2d reflect": (nn.Conv2d(2, 3, 3, padding="same", padding_mode="reflect"), (1, 2, 5, 5)),
    "transposed": (nn.ConvTranspose1d(4, 6, 3, stride=2, output_padding=1, groups=2), (3, 4, 5)),
    "transposed 2d": (nn.ConvTranspose2d(2, 3, (3, 2), padding=1, dilation=2), (2, 2, 5, 5)),
    "transposed 3d": (nn.ConvTranspose3d(2, 1, 2, bias=False), (2, 2, 2, 2, 2)),
    "conv2d one image": (nn.Conv2d(2, 3, 3), (2, 5, 5)),
}


def constant(value: float):
    """A noise source that always draws `value`."""
    return noise_from(lambda shape, like: torch.full(shape, value, dtype=like.dtype))


def normal(shape, dtype=torch.float64):
    """loc and log_scale of a weight, with gradients."""
    loc = torch.randn(shape, dtype=dtype).requires_grad_()
    return loc, (0.3 * torch.randn(shape, dtype=dtype) - 0.5).requires_grad_()


def apply(layer, weight, x, bias=...):
    """The layer with another weight, as models put one in."""
    layer = copy.deepcopy(layer).double()
    layer._parameters["weight"] = weight
    if bias is not ...:
        layer._parameters["bias"] = bias
    return layer(x)


@pytest.fixture(params=LAYERS)
def case(request):
    """A layer, its input, loc and log_scale of its weight, and d output / d weight by autograd."""
    layer, shape = LAYERS[request.param]
    layer.reset_parameters()  # from this test's seed
    x = torch.randn(shape, dtype=torch.float64)
    loc, log_scale = normal(layer.weight.shape)
    zeros = torch.zeros_like(loc)
    matrix = torch.autograd.functional.jacobian(lambda w: apply(layer, w, x), zeros)
    bias = apply(layer, zeros, x).detach()
    return layer, x, loc, log_scale, bias, matrix.flatten(-loc.dim())


def test_every_output_has_its_exact_mean_and_variance(case):
    """Against the layer written as a matrix over the weight's entries."""
    layer, x, loc, log_scale, bias, matrix = case
    weight = lambda: LocalNormal(loc, log_scale).rsample()  # noqa: E731
    with constant(0.0):
        mean = apply(layer, weight(), x)
    with constant(1.0):
        stddev = apply(layer, weight(), x) - mean
    torch.testing.assert_close(mean, bias + matrix @ loc.flatten())
    variance = matrix.square() @ torch.exp(2 * log_scale).flatten()
    torch.testing.assert_close(stddev.square(), variance)


def test_gradients_of_the_expected_squares_are_exact(case):
    """Noise of -1 and of +1 average to the expectation of any sum of squared outputs."""
    layer, x, loc, log_scale, bias, matrix = case
    exact = ((bias + matrix @ loc.flatten()).square()).sum()
    exact = exact + (matrix.square() @ torch.exp(2 * log_scale).flatten()).sum()
    estimate = 0.0
    for noise in (-1.0, 1.0):
        with constant(noise):
            y = apply(layer, LocalNormal(loc, log_scale).rsample(), x)
        estimate = estimate + y.square().sum() / 2
    parameters = (loc, log_scale)
    torch.testing.assert_close(
        torch.autograd.grad(estimate, parameters), torch.autograd.grad(exact, parameters)
    )


def test_every_output_has_noise_of_its_own(case):
    layer, x, loc, log_scale, *_ = case
    shapes = []

    def source(shape, like):
        shapes.append(shape)
        return torch.zeros(shape, dtype=like.dtype)

    with noise_from(source):
        y = apply(layer, LocalNormal(loc, log_scale).rsample(), x)
    assert shapes == [y.shape]


def test_gradient_of_a_nonlinear_loss_is_unbiased():
    """One softplus unit: the mean of many gradients against Gauss-Hermite quadrature."""
    blocks, draws = 40, 2000
    loc, log_scale = normal((1, 3))
    x, target = torch.tensor([[0.7, -1.3, 0.4]], dtype=torch.float64), 1.5

    def loss(activation):
        return (F.softplus(2 * activation) - target).square()

    variance = F.linear(x.square(), torch.exp(2 * log_scale))
    points = F.linear(x, loc) + variance.sqrt() * NODES
    exact = torch.autograd.grad((WEIGHTS * loss(points)).sum(), (loc, log_scale))
    means = []
    for _ in range(blocks):
        y = F.linear(x.expand(draws, 3), LocalNormal(loc, log_scale).rsample())
        means.append(torch.cat(torch.autograd.grad(loss(y).mean(), (loc, log_scale))))
    means = torch.stack(means)
    error = (means.mean(0) - torch.cat(exact)).abs() / (means.std(0) / math.sqrt(blocks))
    assert error.max() < SIGMAS
    assert (means.std(0) / math.sqrt(blocks) < 0.05 * torch.cat(exact).abs()).all()  # it can tell


def test_two_layers_have_the_exact_second_moment():
    """E[y^2] of y = w2 W1 x, in closed form, which needs W1's noise shared by nothing."""
    x = torch.randn(3, dtype=torch.float64)
    (loc1, log1), (loc2, log2) = normal((4, 3)), normal((1, 4))
    hidden_mean, hidden_var = loc1 @ x, torch.exp(2 * log1) @ x.square()
    second = torch.exp(2 * log2) * (hidden_mean.square() + hidden_var) + loc2.square() * hidden_var
    exact = (loc2 @ hidden_mean).square() + second.sum()
    first = LocalNormal(loc1, log1).rsample()
    y = F.linear(F.linear(x.expand(100_000, 3), first), LocalNormal(loc2, log2).rsample())
    error = y.square().mean() - exact
    assert error.abs() < SIGMAS * y.square().std() / math.sqrt(len(y))


def test_equal_examples_get_independent_outputs():
    loc, log_scale = normal((1, 3))
    x = torch.ones(1, 3, dtype=torch.float64).expand(20_000, 2, 3)
    y = F.linear(x, LocalNormal(loc, log_scale).rsample())[..., 0].detach()
    correlation = torch.corrcoef(y.T)[0, 1]
    assert correlation.abs() < SIGMAS / math.sqrt(20_000)


def test_no_input_gives_no_noise_and_finite_gradients():
    loc, log_scale = normal((2, 3))
    y = F.linear(torch.zeros(4, 3, dtype=torch.float64), LocalNormal(loc, log_scale).rsample())
    y.sum().backward()
    assert y.abs().max() < 1e-6 and loc.grad.eq(0).all() and log_scale.grad.eq(0).all()


def test_a_lazy_bias_is_one_draw_for_all_examples():
    layer, x = nn.Linear(3, 2), torch.zeros(7, 3, dtype=torch.float64)
    weight, bias = normal((2, 3)), normal((2,))
    drawn = LocalNormal(*bias).rsample()
    y = apply(layer, LocalNormal(*weight).rsample(), x, drawn)
    torch.testing.assert_close(y, drawn.draw().expand(7, 2), rtol=0, atol=1e-6)
    plain = apply(layer, weight[0], x, drawn)
    torch.testing.assert_close(plain, drawn.draw().expand(7, 2))


OPERATIONS = {
    "times": lambda w: w * 2.0,
    "from the right": lambda w: 2.0 - w,
    "divided": lambda w: 1.0 / (w**2 + 1.0),
    "matmul": lambda w: torch.ones(5, 2, dtype=torch.float64) @ w,
    "cat": lambda w: torch.cat([w, 2 * w]),
    "index": lambda w: w[0],
    "transpose": lambda w: w.t(),
    "method": lambda w: w.abs().sum(),
    "function": lambda w: torch.einsum("ij,kj->ik", w, w),
    "embedding": lambda w: F.embedding(torch.tensor([0, 1, 1]), w),
    "itself": lambda w: w * w + w,
    "comparison": lambda w: w > 0,
    "equality": lambda w: w == w.abs(),
    "inequality": lambda w: w.abs() != w,
    "rest": lambda w: w % 0.5 + w // 0.5,
    "exponent": lambda w: 2.0**w,
    "attention": lambda w: F.multi_head_attention_forward(
        *[torch.ones(4, 2, 3, dtype=torch.float64)] * 3,
        3,
        1,
        torch.cat([w, w, w, w, w])[:9],
        None,
        None,
        None,
        False,
        0.0,
        torch.eye(3, dtype=torch.float64),
        None,
    )[0],
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_any_other_operation_sees_one_ordinary_draw(name):
    loc, log_scale = normal((2, 3))
    weight = LocalNormal(loc, log_scale).rsample()
    result = OPERATIONS[name](weight)
    draw = weight.draw()
    assert type(result) is torch.Tensor and draw is weight.draw()
    torch.testing.assert_close(result, OPERATIONS[name](draw))


def test_a_drawn_weight_stays_drawn_in_layers():
    loc, log_scale = normal((2, 3))
    weight = LocalNormal(loc, log_scale).rsample()
    doubled, x = weight * 2, torch.randn(4, 3, dtype=torch.float64)
    torch.testing.assert_close(F.linear(x, weight), F.linear(x, doubled) / 2)
    torch.testing.assert_close(F.linear(x, weight), F.linear(x, weight))


def test_the_draw_is_the_reparameterised_normal():
    loc, log_scale = normal((2, 3))
    with constant(1.5):
        draw = LocalNormal(loc, log_scale).rsample().draw()
        eager = LocalNormal(loc, log_scale, lazy=False).rsample()
    expected = loc + 1.5 * log_scale.exp()
    torch.testing.assert_close(draw, expected)
    torch.testing.assert_close(eager, expected)
    many = LocalNormal(loc, log_scale).rsample((4000,))
    assert type(many) is torch.Tensor
    error = (many.mean(0) - loc).abs() / (many.std(0) / math.sqrt(4000))
    assert error.max() < SIGMAS


def test_two_layers_may_not_share_a_lazy_weight():
    loc, log_scale = normal((3, 3))
    weight, x = LocalNormal(loc, log_scale).rsample(), torch.randn(2, 3, dtype=torch.float64)
    hidden = F.linear(x, weight)
    with pytest.raises(RuntimeError, match=r"two different draws.*local_reparameterization=False"):
        F.linear(hidden, weight)


def test_what_a_layer_may_ask_without_drawing():
    weight = LazyWeight(torch.zeros(2, 3), torch.ones(2, 3))
    assert weight.shape == (2, 3) and weight.size() == (2, 3) and weight.size(1) == 3
    assert weight.size(dim=0) == 2 and len({weight, weight}) == 1
    assert weight.dim() == weight.ndim == 2 and weight.dtype == torch.float32
    assert weight.device.type == "cpu" and weight._tensor is None
