"""Local reparameterisation: a Gaussian weight that is not drawn until an operation needs it.

Kingma, Salimans and Welling 2015: where a layer is linear in a weight w ~ N(loc, scale^2), draw
its output instead, y ~ N(f(x, loc), f(x^2, scale^2)), with independent noise for each example.
The gradient's variance then falls with the batch size.

For a dense layer on one vector an example this is exact. Where one example uses a weight at many
positions (a convolution, a dense layer along a sequence) the noise is independent for each
position, as in Molchanov et al. 2017: each output has its exact marginal, but the correlation
between positions that a shared draw of the kernel would cause is dropped. Transposed convolutions
are sums of products with the kernel as well, and are treated alike. All other uses (embeddings,
attention, recurrent layers, reparameterized weights) see one draw for the whole batch.
"""

import torch
from pyro.distributions import Normal
from torch import Tensor
from torch.nn import functional as F

from .lazy import Lazy, honest
from .lazy_scales import LazyScale
from .noise import standard_normal
from .objectives import refuse_all_but_sums

_TRANSPOSED = (torch.conv_transpose1d, torch.conv_transpose2d, torch.conv_transpose3d)
_LINEAR = (F.linear, torch.conv1d, torch.conv2d, torch.conv3d, *_TRANSPOSED)
# Under the square root, so that its gradient at zero input is 0 and not 0 * inf.
_TINY = 1e-16
_USED_TWICE = (
    "two layers used one locally reparameterised weight in a forward pass, which would be two "
    "different draws: build the guide with local_reparameterization=False, or make the network "
    "use the weight in the same places in its first and later passes"
)


class LazyWeight(Lazy):
    """A draw of N(loc, scale^2) that `F.linear`, `F.conv*` make noisy activations of.

    Any other operation sees one ordinary tensor, drawn once; only a product with a lazy scale
    stays lazy.

    :param loc: means, the weight's shape.
    :param scale: standard deviations, the weight's shape.
    """

    def __init__(self, loc: Tensor, scale: Tensor):
        self._loc, self._scale = loc, scale
        self._tensor: Tensor | None = None
        self._drawn_locally = False

    shape = property(lambda self: self._loc.shape)
    dtype = property(lambda self: self._loc.dtype)
    device = property(lambda self: self._loc.device)

    def draw(self) -> Tensor:
        """One ordinary sample, shape of the weight; the same at each call.

        After a layer has used the weight it is independent of that layer's noise: right for a sum
        of log densities, wrong for everything else, which therefore raises.

        :raises RuntimeError: see `refuse_all_but_sums`.
        """
        if self._tensor is None:
            if self._drawn_locally:
                refuse_all_but_sums()
            self._tensor = self._sample()
        return self._tensor

    def _sample(self) -> Tensor:
        """A new ordinary sample."""
        return self._loc + self._scale * standard_normal(self._loc.shape, self._loc)

    def use_locally(self) -> None:
        if self._drawn_locally:
            raise RuntimeError(_USED_TWICE)
        self._drawn_locally = True

    def _stays_lazy_in(self, func) -> bool:
        return self._tensor is None

    def _activations(self, func, args: tuple, kwargs: dict) -> Tensor:
        x, bias, rest = _split(args, kwargs)
        self.use_locally()
        return self._noisy(func, x, bias, rest)

    def _noisy(self, func, x: Tensor, bias: Tensor | None, rest: tuple[tuple, dict]) -> Tensor:
        mean = func(x, self._loc, bias, *rest[0], **rest[1])
        variance = func(x.square(), self._scale.square(), None, *rest[0], **rest[1])
        return mean + torch.sqrt(variance + _TINY) * standard_normal(mean.shape, mean)

    def __mul__(self, other):
        return _scaled(self, other) if isinstance(other, LazyScale) else super().__mul__(other)

    def __rmul__(self, other):
        return _scaled(self, other) if isinstance(other, LazyScale) else super().__rmul__(other)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        weight = args[1] if len(args) > 1 else kwargs.get("weight")
        if func in _LINEAR and isinstance(weight, LazyWeight) and weight._stays_lazy_in(func):
            # A lazy bias is one honest draw: it is added once an example, not once a weight.
            args = tuple(honest(a) if a is not weight else a for a in args)
            kwargs = {k: honest(v) if v is not weight else v for k, v in kwargs.items()}
            return weight._activations(func, args, kwargs)
        return func(*honest(args), **honest(kwargs))


class ScaledWeight(LazyWeight):
    """The product of a lazy weight and lazy scales, whose layers draw the scales for each example.

    A dense layer's scales lie along its inputs, weight `(out, in)` and scales `(1, in)`:
    y ~ N(f(x z, loc), f((x z)^2, scale^2)), with one z for each example (first axis of x). A
    convolution's lie along its outputs, weight `(out, in, ...)` and scales `(out, 1, ...)`:
    y = z N(f(x, loc), f(x^2, scale^2)) plus bias, with one z for each example and output map, the
    same at all positions. One scale for all is either. Where scales lie along another axis, the
    product is an ordinary draw.

    :param base: the weight before scaling.
    :param factor: the scales; must broadcast to the weight.
    """

    def __init__(self, base: LazyWeight, factor: LazyScale):
        super().__init__(base._loc, base._scale)
        pairs = zip(reversed(factor.shape), reversed(base.shape), strict=False)
        if factor.dim() > base.dim() or any(f not in (1, b) for f, b in pairs):
            raise ValueError(
                f"scales of shape {tuple(factor.shape)} do not broadcast to a weight of shape "
                f"{tuple(base.shape)}"
            )
        self._base = base
        self._factor = factor.reshape(*[1] * (base.dim() - factor.dim()), *factor.shape)

    def draw(self) -> Tensor:
        """The product of the base's ordinary sample and that of the scales."""
        return self._base.draw() * self._factor.draw()

    def use_locally(self) -> None:
        self._base.use_locally()

    def _stays_lazy_in(self, func) -> bool:
        if func in _TRANSPOSED:  # whose first axis is that of the inputs
            return False
        axis = 1 if func is F.linear else 0
        others = [n for i, n in enumerate(self._factor.shape) if i != axis]
        fits = all(n == 1 for n in others) and self.dim() > 1
        return fits and self._base._tensor is None and not self._factor.is_drawn

    def _noisy(self, func, x: Tensor, bias: Tensor | None, rest: tuple[tuple, dict]) -> Tensor:
        examples = 2 if func is F.linear else self.dim()  # axes of x, if it is a batch
        batch = tuple(x.shape[:1]) if x.dim() >= examples else ()
        z = self._factor.per_example(batch)
        if func is F.linear:
            z = z.reshape(*batch, *[1] * (x.dim() - 1 - len(batch)), -1)
            return self._base._noisy(func, x * z, bias, rest)
        positions = [1] * (self.dim() - 2)
        y = z.reshape(*batch, -1, *positions) * self._base._noisy(func, x, None, rest)
        return y if bias is None else y + bias.reshape(-1, *positions)


def _scaled(weight: LazyWeight, scale: LazyScale) -> ScaledWeight:
    if isinstance(weight, ScaledWeight):
        return ScaledWeight(weight._base, weight._factor * scale)
    return ScaledWeight(weight, scale)


def _split(args: tuple, kwargs: dict) -> tuple[Tensor, Tensor | None, tuple[tuple, dict]]:
    """The input and bias of a call func(input, weight, bias=None, ...), and what follows them."""
    rest = {k: v for k, v in kwargs.items() if k not in ("input", "weight", "bias")}
    x = args[0] if args else kwargs["input"]
    bias = args[2] if len(args) > 2 else kwargs.get("bias")
    return x, bias, (args[3:], rest)


class LocalNormal(Normal):
    """N(loc, exp(log_scale)^2) whose `rsample` is a `LazyWeight`; elsewhere an ordinary normal.

    :param loc: means, any shape.
    :param log_scale: log standard deviations, the same shape; kept, so that a KL need not take
        the logarithm of an exponential.
    :param lazy: False makes `rsample` an ordinary tensor, with noise of the same source.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, lazy: bool = True):
        self.log_scale, self.lazy = log_scale, lazy
        # A lazy weight is no Tensor, which torch's validation of values would reject.
        super().__init__(loc, torch.exp(log_scale), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        shape = torch.Size(batch_shape)
        return LocalNormal(self.loc.expand(shape), self.log_scale.expand(shape), self.lazy)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        if sample_shape:
            return super().rsample(sample_shape)
        weight = LazyWeight(self.loc, self.scale)
        return weight if self.lazy else weight.draw()
