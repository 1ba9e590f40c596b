"""Write what the pages say of results files, of the operator table and of the parsers.

    python docs/tools/write.py

A test compares the committed pages with what this would write.
"""

import re
from pathlib import Path

from command_line import command_line
from results import LENETS, RATE, headlines, published_count, reference, without_training
from support import support

ROOT = Path(__file__).resolve().parents[2]
BLOCK = "<!-- {0}: written by docs/tools/write.py -->\n"
END = "<!-- end -->"


def pages() -> dict[Path, str]:
    """What the generated pages hold, by their paths."""
    readme = ROOT / "README.md"
    text = with_block(readme.read_text(), "results", headlines())
    text = with_block(text, "support", support())
    networks = ROOT / "docs" / "results" / "reference-networks.md"
    tables = {
        "log-uniform": reference(LENETS),
        "published count": published_count(LENETS),
        "digits": reference({"digits-mlp": "digits"}),
        "rate": reference(RATE),
        "without training": without_training("../../"),
    }
    results = networks.read_text()
    for name, lines in tables.items():
        results = with_block(results, name, lines)
    return {
        readme: text,
        networks: results,
        ROOT / "docs" / "reference" / "command-line.md": command_line(),
    }


def with_block(text: str, name: str, lines: list[str]) -> str:
    """The text with other lines between the marks of a block.

    :raises ValueError: it has no such block.
    """
    start = BLOCK.format(name)
    pattern = re.escape(start) + ".*?" + re.escape(END)
    block = start + "\n".join(lines) + "\n" + END
    result, count = re.subn(pattern, lambda _: block, text, flags=re.DOTALL)
    if count != 1:
        raise ValueError(f"{count} blocks {name!r}, where there must be one")
    return result


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
