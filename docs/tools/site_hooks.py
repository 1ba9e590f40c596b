"""What MkDocs has to know of this repository: pages from other folders, and links that leave docs/.

Links in the pages are relative to the file, so that they work on a code host too. Here a link to a
page, an example or any other file of the repository leads to its place in the site. Files that are
linked are copied into the site.
"""

from __future__ import annotations

import posixpath
import re
import shutil
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mkdocs.structure.files import Files

ROOT = Path(__file__).resolve().parents[2]
# Pages whose text is elsewhere, by their place in the site.
ELSEWHERE = {
    "index.md": "README.md",
    "project/CONTRIBUTING.md": "CONTRIBUTING.md",
    "project/CHANGELOG.md": "CHANGELOG.md",
}
FOLDERS = {"examples": "tutorials/README.md", "benchmarks/results": "results/files.md"}
LINK = re.compile(r"(\]\()([^)\s#]+)")
CODE = re.compile(r"(^```.*?^```|`[^`\n]*`)", re.DOTALL | re.MULTILINE)


def on_startup(command: str, dirty: bool) -> None:
    """The package as the API's pages read it; mkdocstrings looks for its folder on_config."""
    make_package(ROOT / "build" / "api" / "bitsback")


def make_package(folder: Path) -> None:
    """The import package as a folder of links to the files of the root.

    `compression` gets the `__init__.py` that it must not have in the root (docs/design.md), as the
    reader of docstrings passes over folders without one.
    """
    shutil.rmtree(folder, ignore_errors=True)
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    for package in settings["packages"]:
        parts = package.split(".")[1:]
        here = folder.joinpath(*parts)
        here.mkdir(parents=True)
        for source in ROOT.joinpath(*parts).glob("*.py"):
            (here / source.name).symlink_to(source)
        (here / "__init__.py").touch()


def on_files(files: Files, config: Any) -> Files:
    """Add the pages that are not in docs/."""
    pages = {place: (ROOT / path).read_text() for place, path in ELSEWHERE.items()}
    pages["results/files.md"] = index_of_results()
    for place, text in pages.items():
        _add(files, config, place, content=text)
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Files) -> str:
    """Every relative link, outside code, as one within the site."""
    place = page.file.src_uri
    parts = CODE.split(markdown)
    for i in range(0, len(parts), 2):
        parts[i] = LINK.sub(lambda m: m[1] + within_site(m[2], place, config, files), parts[i])
    return "".join(parts)


def within_site(link: str, place: str, config: Any, files: Files) -> str:
    """A link of the page at `place`, which may lead anywhere in the repository.

    :raises FileNotFoundError: it leads to no file.
    """
    if "://" in link or place == "results/files.md":
        return link
    origin = ELSEWHERE.get(place, f"docs/{place}")
    target = posixpath.normpath(posixpath.join(posixpath.dirname(origin), link))
    return posixpath.relpath(place_of(target, config, files), posixpath.dirname(place) or ".")


def place_of(target: str, config: Any, files: Files) -> str:
    """Where a file of the repository is in the site."""
    homes = {path: place for place, path in ELSEWHERE.items()} | FOLDERS
    if target in homes:
        return homes[target]
    if target.startswith("benchmarks/results/") and (ROOT / target).is_dir():
        return "results/files.md"
    if target.startswith("examples/") and target.endswith(".py"):
        return f"tutorials/{Path(target).stem}.md"
    if target.startswith("docs/"):
        return target.removeprefix("docs/")
    if not (ROOT / target).is_file():
        raise FileNotFoundError(f"a page links to {target}, which is no file")
    place = f"files/{target}"
    if files.get_file_from_path(place) is None:
        _add(files, config, place, abs_src_path=str(ROOT / target))
    return place


def _add(files: Files, config: Any, place: str, **content: str) -> None:
    from mkdocs.structure.files import File  # the tests do without it

    files.append(File.generated(config, place, **content))


def index_of_results() -> str:
    """A list of the results files."""
    folder = ROOT / "benchmarks" / "results"
    names = sorted(path.relative_to(folder) for path in folder.rglob("*.json"))
    listed = "\n".join(f"- `{name}`" for name in names)
    return f"# Results files\n\nThe folder `benchmarks/results` of the repository.\n\n{listed}\n"
