"""Bayesian compression of neural networks as Pyro model/guide pairs.

The façade: what a user imports. Everything loads on first use, so that `bitsback --help` is fast.
Editors and type checkers read the imports below, which no running program executes.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import (
        compression,
        diagnostics,
        distributions,
        graph,
        guides,
        methods,
        models,
        training,
        workbench,
    )
    from .compression.arrays import decode
    from .compression.compress import Compressed, compress
    from .compression.errors import CorruptFile
    from .compression.file import load
    from .compression.integer import to_integer
    from .compression.onnx_file import save_onnx
    from .compression.packed.packing import pack
    from .compression.packed.unpacking import unpack
    from .compression.shrink import shrink
    from .compression.verdict import WorseNetwork
    from .graph.network import GraphNetwork
    from .graph.tracing import trace
    from .guides.elbo import ELBO
    from .guides.posterior_of import posterior_of
    from .methods import METHODS
    from .posterior import Posterior, WeightPosterior
    from .training.loop import fit
    from .training.options import Options
    from .training.trained import load_guide, save_guide
    from .workbench.data import load_data
    from .workbench.networks import network
    from .workbench.one_call import compress_network

__version__ = "0.1.0"

_PUBLIC = {
    "ELBO": "guides.elbo",
    "METHODS": "methods",
    "Compressed": "compression.compress",
    "CorruptFile": "compression.errors",
    "GraphNetwork": "graph.network",
    "Options": "training.options",
    "Posterior": "posterior",
    "WeightPosterior": "posterior",
    "WorseNetwork": "compression.verdict",
    "compress": "compression.compress",
    "compress_network": "workbench.one_call",
    "decode": "compression.arrays",
    "fit": "training.loop",
    "load": "compression.file",
    "load_data": "workbench.data",
    "load_guide": "training.trained",
    "network": "workbench.networks",
    "pack": "compression.packed.packing",
    "posterior_of": "guides.posterior_of",
    "save_guide": "training.trained",
    "save_onnx": "compression.onnx_file",
    "shrink": "compression.shrink",
    "to_integer": "compression.integer",
    "trace": "graph.tracing",
    "unpack": "compression.packed.unpacking",
}
_FOLDERS = (
    "compression", "diagnostics", "distributions", "graph", "guides", "methods", "models",
    "training", "workbench",
)  # fmt: skip

__all__ = [
    "ELBO",
    "METHODS",
    "Compressed",
    "CorruptFile",
    "GraphNetwork",
    "Options",
    "Posterior",
    "WeightPosterior",
    "WorseNetwork",
    "__version__",
    "compress",
    "compress_network",
    "compression",
    "decode",
    "diagnostics",
    "distributions",
    "fit",
    "graph",
    "guides",
    "load",
    "load_data",
    "load_guide",
    "methods",
    "models",
    "network",
    "pack",
    "posterior_of",
    "save_guide",
    "save_onnx",
    "shrink",
    "to_integer",
    "trace",
    "training",
    "unpack",
    "workbench",
]


def __getattr__(name: str) -> object:
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    if name in _FOLDERS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'bitsback' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
