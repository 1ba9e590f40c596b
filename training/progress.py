"""One line that says how far a phase of the work is, on a terminal only."""

import time

from rich.console import Console

from ..common.durations import duration


class StatusLine:
    """A line that is written over in place, and nothing at all where there is no terminal.

    :param console: where to; None for silence.
    :param title: what is under way.
    """

    def __init__(self, console: Console | None, title: str):
        shown = console is not None and console.is_terminal and not console.is_dumb_terminal
        # What is written to its file directly does not heed a console's `quiet`.
        self.console = console if shown and not console.quiet else None
        self.title = title
        self._open = False

    def say(self, text: str) -> None:
        """Show `text` after the title."""
        if self.console is None:
            return
        line = f"{self.title} · {text}"
        self.console.file.write("\r\x1b[2K" + line[: self.console.width - 1])
        self.console.file.flush()
        self._open = True

    def close(self) -> None:
        """End the line."""
        if self._open:
            self.console.file.write("\n")
            self.console.file.flush()
            self._open = False


class ProgressLine(StatusLine):
    """A line with the share of the work that is done, and the time left.

    :param total: number of steps in all.
    """

    def __init__(self, console: Console | None, title: str, total: int):
        super().__init__(console, title)
        self.total = total
        self._began, self._first, self._shown = 0.0, None, float("-inf")

    def update(self, step: int, text: str) -> None:
        """Show `text` after the share done and the time left; at most ten times a second."""
        now = time.monotonic()
        if self._first is None:  # steps done before, by the run that this one resumes, took no time
            self._first, self._began = step, now
        if now - self._shown < 0.1 and step < self.total:
            return
        self._shown = now
        done = step - self._first
        left = (now - self._began) / done * (self.total - step) if done else None
        eta = "" if left is None else f" · {duration(left)} left"
        self.say(f"{100 * step / self.total:3.0f} %{eta} · {text}")
