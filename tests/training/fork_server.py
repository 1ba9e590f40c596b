"""Runs `bitsback` in forked children, so that a test can kill many without paying for imports.

Reads one JSON object a line: `argv`, `cwd`, and optionally `kill`: [what, count], which makes the
child kill itself with SIGKILL just before its count-th call of `what` (see `PLACES`). Answers with
the child's process number, and, when it has ended, with its exit status (negative: the signal).
"""

import json
import os
import signal
import sys
from tempfile import TemporaryDirectory

import torch
from bitsback.training.steps import EagerStep
from bitsback.workbench.cli import app

PLACES = {
    "fsync": (os, "fsync"),
    "replace": (os, "replace"),
    "step": (EagerStep, "__call__"),
    "half step": (torch.optim.Adam, "step"),
}


def kill_at(what: str, count: int) -> None:
    """Wrap a function so that this process does not survive its count-th call."""
    owner, name = PLACES[what]
    original, calls = getattr(owner, name), iter(range(1, count + 1))

    def wrapped(*arguments, **options):
        if next(calls, None) == count:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, wrapped)


def child(job: dict) -> None:
    """Do one run, and exit with its code."""
    code = 1
    try:
        os.chdir(job["cwd"])
        if "kill" in job:
            kill_at(*job["kill"])
        app(job["argv"], prog_name="bitsback")
    except SystemExit as end:
        code = end.code or 0
    finally:
        sys.stderr.flush()
        os._exit(code)


def serve() -> None:
    with TemporaryDirectory() as folder:  # one run here, so that all that is loaded late is there
        run = ("compress", "--epochs", "1", "--pretrain-epochs", "1", "--quiet", "--threshold", "0")
        app([*run, "--out", f"{folder}/net.bb"], standalone_mode=False)
    print("ready", flush=True)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            child(json.loads(line))
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    serve()
