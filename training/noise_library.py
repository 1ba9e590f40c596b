"""Fast standard normals for captured steps on a CPU: normal.cpp, built once and kept in the cache.

torch draws normals one by one on one core (4 to 5 ns each), which is a fifth of a training step of
LeNet-5; this generator takes about 0.4 ns on two. Its values are a function of (seed, stream) only.
"""

import ctypes
import functools
import hashlib
import logging
import os
import shutil
import subprocess
import tempfile
from importlib.resources import files
from pathlib import Path

import torch
from torch import Tensor

_FLAGS = (
    # Not -ffast-math: linked with it, gcc turns denormal numbers off in the whole process.
    *("-O3", "-march=native", "-fno-math-errno", "-fno-trapping-math", "-std=c++17"),
    *("-shared", "-fPIC", "-pthread"),
)


def compiler() -> str | None:
    """The C++ compiler that torch.compile and this file use, by name; None if there is none."""
    candidates = (os.environ.get("CXX"), "g++", "clang++", "c++")
    return next((name for name in candidates if name and shutil.which(name)), None)


@functools.cache
def _library() -> ctypes.CDLL:
    source = files(__package__).joinpath("normal.cpp").read_bytes()
    # The processor's own instructions are in the build, so another processor needs another one.
    machine = Path("/proc/cpuinfo")
    flags = [line for line in machine.read_text().splitlines() if line.startswith("flags")][:1]
    key = hashlib.sha256(source + repr((_FLAGS, compiler(), flags)).encode()).hexdigest()[:16]
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "bitsback"
    path = cache / f"normal-{key}.so"
    if not path.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as folder:
            unit, built = Path(folder) / "normal.cpp", Path(folder) / "normal.so"
            unit.write_bytes(source)
            subprocess.run(
                [compiler(), *_FLAGS, str(unit), "-o", str(built)], check=True, capture_output=True
            )
            os.replace(built, path)
    library = ctypes.CDLL(str(path))
    library.standard_normal.argtypes = [
        ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64, ctypes.c_int, ctypes.c_void_p,
    ]  # fmt: skip
    library.standard_normal.restype = None
    return library


@functools.cache
def available() -> bool:
    """Whether there is a C++ compiler that builds the library."""
    if compiler() is None:
        return False
    try:
        _library()
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


@torch.library.custom_op("bitsback::standard_normal", mutates_args=())
def standard_normal(seed: Tensor, stream: int, shape: list[int]) -> Tensor:
    """N(0, 1) draws in float32 on the CPU.

    :param seed: scalar int64 tensor; with `stream` it fixes the values, whatever the threads.
    :param stream: number of the draw within a step.
    """
    out = torch.empty(shape)
    bits = seed.item() & 0xFFFFFFFFFFFFFFFF
    _library().standard_normal(bits, stream, out.numel(), torch.get_num_threads(), out.data_ptr())
    return out


@standard_normal.register_fake
def _(seed: Tensor, stream: int, shape: list[int]) -> Tensor:
    return torch.empty(shape)


@functools.cache
def say_once(message: str) -> None:
    """A warning on stderr, once for each message in a process."""
    logging.getLogger("bitsback").warning(message)
