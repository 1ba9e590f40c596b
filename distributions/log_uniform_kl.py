"""KL(N(loc, scale^2) || log-uniform), exact and in Molchanov's approximation, in nats.

With m = loc^2 / (2 scale^2) = 1 / (2 alpha) and the additive constant chosen so that the
divergence is 0 at loc = 0 (alpha = infinity),

    KL(m) = m 2F2(1, 1; 3/2, 2; -m),      dKL/dm = F(sqrt m) / sqrt m,      F = Dawson's integral.

The log-uniform density is improper, so a normal q has a KL only up to a constant per weight;
this choice makes it non-negative. It is a function of m alone and is smooth at loc = 0, so the
gradients 2 KL'(m) m / loc and -2 KL'(m) m / scale need no clamp of log alpha.
"""

import functools
import math

import torch
from torch import Tensor

# Chebyshev coefficients in u = (m - 8) / (m + 8), from mpmath at 40 digits: (1 + m) dKL/dm, and
# KL - log(1 + m) / 2. Largest error over m >= 0: 5e-12 and 2e-12. benchmarks/log_uniform_kl.py
# makes them again.
_KNEE = 8.0
_CELLS = 1 << 14  # of the float32 table
# As a fraction of the logarithm of the largest number; m is about the square of the precision.
_LARGEST_LOG_PRECISION = 0.44
# fmt: off
_SLOPE = (
    0.7274702044276062, -0.3091879023873295, 0.07848552527710494, 0.03177037693814523,
    -0.04936813049159078, 0.028116937510829873, -0.00753949520532152, -0.0006070510877190503,
    0.0010715838168445131, -0.00011606790470950748, -0.00013770131931480653,
    2.756628242631229e-05, 2.1333708962622232e-05, -4.298499758260835e-06,
    -4.0015437120408896e-06, 4.267778606660555e-07, 8.181321737533651e-07,
    4.2698643804494826e-08, -1.594828487256391e-07, -4.2831303124872544e-08,
    2.4384497901018716e-08, 1.5933653730627884e-08, -1.009268516634007e-09,
    -4.029596737883945e-09, -1.0842157485398476e-09, 6.028099317455238e-10,
    4.90970658334651e-10, 3.727537939771097e-11, -1.1126766305200042e-10,
    -5.6571527627322094e-11, 4.850570032438606e-12, 1.7462657838848705e-11,
    6.836537846249824e-12,
)
_VALUE = (
    0.707810953684195, 0.41562681323596823, -0.20122874509108385, 0.07697387000344337,
    -0.01891405494920348, -0.00022784048876685055, 0.002779188185837731,
    -0.001368837386712556, 0.00036005358139305733, -8.721020321044229e-05,
    5.4600035997582654e-05, -3.373284010794661e-05, 1.2727543215404653e-05,
    -4.119858387540212e-06, 2.2129944906240998e-06, -1.2040824942528405e-06,
    4.4799234452750497e-07, -1.7487128559806088e-07, 1.0051989928015065e-07,
    -4.635956765350335e-08, 1.64882419870227e-08, -8.444580164475302e-09,
    4.561490661103909e-09, -1.668599922729358e-09, 7.347590244566327e-10,
    -4.417407548692326e-10, 1.7255748674567528e-10, -6.555403398930681e-11,
    4.2959897791905455e-11, -1.804645061859178e-11, 5.847633575278843e-12,
    -4.246709321004127e-12, 1.912441125601072e-12,
)
# fmt: on


def _chebyshev(u: Tensor, coefficients: tuple[float, ...]) -> Tensor:
    """Clenshaw's recurrence for sum_k c_k T_k(u), elementwise."""
    twice = 2 * u
    ahead, behind = torch.zeros_like(u), torch.zeros_like(u)
    for c in reversed(coefficients[1:]):
        ahead, behind = twice * ahead - behind + c, ahead
    return u * ahead - behind + coefficients[0]


@functools.cache
def _table(device: torch.device) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both series in float32 by cell: value, rise of value, slope, rise of slope.

    Linear interpolation between 2^14 cells errs by less than float32 rounds.
    """
    u = torch.linspace(-1, 1, _CELLS + 1, dtype=torch.float64)
    nodes = [_chebyshev(u, series) for series in (_VALUE, _SLOPE)]
    columns = [column for n in nodes for column in (n[:-1], n[1:] - n[:-1])]
    return tuple(column.float().to(device) for column in columns)


def _series(m: Tensor) -> tuple[Tensor, Tensor]:
    """KL - log(1 + m) / 2 and (1 + m) dKL/dm, elementwise."""
    # 1 - 2c/(m + c), not (m - c)/(m + c): the latter is inf/inf where a scale has underflowed.
    if m.dtype == torch.float64:
        u = 1 - 2 * _KNEE / (m + _KNEE)
        return _chebyshev(u, _VALUE), _chebyshev(u, _SLOPE)
    at = (m + _KNEE).reciprocal_().mul_(-_CELLS * _KNEE).add_(_CELLS)
    # Clamped as an integer, so that a NaN finds a cell too, and goes on as NaN in `fraction`.
    cell = at.int().clamp_(0, _CELLS - 1)
    fraction = at.sub_(cell)
    # Eager torch takes seven times as long to gather rows of four as to gather four columns.
    columns = [c.index_select(0, cell.reshape(-1)).view(m.shape) for c in _table(m.device)]
    value, value_rise, slope, slope_rise = columns
    return value.addcmul_(value_rise, fraction), slope.addcmul_(slope_rise, fraction)


class _ExactKL(torch.autograd.Function):
    """Value and slope in one pass, so that the backward pass is one product a weight."""

    @staticmethod
    def forward(ctx, loc: Tensor, log_scale: Tensor) -> Tensor:
        # Both precision and m stay finite: 0 * inf at loc = 0 would be NaN.
        precision = (-log_scale).clamp_(max=_largest_log_precision(log_scale)).exp_()
        standardised = loc * precision
        m = standardised.square().mul_(0.5)
        value, slope = _series(m)
        above_one = m.add_(1)
        by_standardised = slope.div_(above_one).mul_(standardised)
        by_loc = precision.mul_(by_standardised)
        by_log_scale = standardised.mul_(by_standardised).neg_()
        ctx.save_for_backward(loc, log_scale, by_loc, by_log_scale)
        return value.add_(above_one.log_(), alpha=0.5)

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, Tensor]:
        loc, log_scale, by_loc, by_log_scale = ctx.saved_tensors
        if torch.is_grad_enabled():  # to be differentiated once more
            by_loc, by_log_scale = _slopes(loc, log_scale)
        return grad * by_loc, grad * by_log_scale


def _largest_log_precision(like: Tensor) -> float:
    return _LARGEST_LOG_PRECISION * math.log(torch.finfo(like.dtype).max)


def _slopes(loc: Tensor, log_scale: Tensor) -> tuple[Tensor, Tensor]:
    """The gradients of `_ExactKL`, by operations that autograd differentiates."""
    precision = (-log_scale).clamp(max=_largest_log_precision(log_scale)).exp()
    standardised = loc * precision
    m = standardised.square() * 0.5
    slope = _chebyshev(1 - 2 * _KNEE / (m + _KNEE), _SLOPE) / (1 + m)
    by_standardised = slope * standardised
    return precision * by_standardised, -standardised * by_standardised


def exact_kl(loc: Tensor, log_scale: Tensor) -> Tensor:
    """KL(N(loc, exp(log_scale)^2) || log-uniform) in nats, elementwise, 0 at loc = 0.

    :param loc: means, any shape.
    :param log_scale: log standard deviations, the same shape. Scales below 1e-17 (float32) or
        1e-135 (float64) count as that, but keep their gradient -1.
    :returns: the divergence, the same shape; within 1e-11 of the integral in float64, and within
        1e-6 of it, relatively where it is above 1, in float32. Finite for |loc| < 100; NaN for
        a NaN.

    Source: derived; Molchanov et al. 2017 (eq. 14) fit the same function.
    """
    return _ExactKL.apply(loc, log_scale)


def molchanov_kl(loc: Tensor, log_scale: Tensor) -> Tensor:
    """The published approximation to `exact_kl`, in nats; within 0.0094 of it.

    KL = k1 (1 - sigmoid(k2 + k3 log alpha)) + log(1 + 1/alpha) / 2, Molchanov et al. 2017, eq. 14
    with the sign turned (their expression is -KL). log alpha is clipped to [-8, 8] as in their
    code, which also stops the gradient outside.
    """
    k1, k2, k3 = 0.63576, 1.87320, 1.48695
    # The tiny floor keeps log|loc| and its gradient finite at loc = 0, which the clip then drops.
    log_alpha = 2 * (log_scale - torch.log(loc.abs() + 1e-30))
    log_alpha = log_alpha.clamp(-8.0, 8.0)
    return k1 * torch.sigmoid(-k2 - k3 * log_alpha) + 0.5 * torch.nn.functional.softplus(-log_alpha)
