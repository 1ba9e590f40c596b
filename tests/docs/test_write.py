"""The pages say what results files, operator table and parsers say."""

import pytest


def test_pages_are_as_they_would_be_written(tool):
    for path, text in tool("write").pages().items():
        assert path.read_text() == text, f"{path}: run python docs/tools/write.py"


def test_a_changed_figure_is_seen(tool):
    write = tool("write")
    text = "a\n" + write.BLOCK.format("results") + "| 893 |\n" + write.END + "\nb\n"
    changed = write.with_block(text, "results", ["| 894 |"])
    assert changed == text.replace("893", "894")
    with pytest.raises(ValueError, match="0 blocks 'support'"):
        write.with_block(text, "support", [])
