"""docs/operators.md says of every row of the table what the code does."""

import re

from bitsback.compression.integer import FORMS
from bitsback.graph.table import OPERATORS

from ...project import ROOT
from .rows import REFUSED

ROW = re.compile(r"^\| (\d+) \| `(\w+)` \| (yes|no)[^|]* \| (yes|no)[^|]* \|$", re.MULTILINE)


def test_the_page_has_every_row():
    found = {
        name: (int(number), onnx, integers)
        for number, name, onnx, integers in ROW.findall((ROOT / "docs/operators.md").read_text())
    }
    for row in OPERATORS.values():
        onnx = "no" if row.name in REFUSED else "yes"
        assert found[row.name] == (row.number, onnx, "yes" if row.name in FORMS else "no"), row.name
