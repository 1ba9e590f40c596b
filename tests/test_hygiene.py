"""Nothing in the sources runs code from a file, and no file tells of the machine it was made on."""

import ast
import re
from pathlib import Path

import pytest

from .project import ROOT, files, parse, sources

PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
# What a process sends to the workers that it has started itself, in memory: there is no file.
IN_MEMORY = {ROOT / "diagnostics" / "engines.py": ["import pickle"]}
# The published Python version of CIFAR-10 is pickled: read by an unpickler that knows arrays and
# numbers alone (tests/workbench/test_cifar.py feeds it code).
RESTRICTED = {ROOT / "workbench" / "cifar.py": ["import pickle"]}
CODE = {"eval", "exec", "compile", "__import__"}


def name_of(node: ast.expr) -> str:
    """Dotted name of a called thing, such as "torch.load"."""
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def faults(tree: ast.Module) -> list[str]:
    """Calls and imports through which a file's content could become code."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            modules = [getattr(node, "module", None), *(alias.name for alias in node.names)]
            found += [f"import {m}" for m in modules if m and m.split(".")[0] in PICKLES]
        elif isinstance(node, ast.Call):
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            name = name_of(node.func)
            if name == "torch.load" and keywords.get("weights_only") != "True":
                found.append("torch.load without weights_only=True")
            if name.endswith("store.load") or name in CODE:
                found.append(f"{name}()")
            if "allow_pickle" in keywords:
                found.append("allow_pickle")
    return found


@pytest.mark.parametrize("path", sources(), ids=lambda p: str(p.relative_to(ROOT)))
def test_no_file_becomes_code(path):
    assert faults(parse(path)) == (IN_MEMORY | RESTRICTED).get(path, [])


@pytest.mark.parametrize(
    "code",
    [
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=safe)",
        "import pickle",
        "from pickle import loads",
        "pyro.get_param_store().load(path) or store.load(path)",
        "numpy.load(path, allow_pickle=True)",
        "eval(text)",
    ],
)
def test_faults_are_seen(code):
    assert faults(ast.parse(code))


def test_sound_code_is_not():
    assert faults(ast.parse("torch.load(p, weights_only=True); net.eval(); re.compile(r)")) == []


def test_no_machine_paths():
    """Homes, and the folder that this checkout lies in."""
    folders = {f"{folder}/" for folder in (ROOT, ROOT.parent, Path.home()) if folder != Path("/")}
    folders -= {"/"}
    pattern = re.compile(
        "|".join([r"(?<![\w.~$}])/(?:home|Users)/\w+", *map(re.escape, sorted(folders))]).encode()
    )
    assert pattern.search(f"see {ROOT}/README.md".encode())
    told = [str(path.relative_to(ROOT)) for path in files() if pattern.search(path.read_bytes())]
    assert told == []
