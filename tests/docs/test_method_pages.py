"""Every method's page has the same sections, and its Python runs."""

import re
from dataclasses import replace

import bitsback
import pytest
import torch
from bitsback.methods import METHODS

from ..project import ROOT

SECTIONS = [
    "When to use it", "Prior", "Approximate posterior", "KL", "Reading off the network", "Settings",
    "Sources and corrections",
]  # fmt: skip


def page(name: str) -> str:
    return (ROOT / "docs" / "methods" / f"{name}.md").read_text()


@pytest.mark.parametrize("name", METHODS)
def test_sections(name):
    headings = re.findall(r"^## (.*)$", page(name), re.MULTILINE)
    assert [heading for heading in headings if heading in SECTIONS] == SECTIONS


@pytest.mark.parametrize("name", METHODS)
def test_its_python_runs(name, monkeypatch):
    """The first block, for one epoch and with a quick search, on few examples."""
    code = re.search(r"```python\n(.*?)```", page(name), re.DOTALL).group(1)
    fit, compress = bitsback.fit, bitsback.compress
    quick = bitsback.Options(epochs=1, batch_size=32)

    def short(model, guide, train, options=quick):
        return fit(model, guide, train, options=replace(options, epochs=1, batch_size=32))

    monkeypatch.setitem(bitsback.__dict__, "fit", short)
    monkeypatch.setitem(
        bitsback.__dict__, "compress", lambda *args, **more: compress(*args, **more, effort=1)
    )
    torch.manual_seed(0)
    x, y = torch.rand(64, 10), torch.randint(3, (64,))
    net = torch.nn.Sequential(torch.nn.Linear(10, 20), torch.nn.ReLU(), torch.nn.Linear(20, 3))
    names = {"bitsback": bitsback, "net": net, "x": x, "y": y, "x_val": x[:32], "y_val": y[:32]}
    exec(code, names)
    assert set(names["guide"].posterior().weights) == {"0.weight", "2.weight"}
