"""Each example runs as a user would run it: by itself, from an empty folder."""

import ast
import re
import shlex
import shutil
import subprocess
import sys

import pytest

from .project import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# These take files that have to be downloaded; a test runs their --help alone.
NEED_FILES = [ROOT / "examples" / "cifar_resnet.py"]

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
        [*COMMAND, str(path), *(["--help"] if path in NEED_FILES else [])],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr


def commands(path) -> list[list[str]]:
    """The `bitsback` commands in an example's docstring, which follow its script."""
    text = ast.get_docstring(ast.parse(path.read_text())).replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^ +bitsback (.*)$", text, re.MULTILINE)]


WITH_COMMANDS = [path for path in EXAMPLES if commands(path)]


def test_stories_have_commands():
    assert len(WITH_COMMANDS) == 7


@pytest.mark.slow  # a training for each command
@pytest.mark.parametrize("path", WITH_COMMANDS, ids=lambda path: path.stem)
def test_commands_run(path, tmp_path):
    """On the files that the script has written, in its folder."""
    shutil.copy(path, tmp_path)
    scripts = [[path.name], *(["-m", "bitsback", *command] for command in commands(path))]
    for script in scripts:
        run = subprocess.run(
            [*COMMAND, *script], cwd=tmp_path, capture_output=True, text=True, timeout=600
        )
        assert run.returncode == 0, run.stderr
