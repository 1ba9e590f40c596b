"""C programs made from a network's table: they decode its files, and no others."""

import subprocess
from pathlib import Path

import bitsback
import numpy as np
import pytest
from bitsback.compression import c_table, file
from bitsback.compression.c_library import compiler
from bitsback.compression.c_table import c_header
from bitsback.compression.errors import CorruptFile
from torch import nn

from ..project import ROOT
from .compiler import needs_compiler
from .forged import repaired
from .samples import archive

GOLDEN = Path(__file__).parent / "golden"
NETWORKS = sorted(path for path in GOLDEN.glob("*.bb") if "packed" not in path.name)
NETWORKS = [path for path in NETWORKS if ".fast." not in path.name]  # not in C
WARNINGS = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-Os")


def made(data: bytes, folder: Path) -> Path:
    """The example of docs/c-decoder.md, compiled for the network of a file."""
    (folder / "net.h").write_text(c_header(data))
    (folder / "decode.c").write_text((ROOT / "examples" / "decode.c").read_text())
    command = [compiler(), *WARNINGS, "-o", "decode", "decode.c"]
    subprocess.run(command, check=True, cwd=folder)
    return folder / "decode"


def said(program: Path, data: bytes) -> subprocess.CompletedProcess:
    (program.parent / "net.bb").write_bytes(data)
    command = [str(program), str(program.parent / "net.bb")]
    return subprocess.run(command, capture_output=True, text=True)


def agrees(run: subprocess.CompletedProcess, arrays: dict[str, np.ndarray]) -> bool:
    """Whether a program says of each tensor what there is."""
    lines = [line.rsplit(" ", 2) for line in run.stdout.splitlines()]
    return (
        run.returncode == 0
        and len(lines) == len(arrays)
        and all(
            arrays[name].size == int(count)
            and (arrays[name].dtype != np.float32 or float(total) in (0, _sum(arrays[name])))
            for name, count, total in lines
        )
    )


def _sum(values: np.ndarray) -> float:
    """As C adds and prints."""
    total = 0.0
    for value in values.reshape(-1).tolist():
        total += value
    return float(f"{total:.9g}")


@needs_compiler
@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.name)
def test_the_example_decodes(path, tmp_path):
    program = made(path.read_bytes(), tmp_path)
    assert agrees(said(program, path.read_bytes()), bitsback.decode(path))


@needs_compiler
def test_other_files_of_the_network_and_no_others(tmp_path):
    net = nn.Sequential(nn.Linear(5, 4), nn.Linear(4, 200, bias=False), nn.LayerNorm((200, 100)))
    first, second = (file.encode(archive(net, percent)) for percent in (20, 50))
    program = made(first, tmp_path)
    run = said(program, second)
    assert agrees(run, bitsback.decode(tmp_path / "net.bb"))  # with plain tensors of 80 kB
    other = file.encode(archive(nn.Sequential(nn.Linear(4, 5))))
    newer = repaired(second[:3] + bytes([10]) + second[4:])
    damaged = repaired(second[:-12] + second[-4:])
    for data, status in ((other, 4), (newer, 3), (damaged, 1), (second[:-1], 1), (b"", 1)):
        run = said(program, data)
        assert run.returncode == 1 and f"({status})" in run.stderr


@needs_compiler
def test_names_are_written_as_c_has_them(tmp_path):
    net = nn.Sequential()
    net.add_module('a"\\?é\n', nn.Linear(2, 2))
    data = file.encode(archive(net))
    assert r'"a\042\134\077\303\251\012.weight"' in c_header(data)
    assert said(made(data, tmp_path), data).returncode == 0


def test_what_has_no_table(monkeypatch):
    with pytest.raises(CorruptFile, match="not a bitsback file"):
        c_header(b"")
    with pytest.raises(ValueError, match="is a packed checkpoint"):
        c_header((GOLDEN / "packed.lossless.bb").read_bytes())
    with pytest.raises(ValueError, match=r"does not read the profile 'fast'.*coder='small'"):
        c_header((GOLDEN / "dense.fast.bb").read_bytes())
    monkeypatch.setattr(c_table, "library", lambda build: None)
    with pytest.raises(ValueError, match="install a C compiler"):
        c_header(NETWORKS[0].read_bytes())
