"""benchmarks/coders.py on a file small enough to count by hand."""

import json
import math
import os
import subprocess
import sys

import numpy as np
import pytest
from bitsback.compression.codec import decode, encode

from ..project import ROOT

GOLDEN = ROOT / "tests" / "compression" / "golden"


@pytest.fixture(scope="module")
def figures(tmp_path_factory):
    """What the script says of the golden files."""
    target = tmp_path_factory.mktemp("coders") / "coders.json"
    files = [str(GOLDEN / name) for name in ("dense.range.bb", "conv.range.bb")]
    command = [sys.executable, "-W", "error", str(ROOT / "benchmarks" / "coders.py"), *files]
    paths = [str(ROOT / "benchmarks"), *filter(None, [os.environ.get("PYTHONPATH")])]
    run = subprocess.run(
        [*command, "--json", str(target)],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(paths)},
    )
    assert run.returncode == 0, run.stderr
    assert "total" in run.stdout and "published" in run.stdout
    return json.loads(target.read_text())["files"]


def test_files_are_those_of_the_codec(figures):
    for name, found in figures.items():
        data = (GOLDEN / name).read_bytes()
        assert found["total"]["range"] == len(data)
        assert found["total"]["huffman"] == len(encode(decode(data), "huffman"))


def test_entropy_by_hand(figures):
    for name, found in figures.items():
        archive = decode((GOLDEN / name).read_bytes())
        for layer, values in found["layers"].items():
            codes = archive.tensors[layer].codes.reshape(-1).tolist()
            bits = -sum(math.log2(codes.count(c) / len(codes)) for c in codes)
            assert values["entropy"] == pytest.approx(bits / 8)
            assert values["kept"] == np.count_nonzero(codes)


def test_totals_are_sums_of_the_layers(figures):
    for found in figures.values():
        assert found["layers"]
        for key in ("weights", "kept", "published", "entropy", "zlib", "bz2", "lzma"):
            layers = found["layers"].values()
            assert found["total"][key] == pytest.approx(sum(layer[key] for layer in layers))


def test_no_coder_of_frequencies_is_below_their_entropy(figures):
    for found in figures.values():
        for layer in found["layers"].values():
            if layer["constriction"] is not None:
                assert layer["constriction"] >= layer["entropy"] - 1
