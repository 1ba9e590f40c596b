"""The package's names: each is there, and no submodule takes its place."""

import pkgutil
import subprocess
import sys
from types import ModuleType

import bitsback.graph as graph
import pytest


def test_every_name_is_there():
    for name in graph.__all__:
        assert not isinstance(getattr(graph, name), ModuleType)
    assert dir(graph) == graph.__all__
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        graph.nothing  # noqa: B018


def test_no_submodule_has_a_public_name():
    """Once it was imported it would stand where the function should."""
    assert not {module.name for module in pkgutil.iter_modules(graph.__path__)} & set(graph.__all__)


def test_the_operator_table_needs_no_torch():
    program = (
        "import sys\nfrom bitsback.graph import OPERATORS, Graph\n"
        "assert 'torch' not in sys.modules and len(OPERATORS) > 200"
    )
    subprocess.run([sys.executable, "-P", "-c", program], check=True)
