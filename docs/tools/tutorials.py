"""docs/tutorials: a page for each example, with its code, what it prints and what it draws.

    python docs/tools/tutorials.py [NAME ...]
    python docs/tools/tutorials.py cifar_resnet --arguments --weights FILE --data-dir DIR
    python docs/tools/tutorials.py --keep

The first runs all examples, or those named, and writes their pages; the second passes arguments on.
`--keep` writes all pages anew with the output that they have, after a change of words alone. A test
compares the committed pages with the examples, and runs nothing.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "docs" / "tutorials"
# In the order of the site: titles of its navigation, by names of examples.
TITLES = {
    "svi_in_twelve_lines": "First compression",
    "compress_a_trained_network": "A trained network, three methods",
    "somebody_elses_network": "Your own network",
    "table": "A table of data",
    "image_folder": "A folder of images",
    "signal_network": "Signals",
    "target_size": "A target size",
    "shrink": "Without training",
    "cifar_resnet": "A ResNet for CIFAR-10",
    "swap_guides": "Swap a guide",
    "diagnose": "Diagnosis with ArviZ",
    "tau0": "Choose tau0",
    "deploy_onnx": "Deploy by ONNX",
}
NEED_DATA = ("cifar_resnet",)  # run with arguments alone
OUTPUT = re.compile(r"^## Output\n\n```text\n(.*?)^```$", re.DOTALL | re.MULTILINE)
# Pictures that are the same bytes on each run of the same version of matplotlib.
STYLE = "svg.hashsalt: bitsback\nsvg.fonttype: none\nfont.size: 10\n"


def source(name: str) -> Path:
    """The example of a name."""
    return ROOT / "examples" / f"{name}.py"


def pictures(name: str) -> list[str]:
    """The files of the pictures that an example has drawn."""
    return sorted(path.name for path in FOLDER.glob(f"{name}.*.svg"))


def parts(name: str) -> tuple[str, str, str]:
    """The first line of an example's docstring, its other lines as written, and its code."""
    _, docstring, code = source(name).read_text().split('"""', 2)
    first, _, rest = docstring.partition("\n")
    return first, rest.strip(), code.strip()


def page(name: str, output: str) -> str:
    """The text of a tutorial's page.

    :param output: what the example prints.
    """
    first, rest, code = parts(name)
    rest = re.sub(r"\bdocs/(\S+\.md)", r"[docs/\1](../\1)", rest)
    drawn = "".join(
        f"\n![{picture.split('.')[1].replace('-', ' ')}]({picture})\n" for picture in pictures(name)
    )
    return (
        f"# {TITLES[name]}\n\n{first}\n\n{rest}\n\n"
        f"## Code\n\n`examples/{name}.py`:\n\n```python\n{code}\n```\n\n"
        f"## Output\n\n```text\n{output.rstrip()}\n```\n{drawn}"
    )


def output_of(text: str) -> str:
    """What a page says that the example prints.

    :raises ValueError: the page has no output.
    """
    found = OUTPUT.search(text)
    if found is None:
        raise ValueError("the page has no output")
    return found[1]


def index() -> str:
    """The page that lists the tutorials."""
    about = "Each page is a script of the folder `examples`, with what it prints."
    lines = ["# Tutorials", "", about, ""]
    lines += ["| tutorial | what it shows |", "|---|---|"]
    for name, title in TITLES.items():
        lines.append(f"| [{title}]({name}.md) | {parts(name)[0]} |")
    return "\n".join(lines) + "\n"


def run(name: str, arguments: list[str]) -> str:
    """Run an example from an empty folder and keep its pictures.

    :returns: what it prints.
    :raises subprocess.CalledProcessError: it fails.
    """
    with tempfile.TemporaryDirectory() as folder:
        style = Path(folder, "matplotlibrc")
        style.write_text(STYLE)
        more = {"MPLBACKEND": "agg", "MATPLOTLIBRC": str(style), "SOURCE_DATE_EPOCH": "0"}
        found = subprocess.run(
            [sys.executable, "-P", "-W", "ignore", str(source(name)), *arguments],
            cwd=folder, env=os.environ | more, stdout=subprocess.PIPE, text=True, check=True,
        )  # fmt: skip
        for old in pictures(name):
            (FOLDER / old).unlink()
        for path in sorted(Path(folder).glob("*.svg")):
            shutil.copy(path, FOLDER / f"{name}.{path.stem}.svg")
    return found.stdout


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="examples to run; default: all")
    parser.add_argument("--keep", action="store_true", help="run nothing; keep the output")
    parser.add_argument("--arguments", nargs=argparse.REMAINDER, default=[], help="of the example")
    options = parser.parse_args()
    FOLDER.mkdir(exist_ok=True)
    default = TITLES if options.keep else [name for name in TITLES if name not in NEED_DATA]
    for name in options.names or default:
        path = FOLDER / f"{name}.md"
        output = output_of(path.read_text()) if options.keep else run(name, options.arguments)
        path.write_text(page(name, output))
    (FOLDER / "README.md").write_text(index())


if __name__ == "__main__":
    main()
