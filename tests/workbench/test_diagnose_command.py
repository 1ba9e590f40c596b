"""`bitsback diagnose`: a page and figures from what a run has kept."""

import json
import warnings

import bitsback
import pytest
import torch
from bitsback.methods import METHODS
from bitsback.workbench.kept import rebuild
from typer.testing import CliRunner


def kept(folder, method: str, about: dict | None = None):
    path = folder / "pair.safetensors"
    pair = METHODS[method].pair(bitsback.network("digits-mlp"), 1197)
    about = about or {"method": method, "network": "digits-mlp", "data": "digits"}
    bitsback.save_guide(path, *pair, about)
    return path


def invoke(*arguments, code: int = 0):
    from bitsback.workbench.cli import app

    run = CliRunner().invoke(app, [str(a) for a in arguments])
    assert run.exit_code == code, run.output
    return run


@pytest.mark.parametrize(("method", "proper"), [("gaussian", True), ("log-uniform", False)])
def test_page_and_figures(method, proper, tmp_path):
    path, page = kept(tmp_path, method), tmp_path / "page.html"
    options = ("--samples", 20, "--out", page, "--json", tmp_path / "found.json")
    invoke("diagnose", path, *options)
    found = json.loads((tmp_path / "found.json").read_text())
    assert (found["method"], found["data"], found["draws"]) == (method, "digits", 20)
    assert (found["evidence"] is not None) == (found["verdict"] is not None) == proper
    assert ("improper" in (found["obstacle"] or "")) != proper
    assert found["values"] == 64 * 100 + 100 * 50 + 50 * 10  # not the effective weights once more
    text = page.read_text()
    for c in found["calibration"].values():  # of the same draws as the page's
        for key in ("nll", "brier", "ece"):
            assert f"<td>{c[key]:.3f}</td>" in text
        seen = [(b["count"], abs(b["accuracy"] - b["confidence"])) for b in c["curve"]]
        assert sum(count for count, _ in seen) == 300
        assert c["ece"] == pytest.approx(sum(count * gap for count, gap in seen) / 300)
    assert ("no site has up to 300 values" in text) == proper
    assert text.startswith("<!DOCTYPE html>") and "Calibration" in text


def test_what_cannot_be_diagnosed(tmp_path):
    page = ("--out", tmp_path / "page.html")
    run = invoke("diagnose", kept(tmp_path, "gaussian", {"data": "digits"}), *page, code=2)
    assert "does not say its method" in run.output
    run = invoke("diagnose", kept(tmp_path, "gaussian"), "--samples", 5, *page, code=2)
    assert "--samples 5" in run.output
    (tmp_path / "bad").write_bytes(b"nothing")
    assert "not a trained pair" in invoke("diagnose", tmp_path / "bad", *page, code=2).output
    with pytest.raises(ValueError, match="unknown method"):
        rebuild(kept(tmp_path, "gaussian", {"method": "x", "network": "y", "data": "digits"}), 5)


def test_calibration_is_on_data_that_chose_nothing(tmp_path):
    """The test part: the validation part has chosen the file."""
    data = bitsback.load_data("digits")
    small = bitsback.network("digits-mlp").eval()
    posterior = METHODS["deterministic"].pair(small, 1197)[1].posterior()
    part = (data.validation.x, data.validation.y)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = bitsback.compress(small, posterior, validation=part, clusters=8)
    result.save(tmp_path / "net.bb")
    options = ("--samples", 20, "--out", tmp_path / "p.html", "--json", tmp_path / "found.json")
    invoke("diagnose", kept(tmp_path, "gaussian"), "--compressed", tmp_path / "net.bb", *options)
    found = json.loads((tmp_path / "found.json").read_text())["calibration"]["compressed"]
    expected, other = (
        torch.nn.functional.cross_entropy(result.network(split.x), split.y).item()
        for split in (data.test, data.validation)
    )
    assert found["nll"] == pytest.approx(expected, rel=1e-4) != pytest.approx(other, rel=1e-4)
