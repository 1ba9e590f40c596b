"""`bitsback pack` and `bitsback unpack`: any checkpoint, without its network's class and data."""

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ..training.progress import ProgressLine
from . import report
from .commands import consoles
from .common_options import Json, Quiet
from .files import check_writable
from .one_line import one_line
from .printable import printable
from .settings import one_of


def register(app: typer.Typer) -> None:
    """Add both commands to the application."""
    app.command()(pack)
    app.command()(unpack)


@one_line
def pack(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="A safetensors file, or a .pt state_dict.")
    ],
    max_error: Annotated[
        float | None,
        typer.Option(
            metavar="E",
            help="Largest error of a weight, in units of its tensor's root mean square: above 0, "
            "at most 1. Default: no loss at all.",
        ),
    ] = None,
    coder: Annotated[
        str | None,
        typer.Option(
            metavar="P",
            help="Coder of weights with a --max-error: small (fewest bytes) or fast (large "
            "checkpoints in seconds). Default: small, and fast from 1,048,576 weights on.",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The packed file. Default: FILE with suffix .bb"),
    ] = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Compress a checkpoint into one file. Needs no network class and no data."""
    from ..compression.packed.packing import pack as pack_file

    out = file.with_suffix(".bb") if out is None else out
    one_of("--coder", coder, ("small", "fast"))
    _check_outputs(file, out, json)
    progress, tables = consoles(json, quiet)
    packed = pack_file(file, out, max_error, _Progress(progress, "packing"), coder)
    before = sum(item.size for item in packed.header.items)
    result: dict[str, Any] = {
        "file": str(out),
        "tensors": len(packed.header.order),
        "tensor_bytes": before,
        "source_bytes": file.stat().st_size,
        "bytes": packed.size,
        "ratio": before / packed.size,
        "max_error": max_error,
        "bounds": packed.bounds,
    }
    _print(tables, result, f"{len(packed.bounds)} of {result['tensors']}" if max_error else "none")
    report.write_json(result, json)


@one_line
def unpack(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="What `bitsback pack` wrote.")],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="A safetensors file; or a state_dict of torch.save, if it ends in .pt or .pth. "
            "Default: FILE with suffix .safetensors, if there is none yet.",
        ),
    ] = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Write the tensors of a packed file as safetensors, or as a .pt state_dict."""
    from ..compression.packed.unpacking import unpack_to

    if out is None:
        out = file.with_suffix(".safetensors")
        if out.exists():
            raise ValueError(f"{out} exists: name the file to write with --out")
    _check_outputs(file, out, json)
    progress, tables = consoles(json, quiet)
    found = unpack_to(file, out, _Progress(progress, "unpacking"))
    result = {"file": str(out), "tensors": found["tensors"], "tensor_bytes": found["bytes"]}
    _print(tables, result)
    report.write_json(result, json)


class _Progress:
    """A line of progress on a terminal."""

    def __init__(self, console: Console, title: str) -> None:
        self._console, self._title, self._line = console, title, None

    def __call__(self, done: int, total: int, name: str) -> None:
        if self._line is None:
            self._line = ProgressLine(self._console, self._title, max(total, 1))
        self._line.update(done, printable(name))
        if not name:
            self._line.close()


def _check_outputs(file: Path, out: Path, json: str | None) -> None:
    if out.exists() and file.exists() and out.samefile(file):
        raise ValueError(f"--out {out}: is the file to read; name another")
    check_writable(out, "--out")
    if json is not None and json != report.STDOUT:
        check_writable(Path(json), "--json")


def _print(console: Console, result: dict[str, Any], lossy: str | None = None) -> None:
    table = Table(show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    table.add_row("tensors", f"{result['tensors']:,}")
    table.add_row("bytes of tensors", f"{result['tensor_bytes']:,}")
    if lossy is not None:
        table.add_row("tensors with a loss", lossy)
        table.add_row("bytes", f"{result['bytes']:,}")
        table.add_row("ratio", f"{result['ratio']:.2f}x")
    table.add_row("file", Text(printable(result["file"])))
    console.print(table)
