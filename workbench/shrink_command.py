"""`bitsback shrink`: a trained network to one small file, by a few inputs, without training."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import report
from .commands import consoles
from .files import check_writable
from .one_line import one_line

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..training.state_dict import Say

EXAMPLES = 500  # drawn from the training part of a data set


def register(app: typer.Typer) -> None:
    """Add the command to the application."""
    app.command()(shrink)


@one_line
def shrink(
    weights: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="The trained network's state_dict, safetensors or .pt."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(metavar="M", help="FILE.py:NAME or MODULE:NAME of what makes the network."),
    ] = None,
    model_args: Annotated[
        str | None, typer.Option(metavar="JSON", help="Arguments of --model.")
    ] = None,
    network: Annotated[
        str | None, typer.Option(metavar="N", help="A reference network instead of --model.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Inputs without labels: an array of a .npy file."),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="D",
            help="A data set, as of `compress`: its training part gives --examples inputs, its "
            "validation part judges --max-drop, its test part the file at the end.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="Labels of a table given as --data.")
    ] = None,
    examples: Annotated[
        int, typer.Option(help="Training inputs of --data to calibrate on.")
    ] = EXAMPLES,
    max_drop: Annotated[
        float, typer.Option(help="Rise in error that is allowed, percentage points.")
    ] = 0.5,
    target_bytes: Annotated[
        int | None, typer.Option(help="Size of the file instead; the drop is then reported.")
    ] = None,
    likelihood: Annotated[
        str | None, typer.Option(metavar="L", help="categorical, bernoulli or normal.")
    ] = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of all that is random.")] = 0,
    threads: Annotated[int | None, typer.Option(help="Threads of torch.")] = None,
    data_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Folder to search first for the data set's files."),
    ] = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The compressed file.")] = Path(
        "network.bb"
    ),
    json: Annotated[
        str | None, typer.Option(metavar="FILE", help="Write the result as JSON; '-' is stdout.")
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", help="Print errors only.")] = False,
) -> None:
    """Make a trained network small without training and without labels, in minutes.

    Without --calibration and --data the weights are rounded one by one.
    """
    if weights is None:
        raise ValueError("--weights: give the file of the trained network's weights")
    if (model is None) == (network is None):
        raise ValueError("--model, --network: give one of them, which makes the network")
    if calibration is not None and data is not None:
        raise ValueError("--calibration, --data: give one of them")
    if examples < 1:
        raise ValueError(f"--examples {examples}: must be at least 1")
    for target_file, option in ((out, "--out"), (json, "--json")):
        if target_file is not None and target_file != report.STDOUT:
            check_writable(Path(target_file), option)
    import torch

    from ..compression.shrink import shrink as shrunk
    from ..training.evaluation import evaluate
    from ..training.progress import StatusLine
    from .fitting import check_fits
    from .own_data import Source, read_data

    progress, tables = consoles(json, quiet)
    if threads is not None:
        torch.set_num_threads(threads)
    net = _network(model, model_args, network, weights, progress.print)
    inputs = None if calibration is None else _inputs(calibration)
    found = validation = None
    if data is not None:
        found = read_data(Source(data, target, likelihood), data_dir, progress)
        check_fits(net, found, "--model" if model else f"--network {network}")
        order = torch.randperm(len(found.train.x), generator=torch.Generator().manual_seed(seed))
        inputs = found.train.x[order[:examples]]
        validation, likelihood = (found.validation.x, found.validation.y), found.likelihood
    line = StatusLine(progress, "shrink")
    try:
        small = shrunk(
            net, inputs, validation=validation, max_drop=max_drop, target_bytes=target_bytes,
            likelihood=likelihood, seed=seed, label=network, progress=line.say,
        )  # fmt: skip
    finally:
        line.close()
    small.save(out)
    result: dict[str, Any] = {"file": str(out), "seed": seed, **small.report}
    if found is not None:
        result["test_error_before"] = evaluate(net.eval(), found.test).error
        result["test_error"] = evaluate(small.network, found.test).error
    _print(tables, result)
    report.write_json(result, json)


def _network(
    model: str | None, model_args: str | None, network: str | None, weights: Path, say: "Say"
) -> "nn.Module":
    """The trained network, of the user's factory or of a reference."""
    from ..training.state_dict import load_weights
    from .names import lookup
    from .networks import NETWORKS
    from .networks import network as reference
    from .own_network import own_network

    if model is not None:
        return own_network(model, model_args, weights, say)
    lookup("network", network, NETWORKS)
    net = reference(network)
    load_weights(weights, net, say)
    return net


def _inputs(path: Path) -> "Tensor":
    """The array of a .npy file as a tensor, pixels of bytes divided by 255."""
    import numpy as np
    import torch

    try:
        array = np.load(path)
    except ValueError as error:
        raise ValueError(f"--calibration {path}: is no .npy file ({error})") from None
    if not isinstance(array, np.ndarray) or not array.ndim or array.dtype.kind not in "fiub":
        raise ValueError(f"--calibration {path}: must hold one array of numbers, examples first")
    inputs = torch.from_numpy(np.ascontiguousarray(array))
    if array.dtype == np.uint8:
        return inputs.float() / 255
    return inputs.float() if inputs.is_floating_point() else inputs


def _print(console: Console, result: dict[str, Any]) -> None:
    table = Table(show_header=False)
    judged = result.get("judged")
    rows = [("bytes", f"{result['bytes']:,}"), ("ratio", f"{result['ratio']:.1f}x")]
    rows.append(("bits per weight", f"{result['bits_per_weight']:.3g}"))
    if judged:
        rise = judged["rise"]
        rows.append(
            (judged["judged_by"], f"{rise['error']:+.2f} ± {rise['error_stderr']:.2f} points")
        )
    if "test_error" in result:
        rows.append(
            (
                "test error",
                f"{result['test_error_before']:.2f} % before, {result['test_error']:.2f} % after",
            )
        )
    if result.get("untraced"):
        rows.append(("no graph", str(result["untraced"])))
    rows.append(("file", result["file"]))
    for name, value in rows:
        table.add_row(name, Text(value))
    console.print(table)
