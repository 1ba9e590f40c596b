"""The folder `compression` never shadows the standard library's package (Python 3.14 on).

There `gzip`, `bz2` and `lzma` import `compression._common`. A process started at the root of the
checkout has the root first on its path; a folder without `__init__.py` loses even so against a
regular package further down the path, and that is why ours has none.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from .project import ROOT


def python(code: str, folder: Path) -> subprocess.CompletedProcess:
    """Run `code` in a process started in `folder`, which is first on its path."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONSAFEPATH"}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_imports_from_the_root():
    run = python("import sys; assert sys.path[0] == ''; import gzip, bz2, lzma", ROOT)
    assert run.returncode == 0, run.stderr


@pytest.fixture
def as_in_3_14(tmp_path) -> str:
    """Code that imports `compression` the way `gzip` does, with a stand-in for 3.14's library."""
    library = tmp_path / "library" / "compression"
    library.mkdir(parents=True)
    (library / "__init__.py").write_text("")
    (library / "_common.py").write_text("standard = True")
    return (
        "import sys; sys.modules.pop('compression', None)\n"
        f"sys.path = ['', {str(library.parent)!r}]\n"
        "from compression._common import standard"
    )


def test_checkout_does_not_shadow(as_in_3_14):
    run = python(as_in_3_14, ROOT)
    assert run.returncode == 0, run.stderr


def test_the_simulation_sees_a_regular_package(as_in_3_14, tmp_path):
    """The test above could fail: with an `__init__.py`, ours would win."""
    (tmp_path / "root" / "compression").mkdir(parents=True)
    (tmp_path / "root" / "compression" / "__init__.py").write_text("")
    run = python(as_in_3_14, tmp_path / "root")
    assert run.returncode != 0 and "No module named 'compression._common'" in run.stderr
