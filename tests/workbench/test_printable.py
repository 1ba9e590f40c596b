"""Nothing that a file holds reaches a terminal as a command."""

import pytest
from bitsback.workbench.one_line import _message
from bitsback.workbench.printable import printable


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("fc1.weight", "fc1.weight"),
        ("[/red] é", "[/red] é"),
        ("\x1b]0;x\x07", r"\x1b]0;x\x07"),
        ("a\0b\nc\r\t", r"a\x00b\nc\r\t"),
        ("\u202e\u2028", r"\u202e\u2028"),
        ("\udcff", r"\udcff"),
        ("it's", "it's"),
    ],
)
def test_what_does_not_print_is_spelled(text, said):
    assert printable(text) == said


def test_messages_of_errors():
    assert _message(ValueError("layer \x1b[2J\n  of two lines")) == r"layer \x1b[2J of two lines"
    assert _message(OSError(2, "No such file", "\x07.bb")) == r"\x07.bb: No such file"
