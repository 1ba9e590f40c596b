"""Tests mirror the source: a test file stands where the file that it tests stands.

`tests/F/test_NAME.py` and `tests/F/test_NAME_PART.py` are of `F/NAME.py`.
"""

from pathlib import Path

import pytest

from .project import ROOT, files

# What no single file answers for.
OF_SEVERAL = {
    "compression/deploy/test_operators_page.py": "compares docs/operators.md with two registries",
    "compression/test_refusals.py": "streams and descriptions that several readers refuse",
    "distributions/test_generic.py": "what Pyro asks of every distribution",
    "docs/test_links.py": "all pages",
    "docs/test_method_pages.py": "the pages in docs/methods",
    "docs/test_questions.py": "docs/results/questions.md",
    "docs/test_readme.py": "README.md",
    "graph/test_init.py": "what graph/__init__.py loads, and when",
    "graph/test_networks.py": "whole networks through tracing, units and removal",
    "graph/test_random.py": "random graphs through all of graph/",
    "graph/test_rows.py": "rows of the table that files rely on",
    "guides/test_conjugate.py": "every guide against a model with a known posterior",
    "guides/test_contract.py": "what every pair promises",
    "guides/test_gate_options.py": "options of the gates' model and guide together",
    "methods/test_bits_runs.py": "runs of bayesian-bits from end to end",
    "methods/test_names.py": "reads the sources of other folders",
    "methods/test_registry.py": "the contract of every method",
    "models/test_traced.py": "every model around a traced network",
    "models/test_units.py": "dead units, which models and guides remove in training",
    "training/test_resume.py": "processes that are killed and go on",
    "workbench/test_diagnose_command.py": "a command from end to end",
    "workbench/test_main_job.py": "the README's first command",
    "workbench/test_untrusted.py": "every command on files that nobody vouches for",
    "workbench/test_zoo.py": "every method on the reference networks",
    "test_examples.py": "the folder examples/",
    "test_hygiene.py": "reads all sources",
    "test_layering.py": "reads all sources",
    "test_mirror.py": "reads the names of all files",
    "test_packaging.py": "the wheel and the façade",
    "test_stdlib.py": "the folder compression/ beside the standard library's",
}
TESTS = [
    path.relative_to(ROOT / "tests")
    for path in files()
    if path.is_relative_to(ROOT / "tests") and path.match("test_*.py")
]


def sources_of(test: Path) -> list[Path]:
    """The files that a test's name may belong to, the longest name first."""
    folder = Path("docs", "tools") if test.parts[0] == "docs" else test.parent
    words = test.stem.removeprefix("test_").split("_")
    return [ROOT / folder / f"{'_'.join(words[:n])}.py" for n in range(len(words), 0, -1)]


@pytest.mark.parametrize("test", TESTS, ids=str)
def test_has_a_source(test):
    found = any(path.is_file() for path in sources_of(test))
    assert found or test.as_posix() in OF_SEVERAL, f"which file does tests/{test} test?"


def test_exceptions_are_needed():
    for name in OF_SEVERAL:
        test = Path(name)
        assert test in TESTS, f"{name} is no test any more"
        assert not any(path.is_file() for path in sources_of(test)), f"{name} has a source"
