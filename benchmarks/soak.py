"""The soak: millions of hostile files, each refused with a typed error or read within its limits.

    python benchmarks/soak.py --inputs 10000000 --seed 0 --json FILE [--seconds S]

Goes on from FILE if it is there; if that is of another commit, the slowest input so far is read
again, and `commits` has both. Each input is decoded and itemised; what is accepted becomes a
network, which predicts one input. Every `BOTH`-th input is read through compiled and plain loops,
which must agree. FILE counts inputs by kind and by outcome, and names the slowest input, the one
that took the most memory, and every crash, by number and in hex. The exit code is 1 if there is
any crash.
"""

import argparse
import json
import re
import resource
import time
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import hostile
import torch
from bitsback.compression import codec, file, range_coder
from bitsback.compression.architecture import Architecture
from bitsback.compression.errors import CorruptFile
from record import made_by
from torch import nn

BOTH = 40  # inputs of which one is read in both ways
SAVE = 60.0  # seconds between looks at the disk
START = {"inputs": 0, "repaired": 0, "seconds": 0.0, "read_both_ways": 0}


class Compiled(range_coder.Stream):
    """A stream that always runs compiled loops."""

    def __init__(self, data: bytes | None = None) -> None:
        super().__init__(data, compiled=True)


class Plain(range_coder.Stream):
    """A stream that never does."""

    def __init__(self, data: bytes | None = None) -> None:
        super().__init__(data, compiled=False)


def read(data: bytes, stream: type = range_coder.Stream) -> tuple[str, Any]:
    """How reading ends: "accepted" and the archive, or the error without its numbers and names."""
    usual = codec.CODERS["range"]
    codec.CODERS["range"] = (stream, usual[1])
    try:
        return "accepted", file.decode(data)
    except CorruptFile as error:
        words = re.sub(r"'.*'|\".*\"|-?[\d.e+]*\d|inf", "N", str(error))
        return f"{type(error).__name__}: {words}"[:100], None
    finally:
        codec.CODERS["range"] = usual


def used(archive: Any, data: bytes) -> str:
    """What becomes of an accepted file."""
    file.inspect(data)
    architecture: Architecture = archive.architecture
    if architecture.root is None:
        return "accepted, by its tensors"
    net = file.network(archive)
    try:
        with torch.no_grad():
            net(example(net))
    except Exception:  # whatever torch raises for an input that does not fit
        return "accepted, for other inputs"
    return "accepted, and predicts"


def example(net: nn.Module) -> torch.Tensor:
    """An input that the first layer takes, if a guess is good enough."""
    for module in net.modules():
        if isinstance(module, nn.Linear):
            return torch.zeros(1, module.in_features)
        if isinstance(module, nn.Conv1d):
            return torch.zeros(1, module.in_channels, 28)
        if isinstance(module, nn.Conv2d):
            return torch.zeros(1, module.in_channels, 28, 28)
    return torch.zeros(1, 1, 28, 28)


def one(state: dict[str, Any], seed: int, number: int, files: list[hostile.File]) -> None:
    """Read one input and count it."""
    kind, data = hostile.hostile(seed, number, files)
    before, start = memory(), time.process_time()
    try:
        outcome, archive = read(data)
        if archive is not None:
            outcome = used(archive, data)
        if kind == "unchanged" and archive is None:
            raise AssertionError(f"a good file is refused: {outcome}")
        seconds, more = time.process_time() - start, memory() - before
        if number % BOTH == 0:
            state["read_both_ways"] += 1
            agree(data)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        outcome = "crash"
        said = f"{type(error).__name__}: {error}"
        state["crashes"].append({"input": number, "error": said, "hex": data.hex()})
        seconds, more = time.process_time() - start, memory() - before
    state["kinds"][kind] = state["kinds"].get(kind, 0) + 1
    state["outcomes"][outcome] = state["outcomes"].get(outcome, 0) + 1
    state["repaired"] += kind != "checksum"
    if seconds > state["slowest"]["seconds"]:
        state["slowest"] = {"input": number, "seconds": seconds, "bytes": len(data)}
        state["slowest"]["hex"] = data.hex()
    if more > state["largest"]["mebibytes"]:
        state["largest"] = {"input": number, "mebibytes": more, "bytes": len(data)}
        state["largest"]["hex"] = data.hex()


def agree(data: bytes) -> None:
    """Both ways of reading must end alike."""
    (said, compiled), (also, plain) = (read(data, stream) for stream in (Compiled, Plain))
    if said != also:
        raise AssertionError(f"compiled {said}, plain {also}")
    if compiled is not None and codec.encode(compiled) != codec.encode(plain):
        raise AssertionError("compiled and plain loops read different networks")


def memory() -> float:
    """The most that the process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load_everything() -> None:
    """Import and compile what reading needs, so that no input is charged with it."""
    for source in hostile.sources(0, 0):
        for stream in (Compiled, Plain):
            archive = read(source.data(), stream)[1]
            if archive.architecture.root is not None:
                used(archive, source.data())


def again(slowest: dict[str, Any]) -> None:
    """Read the slowest input of another commit, as `one` does."""
    data = bytes.fromhex(slowest["hex"])
    start = time.process_time()
    archive = read(data)[1]
    if archive is not None:
        used(archive, data)
    slowest["seconds"] = time.process_time() - start


def begin(path: Path, seed: int) -> dict[str, Any]:
    if path.exists():
        state = json.loads(path.read_text())
        if state["seed"] != seed:
            raise SystemExit(f"{path} is of seed {state['seed']}")
        state.setdefault("commits", [state["commit"]])
        if made_by()["commit"] not in state["commits"]:
            state["commits"].append(made_by()["commit"])
            again(state["slowest"])
        return state
    least = {"input": None, "seconds": 0.0, "mebibytes": 0.0}
    lists = {"kinds": {}, "outcomes": {}, "crashes": [], "slowest": least, "largest": least}
    return {**made_by(), "seed": seed, **START, **lists}


def save(state: dict[str, Any], path: Path) -> None:
    state["outcomes"] = dict(Counter(state["outcomes"]).most_common())
    state["share_repaired"] = state["repaired"] / max(state["inputs"], 1)
    state["peak_mebibytes"] = max(memory(), state.get("peak_mebibytes", 0.0))
    path.write_text(json.dumps(state, indent=2) + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    load_everything()
    state = begin(given.json, given.seed)
    start = saved = time.monotonic()
    earlier, block, files = state["seconds"], -1, []
    state.setdefault("mebibytes_at_the_start", memory())
    while state["inputs"] < given.inputs and time.monotonic() - start < given.seconds:
        number = state["inputs"]
        if number // hostile.BLOCK != block:
            block = number // hostile.BLOCK
            files = hostile.sources(given.seed, block) + hostile.references()
        one(state, given.seed, number, files)
        state["inputs"] += 1
        state["seconds"] = earlier + time.monotonic() - start
        if time.monotonic() - saved > SAVE:
            save(state, given.json)
            saved = time.monotonic()
    save(state, given.json)
    raise SystemExit(1 if state["crashes"] else 0)


if __name__ == "__main__":
    main()
