"""An experiment: a TOML file that says which runs of `bitsback compress` make one table.

    title = "rate on LeNet-5-Caffe, distilled"
    chosen = "beta on validation errors of seeds 0 to 2"
    seeds = [100, 101, 102]

    [options]              # of every run, by the names of the command's options
    data = "mnist"
    network = "lenet-5-caffe"
    method = "rate"
    distill = true

    [sweep]                # optional: each combination of values is a row of the table
    beta = [0.65, 0.42]

    [start]                # optional: the runs of a seed start from one network
    epochs = 10
    shift = 1

    [[published]]          # optional: rows to compare with, by name, bytes or ratio, error, source
    name = "MIRACLE"
    bytes = 1520
    error = 0.96
    source = "Havasi et al. 2019, table 1"

Seeds below 100 are those on which settings are chosen. Tables leave them out.
"""

import itertools
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "experiments"
FRESH = 100  # the first seed that nothing is chosen on
_KEYS = {"title", "chosen", "seeds", "options", "sweep", "start", "published"}
_NEEDED = {"title", "chosen", "seeds", "options"}
_START = {"epochs", "shift"}
_PUBLISHED = {"name", "bytes", "ratio", "error", "source"}
_OPTIONS = {"data", "network", "method"}  # without which a row says too little


@dataclass(frozen=True)
class Run:
    """One run of the command.

    :param point: the swept options and their values, in the order of the file.
    :param options: all options of `bitsback compress`, those of the point included, but the seed.
    """

    experiment: str
    point: Mapping[str, Any]
    seed: int
    options: Mapping[str, Any]
    start: Mapping[str, int] | None

    @property
    def name(self) -> str:
        """Of its files, without a suffix: "beta-0.42-100"."""
        values = [f"{option}-{value}" for option, value in self.point.items()]
        return "-".join([*values, str(self.seed)])

    @property
    def configuration(self) -> dict[str, Any]:
        """All that says what the run is; two runs with the same one are the same."""
        start = None if self.start is None else dict(self.start)
        return {"options": dict(self.options), "seed": self.seed, "start": start}


@dataclass(frozen=True)
class Experiment:
    """See the module's docstring; `name` is that of the file."""

    name: str
    title: str
    chosen: str
    seeds: list[int]
    options: dict[str, Any]
    sweep: dict[str, list] = field(default_factory=dict)
    start: dict[str, int] | None = None
    published: list[dict] = field(default_factory=list)

    def points(self) -> Iterator[dict[str, Any]]:
        """The combinations of the swept values; one that is empty without a sweep."""
        for values in itertools.product(*self.sweep.values()):
            yield dict(zip(self.sweep, values, strict=True))

    def runs(self) -> list[Run]:
        """Seed by seed, so that an early end leaves whole columns."""
        return [
            Run(self.name, point, seed, self.options | point, self.start)
            for seed in self.seeds
            for point in self.points()
        ]


def names() -> list[str]:
    """Of all experiments."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def load(name: str, folder: Path = FOLDER) -> Experiment:
    """The experiment of that name.

    :raises ValueError: there is none, or its file says what the module's docstring does not have.
    """
    path = folder / f"{name}.toml"
    if not path.is_file():
        raise ValueError(f"unknown experiment {name!r}; known: {', '.join(names())}")
    try:
        found = tomllib.loads(path.read_text())
    except tomllib.TOMLDecodeError as error:
        raise ValueError(f"{path.name}: {error}") from None
    _check(path.name, found)
    return Experiment(name, **found)


def _check(file: str, found: dict) -> None:
    _check_keys(file, "the file", found, _KEYS, _NEEDED)
    options = found["options"].keys() | found.get("sweep", {}).keys()
    if missing := _OPTIONS - options:
        raise ValueError(f"{file}: options: must have {', '.join(sorted(missing))}")
    if twice := found["options"].keys() & found.get("sweep", {}).keys():
        raise ValueError(f"{file}: {', '.join(sorted(twice))}: is an option and is swept")
    if "seed" in options:
        raise ValueError(f"{file}: seed: give `seeds`, a list")
    seeds = found["seeds"]
    if not seeds or len(set(seeds)) < len(seeds) or not all(type(s) is int for s in seeds):
        raise ValueError(f"{file}: seeds: must be different whole numbers, not {seeds}")
    if "start" in found:
        _check_keys(file, "start", found["start"], _START, _START)
    for row in found.get("published", []):
        _check_keys(file, "published", row, _PUBLISHED, {"name", "source", "error"})


def _check_keys(file: str, part: str, found: dict, known: set, needed: set) -> None:
    if unknown := found.keys() - known:
        raise ValueError(
            f"{file}: {part}: unknown {', '.join(sorted(unknown))}; known: "
            f"{', '.join(sorted(known))}"
        )
    if missing := needed - found.keys():
        raise ValueError(f"{file}: {part}: must have {', '.join(sorted(missing))}")
