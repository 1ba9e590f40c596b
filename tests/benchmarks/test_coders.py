"""benchmarks/coders.py on files small enough to count by hand."""

import json
import math
import subprocess
import sys

import numpy as np
import pytest
from bitsback.compression.codec import decode

from ..project import ROOT

SCRIPTS = ROOT / "benchmarks"
GOLDEN = ROOT / "tests" / "compression" / "golden"
NAMES = ("dense.range", "conv.range")


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """What the script says of the golden files; the other coders run in this interpreter."""
    target = tmp_path_factory.mktemp("coders") / "coders.json"
    files = [str(GOLDEN / f"{name}.bb") for name in NAMES]
    command = [sys.executable, "-W", "error", str(SCRIPTS / "coders.py"), *files]
    command += ["--peers", sys.executable, "--json", str(target)]
    run = subprocess.run(
        command, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT.parent)}
    )
    assert run.returncode == 0, run.stderr
    assert "rows_by_columns" in run.stdout and "xz" in run.stdout
    return json.loads(target.read_text())["networks"]


def integers(name: str) -> list[np.ndarray]:
    archive = decode((GOLDEN / f"{name}.bb").read_bytes())
    specs = archive.architecture.tensors()
    return [archive.tensors[spec.name].codes for spec in specs if spec.role == "weight"]


def test_bounds_by_hand(figures):
    assert figures.keys() == set(NAMES)
    for name, found in figures.items():
        total = 0.0
        for codes in integers(name):
            values = codes.reshape(-1).tolist()
            total -= sum(math.log2(values.count(v) / len(values)) for v in values) / 8
        assert found["order_0_bytes"] == pytest.approx(total)
        assert found["rows_by_columns_bytes"] < 1.01 * total
        assert found["nonzero"] == sum(np.count_nonzero(codes) for codes in integers(name))


def test_every_coder_has_bytes_and_seconds(figures):
    for found in figures.values():
        assert {"small", "fast", "huffman", "xz"} <= found["coders"].keys()
        for row in found["coders"].values():
            assert row["bytes"] > 0 and row["encode_seconds"] > 0 and row["decode_seconds"] > 0


def test_no_coder_of_frequencies_is_below_their_entropy(figures):
    for found in figures.values():
        if "constriction" in found["coders"]:
            assert found["coders"]["constriction"]["bytes"] >= found["order_0_bytes"] - 1
