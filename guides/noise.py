"""Where guides draw standard normals from: torch's generator, unless a caller puts another there.

`fit()` puts a counter-based source there, so that a captured step is a pure function of its seed.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch
from torch import Tensor

Source = Callable[[torch.Size, Tensor], Tensor]

_source: ContextVar[Source | None] = ContextVar("bitsback_noise", default=None)


def standard_normal(shape: torch.Size, like: Tensor) -> Tensor:
    """Independent N(0, 1) draws of the given shape, with the dtype and device of `like`."""
    source = _source.get()
    if source is None:
        return torch.randn(shape, dtype=like.dtype, device=like.device)
    return source(shape, like)


@contextmanager
def noise_from(source: Source | None) -> Iterator[None]:
    """Let `source(shape, like)` draw every standard normal inside the context."""
    token = _source.set(source)
    try:
        yield
    finally:
        _source.reset(token)
