"""`bitsback shrink`: compress a trained network with a few inputs and without training."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from . import report
from .commands import consoles
from .common_options import Coder, DataDir, Json, LikelihoodName, Model, ModelArgs, Quiet, Target
from .files import check_writable
from .one_line import one_line
from .settings import CODERS, MAX_THREADS, one_of

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ..compression.compress import Compressed
    from ..training.evaluation import Split
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
    model: Model = None,
    model_args: ModelArgs = None,
    network: Annotated[
        str | None, typer.Option(metavar="N", help="A reference network instead of --model.")
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Inputs without labels: the array of a .npy file, or the only one of a .npz.",
        ),
    ] = None,
    data: Annotated[
        str | None,
        typer.Option(
            metavar="D",
            help="A data set, as of `compress`: its training part gives --examples inputs, its "
            "validation part judges --max-drop, its test part the file at the end.",
        ),
    ] = None,
    target: Target = None,
    examples: Annotated[
        int, typer.Option(help="Training inputs of --data to calibrate on.")
    ] = EXAMPLES,
    max_drop: Annotated[
        float, typer.Option(help="Rise in error that is allowed, percentage points.")
    ] = 0.5,
    target_bytes: Annotated[
        int | None, typer.Option(help="Size of the file instead; the drop is then reported.")
    ] = None,
    likelihood: LikelihoodName = None,
    seed: Annotated[int, typer.Option(metavar="S", help="Seed of all that is random.")] = 0,
    coder: Coder = None,
    threads: Annotated[int | None, typer.Option(help="Threads of torch.")] = None,
    data_dir: DataDir = None,
    out: Annotated[Path, typer.Option(metavar="FILE", help="The compressed file.")] = Path(
        "network.bb"
    ),
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Make a trained network small without training and without labels, in minutes.

    Without --calibration and --data the weights are rounded one by one.
    """
    if weights is None:
        raise ValueError("--weights: give the file of the trained network's weights")
    if (model is None) == (network is None):
        raise ValueError("--model, --network: give one of them, which makes the network")
    if model_args is not None and model is None:
        raise ValueError("--model-args: needs --model FILE_OR_MODULE:FACTORY to pass them to")
    if calibration is not None and data is not None:
        raise ValueError("--calibration, --data: give one of them")
    if target is not None and data is None:
        raise ValueError("--target: needs --data, a table whose labels it names")
    one_of("--coder", coder, CODERS)
    _check_numbers(examples, max_drop, target_bytes, seed, threads)
    code = None if model is None else model.rpartition(":")[0]
    _check_files([weights, calibration, data, code], out, json)
    import torch

    from ..training.progress import StatusLine
    from .array_file import read_array
    from .parts import check_likelihood

    check_likelihood(likelihood)
    progress, tables = consoles(json, quiet)
    if threads is not None:
        torch.set_num_threads(threads)
    net = _network(model, model_args, network, weights, progress.print)
    given = _Given(
        None if calibration is None else read_array(calibration, "--calibration"),
        likelihood=likelihood,
    )
    if data is not None:
        what = "--model" if model else f"--network {network}"
        source = (data, target, likelihood)
        given = _of_data(source, net, what, examples, seed, data_dir, progress)
    elif calibration is None:
        progress.print("no calibration data: every weight is rounded by itself")
    line = StatusLine(progress, "shrink")
    options = {"max_drop": max_drop, "target_bytes": target_bytes, "seed": seed, "label": network}
    options["coder"] = coder
    try:
        small = _shrunk(net, given, options | {"progress": line.say})
    finally:
        line.close()
    result: dict[str, Any] = {"file": str(out), "seed": seed, **small.report}
    result |= _test_errors(net, small.network, given)
    small.save(out)
    _print(tables, result)
    report.write_json(result, json)


@dataclass(frozen=True)
class _Given:
    """What a network is calibrated on, judged by and, at the end, tested on."""

    inputs: "Tensor | None"
    validation: "tuple[Tensor, Tensor] | None" = None
    likelihood: str | None = None
    test: "Split | None" = None
    batch: int = 1


def _check_numbers(
    examples: int, max_drop: float, target_bytes: int | None, seed: int, threads: int | None
) -> None:
    """Refuse numbers out of range before anything is loaded."""
    from ..training.options import MAX_SEED

    if examples < 1:
        raise ValueError(f"--examples {examples}: must be at least 1")
    if not 0 <= max_drop < float("inf"):
        raise ValueError(f"--max-drop {max_drop:g}: must be at least 0, percentage points")
    if target_bytes is not None and target_bytes < 1:
        raise ValueError(f"--target-bytes {target_bytes}: must be at least 1")
    if not 0 <= seed <= MAX_SEED:
        raise ValueError(f"--seed {seed}: must be within 0..{MAX_SEED}")
    if threads is not None and not 1 <= threads <= MAX_THREADS:
        raise ValueError(f"--threads {threads}: must be within 1..{MAX_THREADS}")


def _check_files(inputs: "list[Path | str | None]", out: Path, json: str | None) -> None:
    """Refuse outputs that cannot be written, or that would replace an input or each other."""
    outputs = [("--out", out)]
    if json is not None and json != report.STDOUT:
        outputs.append(("--json", Path(json)))
    for option, path in outputs:
        there = [Path(other) for other in inputs if other is not None and Path(other).exists()]
        if path.exists() and any(path.samefile(other) for other in there):
            raise ValueError(f"{option} {path}: is a file to read; name another")
        check_writable(path, option)
    if len(outputs) == 2 and out.resolve() == outputs[1][1].resolve():
        raise ValueError(f"--json {json}: is the file of --out, too; name another")


def _of_data(
    source: tuple[str, str | None, str | None], net: "nn.Module", what: str, examples: int,
    seed: int, data_dir: Path | None, progress: Console,
) -> _Given:  # fmt: skip
    """Training inputs drawn by the seed, and the validation and test parts of a data set.

    :param source: the data set, the column of its labels and their likelihood.
    :param what: the network's name, for messages.
    """
    import torch

    from ..common.examples import take
    from .fitting import check_fits, like_outputs
    from .own_data import Source, read_data

    found = read_data(Source(*source), data_dir, progress)
    batch = check_fits(net, found, what)
    found = like_outputs(found, net)
    order = torch.randperm(len(found.train), generator=torch.Generator().manual_seed(seed))
    validation = found.validation.x, found.validation.y
    inputs = take(found.train.x, order[:examples])
    return _Given(inputs, validation, found.likelihood, found.test, batch)


def _shrunk(net: "nn.Module", given: _Given, options: dict[str, Any]) -> "Compressed":
    """The network made small.

    :raises CheckFailed: no file is within `max_drop`: the work was done, but did not pass.
    """
    from ..compression.errors import DropExceeded
    from ..compression.shrink import shrink as shrunk
    from ..training.errors import CheckFailed

    given_options = {"validation": given.validation, "likelihood": given.likelihood}
    try:
        return shrunk(net, given.inputs, **given_options, **options)
    except DropExceeded as error:
        raise CheckFailed(str(error)) from None


def _test_errors(net: "nn.Module", small: "nn.Module", given: _Given) -> dict[str, float]:
    """Test error of the network before and after, in percent; nothing without a test part."""
    from ..training.evaluation import evaluate

    if given.test is None:
        return {}
    before, after = (evaluate(n.eval(), given.test, given.batch) for n in (net, small))
    return {"test_error_before": before.error, "test_error": after.error}


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
