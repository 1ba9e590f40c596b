"""What every results file says of its making: the command, the commit and the machine."""

import platform
import subprocess
import sys
from pathlib import Path

import torch

# Paths of the machine that ran it are of no use on another.
FOLDERS = {
    "--peers": "PYTHON",
    "--work": "DIR",
    "--json": "FILE",
    "--weights": "FILE",
    "--data-dir": "DIR",
    "--nncodec": "PYTHON",
}


def commit() -> str:
    """The checkout's commit; "-dirty" behind it if tracked files are not as it has them."""
    command = ["git", "describe", "--always", "--dirty"]
    folder = Path(__file__).parent
    return subprocess.run(command, capture_output=True, text=True, cwd=folder).stdout.strip()


def made_by(command: str | None = None) -> dict[str, str]:
    """The first entries of a results file.

    :param command: default: that of this process.
    """
    threads = torch.get_num_threads()
    machine = platform.processor() or platform.machine()
    return {
        "command": command or _command(Path(sys.argv[0]).name, sys.argv[1:]),
        "commit": commit(),
        "torch": torch.__version__,
        "machine": f"{machine}, {threads} thread{'s' if threads > 1 else ''}",
    }


def _command(script: str, arguments: list[str]) -> str:
    before = [None, *arguments][: len(arguments)]
    shown = [FOLDERS.get(b, a) for b, a in zip(before, arguments, strict=True)]
    return " ".join(["python", f"benchmarks/{script}", *shown])
