"""Nested quantisers: adding rounded residuals is rounding at once, at each width."""

from itertools import product

import pytest
import torch
from bitsback.distributions.quantiser import (
    check_widths,
    codes_of,
    largest_code,
    quantise,
    quantised_relu,
    sign_scale,
    step_of,
    stored_step,
    with_scaled_gradient,
)

WIDTHS = [(2, 4, 8, 16, 32), (3, 6, 12), (2, 10), (5,)]
REACH = torch.tensor(0.83, dtype=torch.float64)


def inputs(signed: bool) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(4000, generator=generator, dtype=torch.float64)
    return torch.cat([x, torch.tensor([0.0, 0.83, -0.83, 5.0, -5.0])]).mul(1 if signed else 2)


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("widths", WIDTHS)
def test_each_width_is_a_direct_rounding(widths, signed):
    x = inputs(signed)
    for k, width in enumerate(widths):
        gates = (torch.arange(len(widths) - 1) < k).double()
        found = quantise(x, REACH, widths, gates, signed)
        low = -0.83 if signed else 0.0
        step = (0.83 - low) / (2**width - 1)
        most = 2 ** (width - 1) - 1 if signed else 2**width - 1
        inside = x.clamp(low * (1 - 1e-7), 0.83 * (1 - 1e-7))
        direct = (inside / step).round().clamp(-most, most) * step
        # At 32 bits the clip's 1e-7 is many steps of the grid.
        tolerance = 1e-12 if width <= 16 else 3e-7
        torch.testing.assert_close(found, direct, rtol=0, atol=tolerance)
        if width <= 16:
            codes = codes_of(x, step_of(REACH, width, signed), width, signed)
            assert codes.abs().max() == most == largest_code(width, signed)
            torch.testing.assert_close(codes.double() * step, found, rtol=0, atol=1e-12)


def test_a_closed_gate_closes_all_above_it():
    x, widths = inputs(True), (2, 4, 8)
    closed = quantise(x, REACH, widths, torch.tensor([0.0, 1.0]), True)
    assert closed.equal(quantise(x, REACH, widths, torch.tensor([0.0, 0.0]), True))


@pytest.mark.parametrize("signed", [True, False])
def test_independent_gates_round_to_the_widest_that_is_open(signed):
    x, widths = inputs(signed), (2, 4, 8)
    for z4, z8 in product((0.0, 1.0), repeat=2):
        gates = torch.tensor([z4, z8]).double()
        found = quantise(x, REACH, widths, gates, signed, independent=True)
        width = 8 if z8 else 4 if z4 else 2
        direct = quantise(x, REACH, (width,), torch.zeros(0), signed)
        torch.testing.assert_close(found, direct, rtol=0, atol=1e-12)


def test_two_bits_are_ternary():
    values = quantise(inputs(True), REACH, (2,), torch.zeros(0), True).unique()
    torch.testing.assert_close(values, torch.tensor([-1, 0, 1]).double() * 2 * REACH / 3)


def test_one_bit_is_a_sign_and_a_gate_puts_a_grid_in_its_place():
    """s = mean(|x|) is the nearest scale of signs to x, in squares."""
    x = inputs(True)[:200]
    sign = quantise(x, REACH, (1,), torch.zeros(0), True)
    scale = sign.abs().unique()
    assert scale.shape == (1,) and (sign.sign() * x >= 0).all()
    errors = [(s * sign.sign() - x).square().sum() for s in (0.99 * scale, scale, 1.01 * scale)]
    assert errors[1] < errors[0] and errors[1] < errors[2]
    for independent in (False, True):
        for gates, widths in ((0, (1,)), ((1, 0, 0), (2,)), ((1, 1, 0), (2, 4)), ((1, 1, 1), (8,))):
            z = torch.tensor(gates).double().expand(3)
            found = quantise(x, REACH, (1, 2, 4, 8), z, True, independent=independent)
            alone = quantise(x, REACH, widths[-1:], torch.zeros(0), True)
            torch.testing.assert_close(found, alone, rtol=0, atol=1e-12)
    half = quantise(x, REACH, (1, 2), torch.tensor([0.25]).double(), True)
    two = quantise(x, REACH, (2,), torch.zeros(0), True)
    torch.testing.assert_close(half, 0.75 * sign + 0.25 * two)
    assert codes_of(x, scale, 1, True).equal(sign.sign().long())
    assert stored_step(REACH, 1, True, x) == scale.to(torch.bfloat16).double()


def test_one_bit_of_an_unsigned_range_is_on_all_finer_grids():
    x = inputs(False)
    one = quantise(x, REACH, (1, 2, 4), torch.zeros(2).double(), False)
    assert set(one.unique().tolist()) == {0.0, REACH.item()}
    both = quantise(x, REACH, (1, 2, 4), torch.ones(2).double(), False)
    alone = quantise(x, REACH, (4,), torch.zeros(0), False)
    torch.testing.assert_close(both, alone, rtol=0, atol=1e-12)


def test_a_sign_passes_gradients_on_as_clipping_does():
    x = torch.tensor([0.3, -2.0], dtype=torch.float64, requires_grad=True)
    reach = REACH.clone().requires_grad_()
    (torch.tensor([1.0, 3.0]) * quantise(x, reach, (1,), torch.zeros(0), True)).sum().backward()
    assert x.grad.tolist() == [1.0, 0.0] and reach.grad.item() == pytest.approx(-3)


def test_gradients_are_straight_through():
    """Of inputs inside 1; of the range what LSQ's is, and 1 where inputs are clipped."""
    x = torch.tensor([0.3, 2.0], dtype=torch.float64, requires_grad=True)
    reach = REACH.clone().requires_grad_()
    step = step_of(REACH, 4, True)
    quantise(x, reach, (4,), torch.zeros(0), True)[0].backward()
    assert x.grad.tolist() == [1.0, 0.0]
    lsq = ((x[0] / step).round() - x[0] / step) * step / REACH
    torch.testing.assert_close(reach.grad, lsq.detach())
    reach.grad = None
    quantise(x, reach, (4,), torch.zeros(0), True)[1].backward()
    torch.testing.assert_close(reach.grad, 7 * step / REACH, rtol=1e-5, atol=0)


def nested(x, reach, widths, gates, signed, clip_only, independent):
    """The same by its definition, with straight-through rounding and autograd's gradients."""

    def rounded(x, width):
        level = x / step_of(reach, width, signed)
        return step_of(reach, width, signed) * (level + (level.round() - level).detach())

    scale, end = sign_scale(x), reach * (1 - 1e-7)
    x = torch.minimum(torch.maximum(x, -end if signed else 0 * end.detach()), end)
    reach = reach.detach() if clip_only else reach
    sign = signed and widths[0] == 1
    sign_of = x + (torch.where(x < 0, -scale, scale) - x).detach()
    total = so_far = sign_of if sign else rounded(x, widths[0])
    open_ = 1.0
    for k, (gate, width) in enumerate(zip(gates, widths[1:], strict=True)):
        if independent:
            total = total + gate * (rounded(x, width) - total)
            continue
        anew = sign and k == 0
        residual = rounded(x, width) - so_far if anew else rounded(x - so_far, width)
        so_far, open_ = so_far + residual, open_ * gate
        total = total + open_ * residual
    return total


@pytest.mark.parametrize("independent", [False, True])
@pytest.mark.parametrize("clip_only", [False, True])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("widths", [(2, 4, 8), (1, 2, 4), (4,)])
def test_gradients_are_those_of_the_chain_of_roundings(widths, signed, clip_only, independent):
    x, weight = inputs(signed)[:4000].clone(), torch.linspace(-1, 1, 4000).double()
    gates = torch.tensor([0.7, 0.4], dtype=torch.float64)[: len(widths) - 1]
    found = []
    for function in (quantise, nested):
        leaves = [v.clone().requires_grad_() for v in (x, REACH, gates)]
        value = function(leaves[0], leaves[1], widths, leaves[2], signed, clip_only, independent)
        (weight * value.square()).sum().backward()
        found.append((value.detach(), *(v.grad for v in leaves if v.numel())))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-9)


def test_ranges_may_get_gradients_of_clipped_values_alone():
    """PACT: 1 for each clipped value, 0 inside; LSQ's scale multiplies a gradient and no value."""
    x = torch.tensor([0.3, 2.0, 0.6, 3.0], dtype=torch.float64)
    reach = REACH.clone().requires_grad_()
    value = quantise(x, reach, (4,), torch.zeros(0), False, clip_only=True)
    assert value.equal(quantise(x, REACH, (4,), torch.zeros(0), False))
    value.sum().backward()
    assert reach.grad.item() == pytest.approx(2)
    scaled = with_scaled_gradient(reach, 0.25)
    assert scaled.equal(reach)
    reach.grad = None
    (3 * scaled).backward()
    assert reach.grad == 0.75


def test_stored_grids():
    """Within 2^-9 of the grid that was trained, on bfloat16 steps."""
    x, reach = inputs(False).float(), REACH.float()
    step = stored_step(reach, 4, False)
    assert step == step.to(torch.bfloat16).float()
    near = quantised_relu(x, step, 4)
    assert near.unique().numel() == 16 and near.min() == 0
    most = (near - quantise(x, reach, (4,), torch.zeros(0), False)).abs().max()
    assert most <= 2**-8 * reach + 1.01 * step  # one code more where rounding tips over


@pytest.mark.parametrize("widths", [(), (0, 2), (2, 3), (4, 2), (2, 2), (2, 64), (2.0, 4)])
def test_refuses_widths_that_do_not_nest(widths):
    with pytest.raises(ValueError, match="width"):
        check_widths(widths)
    assert check_widths([2, 4, 8, 16, 32]) == (2, 4, 8, 16, 32)
