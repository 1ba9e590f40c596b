"""What is in the checkout is what gets installed, no less and no more (see docs/design.md)."""

import sys
import tomllib

from .project import PACKAGES, ROOT, files, sources

SETUPTOOLS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]


def test_every_package_is_listed():
    """One that is not is silently missing from the wheel, though it works in a checkout."""
    folders = {path.parent.relative_to(ROOT) for path in sources()}
    assert {".".join(("bitsback", *folder.parts)) for folder in folders} == set(
        SETUPTOOLS["packages"]
    )


def test_every_other_file_of_the_packages_is_listed():
    """Such as py.typed; setuptools installs Python files only, unless told."""
    listed = {
        path
        for package, patterns in SETUPTOOLS.get("package-data", {}).items()
        for pattern in patterns
        for path in ROOT.joinpath(*package.split(".")[1:]).glob(pattern)
    }
    needed = {p for p in files() if p.relative_to(ROOT).parts[0] in PACKAGES and p.suffix != ".py"}
    assert needed | {ROOT / "py.typed"} == listed


def test_root_holds_three_modules():
    """All others there would land in the wheel."""
    allowed = {"__init__.py", "__main__.py", "posterior.py"}
    assert {path.name for path in ROOT.glob("*.py")} <= allowed


def test_compression_has_no_init():
    """With one it would shadow Python 3.14's package of that name: see test_stdlib.py."""
    assert not (ROOT / "compression" / "__init__.py").exists()


def test_other_packages_have_one():
    for folder in {path.parent for path in sources()} - {ROOT / "compression"}:
        assert (folder / "__init__.py").is_file(), folder


def test_one_identity():
    """`import models` from the root would make classes that are not those of bitsback.models."""
    import bitsback.models

    assert bitsback.models.__file__ == str(ROOT / "models" / "__init__.py")
    assert "models" not in sys.modules and "guides" not in sys.modules


def test_versions_agree():
    import bitsback

    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert bitsback.__version__ == project["version"]
    assert f"## {bitsback.__version__}" in (ROOT / "CHANGELOG.md").read_text()


def test_facade_names_exist():
    """The façade loads lazily, so that a wrong name in it would wait for its first user."""
    import bitsback

    for name in bitsback.__all__:
        assert getattr(bitsback, name) is not None
