"""Data flows left to right: which folder may import which (docs/design.md), read off the sources.

The arrows of the design are the keys' permissions; whatever is not permitted is an error.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from .project import ROOT, parse, sources

# The façade and `__main__` are part "bitsback"; a package may always import itself.
MAY_IMPORT = {
    "common": set(),
    "posterior": set(),
    "graph": set(),
    "distributions": set(),
    "models": {"common", "distributions", "graph"},
    "guides": {"common", "distributions", "graph", "posterior"},
    "compression": {"common", "graph", "posterior"},
    "diagnostics": {"posterior"},
    "training": {"common", "compression", "graph", "guides"},
    "methods": {
        *("common", "graph", "distributions", "models", "guides", "posterior", "compression"),
        "training",
    },
}
SEE_ALL = {"workbench", "bitsback"}


def part_of(path: Path) -> str:
    """The part of the design that a file belongs to: its folder, or its name at the root."""
    top = path.relative_to(ROOT).parts[0].removesuffix(".py")
    return "bitsback" if top in ("__init__", "__main__") else top


def imports(path: Path) -> set[str]:
    """Absolute names of all modules that a file imports, wherever in it the import stands."""
    package = ("bitsback", *path.relative_to(ROOT).parent.parts)
    found = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = (*base, node.module) if node.module else base
            # `from .. import posterior` names a module only in what it imports.
            found |= {".".join((*module, alias.name)) for alias in node.names}
    return found


def test_table_covers_every_part():
    parts = {part_of(path) for path in sources()}
    assert parts <= set(MAY_IMPORT) | SEE_ALL
    assert {"posterior", "distributions", "guides", "compression", "workbench"} <= parts


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_one_way(path):
    part = part_of(path)
    if part in SEE_ALL:
        return
    for name in imports(path):
        if name.split(".")[0] == "bitsback":
            target = name.split(".")[1]
            assert target == part or target in MAY_IMPORT[part], f"{path} imports {name}"


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_inside_are_relative(path):
    """So that a folder imported by its bare name fails at once, instead of making twins."""
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            assert not any(alias.name.split(".")[0] == "bitsback" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            assert (node.module or "").split(".")[0] != "bitsback"


@pytest.mark.parametrize("part", ["common", "compression", "graph", "posterior"])
def test_no_pyro(part):
    """In the sources, and in a process that has loaded them all."""
    mine = [path for path in sources() if part_of(path) == part]
    assert mine
    for path in mine:
        assert not any(name.split(".")[0] == "pyro" for name in imports(path)), path
    names = [".".join(("bitsback", *p.relative_to(ROOT).with_suffix("").parts)) for p in mine]
    code = f"import importlib, sys; [importlib.import_module(n) for n in {names}]"
    run = subprocess.run(
        [sys.executable, "-P", "-c", f"{code}; assert 'pyro' not in sys.modules"],
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr
