"""What a bug report should say of the machine: versions, cores, compiler, CUDA."""

import os
import platform
from importlib.metadata import PackageNotFoundError, version

from .. import __version__

LIBRARIES = ("torch", "pyro-ppl", "numpy", "scikit-learn", "arviz", "numba", "typer", "rich")


def environment() -> dict[str, str | int | bool | None]:
    """Names and values, in the order in which they are to be shown; None for what is absent."""
    import torch

    from ..training.noise_library import compiler

    cuda = torch.cuda.is_available()
    return {
        "bitsback": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": platform.machine(),
        **{name: _version(name) for name in LIBRARIES},
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "compiler": compiler(),
        "cuda": torch.version.cuda if cuda else None,
        "cuda_device": torch.cuda.get_device_name() if cuda else None,
    }


def _version(library: str) -> str | None:
    try:
        return version(library)
    except PackageNotFoundError:
        return None


def _cores() -> int | None:
    """The cores that this process may use; containers often have fewer than the machine."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()
