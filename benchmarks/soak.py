"""The soak: millions of hostile files, each refused with a typed error or read within its limits.

    python benchmarks/soak.py --inputs 10000000 --seed 0 --json FILE [--seconds S] [--jobs N]
    python benchmarks/soak.py --seed 0 --input K

Each input is decoded by compiled loops. Every `BOTH`-th is read by plain loops too, which must
agree. Of those accepted, every `USE`-th is itemised and becomes a network, which predicts one
input. An input is a function of the seed and its number: the second form reads one input again.

Goes on from FILE if it is there, block by block; `commits` has all commits that took part. FILE
counts inputs by kind and by outcome, and names the slowest input, the one that took the most
memory, and every crash, by number and in hex. The exit code is 1 if there is any crash.
"""

import argparse
import json
import re
import resource
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from functools import lru_cache, partial
from itertools import count
from pathlib import Path
from typing import Any
from unittest import mock

import hostile
import torch
from bitsback.compression import codec, file, range_coder
from bitsback.compression.context import Model
from bitsback.compression.errors import CorruptFile
from bitsback.compression.fast.coder import FastStream
from bitsback.compression.fast.model import FastModel, TwoStreams
from bitsback.compression.packed import fast_integers, integers, small
from bitsback.compression.packed.reader import PackedReader
from bitsback.graph import GraphNetwork
from record import made_by
from torch import nn

BOTH = 100  # inputs of which one is read in both ways
USE = 5  # inputs of which one is used, if it is accepted
SAVE = 60.0  # seconds between looks at the disk
BATCH = 2  # of the input that a network predicts
COUNTS = ("inputs", "repaired", "read_both_ways", "used")
LISTS = ("kinds", "outcomes")
WORST = {"slowest": "seconds", "largest": "mebibytes"}


class Compiled(range_coder.Stream):
    """A stream that always runs compiled loops."""

    def __init__(self, data: bytes | None = None) -> None:
        super().__init__(data, compiled=True)


class Plain(range_coder.Stream):
    """A stream that never does."""

    def __init__(self, data: bytes | None = None) -> None:
        super().__init__(data, compiled=False)


class CompiledTwo(TwoStreams):
    """Both streams of the profile fast, compiled."""

    kinds = (Compiled, partial(FastStream, compiled=True))


class PlainTwo(TwoStreams):
    """Both as plain Python."""

    kinds = (Plain, partial(FastStream, compiled=False))


def read(data: bytes, stream: type = Compiled) -> tuple[str, Any]:
    """How reading ends: "accepted" and the archive, or the error without its numbers and names.

    Of a packed checkpoint it is the bits of each tensor, by name.
    """
    two = CompiledTwo if stream is Compiled else PlainTwo
    coders = {"small": (stream, Model), "fast": (two, FastModel)}
    try:
        with (
            mock.patch.dict(codec.CODERS, coders),
            mock.patch.object(integers, "Stream", stream),
            mock.patch.object(small, "Stream", stream),
            mock.patch.object(fast_integers, "FastStream", two.kinds[1]),
        ):
            return "accepted", unpacked(data) if codec.is_packed(data) else file.decode(data)
    except CorruptFile as error:
        return outcome(type(error).__name__, str(error)), None


def unpacked(data: bytes) -> dict[str, bytes]:
    """The bits of each tensor of a packed checkpoint."""
    return {item.name: bits.tobytes() for item, bits, _ in PackedReader(data).tensors()}


@lru_cache(maxsize=10_000)
def outcome(kind: str, said: str) -> str:
    """An error's message without what differs from input to input."""
    return f"{kind}: {re.sub(_PARTS, 'N', said)}"[:100]


_PARTS = re.compile(r"'.*'|\".*\"|\(.*\)|-?[\d.e+]*\d|inf")


def used(archive: Any, data: bytes) -> str:
    """What becomes of an accepted file."""
    file.inspect(data)
    if isinstance(archive, dict):
        return "accepted and used, a packed checkpoint"
    architecture = archive.architecture
    if architecture.version() != codec.GRAPHS and architecture.root is None:
        return "accepted and used, by its tensors"
    net = file.network(archive)
    try:
        with torch.no_grad():
            net(*examples(net))
    except Exception:  # whatever torch raises for an input that does not fit
        return "accepted and used, for other inputs"
    return "accepted and used, and predicts"


def examples(net: nn.Module) -> list[torch.Tensor]:
    """Inputs that the network takes, if a guess is good enough."""
    if isinstance(net, GraphNetwork):
        return [
            torch.zeros([BATCH if n is None else n for n in t.shape], dtype=getattr(torch, t.dtype))
            for t in net.graph.inputs
        ]
    for module in net.modules():
        if isinstance(module, nn.Linear):
            return [torch.zeros(BATCH, module.in_features)]
        if isinstance(module, nn.Conv1d):
            return [torch.zeros(BATCH, module.in_channels, 28)]
        if isinstance(module, nn.Conv2d):
            return [torch.zeros(BATCH, module.in_channels, 28, 28)]
    return [torch.zeros(BATCH, 1, 28, 28)]


def one(state: dict[str, Any], number: int, kind: str, data: bytes) -> None:
    """Read one input and count it."""
    before, start = memory(), time.process_time()
    try:
        ended, archive = read(data)
        if archive is not None and number % USE == 0:
            ended = used(archive, data)
            state["used"] += 1
        if kind.endswith("unchanged") and archive is None:
            raise AssertionError(f"a good file is refused: {ended}")
        seconds, more = time.process_time() - start, memory() - before
        if number % BOTH == 0:
            state["read_both_ways"] += 1
            agree(data)
    except BaseException as error:
        if isinstance(error, KeyboardInterrupt):
            raise
        ended = "crash"
        said = f"{type(error).__name__}: {error}"
        state["crashes"].append({"input": number, "error": said, "hex": data.hex()})
        seconds, more = time.process_time() - start, memory() - before
    state["kinds"][kind] += 1
    state["outcomes"][ended] += 1
    state["repaired"] += kind != "checksum"
    state["inputs"] += 1
    for name, value in (("slowest", seconds), ("largest", more)):
        if value > state[name][WORST[name]]:
            state[name] = {"input": number, WORST[name]: value, "bytes": len(data)}
            state[name]["hex"] = data.hex()


def agree(data: bytes) -> None:
    """Both ways of reading must end alike."""
    (said, compiled), (also, plain) = (read(data, stream) for stream in (Compiled, Plain))
    if said != also:
        raise AssertionError(f"compiled {said}, plain {also}")
    if compiled is None:
        return
    packed = isinstance(compiled, dict)
    if compiled != plain if packed else codec.encode(compiled) != codec.encode(plain):
        raise AssertionError("compiled and plain loops read different networks")


def memory() -> float:
    """The most that the process has had so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def load_everything() -> None:
    """Import and compile what reading needs, so that no input is charged with it."""
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    files = hostile.files(0, 0)
    for data in [*(source.data() for source in files.written + files.graphs), *files.packed]:
        for stream in (Compiled, Plain):
            archive = read(data, stream)[1]
            used(archive, data)


def nothing() -> dict[str, Any]:
    """The counts before the first input."""
    worst = {name: {"input": None, unit: 0.0} for name, unit in WORST.items()}
    return {
        **dict.fromkeys(COUNTS, 0), **{name: Counter() for name in LISTS}, "crashes": [], **worst,
    }  # fmt: skip


def block(seed: int, number: int) -> dict[str, Any]:
    """Read the inputs of one block and count them."""
    state, files = nothing(), hostile.files(seed, number)
    for place in range(number * hostile.BLOCK, (number + 1) * hostile.BLOCK):
        one(state, place, *hostile.hostile(seed, place, files))
    return {**state, "peak_mebibytes": memory()}


def blocks(seed: int, first: int, jobs: int) -> Iterator[dict[str, Any]]:
    """The counts of one block after the other, from the `first` one on."""
    if jobs == 1:
        load_everything()
        yield from map(partial(block, seed), count(first))
    with ProcessPoolExecutor(jobs, initializer=load_everything) as pool:
        waiting = [pool.submit(block, seed, first + place) for place in range(2 * jobs)]
        for more in count(first + len(waiting)):
            waiting.append(pool.submit(block, seed, more))
            try:
                yield waiting.pop(0).result()
            except GeneratorExit:
                pool.shutdown(cancel_futures=True)
                raise


def add(state: dict[str, Any], more: dict[str, Any]) -> None:
    """Add the counts of a block."""
    for name in COUNTS:
        state[name] += more[name]
    for name in LISTS:
        state[name] = dict((Counter(state[name]) + more[name]).most_common())
    state["crashes"] += more["crashes"]
    for name, unit in WORST.items():
        state[name] = max(state[name], more[name], key=lambda worst: worst[unit])
    state["peak_mebibytes"] = max(state["peak_mebibytes"], more["peak_mebibytes"])
    state["share_repaired"] = state["repaired"] / state["inputs"]


def begin(path: Path, seed: int) -> dict[str, Any]:
    """The counts of a file, or of nothing."""
    here = made_by()
    if not path.exists():
        read_as = {"both_ways_each": BOTH, "accepted_used_each": USE}
        return {**here, "commits": [here["commit"]], "seed": seed, **read_as, "seconds": 0.0,
                "peak_mebibytes": 0.0, **nothing()}  # fmt: skip
    state = json.loads(path.read_text())
    if state["seed"] != seed:
        raise SystemExit(f"{path} is of seed {state['seed']}")
    if here["commit"] not in state["commits"]:
        state["commits"].append(here["commit"])
    return state


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--inputs", type=int, default=10_000_000, help="in all")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="stop after so many")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--input", type=int, metavar="K", help="read only this one")
    parser.add_argument("--json", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.input is not None:
        files = hostile.files(given.seed, given.input // hostile.BLOCK)
        kind, data = hostile.hostile(given.seed, given.input, files)
        print(kind, data.hex())
        archive = file.decode(data)
        print(used(archive, data))
        return
    if given.json is None:
        parser.error("--json is needed")
    state = begin(given.json, given.seed)
    start = saved = time.monotonic()
    earlier = state["seconds"]
    for counts in blocks(given.seed, state["inputs"] // hostile.BLOCK, given.jobs):
        add(state, counts)
        now = time.monotonic()
        state["seconds"] = earlier + now - start
        over = state["inputs"] >= given.inputs or now - start > given.seconds
        if over or now - saved > SAVE:
            given.json.write_text(json.dumps(state, indent=2) + "\n")
            saved = now
        if over:
            break
    raise SystemExit(1 if state["crashes"] else 0)


if __name__ == "__main__":
    main()
