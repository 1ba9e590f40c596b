"""The files of the project, for the tests that read its sources."""

import ast
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (
    "common", "compression", "diagnostics", "distributions", "graph", "guides", "methods",
    "models", "training", "workbench",
)  # fmt: skip
NOT_OURS = {"__pycache__", "build", "dist", "venv"}  # and all whose names begin with a dot


def files() -> list[Path]:
    """Every file that git tracks or would; in a copy without git, every file that is no output."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listing.returncode == 0:
        found = [ROOT / name for name in listing.stdout.split("\0") if name]
    else:
        found = [path for path in ROOT.rglob("*") if not _is_output(path.relative_to(ROOT))]
    return sorted(path for path in found if path.is_file())


def _is_output(path: Path) -> bool:
    hidden = any(part.startswith(".") and part not in (".ci", ".gitignore") for part in path.parts)
    return hidden or any(p in NOT_OURS or p.endswith(".egg-info") for p in path.parts)


def sources() -> list[Path]:
    """The Python files of the import package, which are all but tests, examples and benchmarks."""
    ours = [p for p in files() if p.suffix == ".py"]
    return [p for p in ours if p.parent == ROOT or p.relative_to(ROOT).parts[0] in PACKAGES]


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))
