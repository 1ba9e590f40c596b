"""benchmarks/experiment.py: the runs that a file means, and files that make no sense."""

import sys

import pytest

from ..project import ROOT

sys.path.append(str(ROOT))  # at the end: `benchmarks` is nobody else's name
from benchmarks.experiment import load, names

GOOD = """
title = "a"
chosen = "nothing"
seeds = [100, 101]
[options]
data = "digits"
network = "digits-mlp"
method = "rate"
[sweep]
beta = [0.1, 0.2]
"""


def loaded(folder, text):
    (folder / "a.toml").write_text(text)
    return load("a", folder)


def test_runs_are_all_points_seed_by_seed(tmp_path):
    runs = loaded(tmp_path, GOOD).runs()
    assert [run.name for run in runs] == [
        "beta-0.1-100", "beta-0.2-100", "beta-0.1-101", "beta-0.2-101"
    ]  # fmt: skip
    assert runs[1].options["beta"] == 0.2 and runs[1].options["method"] == "rate"


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("[100, 101]", "[100, 100]", "seeds: must be different whole numbers"),
        ('method = "rate"', "", "options: must have method"),
        ('title = "a"', "", "must have title"),
        ('title = "a"', 'titel = "a"\ntitle = "a"', "unknown titel; known: chosen"),
        ('method = "rate"', 'method = "rate"\nbeta = 1', "beta: is an option and is swept"),
        ('method = "rate"', 'method = "rate"\nseed = 1', "seed: give `seeds`"),
        ("[sweep]", "[start]\nepochs = 3\n[sweep]", "start: must have shift"),
        ("[sweep]", "[[sweep]", "a.toml: "),
    ],
)
def test_what_is_refused(tmp_path, old, new, said):
    with pytest.raises(ValueError, match=r"a\.toml") as error:
        loaded(tmp_path, GOOD.replace(old, new))
    assert said in str(error.value)


def test_an_unknown_name_says_which_there_are():
    with pytest.raises(ValueError, match=r"unknown experiment 'none'; known: .*digits"):
        load("none")


@pytest.mark.parametrize("name", names())
def test_those_that_are_kept_make_sense(name):
    found = load(name)
    assert len({run.name for run in found.runs()}) == len(found.runs()) > 2
    assert min(found.seeds) >= 100
