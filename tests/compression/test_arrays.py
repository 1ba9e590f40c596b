"""`decode`: the numbers of a file as numpy arrays, without torch."""

import json
import subprocess
import sys
from pathlib import Path

import bitsback
import numpy as np
import pytest
import torch
from bitsback.compression import file
from bitsback.compression.errors import CorruptFile
from torch import nn

from .samples import archive

GOLDEN = Path(__file__).parent / "golden"
HEAVY = ("torch", "pyro", "numba", "arviz", "scipy", "sympy", "pandas", "sklearn")
NETWORKS = sorted(path for path in GOLDEN.glob("*.bb") if not path.name.startswith("packed"))


def same_as(state: dict[str, torch.Tensor], arrays: dict[str, np.ndarray]) -> bool:
    """Whether names, shapes, types and bits are the same."""
    return state.keys() == arrays.keys() and all(
        tuple(tensor.shape) == arrays[name].shape
        and str(tensor.dtype) == f"torch.{arrays[name].dtype}"
        and tensor.numpy().tobytes() == arrays[name].tobytes()
        for name, tensor in state.items()
    )


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.name)
def test_the_arrays_are_those_of_load(path):
    assert same_as(bitsback.load(path).state_dict(), bitsback.decode(path))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16])
def test_other_types(tmp_path, dtype):
    net = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)).to(dtype)
    file.save(file.encode(archive(net)), tmp_path / "net.bb")
    arrays = bitsback.decode(tmp_path / "net.bb")
    assert same_as(bitsback.load(tmp_path / "net.bb").state_dict(), arrays)
    assert arrays["0.weight"].dtype == str(dtype).removeprefix("torch.")


def test_a_tied_tensor_has_all_of_its_names(tmp_path):
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 4))
    net[2].weight = net[0].weight
    file.save(file.encode(archive(net)), tmp_path / "net.bb")
    arrays = bitsback.decode(tmp_path / "net.bb")
    assert arrays["2.weight"] is arrays["0.weight"]
    assert same_as(bitsback.load(tmp_path / "net.bb").state_dict(), arrays)


def test_a_packed_checkpoint(tmp_path):
    tensors = {
        "a": torch.randn(7, 300), "b": torch.arange(5), "c": torch.tensor([True, False]),
        "half": torch.randn(9).half(),
    }  # fmt: skip
    tensors["d"] = tensors["a"]
    bitsback.pack(tensors, tmp_path / "net.bb")
    assert same_as(tensors, bitsback.decode(tmp_path / "net.bb"))
    bitsback.pack({"e": torch.randn(3).bfloat16()}, tmp_path / "net.bb")
    with pytest.raises(ValueError, match=r"net\.bb': tensor 'e' is bfloat16, .*bitsback\.unpack"):
        bitsback.decode(tmp_path / "net.bb")


def test_what_is_wrong_names_the_file(tmp_path):
    (tmp_path / "bad.bb").write_bytes(b"\x9cbb\x01 and no more")
    with pytest.raises(CorruptFile, match=r"bad\.bb': the checksum"):
        bitsback.decode(tmp_path / "bad.bb")
    with pytest.raises(TypeError, match="expected the path"):
        bitsback.decode(b"bytes")


@pytest.mark.parametrize("command", ["decode", "inspect"])
def test_nothing_heavy_is_imported(tmp_path, command):
    run = {
        "decode": "import bitsback\nfor path in sys.argv[1:]: bitsback.decode(path)",
        "inspect": "from bitsback.workbench.commands import inspect\nfrom pathlib import Path\n"
        f"for path in sys.argv[1:]: inspect(Path(path), {str(tmp_path / 'out')!r})",
    }[command]
    bitsback.pack({"a": torch.randn(70, 30)}, tmp_path / "packed.bb")
    files = [*map(str, NETWORKS), str(tmp_path / "packed.bb")]
    program = f"import sys, json\n{run}\nprint(json.dumps(sorted(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-P", "-c", program, *files], check=True, capture_output=True, text=True
    )
    loaded = json.loads(done.stdout.splitlines()[-1])
    assert not set(HEAVY) & set(loaded)
