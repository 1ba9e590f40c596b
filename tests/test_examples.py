"""Each example runs as a user would run it: by itself, from an empty folder."""

import subprocess
import sys

import pytest

from .project import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))

# ArviZ 0.23 says once a day, where it is imported first, that 1.0 will be another.
COMMAND = [
    *(sys.executable, "-P", "-W", "error", "-W", "ignore::FutureWarning:arviz"),
    *("-W", "ignore:the posterior means are worse"),  # their trainings are short: it is true
]


def test_there_are_some():
    assert EXAMPLES


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_runs(path, tmp_path):
    """The examples are small and assert what they claim."""
    run = subprocess.run(
        [*COMMAND, str(path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
