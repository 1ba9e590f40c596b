"""What each command does, once its options are read: a function to its JSON and its tables.

Torch and the rest load inside the functions, so that `bitsback --help` is fast.
"""

from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from rich.console import Console

from . import report
from .errors import CheckFailed
from .files import check_folder, check_writable, write_atomic
from .settings import Settings, resolve


def consoles(json_target: str | None, quiet: bool = False) -> tuple[Console, Console]:
    """Where progress goes, and where tables go: stdout is left to the JSON if that goes there."""
    errors = Console(stderr=True, quiet=quiet)
    return errors, (errors if json_target == report.STDOUT else Console(quiet=quiet))


def compress(settings: Settings, json_target: str | None, plot: Path | None = None) -> None:
    """Train, compress, write the file, report.

    :param plot: where to draw the gates of method bayesian-bits over the epochs (PNG).
    :raises ValueError: before any training, for an unknown name or an output that cannot be
        written.
    """
    from .pipeline import run
    from .plots import gates_png

    if plot is not None:
        _check_plot(settings, plot)

    settings = resolve(settings)
    check_writable(settings.out, "--out")
    if settings.save_guide is not None:
        check_writable(settings.save_guide, "--save-guide")
    if settings.resume is not None:
        check_folder(settings.resume, "--resume")
    _check_json(json_target)
    progress, tables = consoles(json_target, settings.quiet)
    result = run(settings, progress)
    report.print_compressed(tables, result)
    report.write_json(result, json_target)
    if plot is not None:
        write_atomic(plot, gates_png(result["bops"]))


def _check_plot(settings: Settings, plot: Path) -> None:
    if settings.method != "bayesian-bits":
        raise ValueError(f"--plot: only --method bayesian-bits has it, not {settings.method}")
    if settings.load_guide is not None:
        raise ValueError("--plot: no training with --load-guide to plot")
    if plot.suffix != ".png":
        raise ValueError(f"--plot {plot}: the plot is a PNG; name a .png file")
    check_writable(plot, "--plot")


def evaluate(
    file: Path, data: Mapping[str, Any], data_dir: Path | None, json_target: str | None,
    model: tuple[str | None, str | None] = (None, None),
) -> None:  # fmt: skip
    """Test error and test NLL of a compressed file.

    :param data: fields of `own_data.Source`.
    :param model: factory and arguments of the network's own class, for a file that needs it.
    """
    from ..compression.file import load
    from .evaluate import check_fits, like_outputs
    from .evaluate import evaluate as score_of
    from .own_data import Source, read_data
    from .own_network import own_network

    _check_json(json_target)
    source = Source(**data)
    source.check()
    progress, tables = consoles(json_target)
    into = own_network(*model) if model[0] is not None else None
    net = load(file, into=into)  # first: a bad file must not wait for a download
    dataset = read_data(source, data_dir, progress)
    batch = check_fits(net, dataset, str(file))
    dataset = like_outputs(dataset, net)
    try:
        score = score_of(net, dataset.test, batch)
    except CheckFailed as error:  # of a file that somebody else wrote, perhaps
        raise ValueError(f"{file}: {error}") from None
    result: dict[str, Any] = {
        "file": str(file),
        "data": source.data,
        "likelihood": dataset.likelihood,
        "examples": score.n,
        "test_error": score.error,
        "test_nll": score.nll,
    }
    report.print_evaluated(tables, result)
    report.write_json(result, json_target)


def inspect(file: Path, json_target: str | None) -> None:
    """The bytes of a compressed file, itemised, and its layers."""
    from ..compression.errors import CorruptFile
    from ..compression.file import inspect as itemise
    from ..compression.file import read

    _check_json(json_target)
    try:
        result = {"file": str(file), **itemise(read(file))}
    except CorruptFile as error:
        raise type(error)(f"{file}: {error}") from error
    report.print_inspected(consoles(json_target)[1], result)
    report.write_json(result, json_target)


def export(
    file: Path, out: Path, levels: int | None, shape: tuple[int, ...] | None,
    json_target: str | None,
) -> None:  # fmt: skip
    """A compressed file as an ONNX model.

    :param levels: inputs become integers, multiples of 1 / levels; None: they stay floats.
    :param shape: of one input; None: see `onnx_file.to_onnx`.
    :raises ValueError: for a network that has no such form; the message names the layer.
    """
    from ..compression.file import load
    from ..compression.integer_layers import IntegerInput
    from ..compression.onnx_file import integer_weights, save_onnx

    if levels is not None and not 1 <= levels <= 255:
        raise ValueError(f"--levels {levels}: must be within 1..255, so that codes are of 8 bits")
    check_writable(out, "--onnx")
    _check_json(json_target)
    inputs = None if levels is None else IntegerInput(Fraction(1, levels), high=levels)
    net = load(file)
    try:
        model = save_onnx(net, out, inputs, shape)
    except OSError:
        raise
    except Exception as error:  # the package onnx raises its own where a network makes no sense
        raise ValueError(f"{file}: has no form in ONNX: {error}") from error
    result = {"file": str(file), "onnx": str(out), "bytes": model.ByteSize()}
    result["integer_weights"], result["float_weights"] = integer_weights(model)
    report.print_exported(consoles(json_target)[1], result)
    report.write_json(result, json_target)


def diagnose(
    file: Path, compressed: Path | None, out: Path, samples: int, data_dir: Path | None,
    json_target: str | None,
) -> None:  # fmt: skip
    """A page about a kept guide, and its figures.

    Calibration is on the test part: the validation part has chosen the file.

    :raises ValueError: for a file that was not written by `bitsback compress --save-guide`.
    """
    from .. import diagnostics
    from ..compression.file import load
    from .data import load_data
    from .kept import rebuild
    from .trained import describe_guide

    if samples < 20:
        raise ValueError(f"--samples {samples}: must be at least 20, to say anything of a tail")
    check_writable(out, "--out")
    _check_json(json_target)
    progress, tables = consoles(json_target)
    about = describe_guide(file)["about"]
    small = load(compressed) if compressed is not None else None
    data = load_data(about.get("data", ""), data_dir, progress)
    model, guide = rebuild(file, len(data.train), data.train.x[:2])
    train, held_out = ((part.x, part.y) for part in (data.train, data.test))
    draws = diagnostics.draw(model, guide, *train, samples)
    classified = diagnostics.calibrations(model, guide, *held_out, small)
    found = diagnostics.figures(model, guide, draws, classified, train=train)
    page = diagnostics.report_html(
        model, guide, *train, held_out, small, draws=draws, site_khats=found["site_khats"],
        classified=classified,
    )  # fmt: skip
    write_atomic(out, page.encode())
    result = {"file": str(file), "page": str(out), **about, **found}
    report.print_diagnosed(tables, result)
    report.write_json(result, json_target)


def tau0(
    settings: Settings,
    values: tuple[float, ...] | None,
    out: Path,
    json_target: str | None,
    search: Mapping[str, Any],
    expected: tuple[float | None, float | None],
) -> None:
    """The horseshoe's tau0 by the bound, beside what each value compresses to.

    :param search: arguments of `sweep.Search`.
    :param expected: see `tau0.run`; None twice for none.
    :raises ValueError: before any training, for an unknown name or an output that cannot be
        written.
    """
    from ..diagnostics.engines import check
    from ..diagnostics.tau0 import VALUES
    from ..models.horseshoe import check_tau0
    from .plots import tau0_png
    from .sweep import Search
    from .tau0 import run

    settings = resolve(settings)
    for value in values or ():
        check_tau0("--values", value)
    check(search["engine"], search["jobs"])
    if search["learn"] not in ("global", "layer"):
        raise ValueError(f"--learn {search['learn']}: must be global or layer")
    if out.suffix != ".png":
        raise ValueError(f"--out {out}: the plot is a PNG; name a .png file")
    if (expected[0] is None) != (expected[1] is None):
        raise ValueError("--units and --level go together: so many units of a scale above it")
    check_writable(out, "--out")
    if settings.resume is not None:
        check_folder(settings.resume, "--resume")
    _check_json(json_target)
    progress, tables = consoles(json_target, settings.quiet)
    asked = None if expected[0] is None else expected
    result = run(settings, values or VALUES, progress, Search(**search), asked)
    write_atomic(out, tau0_png(result))
    result["plot"] = str(out)
    report.print_tau0(tables, result)
    report.write_json(result, json_target)


def methods(json_target: str | None) -> None:
    """The methods, from the registry."""
    from ..methods import METHODS

    _check_json(json_target)
    keys = ("name", "prior", "guide", "paper")
    result = [
        {**{key: getattr(method, key) for key in keys}, "defaults": dict(method.defaults)}
        for method in METHODS.values()
    ]
    report.print_methods(consoles(json_target)[1], result)
    report.write_json(result, json_target)


def env(json_target: str | None) -> None:
    """Versions and machine."""
    from .environment import environment

    _check_json(json_target)
    result = environment()
    report.print_environment(consoles(json_target)[1], result)
    report.write_json(result, json_target)


def _check_json(target: str | None) -> None:
    if target is not None and target != report.STDOUT:
        check_writable(Path(target), "--json")
