"""Docstrings for the site: what the parser of `:param x:` does not know.

Examples (`>>> `) become blocks of code, and `:warns X:` a paragraph.
"""

import re
from typing import Any

import griffe

WARNS = re.compile(r"^:warns (\w+):", re.MULTILINE)


def rewritten(text: str) -> str:
    """A docstring with its examples between fences."""
    text = WARNS.sub(r"\n**Warns** `\1`:", text)
    paragraphs = re.split(r"\n[ ]*\n", text)
    return "\n\n".join(
        f"```pycon\n{paragraph}\n```" if paragraph.startswith(">>> ") else paragraph
        for paragraph in paragraphs
    )


class Docstrings(griffe.Extension):
    """Rewrites every docstring before it is parsed."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = rewritten(obj.docstring.value)
