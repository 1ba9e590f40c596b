"""Text from files made safe for a terminal: no control characters, no escapes, one line."""


def printable(text: object) -> str:
    """The text with what does not print as backslash escapes, as `repr` writes them."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in str(text))
