"""How errors look that a user of the `bitsback` command can cause: one line and an exit code."""

import functools
import os
import sys
from collections.abc import Callable, Mapping

import typer

from ..training.errors import CheckFailed
from .errors import CORRUPT_FILE, FAILED_CHECK, INTERRUPTED, USAGE
from .printable import printable


def one_line(command: Callable[..., None]) -> Callable[..., None]:
    """Turn what a user can cause into one line on stderr and an exit code.

    BITSBACK_TRACEBACK=1 shows the traceback instead.
    """

    @functools.wraps(command)
    def guarded(**options: object) -> None:
        try:
            command(**options)
        except KeyboardInterrupt:
            _fail(_how_to_resume(options), INTERRUPTED)
        except BrokenPipeError:
            raise  # `bitsback inspect ... | head`: typer ends silently
        except (ValueError, OSError, CheckFailed, ArithmeticError, MemoryError) as error:
            if os.environ.get("BITSBACK_TRACEBACK") == "1":
                raise
            _fail(f"error: {_message(error)}", _exit_code(error))

    return guarded


def _fail(message: str, code: int) -> None:
    print(message, file=sys.stderr)
    raise typer.Exit(code)


def _exit_code(error: Exception) -> int:
    from ..compression.errors import CorruptFile

    if isinstance(error, CorruptFile):
        return CORRUPT_FILE
    return FAILED_CHECK if isinstance(error, CheckFailed | ArithmeticError) else USAGE


def _message(error: Exception) -> str:
    """The message of an error on one line; for the system's own errors, file first."""
    text = str(error)
    if isinstance(error, MemoryError):
        text = f"not enough memory{': ' * bool(text)}{text}; give fewer data, or smaller batches"
    if isinstance(error, OSError) and error.strerror:
        text = f"{error.filename}: {error.strerror}" if error.filename else error.strerror
    return printable(" ".join(text.split())) or type(error).__name__


def _how_to_resume(options: Mapping[str, object]) -> str:
    if "resume" not in options:
        return "interrupted; nothing was written"
    if (folder := options["resume"]) is None:
        return (
            "interrupted; nothing was kept (--resume DIR keeps checkpoints and goes on from them)"
        )
    return f"interrupted; to go on, run the same command again with --resume {folder}"
