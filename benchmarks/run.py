"""Runs an experiment: every seed of every point, each kept in a JSON file of its own.

    python -m benchmarks.run EXPERIMENT [--work DIR] [--data-dir DIR] [--jobs N] [--ray]
        [--seeds 0 1 2]

Runs whose JSON is in benchmarks/results/runs are skipped. Interrupted ones go on from their last
checkpoint in DIR. A run has one thread. By default there is one run a core at a time, with --ray
one a CPU of a Ray cluster. `python -m benchmarks.tables` makes tables of the results.
"""

import argparse
from dataclasses import replace
from pathlib import Path

from bitsback.diagnostics.engines import each
from bitsback.training.progress import ProgressLine
from rich.console import Console

from .experiment import Run, load
from .one_run import Failed, Worker, is_done


def run(
    name: str, worker: Worker, *, engine: str = "processes", jobs: int | None = None,
    seeds: list[int] | None = None, console: Console | None = None,
) -> int:  # fmt: skip
    """Do what is left of an experiment.

    :param seeds: instead of those of its file; for choosing settings, say.
    :param console: for one progress line, and a line for each finished run.
    :returns: how many runs were done.
    :raises ValueError: for an experiment that there is not, or results of other options.
    :raises Failed: a run has failed. The others that were done are kept.
    """
    experiment = load(name)
    runs = replace(experiment, seeds=seeds or experiment.seeds).runs()
    left = [one for one in runs if not is_done(one, worker.results)]
    line = ProgressLine(console, name, len(runs))
    done = len(runs) - len(left)
    line.update(done, f"{done} of {len(runs)} runs are done")
    try:
        for one, found in each(worker, left, engine, jobs):
            done += 1
            line.update(done, f"{done} of {len(runs)} runs; {_said(one, found)}")
    finally:
        line.close()
    return len(left)


def _said(one: Run, found: dict) -> str:
    figures = found["figures"]
    return f"{one.name}: {figures['bytes']:,} bytes, test error {figures['test_error']:.2f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("experiment")
    parser.add_argument("--work", type=Path, default=Path("build/runs"), help="files, checkpoints")
    parser.add_argument("--data-dir", type=Path, help="where data sets are")
    parser.add_argument("--jobs", type=int, help="runs at a time; default: one a core")
    parser.add_argument("--seeds", type=int, nargs="+", help="instead of the experiment's own")
    parser.add_argument("--ray", action="store_true", help="spread the runs over a Ray cluster")
    options = parser.parse_args()
    worker = Worker(options.work.absolute(), options.data_dir and options.data_dir.absolute())
    engine = "ray" if options.ray else "processes"
    try:
        console = Console(stderr=True)
        count = run(
            options.experiment, worker, engine=engine, jobs=options.jobs, seeds=options.seeds,
            console=console,
        )  # fmt: skip
    except (ValueError, Failed) as error:
        parser.exit(2, f"error: {error}\n")
    print(f"{options.experiment}: {count} runs done, the others were there")


if __name__ == "__main__":
    main()
