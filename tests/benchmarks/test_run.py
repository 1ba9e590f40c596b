"""benchmarks/run.py and tables.py on a real run of a second: kept, skipped, and in a table."""

import hashlib
import json
import sys

import pytest

from ..project import ROOT

sys.path.append(str(ROOT))
from benchmarks import experiment, one_run, tables
from benchmarks import run as runner

TEXT = """
title = "A short one"
chosen = "nothing"
seeds = [100]
[options]
data = "digits"
network = "digits-mlp"
method = "magnitude"
epochs = 1
pretrain_epochs = 2
effort = 1
[[published]]
name = "Theirs"
ratio = 64
error = 1.94
source = "a paper"
"""


@pytest.fixture
def short(tmp_path, monkeypatch):
    (tmp_path / "short.toml").write_text(TEXT)
    monkeypatch.setattr(runner, "load", lambda name: experiment.load(name, tmp_path))
    return one_run.Worker(tmp_path / "work", results=tmp_path / "results")


def test_a_run_is_kept_and_not_done_again(short, tmp_path):
    assert runner.run("short", short, engine="here") == 1
    found = json.loads((tmp_path / "results" / "short" / "100.json").read_text())
    data = (tmp_path / "work" / "short" / "100.bb").read_bytes()
    assert found["sha256"] == hashlib.sha256(data).hexdigest()
    assert found["figures"]["bytes"] == len(data)
    assert str(tmp_path) not in json.dumps(found)
    assert runner.run("short", short, engine="here") == 0
    (tmp_path / "short.toml").write_text(TEXT.replace("epochs = 1", "epochs = 3"))
    with pytest.raises(ValueError, match=r"short/100.json: is of a run with other options"):
        runner.run("short", short, engine="here")


def test_a_run_that_fails_says_why(short, tmp_path):
    (tmp_path / "short.toml").write_text(TEXT.replace('"magnitude"', '"magnet"'))
    with pytest.raises(one_run.Failed, match=r"short/100: exit code 2: error: unknown method"):
        runner.run("short", short, engine="here")


def made_up(size: int, seed: int) -> dict:
    figures = {
        "method": "magnitude", "bytes": size, "ratio": 8000 / size, "float32_bytes": 8000,
        "test_error_before": 1.0, "test_error": 2.0 + seed % 2, "nonzero_fraction": 0.01,
        "compression": {"within_margin": seed != 102},
    }  # fmt: skip
    return {
        "configuration": {"seed": seed}, "point": {}, "published_bytes": 400, "commit": "abc",
        "machine": "one", "figures": figures,
    }  # fmt: skip


def test_rows_are_means_over_fresh_seeds_with_the_worst(short, tmp_path):
    folder = tmp_path / "results" / "short"
    folder.mkdir(parents=True)
    for size, seed in ((100, 100), (200, 101), (300, 102), (9, 0)):
        (folder / f"{seed}.json").write_text(json.dumps(made_up(size, seed)))
    found = experiment.load("short", tmp_path)
    runs = tables.runs_of(found, tmp_path / "results")
    text = tables.page(found, runs)
    assert (
        "| magnitude | 200 ± 100 | 49 ± 28 | 20 ± 0 | 1.00 ± 0.00 | 2.33 ± 0.58 | 3.00 | "
        "1.00 ± 0.00 | 2 of 3 |"
    ) in text
    assert "| Theirs (a paper) |  |  | 64 |  | 1.94 |  |  |  |" in text
    assert "| magnitude (2 runs) | 150 |" in tables.page(found, runs[:2])


def test_pages_are_those_of_the_results(tmp_path):
    """The committed pages of docs/results hold the committed figures."""
    for name in tables.write(experiment.names(), tmp_path):
        assert (tables.OUT / f"{name}.md").read_text() == (tmp_path / f"{name}.md").read_text()
