"""Random tensors that are not drawn until an operation needs them."""

from torch import Tensor


class Lazy:
    """What lazy weights and lazy scales share: any operation sees one ordinary draw.

    It is no `Tensor` subclass, because such a subclass cannot be captured as a graph; torch
    dispatches to it all the same. A subclass gives `draw`, `shape`, `dtype` and `device`.
    """

    def draw(self) -> Tensor:
        """One ordinary sample, the same at each call."""
        raise NotImplementedError

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        return func(*honest(args), **honest(kwargs or {}))

    # What a layer may ask of its weight without drawing it.
    ndim = property(lambda self: len(self.shape))

    # Two weights are equal where their draws are; without this Python compares identities.
    __hash__ = object.__hash__

    def size(self, dim: int | None = None):
        return self.shape if dim is None else self.shape[dim]

    def dim(self) -> int:
        return len(self.shape)

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.draw(), name)


def _operator(name: str):
    def call(self, *args):
        return getattr(self.draw(), name)(*honest(args))

    call.__name__ = name
    return call


_BINARY = ("add", "sub", "mul", "truediv", "floordiv", "mod", "matmul", "pow")
_OTHERS = ("neg", "abs", "getitem", "lt", "le", "gt", "ge", "eq", "ne", "len", "bool", "float")
for _name in (*_BINARY, *(f"r{name}" for name in _BINARY), *_OTHERS):
    setattr(Lazy, f"__{_name}__", _operator(f"__{_name}__"))


def honest(value):
    """`value` with each lazy thing in it (tuples, lists, dicts) replaced by its ordinary draw."""
    if isinstance(value, Lazy):
        return value.draw()
    if isinstance(value, (tuple, list)):
        return type(value)(honest(v) for v in value)
    if isinstance(value, dict):
        return {k: honest(v) for k, v in value.items()}
    return value
