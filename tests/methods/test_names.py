"""A method carries its own wiring: its name is in no other folder."""

import ast
import re

import pytest
from bitsback.methods import METHODS

from ..project import ROOT, parse, sources

FREE = ("workbench", "training", "compression")
FILES = [path for path in sources() if path.relative_to(ROOT).parts[0] in FREE]
OPERATOR = "dropout"  # the name of an operator of networks, too
# Names that are words of their own in English are looked for as strings alone.
DISTINCT = [name for name in METHODS if "-" in name]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_name_of_a_method(path):
    told = [
        node.value
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Constant) and node.value in METHODS and node.value != OPERATOR
    ]
    text = path.read_text()
    told += [name for name in DISTINCT if re.search(rf"(?<![\w-]){name}(?![\w-])", text)]
    told += re.findall(r"[Mm]ethod `?(?:rate|gaussian|horseshoe|magnitude|obd|dropout)\b", text)
    assert told == []
