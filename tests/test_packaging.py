"""What is in the checkout is what gets installed, no less and no more (see docs/design.md)."""

import ast
import sys
import tomllib

from .project import PACKAGES, ROOT, files, parse, sources

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
    assert f"\nversion: {bitsback.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def imported_for_editors(path) -> dict[str, str]:
    """The names that type checkers see, by the module that each comes from ("" for folders)."""
    guarded = next(node for node in parse(path).body if isinstance(node, ast.If))
    assert ast.unparse(guarded.test) == "TYPE_CHECKING"
    return {alias.name: node.module or "" for node in guarded.body for alias in node.names}


def test_editors_see_what_programs_get():
    """The lazy table, the imports for type checkers and `__all__` are three lists of one thing."""
    import bitsback
    from bitsback import training

    lazy = bitsback._PUBLIC | dict.fromkeys(bitsback._FOLDERS, "")
    assert imported_for_editors(ROOT / "__init__.py") == lazy
    assert bitsback.__all__ == sorted({"__version__", *lazy}, key=_ruffs_order)
    assert imported_for_editors(ROOT / "training" / "__init__.py") == training._PUBLIC
    assert set(training.__all__) == set(training._PUBLIC)


def _ruffs_order(name: str) -> tuple:
    """Constants, classes, then all else."""
    return (not name.isupper(), not name[0].isupper(), name)


def test_help_teaches():
    """Every function at the top says what it does, with an example, and each option."""
    import inspect

    import bitsback

    for name in bitsback._PUBLIC:
        public = getattr(bitsback, name)
        if inspect.isfunction(public):
            text = inspect.getdoc(public) or ""
            assert ">>> " in text, f"help(bitsback.{name}) has no example"
            for option in inspect.signature(public).parameters:
                assert f":param {option}:" in text, (name, option)


def test_facade_names_exist():
    """The façade loads lazily, so that a wrong name in it would wait for its first user."""
    import bitsback

    for name in bitsback.__all__:
        assert getattr(bitsback, name) is not None
