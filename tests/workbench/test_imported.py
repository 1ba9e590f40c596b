"""Code that the user names is imported, and what cannot be says so in one line."""

import sys

import pytest
from bitsback.workbench.imported import called, imported

SOURCE = """
import dataclasses
import helper

@dataclasses.dataclass
class Shape:
    width: int = 3

def build(width=4):
    return helper.double(width)

def broken():
    raise RuntimeError("no such layer\\nmore lines")

VALUE = 3
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a file of the user's and a module that it imports; searched for this test."""
    monkeypatch.setattr("sys.path", [*sys.path])
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(SOURCE)
    (tmp_path / "helper.py").write_text("def double(x):\n    return 2 * x\n")
    monkeypatch.delitem(sys.modules, "helper", raising=False)
    return tmp_path


def test_of_a_file_and_of_a_module(folder):
    assert imported("mine.py:build", "--model")() == 8
    assert imported(f"{folder}/mine.py:Shape", "--model")().width == 3
    assert imported("helper:double", "--model")(5) == 10
    assert called(imported("mine.py:build", "--model"), "x", "--model", {"width": 1}) == 2
    assert called(imported("mine.py:build", "--model"), "x", "--model", [7]) == 14


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("mine.py", r"--model mine.py: must be FILE.py:NAME or MODULE:NAME"),
        (":build", "must be FILE.py:NAME"),
        ("none.py:build", "none.py: there is no such file"),
        ("no_such_module:build", "does not import .ModuleNotFoundError: No module named"),
        ("mine.py:make", "mine.py has no 'make'; it has Shape, build, broken"),
        ("bad.py:make", "bad.py: does not import .ValueError: at once"),
    ],
)
def test_what_cannot_be_imported(name, message, folder):
    (folder / "bad.py").write_text("raise ValueError('at once')")
    with pytest.raises(ValueError, match=message):
        imported(name, "--model")


def test_what_cannot_be_called(folder):
    with pytest.raises(ValueError, match=r"--model x: raised RuntimeError: no such layer$"):
        called(imported("mine.py:broken", "--model"), "x", "--model")
    with pytest.raises(ValueError, match="--model x: raised TypeError"):
        called(imported("mine.py:build", "--model"), "x", "--model", {"depth": 1})
    with pytest.raises(ValueError, match="is a int; name a function or a class"):
        called(imported("mine.py:VALUE", "--model"), "x", "--model")
