"""The tutorials' pages are the examples, in words and code; their output is kept, not made here."""

import re

import pytest

from ..project import ROOT

EXAMPLES = sorted(path.stem for path in (ROOT / "examples").glob("*.py"))


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_page_is_the_example(tool, name):
    tutorials = tool("tutorials")
    text = (tutorials.FOLDER / f"{name}.md").read_text()
    output = tutorials.output_of(text)
    assert output.strip()
    advice = f"run python docs/tools/tutorials.py {name}, or --keep if words alone have changed"
    assert text == tutorials.page(name, output), advice
    (code,) = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    assert (ROOT / "examples" / f"{name}.py").read_text().endswith(code)


def test_each_example_has_a_place(tool):
    tutorials = tool("tutorials")
    assert sorted(tutorials.TITLES) == EXAMPLES
    assert (tutorials.FOLDER / "README.md").read_text() == tutorials.index()
    nav = re.findall(r"^ +- tutorials/(\w+)\.md$", (ROOT / "mkdocs.yml").read_text(), re.MULTILINE)
    assert nav == ["README", *tutorials.TITLES]


def test_each_picture_is_an_example_s(tool):
    tutorials = tool("tutorials")
    drawn = {picture for name in EXAMPLES for picture in tutorials.pictures(name)}
    assert drawn == {path.name for path in tutorials.FOLDER.glob("*.svg")} and drawn
    for name in EXAMPLES:
        saved = re.findall(r'savefig\("([\w-]+)\.svg"\)', tutorials.source(name).read_text())
        assert sorted(saved) == [picture.split(".")[1] for picture in tutorials.pictures(name)]


def test_a_page_without_output_is_refused(tool):
    with pytest.raises(ValueError, match="no output"):
        tool("tutorials").output_of("# First compression\n")
