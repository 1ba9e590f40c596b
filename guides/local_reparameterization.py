"""Local reparameterisation: a Gaussian weight that is not drawn until an operation needs it.

Kingma, Salimans and Welling 2015: where a layer is linear in a weight w ~ N(loc, scale^2), draw
its output instead, y ~ N(f(x, loc), f(x^2, scale^2)), with independent noise for each example.
The gradient's variance then falls with the batch size.

For a dense layer on one vector an example this is exact. Where one example uses a weight at many
positions (a convolution, a dense layer along a sequence) the noise is independent for each
position, as in Molchanov et al. 2017: each output has its exact marginal, but the correlation
between positions that a shared draw of the kernel would cause is dropped.
"""

import torch
from pyro.distributions import Normal
from torch import Tensor
from torch.nn import functional as F

from .noise import standard_normal

_LINEAR = (F.linear, torch.conv1d, torch.conv2d, torch.conv3d)
# Under the square root, so that its gradient at zero input is 0 and not 0 * inf.
_TINY = 1e-16
_USED_TWICE = (
    "two layers used one locally reparameterised weight in a forward pass, which would be two "
    "different draws: build the guide with local_reparameterization=False, or make the network "
    "use the weight in the same places in its first and later passes"
)


class LazyWeight:
    """A draw of N(loc, scale^2) that `F.linear` and `F.conv*` turn into noisy activations.

    Any other operation sees one ordinary tensor, drawn once. It is no `Tensor` subclass, because
    such a subclass cannot be captured as a graph; torch dispatches to it all the same.

    :param loc: means, the weight's shape.
    :param scale: standard deviations, the weight's shape.
    """

    def __init__(self, loc: Tensor, scale: Tensor):
        self._loc, self._scale = loc, scale
        self._tensor: Tensor | None = None
        self._drawn_locally = False

    def draw(self) -> Tensor:
        """One ordinary sample, shape of the weight; the same at each call.

        After a layer has used the weight it is independent of that layer's noise: right for a
        Monte-Carlo log density, wrong for a second layer, which therefore raises.
        """
        if self._tensor is None:
            noise = standard_normal(self._loc.shape, self._loc)
            self._tensor = self._loc + self._scale * noise
        return self._tensor

    def _activations(self, func, args: tuple, kwargs: dict) -> Tensor:
        x, bias, rest = _split(args, kwargs)
        mean = func(x, self._loc, bias, *rest[0], **rest[1])
        variance = func(x.square(), self._scale.square(), None, *rest[0], **rest[1])
        self._drawn_locally = True
        return mean + torch.sqrt(variance + _TINY) * standard_normal(mean.shape, mean)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        weight = args[1] if len(args) > 1 else kwargs.get("weight")
        if func in _LINEAR and isinstance(weight, LazyWeight) and weight._tensor is None:
            if weight._drawn_locally:
                raise RuntimeError(_USED_TWICE)
            # A lazy bias is one honest draw: it is added once an example, not once a weight.
            args = tuple(_honest(a) if a is not weight else a for a in args)
            kwargs = {k: _honest(v) if v is not weight else v for k, v in kwargs.items()}
            return weight._activations(func, args, kwargs)
        return func(*_honest(args), **_honest(kwargs))

    # What a layer may ask of its weight without drawing it.
    shape = property(lambda self: self._loc.shape)
    dtype = property(lambda self: self._loc.dtype)
    device = property(lambda self: self._loc.device)
    ndim = property(lambda self: self._loc.ndim)

    def size(self, *args):
        return self._loc.size(*args)

    def dim(self) -> int:
        return self._loc.dim()

    def __getattr__(self, name: str):
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(self.draw(), name)


def _operator(name: str):
    def call(self, *args):
        return getattr(self.draw(), name)(*_honest(args))

    call.__name__ = name
    return call


_BINARY = ("add", "sub", "mul", "truediv", "matmul")
_OTHERS = ("pow", "neg", "abs", "getitem", "lt", "le", "gt", "ge", "len")
for _name in (*_BINARY, *(f"r{name}" for name in _BINARY), *_OTHERS):
    setattr(LazyWeight, f"__{_name}__", _operator(f"__{_name}__"))


def _honest(value):
    """`value` with each lazy weight in it (tuples, lists, dicts) replaced by its ordinary draw."""
    if isinstance(value, LazyWeight):
        return value.draw()
    if isinstance(value, (tuple, list)):
        return type(value)(_honest(v) for v in value)
    if isinstance(value, dict):
        return {k: _honest(v) for k, v in value.items()}
    return value


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

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        if sample_shape:
            return super().rsample(sample_shape)
        weight = LazyWeight(self.loc, self.scale)
        return weight if self.lazy else weight.draw()
