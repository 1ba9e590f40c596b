"""The compiled generator: normal, independent, and a function of seed and stream alone."""

import math
import subprocess

import numpy as np
import pytest
import torch
from bitsback.training import noise_library
from scipy import stats

pytestmark = pytest.mark.skipif(not noise_library.available(), reason="needs a C++ compiler")


def draws(count: int, seed: int = 0, stream: int = 0) -> np.ndarray:
    tensor = noise_library.standard_normal(torch.tensor(seed), stream, [count])
    return tensor.double().numpy()


@pytest.mark.parametrize(("seed", "stream"), [(0, 0), (2**62, 3), (-1, 0)])
def test_it_is_normal(seed, stream):
    """Bounds are 4.5 standard errors; Kolmogorov-Smirnov at the same odds."""
    n = 1_000_000
    x = draws(n, seed, stream)
    for power, mean, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96)):
        assert abs((x**power).mean() - mean) < 4.5 * math.sqrt(variance / n), power
    assert stats.kstest(x, "norm").pvalue > 1e-5
    tail = (np.abs(x) > 4).sum()  # expected 63.3
    assert 30 < tail < 110


def test_both_halves_of_a_box_muller_pair_are_independent():
    lanes = draws(1 << 20).reshape(-1, 2, 16)
    sines, cosines = lanes[:, 0].ravel(), lanes[:, 1].ravel()
    for f in (lambda v: v, np.abs, np.square):
        assert abs(np.corrcoef(f(sines), f(cosines))[0, 1]) < 5 / math.sqrt(sines.size)


@pytest.mark.parametrize(
    "other",
    [{"seed": 1}, {"seed": 1 << 32}, {"stream": 1}, {"seed": 1, "stream": 1}],
    ids=["next step", "next seed", "next stream", "both"],
)
def test_streams_are_independent(other):
    a, b = draws(1 << 18), draws(1 << 18, **other)
    assert abs(np.corrcoef(a, b)[0, 1]) < 5 / math.sqrt(a.size)
    assert abs(np.corrcoef(np.abs(a), np.abs(b))[0, 1]) < 5 / math.sqrt(a.size)


@pytest.mark.parametrize("lag", [1, 2, 15, 16, 17, 32, 4096, 8192])
def test_no_memory_within_a_stream(lag):
    x = draws(1 << 20)
    assert abs(np.corrcoef(x[:-lag], x[lag:])[0, 1]) < 5 / math.sqrt(x.size - lag)


def test_streams_of_many_steps_never_repeat():
    """First values of 200 steps x 20 streams x 5 seeds: a repeat would be a repeated stream."""
    firsts = {
        draws(2, seed * 2**32 + step, stream).tobytes()
        for seed in range(5)
        for step in range(200)
        for stream in range(20)
    }
    assert len(firsts) == 5 * 200 * 20


@pytest.mark.parametrize("count", [0, 1, 15, 17, 4095, 4096, 4097, 150_001])
def test_a_shorter_draw_is_the_beginning_of_a_longer_one(count):
    x = draws(count)
    assert x.shape == (count,)
    assert np.isfinite(x).all()
    assert (x == draws(200_000)[:count]).all()


def test_the_number_of_threads_does_not_matter():
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 2, 3, 7):
            torch.set_num_threads(threads)
            found.append(draws(1_000_003, 5))
    finally:
        torch.set_num_threads(before)
    assert all((values == found[0]).all() for values in found)


def test_shapes():
    x = noise_library.standard_normal(torch.tensor(1), 2, [3, 5, 7])
    assert (x.shape, x.dtype) == ((3, 5, 7), torch.float32)
    assert torch.equal(x.ravel(), noise_library.standard_normal(torch.tensor(1), 2, [105]))


@pytest.fixture
def fresh(monkeypatch, tmp_path):
    """An empty cache, and nothing remembered of the library; put back afterwards."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    caches = (noise_library._library, noise_library.available)
    for cache in caches:
        cache.cache_clear()
    yield tmp_path
    monkeypatch.undo()
    for cache in caches:
        cache.cache_clear()


def test_built_once_and_kept(fresh, monkeypatch):
    assert noise_library.available()
    (built,) = (fresh / "bitsback").iterdir()
    noise_library._library.cache_clear()
    monkeypatch.setattr(subprocess, "run", None)  # not built again
    noise_library._library()
    assert built.suffix == ".so"


def test_no_compiler(fresh, monkeypatch):
    monkeypatch.setenv("PATH", str(fresh))
    monkeypatch.delenv("CXX", raising=False)
    assert noise_library.compiler() is None
    assert not noise_library.available()


def test_a_compiler_that_fails(fresh, monkeypatch):
    monkeypatch.setenv("CXX", "false")
    assert not noise_library.available()
    assert list((fresh / "bitsback").iterdir()) == []


def test_a_cache_that_cannot_be_written(fresh, monkeypatch):
    (fresh / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(fresh / "file"))
    assert not noise_library.available()


def test_a_library_that_does_not_load(fresh, monkeypatch):
    def damaged(path):
        raise OSError(f"{path}: invalid ELF header")

    monkeypatch.setattr(noise_library.ctypes, "CDLL", damaged)
    assert not noise_library.available()
