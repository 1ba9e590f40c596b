"""One run of an experiment: the command, its file, and a JSON of all that it found."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bitsback.compression.atomic import write_atomic
from bitsback.training import Options

from .common_start import start_of
from .counts import other_counts
from .experiment import Run
from .record import made_by

RESULTS = Path(__file__).parent / "results" / "runs"


class Failed(RuntimeError):
    """A run's command has failed; the message is its last line."""


def result_file(run: Run, results: Path = RESULTS) -> Path:
    """Where the run's JSON is, or will be."""
    return results / run.experiment / f"{run.name}.json"


def is_done(run: Run, results: Path = RESULTS) -> bool:
    """Whether the run's JSON is there.

    :raises ValueError: it is, but of a run with other options.
    """
    path = result_file(run, results)
    if not path.exists():
        return False
    if json.loads(path.read_text())["configuration"] != run.configuration:
        raise ValueError(
            f"{run.experiment}/{path.name}: is of a run with other options: give the experiment "
            "another name, so that both results stay"
        )
    return True


@dataclass(frozen=True)
class Worker:
    """Does runs; can be sent to other processes.

    :param work: folder for files, checkpoints and logs.
    :param data_dir: where data sets are, or None: see `bitsback compress --data-dir`.
    :param results: folder of the runs' JSON files.
    """

    work: Path
    data_dir: Path | None = None
    results: Path = RESULTS

    def __call__(self, run: Run) -> dict[str, Any]:
        """The run's JSON, as it is written.

        :raises Failed: the command failed.
        """
        began = time.monotonic()
        stem = self.work / run.experiment / run.name
        stem.parent.mkdir(parents=True, exist_ok=True)
        out, figures = Path(f"{stem}.bb"), Path(f"{stem}.json")
        command = ["bitsback", "compress", *arguments(run.options), "--seed", str(run.seed)]
        command += ["--threads", "1"]
        files = {"--resume": f"{stem}.run", "--out": out, "--json": figures}
        if self.data_dir is not None:
            files["--data-dir"] = self.data_dir
        if run.start is not None:
            files["--weights"] = self.started(run)
        given = [str(part) for pair in files.items() for part in pair]
        log = Path(f"{stem}.log")
        with log.open("w") as lines:
            done = subprocess.run(
                [sys.executable, "-m", *command, *given], stderr=lines, stdout=lines
            )
        if done.returncode:
            last = (log.read_text().splitlines() or ["no output"])[-1]
            raise Failed(f"{run.experiment}/{run.name}: exit code {done.returncode}: {last}")
        found = self._found(run, command, out, json.loads(figures.read_text()))
        found["seconds_with_what_was_resumed"] = round(time.monotonic() - began, 1)
        path = result_file(run, self.results)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, (json.dumps(found, indent=1) + "\n").encode())
        return found

    def _found(self, run: Run, command: list[str], out: Path, figures: dict) -> dict[str, Any]:
        del figures["file"]  # a path of the machine that ran it
        for layer in figures["compression"]["layers"]:
            layer.pop("parts", None)  # long, and `bitsback inspect` says them
        data = out.read_bytes()
        return {
            "configuration": run.configuration,
            "point": dict(run.point),
            **made_by(" ".join(command)),
            "sha256": hashlib.sha256(data).hexdigest(),
            **other_counts(data),
            "figures": figures,
        }

    def started(self, run: Run) -> Path:
        """The network that all runs of a seed start from."""
        network, data = run.options["network"], run.options["data"]
        epochs, shift = run.start["epochs"], run.start["shift"]
        path = self.work / f"{data}-{network}-{epochs}-{run.seed}.safetensors"
        budget = Options(epochs=epochs, seed=run.seed, shift=shift)
        return start_of(path, network, data, budget, self.data_dir)


def arguments(options: Mapping[str, Any]) -> list[str]:
    """Options by name as the command takes them: True is a bare flag, False none at all."""
    found = []
    for name, value in options.items():
        flag = f"--{name.replace('_', '-')}"
        if value is True:
            found.append(flag)
        elif value is not False:
            found += [flag, str(value)]
    return found
