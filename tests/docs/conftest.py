"""The scripts of docs/tools, which import one another by name, as where they are run."""

import importlib

import pytest

from ..project import ROOT


@pytest.fixture
def tool(monkeypatch):
    """Imports a script of docs/tools."""
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "tools"))
    return importlib.import_module
