"""The decoder in C against the Python decoder, under sanitizers of memory and arithmetic.

    python benchmarks/fuzz_c.py --inputs 1000000 --seed 0 --each 10 --json FILE [--seconds S]
    python benchmarks/fuzz_c.py --seed 0 --input K

Each input (`streams`) is decoded in C. Every `--each`-th is decoded in Python, too, and has to give
the same: the same integers, grids and groups, or a refusal. A fault of memory or arithmetic ends
the process with the sanitizer's report, and no FILE is written. FILE counts inputs by kind and
outcome and lists those in which the two differ. The exit code is 1 if there are any.
"""

import argparse
import ctypes
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import streams
from bitsback.compression.c_decoder import CORRUPT, OK, Call
from bitsback.compression.c_library import FOLDER, compiler
from record import made_by

SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all")
FLAGS = ("-std=c99", "-g", "-O1", "-shared", "-fPIC", *SANITIZERS)
SAVE = 10_000  # inputs between looks at the clock and lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--inputs", type=int, default=100_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--each", type=int, default=10, help="inputs of which Python reads one")
    parser.add_argument("--seconds", type=float, default=float("inf"))
    parser.add_argument("--input", type=int, help="read this one only")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    if "LD_PRELOAD" not in os.environ:
        return again_with_sanitizers()
    with tempfile.TemporaryDirectory() as folder:
        library = sanitized(Path(folder))
    if options.input is not None:
        case = next(streams.cases(options.seed, options.input))
        print(case.kind, streams.same(in_c(library, case)[1], streams.reference(case)))
        return 0
    result = made_by() | run(library, options)
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n")
    return int(bool(result["different"]))


def again_with_sanitizers() -> int:
    """This program with the sanitizer's library loaded first, as it has to be."""
    found = [
        subprocess.run(
            [compiler(), f"-print-file-name={name}"], capture_output=True, text=True, check=True
        ).stdout.strip()
        for name in ("libasan.so", "libubsan.so")
    ]
    options = {"ASAN_OPTIONS": "detect_leaks=0", "LD_PRELOAD": ":".join(found)}
    options["UBSAN_OPTIONS"] = "print_stacktrace=1"
    return subprocess.run([sys.executable, *sys.argv], env=os.environ | options).returncode


def sanitized(folder: Path) -> ctypes.CDLL:
    """The library, built with the sanitizers."""
    command = [compiler(), *FLAGS, "-o", str(folder / "decoder.so"), str(FOLDER / "decoder.c")]
    subprocess.run(command, check=True)
    return ctypes.CDLL(str(folder / "decoder.so"))


def in_c(library: ctypes.CDLL, case: streams.Case) -> tuple[str, streams.Result | None]:
    """The outcome in C, and what came out."""
    call = Call(case.tensors)
    status = call.run(library, case.stream, case.coder, case.is_sorted)
    if status == OK:
        return "accepted", (call.results(), call.groups())
    assert status == CORRUPT, status
    return "refused", None


def run(library: ctypes.CDLL, options: argparse.Namespace) -> dict:
    """The counts of all inputs."""
    kinds, different, compared, start = Counter(), [], 0, time.monotonic()
    slowest, done = 0.0, 0
    for number, case in enumerate(streams.cases(options.seed)):
        if number == options.inputs or time.monotonic() - start > options.seconds:
            break
        if number % SAVE == 0:
            print(number, f"{time.monotonic() - start:.0f} s", flush=True)
        before = time.perf_counter()
        outcome, found = in_c(library, case)
        slowest = max(slowest, time.perf_counter() - before)
        kinds[f"{case.kind}, {outcome}"] += 1
        if number % options.each == 0:
            compared += 1
            if not streams.same(found, streams.reference(case)):
                different.append(number)
                print("different:", number, case.kind, flush=True)
        done = number + 1
    return {
        "flags": " ".join(FLAGS),
        "inputs": done,
        "compared_with_python": compared,
        "different": different,
        "slowest_seconds": round(slowest, 4),
        "outcomes": dict(sorted(kinds.items())),
    }


if __name__ == "__main__":
    sys.exit(main())
