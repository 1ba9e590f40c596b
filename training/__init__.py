"""Training of a model and its guide: `fit`, its `Options`, checkpoints with exact resume.

Names load on first use, so that options can be checked without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .checkpoint import CheckpointMismatch
    from .diagnose import NonFiniteError
    from .loop import Epoch, fit
    from .options import Options
    from .trained import describe_guide, load_guide, save_guide

_PUBLIC = {
    "CheckpointMismatch": "checkpoint",
    "Epoch": "loop",
    "NonFiniteError": "diagnose",
    "Options": "options",
    "describe_guide": "trained",
    "fit": "loop",
    "load_guide": "trained",
    "save_guide": "trained",
}

__all__ = [
    "CheckpointMismatch",
    "Epoch",
    "NonFiniteError",
    "Options",
    "describe_guide",
    "fit",
    "load_guide",
    "save_guide",
]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    raise AttributeError(f"module 'bitsback.training' has no attribute {name!r}")


def __dir__() -> list[str]:
    return list(__all__)
