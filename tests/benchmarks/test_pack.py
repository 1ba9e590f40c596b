"""The peers of `pack` are what the page says that they are."""

import importlib.util
import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture(scope="module")
def script():
    sys.path.insert(0, str(FOLDER))
    spec = importlib.util.spec_from_file_location("pack_benchmark", FOLDER / "pack.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    sys.path.remove(str(FOLDER))
    return module


@pytest.mark.parametrize("bits", [8, 4])
def test_rounding_has_a_step_for_each_unit(script, bits):
    state = {"w": torch.tensor([[1.0, -0.51], [20.0, 3.0]]), "b": torch.tensor([0.123])}
    size, out = script.rounded(state, bits)
    most = 2 ** (bits - 1) - 1
    steps = state["w"].abs().amax(1, keepdim=True) / most
    assert torch.allclose(out["w"] / steps, (state["w"] / steps).round())
    assert torch.equal(out["b"], state["b"]) and size > 0


def test_exponents_are_counted_by_every_coder(script):
    state = {"w": torch.randn(100, 100, generator=torch.Generator().manual_seed(0))}
    found = script.exponents(state)
    assert found["raw"] == 10_000
    for coder in ("packed", "range", "xz"):
        assert found["entropy"] < found[coder] < 0.5 * found["raw"]
