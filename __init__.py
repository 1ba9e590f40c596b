"""Bayesian compression of neural networks as Pyro model/guide pairs.

The façade: what a user imports. Everything loads on first use, so that `bitsback --help` is fast.
"""

from importlib import import_module

__version__ = "0.1.0"

_PUBLIC = {
    "ELBO": "guides.elbo",
    "GraphNetwork": "graph.network",
    "METHODS": "methods",
    "Posterior": "posterior",
    "WeightPosterior": "posterior",
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
    "shrink": "compression.shrink",
    "save_onnx": "compression.onnx_file",
    "to_integer": "compression.integer",
    "trace": "graph.tracing",
    "unpack": "compression.packed.unpacking",
}
_FOLDERS = (
    "compression", "diagnostics", "distributions", "graph", "guides", "models", "training",
    "workbench",
)  # fmt: skip

__all__ = ["__version__", *sorted(_PUBLIC), *_FOLDERS]


def __getattr__(name: str):
    if name in _PUBLIC:
        return getattr(import_module(f".{_PUBLIC[name]}", __name__), name)
    if name in _FOLDERS:
        return import_module(f".{name}", __name__)
    raise AttributeError(f"module 'bitsback' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
