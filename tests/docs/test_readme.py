"""The README is short, and what it shows is so."""

import re
import subprocess
import sys

from ..project import ROOT

README = (ROOT / "README.md").read_text()
MOST_WORDS = 600


def prose(text: str) -> str:
    """What is read: no code, no comments, no addresses of links, no drawing of tables."""
    for pattern in (r"```.*?```", r"<!--.*?-->", r"\]\([^)]*\)", r"[|\[!#*`]|---"):
        text = re.sub(pattern, " ", text, flags=re.DOTALL)
    return text


def test_it_is_short():
    assert len(prose(README).split()) <= MOST_WORDS


def test_its_python_runs(tmp_path):
    """As a script of a user's own, with fewer epochs and a quick search."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    for long, short in (
        ("epochs=100", "epochs=3"),
        ("validation=validation)", "validation=validation, effort=1)"),
    ):
        assert code.count(long) == 1
        code = code.replace(long, short)
    ending = "\nassert small(data.test.x).shape == (300, 10)\n"
    (tmp_path / "readme.py").write_text(code + ending)
    run = subprocess.run(
        [sys.executable, "-P", "-W", "ignore", "readme.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "net.bb").is_file()


def test_its_ten_lines():
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in code.splitlines() if line.strip()]) <= 12


def test_ci_finds_its_commands():
    """`.ci/run` runs the line below each mark."""
    for mark in ("the main job", "the tests"):
        (block,) = re.findall(
            rf"^<!-- {mark} -->\n```sh\n(.*?)```$", README, re.DOTALL | re.MULTILINE
        )
        assert len(block.strip().splitlines()) == 1


def test_the_first_lines_have_the_record():
    """The promise is the first row of the table of results."""
    first = README[: README.index("![")]
    row = next(line for line in README.splitlines() if line.startswith("| [LeNet-5-Caffe"))
    original, size, _, error = (cell.strip() for cell in row.split("|")[3:7])
    assert f"**{size} bytes**" in first and f"{error} %" in " ".join(first.split())
    times = int(original.replace(",", "")) / float(size.split()[0])
    assert f"{times:,.0f} times smaller" in " ".join(first.split())
