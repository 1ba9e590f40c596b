"""The commands that read a file from anywhere end soon, in little memory, and with one line."""

import resource
import time
from pathlib import Path

import bitsback.graph as graph
import pytest
from bitsback.workbench.cli import app
from torch import nn
from typer.testing import CliRunner

from ..compression.forged import LABELS, ODD, chain, layer, linear, named, whole

SECONDS = 2.0  # of the processor, of each command
BYTES = 300_000_000  # above what the process has before
MAY = {0, 2, 3}  # exit codes: fine, wrong use or input, corrupt file
PLAIN = set(map(chr, range(32, 127))) | set("\n│┃┏┓┗┛━┳╇┡┩┴└┘─┬┼├┤╞═╪╡┌┐é…")


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    found = {}
    for number, (name, data) in enumerate(named().items()):
        found[name] = folder / f"{number}.bb"
        found[name].write_bytes(data)
    return found


@pytest.fixture
def scarce():
    """What is beyond the limit raises MemoryError, which no command turns into a line."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    old = resource.getrlimit(resource.RLIMIT_AS)
    most = pages * resource.getpagesize() + BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, old[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, old)


def commands(path: Path) -> list[list[str]]:
    export = ["export", str(path), "--out", str(path.with_suffix(".onnx"))]
    return [["inspect", str(path)], ["evaluate", str(path), "--data", "digits"], export]


def run(command: list[str]):
    start = time.process_time()
    result = CliRunner().invoke(app, command)
    assert time.process_time() - start < SECONDS, command
    return result


@pytest.fixture(scope="module", autouse=True)
def warm(tmp_path_factory):
    """Imports are not the file's: a network of the digits goes through all of each command."""
    assert all(getattr(graph, name) is not None for name in graph.__all__)  # loads them
    path = tmp_path_factory.mktemp("warm") / "net.bb"
    path.write_bytes(whole(chain(layer(nn.Flatten), linear(64, 10))))
    for command in commands(path):
        CliRunner().invoke(app, command)


def test_hostile_files_end_soon_and_in_one_line(files, scarce):
    for name, path in files.items():
        for command in commands(path):
            result = run(command)
            assert isinstance(result.exception, SystemExit | None), (name, command, result)
            assert result.exit_code in MAY, (name, command, result.stderr)
            if result.exit_code:
                assert result.stderr.count("\n") == 1, (name, command, result.stderr)
                assert str(path) in result.stderr
            assert set(result.output) <= PLAIN, (name, set(result.output) - PLAIN)


def test_the_limit_on_memory_is_one(scarce):
    with pytest.raises(MemoryError):
        bytearray(2 * BYTES)


def test_what_makes_no_sense_is_corrupt(files):
    """Whatever a network of the file would do later, it is said when the file is read."""
    fine = ("deep16", "empty", "flatten-dim7", "softmax", "relus", "label", "zero-0", "zero-3x")
    fine += (
        "scalar",
        "8d",
        "f16",
        "overlap",
        "no-shape",
        "column",
        "row",
        "kernels",
        "many",
        "mask-4",
    )
    fine += tuple(f"name-{name}" for name in ODD.values())
    for name, path in files.items():
        expected = 0 if name.startswith(fine) else 3
        assert run(["inspect", str(path)]).exit_code == expected, name


def test_names_are_printed_as_they_are_spelled(files):
    said = run(["inspect", str(files[f"name-{ODD['markup']}"])]).output
    assert "[/red].weight" in said
    said = run(["inspect", str(files[f"name-{ODD['unicode']}"])]).output
    assert r"\u202e\x00\x1b[2J" in said.replace("\n", "")
    assert LABELS  # printed nowhere but in JSON, which escapes them


def test_a_sparse_file_of_10_gb_is_refused_by_its_size(tmp_path, scarce):
    path = tmp_path / "large.bb"
    with path.open("wb") as out:
        out.write(b"\x9cbb\x01")
        out.truncate(10_000_000_000)
    for command in commands(path):
        result = run(command)
        assert result.exit_code == 3 and "more than any bitsback file has" in result.stderr


@pytest.mark.parametrize("special", ["/dev/zero", "/dev/null"])
def test_devices_are_no_files(special):
    result = run(["inspect", special])
    assert result.exit_code == 3 and "not a bitsback file" in result.stderr
