"""Links of the pages lead to the same things within the site."""

import pytest


class Site:
    """The files of a site, of which some are there."""

    def get_file_from_path(self, place: str) -> str | None:
        known = ("files/benchmarks/results/digits.json", "files/examples/decode.c")
        return place if place in known else None


@pytest.mark.parametrize(
    ("place", "link", "expected"),
    [
        ("index.md", "docs/own.md", "own.md"),
        ("index.md", "CHANGELOG.md", "project/CHANGELOG.md"),
        ("index.md", "examples", "tutorials/README.md"),
        ("methods/rate.md", "../format.md", "../format.md"),
        ("methods/rate.md", "../../README.md", "../index.md"),
        ("own.md", "../examples/table.py", "tutorials/table.md"),
        ("c-decoder.md", "../examples/decode.c", "files/examples/decode.c"),
        ("results/rate.md", "../../benchmarks/results/digits.json",
         "../files/benchmarks/results/digits.json"),
        ("results/digits.md", "../../benchmarks/results/runs/digits", "files.md"),
        ("tutorials/README.md", "table.md", "table.md"),
        ("own.md", "https://pyro.ai", "https://pyro.ai"),
    ],
)  # fmt: skip
def test_within_site(tool, place, link, expected):
    assert tool("site_hooks").within_site(link, place, None, Site()) == expected


def test_a_broken_link_is_an_error(tool):
    with pytest.raises(FileNotFoundError, match=r"benchmarks/none\.json"):
        tool("site_hooks").within_site("../benchmarks/none.json", "own.md", None, Site())


def test_code_is_left_alone(tool):
    hooks = tool("site_hooks")

    class Page:
        class file:  # as MkDocs calls it
            src_uri = "index.md"

    text = "[a](docs/own.md) `[b](docs/own.md)`\n\n```\n[c](docs/own.md)\n```\n"
    found = hooks.on_page_markdown(text, Page, None, Site())
    assert found == text.replace("[a](docs/own.md)", "[a](own.md)")


def test_the_package_of_the_site_is_whole(tool, tmp_path):
    tool("site_hooks").make_package(tmp_path / "bitsback")
    assert (tmp_path / "bitsback" / "compression" / "compress.py").is_file()
    assert (tmp_path / "bitsback" / "compression" / "__init__.py").read_text() == ""
