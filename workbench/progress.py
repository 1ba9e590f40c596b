"""One progress line with the time left, on a terminal only."""

import time

from rich.console import Console


class ProgressLine:
    """A line that is written over in place, and nothing at all where there is no terminal.

    :param console: where to; None for silence.
    :param total: number of steps in all.
    :param title: what is under way.
    """

    def __init__(self, console: Console | None, total: int, title: str):
        self.console = console if console is not None and console.is_terminal else None
        self.total, self.title = total, title
        self._began, self._first, self._shown = time.monotonic(), None, 0.0

    def update(self, step: int, text: str) -> None:
        """Show `text` after the share done and the time left; at most ten times a second."""
        now = time.monotonic()
        if self._first is None:
            self._first, self._began = step, now
        if self.console is None or (now - self._shown < 0.1 and step < self.total):
            return
        self._shown = now
        done = step - self._first
        left = (now - self._began) / done * (self.total - step) if done else None
        eta = "" if left is None else f" · {_duration(left)} left"
        line = f"{self.title} {100 * step / self.total:3.0f} %{eta} · {text}"
        self.console.file.write("\r\x1b[2K" + line[: self.console.width - 1])
        self.console.file.flush()

    def close(self) -> None:
        """End the line."""
        if self.console is not None and self._shown:
            self.console.file.write("\n")
            self.console.file.flush()


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}" if hours else f"{minutes}:{seconds:02}"
