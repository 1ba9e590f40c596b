"""One line, written over, on terminals only."""

import io
import re

import pytest
from bitsback.training import progress
from bitsback.training.progress import ProgressLine, StatusLine
from rich.console import Console


def terminal(**options) -> Console:
    settings = {"force_terminal": True, "width": 80, "_environ": {"TERM": "xterm"}} | options
    return Console(file=io.StringIO(), **settings)


def shown(console: Console) -> list[str]:
    """What the line said, one entry each time it was written over."""
    return re.split(r"\r\x1b\[2K", console.file.getvalue())[1:]


@pytest.fixture
def clock(monkeypatch):
    """The time of day, in the test's hands: `clock[0]` in seconds."""
    now = [100.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_time_left(clock):
    console = terminal()
    line = ProgressLine(console, "train", 100)
    for step, seconds in ((1, 0), (11, 10), (51, 10), (100, 49)):
        clock[0] += seconds
        line.update(step, "KL 3 nats")
    line.close()
    assert shown(console) == [
        "train ·   1 % · KL 3 nats",
        "train ·  11 % · 1:29 left · KL 3 nats",
        "train ·  51 % · 0:20 left · KL 3 nats",
        "train · 100 % · 0:00 left · KL 3 nats\n",
    ]


def test_a_resumed_run_does_not_count_the_steps_before_it(clock):
    console = terminal()
    line = ProgressLine(console, "train", 1000)
    line.update(900, "")
    clock[0] += 10
    line.update(910, "")
    assert "1:30 left" in shown(console)[-1]


def test_at_most_ten_times_a_second_but_the_last_always(clock):
    console = terminal()
    line = ProgressLine(console, "train", 1000)
    for step in range(1, 1001):
        clock[0] += 0.001
        line.update(step, "")
    assert len(shown(console)) in (10, 11)
    assert shown(console)[-1].startswith("train · 100 %")


def test_hours(clock):
    console = terminal()
    line = ProgressLine(console, "train", 1000)
    line.update(0, "")
    clock[0] += 10
    line.update(1, "")
    assert "2:46:30 left" in shown(console)[-1]


def test_it_never_wraps():
    console = terminal(width=40)
    StatusLine(console, "compress").say("x" * 100)
    assert [len(text) for text in shown(console)] == [39]


@pytest.mark.parametrize(
    "console",
    [
        None,
        Console(file=io.StringIO(), force_terminal=False),
        terminal(quiet=True),
        terminal(_environ={"TERM": "dumb"}),
    ],
    ids=["none", "no terminal", "quiet", "dumb terminal"],
)
def test_silence(console):
    line = ProgressLine(console, "train", 2)
    line.update(1, "text")
    line.say("text")
    line.close()
    assert console is None or console.file.getvalue() == ""


def test_nothing_shown_nothing_closed():
    console = terminal()
    ProgressLine(console, "train", 2).close()
    assert console.file.getvalue() == ""
