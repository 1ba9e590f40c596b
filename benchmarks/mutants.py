"""Mutation testing: small faults are planted one at a time, and the mirrored tests must fail.

    python benchmarks/mutants.py --each 6 --seed 0 --json FILE [--seconds S] [SOURCE ...]

A fault is a comparison that is shifted or turned round, a constant that is one off, a swapped or a
dropped operator, a dropped call. Of each source file `--each` faults are drawn. A mutant is killed
if a test fails or runs for too long; FILE lists those that survive, with the line and the fault.
Only the tests that mirror a source (`TESTS` names more) are run, in a copy of the checkout.
"""

import argparse
import ast
import copy
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from random import Random

import torch
from record import made_by

ROOT = Path(__file__).resolve().parents[1]
SOURCES = (
    "compression/quantise.py", "compression/search.py", "compression/scores.py",
    "compression/verdict.py", "compression/context.py", "compression/kernels.py",
    "compression/batch_norm.py", "compression/masks.py", "compression/rounding.py",
    "compression/grids.py", "compression/range_coder.py", "compression/huffman.py",
    "compression/fast/loops.py", "compression/fast/tables.py", "compression/fast/coder.py",
    "compression/fast/model.py",
    "models/densities.py", "models/mixture.py", "models/laplace.py", "models/scale_mixture.py",
    "distributions/gaussian_mixture.py", "distributions/log_uniform.py",
    "distributions/hard_concrete.py", "guides/mean_field.py", "guides/magnitude.py",
    "guides/dropout.py", "guides/sharing.py", "guides/elbo.py", "guides/hard_concrete.py",
    "guides/curvature.py",
)  # fmt: skip
TESTS = {
    "compression/kernels.py": ("compression/test_context.py", "compression/test_range_coder.py"),
    "compression/fast/loops.py": ("compression/fast/test_coder.py",),
    "compression/grids.py": ("compression/test_codec.py", "compression/test_file.py"),
}
SWAPS = {
    ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult, ast.And: ast.Or, ast.Or: ast.And,
    ast.LShift: ast.RShift, ast.RShift: ast.LShift,
}  # fmt: skip
LEAST_SECONDS = 20.0  # that a mutant's tests may take; else three times those of the source


def mutants(tree: ast.Module) -> Iterator[tuple[ast.Module, int, str]]:
    """Each tree with one fault, its line, and the fault in words."""
    for place, node in enumerate(ast.walk(tree)):
        if not faults(node):
            continue
        for number in range(len(faults(node))):
            other = copy.deepcopy(tree)
            found = next(n for k, n in enumerate(ast.walk(other)) if k == place)
            before = ast.unparse(found)
            faults(found)[number]()
            yield other, node.lineno, f"{before}  ->  {ast.unparse(found)}"


def faults(node: ast.AST) -> list:
    """What can be done to a node: functions that do it."""
    if isinstance(node, ast.Compare):
        swaps = [k for k, op in enumerate(node.ops) if type(op) in SWAPS]
        return [lambda k=k: node.ops.__setitem__(k, SWAPS[type(node.ops[k])]()) for k in swaps]
    if isinstance(node, ast.BinOp | ast.BoolOp | ast.AugAssign) and type(node.op) in SWAPS:
        return [lambda: setattr(node, "op", SWAPS[type(node.op)]())]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return [lambda: setattr(node, "op", ast.UAdd())]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        return [lambda: setattr(node, "operand", ast.UnaryOp(ast.Not(), node.operand))]
    if isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        value = not node.value if isinstance(node.value, bool) else node.value + 1
        return [lambda: setattr(node, "value", value)]
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        return [lambda: setattr(node, "value", ast.Constant(None))]
    return []


def tests_of(source: str) -> list[str]:
    """The test files of a source that are there."""
    folder, name = source.rsplit("/", 1)
    own = [f"{folder}/test_{name}", *TESTS.get(source, ())]
    return [f"tests/{test}" for test in own if (ROOT / "tests" / test).exists()]


def ends(folder: Path, tests: list[str], limit: float) -> str:
    """How the tests end in a process of their own: passed, failed or late."""
    child = os.fork()
    if not child:
        run(folder, tests)
    start = time.monotonic()
    while time.monotonic() - start < limit:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return "failed" if status else "passed"
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "late"


def run(folder: Path, tests: list[str]) -> None:
    """In the child: the tests of the copy, which is what `bitsback` then is."""
    import pytest

    os.setpgid(0, 0)
    os.environ["PYTHONPATH"] = str(folder.parent)
    sys.path.insert(0, str(folder.parent))
    os.chdir(folder)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    os._exit(int(pytest.main(["-x", "-q", "-p", "no:cacheprovider", *tests])))


def study(folder: Path, source: str, each: int, seed: int) -> dict:
    """The mutants of one source."""
    path, tests = folder / source, tests_of(source)
    text = path.read_text()
    start = time.monotonic()
    if not tests or ends(folder, tests, 600.0) != "passed":
        return {"tests": tests, "note": "no tests of its own, or they fail without a fault"}
    limit = max(LEAST_SECONDS, 3 * (time.monotonic() - start))
    every = list(mutants(ast.parse(text)))
    drawn = Random(f"{seed} {source}").sample(every, min(each, len(every)))
    found = {"tests": tests, "possible": len(every), "tried": len(drawn), "killed": 0}
    survivors = []
    for tree, line, fault in drawn:
        path.write_text(ast.unparse(tree))
        if ends(folder, tests, limit) == "passed":
            survivors.append({"line": line, "fault": fault[:200]})
        else:
            found["killed"] += 1
    path.write_text(text)
    return {**found, "survivors": survivors}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("sources", nargs="*", default=SOURCES, metavar="SOURCE")
    parser.add_argument("--each", type=int, default=6, help="faults of each source")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seconds", type=float, default=float("inf"), help="no new source then")
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    given = parser.parse_args()
    torch.set_num_threads(1)
    state = {**made_by(), "each": given.each, "seed": given.seed, "sources": {}}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "bitsback"
        shutil.copytree(ROOT, folder, ignore=shutil.ignore_patterns(".venv", ".git", "results"))
        for source in given.sources:
            if time.monotonic() - start > given.seconds:
                break
            state["sources"][source] = study(folder, source, given.each, given.seed)
            rows = [row for row in state["sources"].values() if "tried" in row]
            state["tried"] = sum(row["tried"] for row in rows)
            state["killed"] = sum(row["killed"] for row in rows)
            given.json.write_text(json.dumps(state, indent=1) + "\n")
            print(source, state["sources"][source], flush=True)


if __name__ == "__main__":
    main()
