"""Group scales that are drawn anew for each example, and deferred arithmetic with them.

A model writes plain arithmetic, `base * (a * b).sqrt()`. Where its terms are lazy scales, so is the
result, until `LazyWeight * scale` reaches a layer (local_reparameterization.py), which then asks
for one draw of the scales for each example: the likelihood of an example depends on the weights
through their marginal alone, so that sums over examples keep their expectation, and the gradient's
variance falls with the batch size. A scale that occurs twice in an expression is one draw in it,
and layers that share a scale see the same draw for the same example.
"""

import torch
from pyro.distributions import LogNormal, Normal
from torch import Tensor

from .lazy import Lazy, honest
from .noise import standard_normal
from .objectives import refuse_all_but_sums

# By name, since operators, methods and functions are all different objects to torch.
_ELEMENTWISE = {
    "add": torch.add,
    "mul": torch.mul,
    "div": torch.div,
    "truediv": torch.div,
    "pow": torch.pow,
    "sqrt": torch.sqrt,
    "hypot": torch.hypot,
    "reciprocal": torch.reciprocal,
}


class LazyScale(Lazy):
    """Scales, or an expression of scales, of which a layer may have one draw for each example.

    Elementwise `+ * / ** sqrt hypot reciprocal` (the keys of `_ELEMENTWISE`) with numbers, tensors
    and other lazy scales, and `reshape`, give a lazy scale. Any other operation sees one ordinary
    tensor, drawn once.

    :param shape: of one draw.
    :param sources: the independent scales that it is made of.
    """

    def __init__(self, shape: torch.Size, like: Tensor, sources: "tuple[ScaleDraw, ...] | None"):
        self.shape, self.dtype, self.device = torch.Size(shape), like.dtype, like.device
        self._sources = (self,) if sources is None else sources

    def evaluate(self, batch: tuple[int, ...], draws: "dict[ScaleDraw, Tensor]") -> Tensor:
        """The value for each example, shape `(*batch, *shape)`.

        :param draws: of all sources, shape `(*batch, *source.shape)`.
        """
        raise NotImplementedError

    def per_example(self, batch: tuple[int, ...]) -> Tensor:
        """Values for the examples of a pass, shape `(*batch, *shape)`: the same at each call.

        :raises RuntimeError: another layer has used one of the scales for another batch shape.
        """
        return self.evaluate(batch, {s: s.local_draw(batch) for s in self._sources})

    def draw(self) -> Tensor:
        return self.evaluate((), {source: source.draw() for source in self._sources})

    @property
    def is_drawn(self) -> bool:
        return any(source.is_drawn for source in self._sources)

    def reshape(self, *shape: int) -> "LazyScale":
        """The same values in another shape; no size may be -1."""
        return _Reshaped(self, shape)

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if any(not issubclass(t, (LazyScale, Tensor)) for t in types):
            return NotImplemented  # a lazy weight knows better
        function = _ELEMENTWISE.get(getattr(func, "__name__", "").strip("_"))
        if function is None or kwargs:
            return func(*honest(args), **honest(kwargs or {}))
        return _Expression(function, args)


class ScaleDraw(LazyScale):
    """Draws of loc + scale * N(0, 1), or of the exponential of that.

    :param loc: shape `(scales,)`.
    :param scale: standard deviations, the same shape.
    :param log: whether the draws are log-normal.
    :param per_example: whether each example gets a draw of its own; False: the ordinary draw
        serves all of them, so that layers which need an ordinary tensor can share the scale.
    """

    def __init__(self, loc: Tensor, scale: Tensor, log: bool, per_example: bool = True):
        super().__init__(loc.shape, loc, None)
        self._loc, self._scale, self._log, self._per_example = loc, scale, log, per_example
        self._tensor: Tensor | None = None
        self._local: Tensor | None = None  # the draw of each example

    def local_draw(self, batch: tuple[int, ...]) -> Tensor:
        """The draw of each example, shape `(*batch, *shape)`: new at the first call, then kept."""
        shape = torch.Size((*batch, *self.shape))
        if not self._per_example:
            return self.draw().expand(shape)
        if self._local is None:
            self._local = self._sample(batch)
        elif self._local.shape != shape:
            raise RuntimeError(
                "two layers used one scale in a forward pass for batches of different shapes, "
                f"{tuple(self._local.shape)} and {tuple(shape)} with the scales' own, which would "
                "be two different draws: build the guide with local_reparameterization=False"
            )
        return self._local

    @property
    def is_drawn(self) -> bool:
        return self._per_example and self._tensor is not None

    def evaluate(self, batch, draws):
        return draws[self]

    def draw(self) -> Tensor:
        if self._tensor is None:
            if self._local is not None:
                refuse_all_but_sums()
            self._tensor = self._sample(())
        return self._tensor

    def _sample(self, batch: tuple[int, ...]) -> Tensor:
        noise = standard_normal(torch.Size((*batch, *self.shape)), self._loc)
        value = self._loc + self._scale * noise
        return torch.exp(value) if self._log else value


class _Expression(LazyScale):
    """An elementwise function of lazy scales, tensors and numbers, broadcast as torch does it."""

    def __init__(self, function, args: tuple):
        self._function, self._args = function, args
        scales = [arg for arg in args if isinstance(arg, LazyScale)]
        shapes = [arg.shape for arg in args if isinstance(arg, (Tensor, LazyScale))]
        # Each once, in the order in which they occur: draws must not depend on addresses.
        sources = tuple(dict.fromkeys(s for scale in scales for s in scale._sources))
        super().__init__(torch.broadcast_shapes(*shapes), sources[0]._loc, sources)

    def evaluate(self, batch, draws):
        return self._function(*(self._value(arg, batch, draws) for arg in self._args))

    def _value(self, arg, batch, draws):
        if not isinstance(arg, LazyScale):
            return arg
        # The examples' axis is the first: what broadcasting would add goes between.
        ones = [1] * (self.dim() - arg.dim())
        return arg.evaluate(batch, draws).reshape(*batch, *ones, *arg.shape)


class _Reshaped(LazyScale):
    def __init__(self, scale: LazyScale, shape: tuple[int, ...]):
        super().__init__(shape, scale._sources[0]._loc, scale._sources)
        self._of = scale

    def evaluate(self, batch, draws):
        return self._of.evaluate(batch, draws).reshape(*batch, *self.shape)


def _operator(name: str, swapped: bool = False):
    def call(self, *args):
        if any(isinstance(a, Lazy) and not isinstance(a, LazyScale) for a in args):
            return NotImplemented  # a lazy weight knows better
        return _Expression(_ELEMENTWISE[name], (*args, self) if swapped else (self, *args))

    return call


for _name in ("add", "mul", "truediv", "pow"):
    setattr(LazyScale, f"__{_name}__", _operator(_name))
    if _name != "pow":
        setattr(LazyScale, f"__r{_name}__", _operator(_name, swapped=True))
for _name in ("add", "mul", "div", "pow", "sqrt", "reciprocal"):
    setattr(LazyScale, _name, _operator(_name))


class LocalScaleNormal(Normal):
    """N(loc, exp(log_scale)^2) whose `rsample` is a `LazyScale`; elsewhere an ordinary normal.

    :param loc: means, shape `(scales,)`.
    :param log_scale: log standard deviations, the same shape.
    :param lazy: False makes `rsample` an ordinary tensor, with noise of the same source.
    :param per_example: whether a lazy scale is drawn anew for each example.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, lazy: bool = True, per_example: bool = True):
        self.log_scale, self.lazy, self.per_example = log_scale, lazy, per_example
        super().__init__(loc, torch.exp(log_scale), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        shape = torch.Size(batch_shape)
        pair = self.loc.expand(shape), self.log_scale.expand(shape)
        return LocalScaleNormal(*pair, self.lazy, self.per_example)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        if sample_shape:
            return super().rsample(sample_shape)
        draw = ScaleDraw(self.loc, self.scale, log=False, per_example=self.per_example)
        return draw if self.lazy else draw.draw()


class LocalScaleLogNormal(LogNormal):
    """Log-normal with N(loc, exp(log_scale)^2) for the logarithm; `rsample` is a `LazyScale`.

    The parameters are those of `LocalScaleNormal`, of the logarithm.
    """

    def __init__(self, loc: Tensor, log_scale: Tensor, lazy: bool = True, per_example: bool = True):
        self.log_scale, self.lazy, self.per_example = log_scale, lazy, per_example
        super().__init__(loc, torch.exp(log_scale), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        shape = torch.Size(batch_shape)
        pair = self.loc.expand(shape), self.log_scale.expand(shape)
        return LocalScaleLogNormal(*pair, self.lazy, self.per_example)

    def rsample(self, sample_shape=torch.Size()):  # noqa: B008  (torch's own signature)
        if sample_shape:
            return super().rsample(sample_shape)
        draw = ScaleDraw(self.loc, self.scale, log=True, per_example=self.per_example)
        return draw if self.lazy else draw.draw()

    def log_prob(self, value: Tensor) -> Tensor:
        return super().log_prob(torch.clone(value))  # the transform's cache wants a tensor
